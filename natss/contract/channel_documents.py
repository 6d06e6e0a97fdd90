"""Reads a Channel document (``eventing.knative.dev/v1alpha1``) into a value.

Pure. ``documents.py`` adds the subscribers that Subscription documents name.
"""

from collections.abc import Iterable
from dataclasses import replace

from natss.contract.arguments import parse_arguments
from natss.contract.channel_id import ChannelId
from natss.contract.fields import Fields, Refused, fields, text_at
from natss.contract.names import (
    DISPATCHER_FINALIZER,
    EPOCH_ANNOTATION,
    MAX_SUBJECT,
    PROVISIONER,
    RESERVED_SUBJECTS,
    is_dns_label,
    is_dns_name,
    is_epoch,
    is_resource_name,
    is_uid,
    namespace_of_host,
    normalise_host,
)
from natss.contract.places import (
    MOST_TOLD,
    PlaceClaim,
    RecordedDurable,
    choose,
    claim_of,
    claim_of_recorded,
    names_of,
)
from natss.contract.reports import Report, did_you_mean, shown
from natss.contract.resource_document import ResourceDocument
from natss.contract.resources import Channel, Defaults, ResourceName, Subscriber, Unserved
from natss.contract.uris import complete_uri

OBJECT_REFERENCE = (
    "apiVersion",
    "kind",
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "fieldPath",
)


def is_ours(root: Fields) -> bool:
    """Return whether the channel is for NATS Streaming.

    The provisioner of a channel cannot be changed: a channel with the dispatcher's finalizer stays
    ours until it is deleted, because it has subscribers, and events that wait for them. A changed
    provisioner is reported.

    Args:
        root: The Channel's document; its name is not read.

    Raises:
        Refused: The document does not say.
    """
    try:
        if _names_natss(root):
            return True
    except Refused:
        if not _has_been_ours(root):
            raise
    if not _has_been_ours(root):
        return False
    root.report.refuse(
        "spec.provisioner",
        f"is not {PROVISIONER} any more, and cannot be changed: write name: {PROVISIONER} again, or"
        " delete the channel and create it anew",
        f"{PROVISIONER} goes on with the channel",
    )
    return True


def _has_been_ours(root: Fields) -> bool:
    finalizers = root.nested("metadata").value.get("finalizers")
    return isinstance(finalizers, list | tuple) and DISPATCHER_FINALIZER in finalizers


def _names_natss(root: Fields) -> bool:
    spec = root.nested("spec")
    if not spec.has("provisioner"):
        raise Refused(
            "spec.provisioner",
            f"is missing, so the channel is ignored; write provisioner: {{name: {PROVISIONER}}}",
        )
    provisioner = spec.nested("provisioner")
    name = provisioner.required_text("name")
    if name != PROVISIONER:
        hint = did_you_mean(name, [PROVISIONER])
        if hint:
            raise Refused("spec.provisioner.name", f"{shown(name)} is another provisioner{hint}")
        return False
    provisioner.tell_unknown(OBJECT_REFERENCE)
    kind = provisioner.text("kind")
    return not provisioner.has("namespace") and kind in {None, "ClusterChannelProvisioner"}


def address(document: ResourceDocument) -> str | None:
    """Return the host in the channel's status, normalised; None if there is none."""
    hostname = document.root.nested("status").nested("address").text("hostname")
    return normalise_host(hostname) if hostname else None


