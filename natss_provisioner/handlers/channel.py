"""A Channel whose provisioner is ``natss``: its Service, its address and its conditions."""

from contract.channel_documents import is_ours
from contract.documents import desired_state
from contract.fields import Refused, fields
from contract.metadata import Document as ReadDocument
from contract.names import PROVISIONER, service_host
from contract.reports import Report
from contract.resources import Defaults, Problem, ResourceName
from kube import SERVICES, Document, EventType, NotFound, Refusal
from natss_provisioner import children
from natss_provisioner.conditions import (
    ADDRESSABLE,
    PROVISIONED,
    PROVISIONER_INSTALLED,
    READY,
    Condition,
    false,
    is_true,
    true,
    with_ready,
)
from natss_provisioner.handlers import services
from natss_provisioner.handlers.context import LOOK_AGAIN, Context
from natss_provisioner.resources import CHANNELS, PROVISIONERS


class NotKnownYet(Exception):
    """The provisioner was never looked at; once it was, all channels are reconciled again.

    To call channels unready until then would be wrong if they were ready before.
    """


async def reconcile(context: Context, name: ResourceName) -> float | None:
    """Make the Service what it should be and tell the truth in ``status``.

    Channels of other provisioners and of none are not touched.

    Returns:
        After how many seconds to look again for what no watch tells.

    Raises:
        KubeError: what could be found out is in the status; the rest must be tried again.
    """
    try:
        channel = await context.client.get(CHANNELS, name.name, name.namespace)
    except NotFound:
        return None
    if channel["metadata"].get("deletionTimestamp") or not is_for_us(channel):
        return None
    problems, unusable = _read(channel, context.place.cluster_domain)
    try:
        provisioned = await _provisioned(context, unusable)
    except NotKnownYet:
        return None
    hostname, addressable, failure = await _address(context, channel)
    conditions = with_ready((*provisioned, addressable))
    was_ready = is_true(channel.get("status"), READY)
    fields = {"address": {"hostname": hostname} if hostname else None}
    is_new = (channel.get("status") or {}).get("observedGeneration") != channel["metadata"].get(
        "generation"
    )
    if await context.write_status(CHANNELS, channel, conditions, fields):
        await _tell(context, channel, conditions[-1], was_ready=was_ready)
        if is_new:
            await _tell_problems(context, channel, problems)
    if failure is not None:
        raise failure
    return None if addressable.is_true else LOOK_AGAIN


def is_for_us(channel: Document) -> bool:
    """Whether a Channel names ``natss``, with or without kind and apiVersion; never raises.

    Also if its name is one that we cannot use: then it is ours to say so.
    """
    metadata = channel["metadata"]
    name = ResourceName(metadata["namespace"], metadata["name"])
    root = fields(channel, "", Report(str(name)))
    try:
        return is_ours(ReadDocument(CHANNELS.kind, name, None, False, root))
    except Refused:  # without provisioner, or one that cannot be read
        return False


def _read(channel: Document, cluster_domain: str) -> tuple[tuple[Problem, ...], Problem | None]:
    """What is wrong with a channel, and the problem that makes it unusable, if there is one."""
    state = desired_state([("", channel)], Defaults(cluster_domain=cluster_domain))
    if state.channels or not state.problems:
        return state.problems, None
    return state.problems, state.problems[-1]


async def _provisioned(context: Context, unusable: Problem | None) -> tuple[Condition, Condition]:
    """``ProvisionerInstalled`` and ``Provisioned``. Raises NotKnownYet."""
    try:
        provisioner = await context.client.get(PROVISIONERS, PROVISIONER)
    except NotFound:
        message = f"There is no ClusterChannelProvisioner {PROVISIONER}: apply it"
        return (
            false(PROVISIONER_INSTALLED, "ProvisionerNotFound", message),
            false(PROVISIONED, "NotProvisioned", message),
        )
    installed = true(PROVISIONER_INSTALLED)
    if not (provisioner.get("status") or {}).get("conditions"):
        raise NotKnownYet
    if not is_true(provisioner.get("status"), READY):
        message = f"The ClusterChannelProvisioner {PROVISIONER} is not ready: see its conditions"
        return installed, false(PROVISIONED, "NotProvisioned", message)
    if unusable is not None:
        message = f"{unusable.path}: {unusable.message}"
        return installed, false(PROVISIONED, "Refused", message)
    return installed, true(PROVISIONED)


async def _address(
    context: Context, channel: Document
) -> tuple[str | None, Condition, Refusal | None]:
    """The host, ``Addressable``, and what was refused by the API and must be tried again."""
    try:
        service = await _ensure_service(context, channel)
    except services.ServiceNameTaken as error:
        return None, false(ADDRESSABLE, "ServiceNameTaken", str(error)), None
    except Refusal as error:
        if error.retriable or children.known_service(channel):
            raise  # and leave the status as it is: to call it unready would stop publishers
        reason, message = "ServiceFailed", f"The channel's Service was refused: {error.message}"
        return None, false(ADDRESSABLE, reason, message), error
    metadata = service["metadata"]
    host = service_host(metadata["namespace"], metadata["name"], context.place.cluster_domain)
    return host, true(ADDRESSABLE), None


async def _ensure_service(context: Context, channel: Document) -> Document:
    """The one Service of the channel: found, adopted and repaired, or created."""
    wanted = children.channel_service(channel, context.place)
    found = children.find(channel, await _candidates(context, channel))
    for duplicate in found.duplicates:
        await services.delete(context, channel, duplicate)
    if found.service is None:
        return await services.create_or_take(context, channel, wanted)
    return await services.repair(context, channel, found.service, wanted)


async def _candidates(context: Context, channel: Document) -> list[Document]:
    """Services with the channel's labels; else the one that publishers know, without labels."""
    namespace = channel["metadata"]["namespace"]
    labels = children.channel_selector(channel)
    labelled = await context.client.list(SERVICES, namespace, labels)
    known = children.known_service(channel)
    if known is None or children.find(channel, labelled).service is not None:
        return labelled
    try:
        service = await context.client.get(SERVICES, known, namespace)
    except NotFound:
        return []
    return [service] if children.is_owned(service, channel) else []


async def _tell(context: Context, channel: Document, ready: Condition, *, was_ready: bool) -> None:
    if not ready.is_true:
        await context.events.record(channel, EventType.WARNING, ready.reason, ready.message)
    elif not was_ready:
        await context.events.record(channel, EventType.NORMAL, "Ready", "Events can be posted")


async def _tell_problems(
    context: Context, channel: Document, problems: tuple[Problem, ...]
) -> None:
    for problem in problems:
        await context.events.record(
            channel, EventType.WARNING, "Ignored", f"{problem.path}: {problem.message}"
        )
