"""The rules for Channels and Subscriptions, and how violations are reported.

Pure. The same rules hold where requests are reviewed; without reviews, ``status`` reports
violations.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from natss.contract.channel_id import ChannelId
from natss.contract.fields import Refused
from natss.contract.names import service_host
from natss.contract.reports import shown
from natss.contract.resources import Problem
from natss.document import Document
from natss.knative import channel_id, name_of
from natss_provisioner import channels, subscribers
from natss_provisioner.conditions import SPEC_ACCEPTED, Condition, advice

_IMMUTABLE = frozenset({"spec.provisioner", "spec.channel"})

_LONGEST = 1000
"""The most characters of a message; Events and the log of the dispatcher have the rest."""


@dataclass(frozen=True, slots=True)
class Review:
    """The result for a request to create or change an object."""

    denied: tuple[Problem, ...] = ()
    """Why the request is denied; empty if it is admitted."""

    warnings: tuple[Problem, ...] = ()


def told(problems: Sequence[Problem]) -> Condition | None:
    """Return ``SpecAccepted`` as advice; None if there is nothing to report."""
    if not problems:
        return None
    reason = next((each.reason for each in problems if each.refused), problems[0].reason)
    if any(problem.path in _IMMUTABLE for problem in problems):
        reason = "Immutable"
    message = "; ".join(problem.text for problem in problems)
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]}..."
    return advice(SPEC_ACCEPTED, reason, message)


def review_channel(
    new: Document,
    old: Document | None,
    hosts: Mapping[ChannelId, str],
    cluster_domain: str,
) -> Review:
    """Review a request to create or change a Channel.

    Only what the request changes is reviewed: an earlier mistake must not keep anybody from
    removing a finalizer or a subscriber. Channels of other provisioners may be anything.

    Args:
        new: The Channel as requested.
        old: The Channel as it is; None if the request creates it.
        hosts: The published hosts of the existing Channels.
        cluster_domain: The end of every DNS name in the cluster.
    """
    new = _named(new)
    if old is not None and new.get("spec") == old.get("spec"):
        return Review()
    moved = _moved(new, old) if old is not None else None
    if moved is not None:
        return Review(denied=(moved,))
    problems = channels.read(new, cluster_domain).problems
    if not channels.is_for_us(new):
        unclear = (each for each in problems if each.path.startswith("spec.provisioner"))
        return Review(warnings=tuple(unclear))
    if old is None:
        return _sorted((*problems, *_clashes(new, hosts, cluster_domain)), ())
    return _sorted(problems, channels.read(old, cluster_domain).problems)


def review_subscription(new: Document, old: Document | None, cluster_domain: str) -> Review:
    """Review a request to create or change a Subscription, as ``review_channel`` does.

    Subscriptions to other kinds of channels may be anything.
    """
    new = _named(new)
    if old is not None and new.get("spec") == old.get("spec"):
        return Review()
    try:
        before = subscribers.read_channel_name(old) if old is not None else None
    except Refused:
        before = None
    try:
        after = subscribers.read_channel_name(new)
        if after is None and before is None:
            return Review()
    except Refused:
        after = None
    if before is not None and after != before:
        return Review(denied=(channel_changed(new, before),))
    known = subscribers.problems_of(old, cluster_domain) if old is not None else ()
    return _sorted(subscribers.problems_of(new, cluster_domain), known)


def channel_changed(subscription: Document, former: ChannelId) -> Problem:
    """Return the problem that a Subscription names another Channel than the one with its entry."""
    return Problem(
        resource=f"Subscription {name_of(subscription)}",
        path="spec.channel",
        message=f"cannot be changed: it is {former.name}, and its events go on to this subscriber;"
        " delete the Subscription and create it anew for another Channel",
        refused=True,
    )


def channel_defaults(new: Document) -> Document | None:
    """Return the defaults to merge into a new Channel; None if there are none.

    They are those of Knative's own webhook where ``natss`` was the default.
    """
    spec = new.get("spec") or {}
    if isinstance(spec, Mapping) and not spec.get("provisioner"):
        return {"spec": {"provisioner": channels.default_provisioner()}}
    return None


def _sorted(problems: Sequence[Problem], known: Sequence[Problem]) -> Review:
    """Return the new ones among the problems, by what they mean for a request.

    Items of a list may have moved: removing one must not make the problem of another one new.
    """
    before = Counter(map(_without_place, known))
    new = []
    for each in problems:
        if before[_without_place(each)] > 0:
            before[_without_place(each)] -= 1
        else:
            new.append(each)
    return Review(
        denied=tuple(each for each in new if each.refused),
        warnings=tuple(each for each in new if not each.refused),
    )


def _without_place(problem: Problem) -> tuple[str, str]:
    return re.sub(r"\[[0-9]+\]", "[]", problem.path), problem.message


def _named(document: Document) -> Document:
    """Return the document with a name as long as the one that the API will generate, if it will."""
    metadata = document["metadata"]
    if metadata.get("name"):
        return document
    name = f"{metadata.get('generateName', '')}00000"
    return {**document, "metadata": {**metadata, "name": name, "generateName": None}}


def _moved(new: Document, old: Document) -> Problem | None:
    """Return the problem that a channel changes to or from another provisioner; None if not."""
    if not channels.provisioner_of(old) or channels.provisioner_of(new) == channels.provisioner_of(
        old
    ):
        return None
    if not channels.is_for_us(old) and not channels.is_for_us(new):
        return None
    name = shown(channels.provisioner_of(old).get("name"))
    return Problem(
        resource=channel_id(new).title,
        path="spec.provisioner",
        message=f"cannot be changed: it is {name}; delete the channel and create it anew",
        refused=True,
    )


def _clashes(
    new: Document, hosts: Mapping[ChannelId, str], cluster_domain: str
) -> Sequence[Problem]:
    """Return the problems that other channels have the host that this one would get."""
    name = channel_id(new)
    host = service_host(name.namespace, name.service, cluster_domain)
    return [
        Problem(
            resource=name.title,
            path="metadata.name",
            message=f"would give it the host {host}, which the {other.title} has: choose another",
            refused=True,
        )
        for other, theirs in hosts.items()
        if theirs == host and other != name
    ]