def read_channel(
    document: ResourceDocument,
    defaults: Defaults,
    former: Channel | None = None,
    recorded: Iterable[RecordedDurable] = (),
) -> tuple[Channel, bool]:
    """Read a channel that ``is_ours``; return it, and whether all its subscribers are readable.

    A mistake in one subscriber or argument is reported and does not affect the others.

    Args:
        document: The channel.
        defaults: The values that it omits.
        former: The channel as it was before: subscribers that are served stay served, and previous
            values replace wrong arguments.
        recorded: Its durables that may exist.

    Raises:
        Refused: The channel as a whole cannot be used.
    """
    name, epoch = document.channel, _epoch(document)
    subject = name.subject(epoch)
    if len(subject) > MAX_SUBJECT:
        most = MAX_SUBJECT - len(subject) + len(name.namespace) + len(name.name)
        raise Refused("metadata.name", f"with the namespace it must not pass {most} characters")
    if subject in RESERVED_SUBJECTS:
        raise Refused(
            "metadata.name",
            f"NATS Streaming has a file {subject} of its own; take another name or namespace",
        )
    spec = document.root.nested("spec")
    spec.tell_unknown(("provisioner", "arguments", "subscribable", "generation"))
    report = document.report
    items, unserved, distinct = _with_a_place(spec, defaults, former or Channel(name, ()), recorded)
    subscribers, readable = _subscribers(items, report, name, defaults.cluster_domain)
    policy, problems = parse_arguments(
        spec.value.get("arguments"),
        report.resource,
        name.namespace,
        defaults,
        None if former is None else former.policy,
    )
    report.problems += (replace(problem, origin=report.origin) for problem in problems)
    hosts = _hosts(document, defaults.cluster_domain)
    channel = Channel(
        name,
        hosts,
        subscribers,
        policy,
        epoch=epoch,
        created=text_at(document.root.value, "metadata", "creationTimestamp") or "",
        unserved=unserved,
    )
    return channel, distinct and readable


def _epoch(document: ResourceDocument) -> str:
    """Return the epoch; raise Refused if it is invalid: another subject would leave the events."""
    annotations = document.root.nested("metadata").nested("annotations")
    epoch = annotations.text(EPOCH_ANNOTATION) or ""
    if epoch and not is_epoch(epoch):
        raise Refused(
            f"metadata.annotations[{EPOCH_ANNOTATION}]",
            f"{shown(epoch)}; must be 1 to 32 small letters and digits",
        )
    return epoch


def _hosts(document: ResourceDocument, cluster_domain: str) -> tuple[str, ...]:
    """Return the hosts of a channel; ignore a host of another namespace, whoever has written it.

    The channel would get the events of that namespace, or keep them from being accepted.
    """
    name = document.name
    own = document.channel.host(cluster_domain)
    try:
        host = address(document)
        if host is not None and not is_dns_name(host):
            raise Refused("status.address.hostname", f"{shown(host)}; must be a DNS name")
        if host is not None and namespace_of_host(host, cluster_domain) not in {
            None,
            name.namespace,
        }:
            raise Refused(
                "status.address.hostname", f"{shown(host)} is a name of another namespace"
            )
    except Refused as refused:
        document.report.add(refused.path, refused.message, "ignored")
        host = None
    return (host, own) if host and host != own else (own,)


_Item = tuple[str, object]
"""An entry of a list with its path."""


def _with_a_place(
    spec: Fields, defaults: Defaults, former: Channel, recorded: Iterable[RecordedDurable]
) -> tuple[list[_Item], Unserved, bool]:
    """Return the entries to read, the unserved subscribers, and whether all are distinct.

    The other entries are only skimmed: reading 25,000 would take half a second.
    """
    subscribable = spec.nested("subscribable")
    subscribable.tell_unknown(("subscribers",))
    items = list(subscribable.items("subscribers"))
    most = defaults.max_subscribers
    if most is None or len(items) <= most:
        return items, Unserved(), True
    recorded, before = list(recorded), [claim_of(each) for each in former.subscribers]
    known = names_of(before) | names_of(map(claim_of_recorded, recorded))
    entries: dict[str, _Item] = {}
    claims: list[PlaceClaim] = []
    passed_over = new = 0
    is_clear = True
    for item in items:
        identity = _identity(item[1], former.name)
        if identity is None or identity[0] in entries:
            is_clear = False
            continue
        durable, namespace, name = identity
        entries[durable] = item
        if durable not in known and (namespace, name) not in known:
            new += 1
            if new > most + MOST_TOLD:
                passed_over += 1
                continue
        if all(map(is_uid, identity)):
            claims.append(PlaceClaim(*identity))
        else:
            is_clear = False
    choice = choose(claims, most, before, recorded)
    served = [entries[claims[index].durable] for index in choice.served]
    unserved = choice.unserved(claims)
    return served, replace(unserved, number=unserved.number + passed_over), is_clear


def _identity(item: object, channel: ChannelId) -> tuple[str, str, str] | None:
    """Return the durable, namespace and name of an entry, as ``_subscriber`` reads them.

    Return None if the entry does not say.
    """
    if not isinstance(item, dict):
        return None
    uid, ref = item.get("uid"), item.get("ref")
    of: object = None
    name: object = None
    if isinstance(ref, dict):
        of, name = ref.get("namespace"), ref.get("name")
    elif ref is not None:
        return None
    if not (_is_text(uid) and _is_text(of) and _is_text(name)):
        return None
    uid = str(uid or "").strip()
    name, of = str(name or "").strip() or uid, str(of or "").strip() or channel.namespace
    return (channel.kind.names.durable(uid or None, of, name), of, name) if name else None


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _subscribers(
    items: Iterable[_Item], report: Report, channel: ChannelId, cluster_domain: str
) -> tuple[tuple[Subscriber, ...], bool]:
    complete = True
    read: dict[str, Subscriber] = {}
    for path, item in items:
        try:
            subscriber = _subscriber(fields(item, path, report), channel, cluster_domain)
            if subscriber.durable in read:
                raise Refused(path, f"{shown(subscriber.durable)} is there already")
        except Refused as refused:
            report.refuse(refused.path, refused.message, "ignored")
            complete = False
            continue
        read[subscriber.durable] = subscriber
    return tuple(read.values()), complete


def _subscriber(entry: Fields, channel: ChannelId, cluster_domain: str) -> Subscriber:
    entry.tell_unknown(("uid", "ref", "subscriberURI", "replyURI", "generation"))
    uid = entry.text("uid")
    if uid is not None and not is_uid(uid):
        raise Refused(entry.path_of("uid"), f"{shown(uid)}; must be a UID")
    ref = entry.nested("ref")
    ref.tell_unknown(OBJECT_REFERENCE)
    subscriber = Subscriber(
        ref=_ref(ref, uid, channel),
        uid=uid,
        subscriber_uri=_uri(entry, "subscriberURI", channel.namespace, cluster_domain),
        reply_uri=_uri(entry, "replyURI", channel.namespace, cluster_domain),
        names_durable=channel.kind.names.durable,
    )
    if subscriber.subscriber_uri is None and subscriber.reply_uri is None:
        raise Refused(entry.path, "has neither subscriberURI nor replyURI")
    return subscriber


def _ref(ref: Fields, uid: str | None, channel: ChannelId) -> ResourceName:
    """Return the Subscription of an entry; entries of v0.6 may omit it because they have a uid."""
    name = ref.text("name")
    namespace = ref.text("namespace") or channel.namespace
    if name is None:
        if uid is None:
            raise Refused(ref.path, "is missing, and uid too: one of them has to name the durable")
        return ResourceName(namespace, uid)
    if not is_resource_name(name):
        raise Refused(ref.path_of("name"), f"{shown(name)}; must be the name of a Subscription")
    if not is_dns_label(namespace):
        raise Refused(ref.path_of("namespace"), f"{shown(namespace)}; must be a namespace")
    return ResourceName(namespace, name)


def _uri(entry: Fields, key: str, namespace: str, cluster_domain: str) -> str | None:
    text = entry.text(key)
    return None if text is None else completed(text, entry.path_of(key), namespace, cluster_domain)


def completed(text: str, path: str, namespace: str, cluster_domain: str) -> str:
    """Return the result of ``complete_uri``.

    Raises:
        Refused: No event can be sent to the URI.
    """
    try:
        return complete_uri(text, namespace, cluster_domain)
    except ValueError as error:
        raise Refused(path, f"{shown(text)}; {error}") from error
