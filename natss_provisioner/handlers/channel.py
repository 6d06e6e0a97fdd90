"""A Channel whose provisioner is ``natss``: its address and its conditions."""

from datetime import datetime

from natss.contract.channel_id import ChannelId
from natss.contract.channel_kinds import api_of
from natss.contract.eventing import CHANNEL
from natss.contract.fields import object_at
from natss.contract.names import DISPATCHER_FINALIZER, PROVISIONER
from natss.contract.resources import Problem
from natss.contract.subjects import taken
from natss.document import Document
from natss.knative import channel_resource
from natss.kube import EventType, NotFound
from natss_provisioner import admission, channels
from natss_provisioner.conditions import (
    PROVISIONED,
    PROVISIONER_INSTALLED,
    READY,
    Condition,
    false,
    is_true,
    reason_of,
    seconds_since,
    true,
    with_ready,
)
from natss_provisioner.handlers import address
from natss_provisioner.handlers.context import LOOK_AGAIN, Context

_WAITS_FOR_DISPATCHER = "DispatcherNotReady"

_PATIENCE = 10.0
"""In seconds: an Event is recorded if the dispatcher takes longer; every new channel waits for it.
"""


class NotKnownYet(Exception):
    """The provisioner has never been reconciled; once it is, all channels are reconciled again.

    Until then channels are not reported as unready, for they may have been ready before.
    """


async def reconcile(context: Context, name: ChannelId) -> float | None:
    """Reconcile the Service and report the state in ``status``.

    Channels of other provisioners and of none are not touched.

    Returns:
        The seconds until it must be reconciled again for changes that no watch reports.

    Raises:
        KubeError: The status has what could be found out; the rest has to be retried.
    """
    try:
        channel = await context.channel(name)
    except NotFound:
        return None
    if not channels.is_for_us(channel):
        return None
    if channel["metadata"].get("deletionTimestamp"):
        return await _await_release(context, channel)
    reading = channels.read(channel, context.place.cluster_domain)
    # A channel that was ready is usable as it was: the dispatcher continues with that.
    is_usable = reading.usable or is_true(channel.get("status"), READY)
    unusable = None if is_usable else reading.problems[-1]
    try:
        installed, provisioned = await _provisioned(context, unusable)
    except NotKnownYet:
        return None
    found = await address.ensure(context, channel)
    if provisioned.is_true:
        provisioned = _subject_taken(context, name) or _served(
            channel, found.host, context.place.system_namespace
        )
    told = admission.told(reading.problems) if is_usable else None
    conditions = with_ready((installed, found.condition, provisioned, *([told] if told else [])))
    await _write(context, channel, found.host, conditions, reading.problems)
    if found.failure is not None:
        raise found.failure
    if not found.condition.is_true:
        return LOOK_AGAIN
    return await _await_dispatcher(context, channel, provisioned)


async def _provisioned(context: Context, unusable: Problem | None) -> tuple[Condition, Condition]:
    """Return ``ProvisionerInstalled`` and ``Provisioned``. Raises NotKnownYet."""
    try:
        provisioner = await context.provisioner(PROVISIONER)
    except NotFound:
        message = f"There is no ClusterChannelProvisioner {PROVISIONER}: apply it"
        return (
            false(PROVISIONER_INSTALLED, "ProvisionerNotFound", message),
            false(PROVISIONED, "NotProvisioned", message),
        )
    installed = true(PROVISIONER_INSTALLED)
    if not object_at(provisioner, "status").get("conditions"):
        raise NotKnownYet
    if not is_true(provisioner.get("status"), READY):
        message = f"The ClusterChannelProvisioner {PROVISIONER} is not ready: see its conditions"
        return installed, false(PROVISIONED, "NotProvisioned", message)
    if unusable is not None:
        message = f"{unusable.path}: {unusable.message}"
        return installed, false(PROVISIONED, "Refused", message)
    return installed, true(PROVISIONED)


def _subject_taken(context: Context, name: ChannelId) -> Condition | None:
    """Return ``Provisioned`` as false if an older channel has the subject; None if none has."""
    owner = context.subjects.owner(name)
    if owner == name:
        return None
    message = taken(context.subjects.subject_of(name), owner)
    return false(PROVISIONED, "SubjectTaken", message[0].upper() + message[1:])


def _served(channel: Document, host: str | None, system_namespace: str) -> Condition:
    """Return ``Provisioned`` as far as it depends on the dispatcher.

    A channel that was ready stays ready, whatever happens to the dispatcher and even if its Service
    had to be created under another name: publishers take a channel that is not ready for deleted,
    but retry an event that cannot be posted for a moment. The same holds for a channel that Go's
    controller reported as ready.
    """
    served = api_of(CHANNEL).status.served_host(channel)
    if (host is not None and served == host) or is_true(channel.get("status"), READY):
        return true(PROVISIONED)
    message = f"The dispatcher does not take events for {host or 'the channel'} yet"
    return false(PROVISIONED, _WAITS_FOR_DISPATCHER, message + _where_to_look(system_namespace))


def _where_to_look(system_namespace: str) -> str:
    return f": look at the pods with the label role=dispatcher in the namespace {system_namespace}"


async def _write(
    context: Context,
    channel: Document,
    host: str | None,
    conditions: tuple[Condition, ...],
    problems: tuple[Problem, ...],
) -> None:
    """Write ``status``, and record Events about changes."""
    status = object_at(channel, "status")
    was_ready, ready = is_true(status, READY), conditions[-1]
    is_new = status.get("observedGeneration") != channel["metadata"].get("generation")
    fields = api_of(CHANNEL).status.with_host(host)
    if not await context.write_status(channel_resource(CHANNEL), channel, conditions, fields):
        return
    if ready.is_true and not was_ready:
        await context.events.record(channel, EventType.NORMAL, "Ready", "Events can be posted")
    elif not ready.is_true and ready.reason != _WAITS_FOR_DISPATCHER:
        await context.events.record(channel, EventType.WARNING, ready.reason, ready.message)
    for problem in problems if is_new else ():
        if problem.consequence:  # the dispatcher reports it, with the value that is used instead
            continue
        await context.events.record(channel, EventType.WARNING, problem.reason, problem.text)


async def _await_dispatcher(
    context: Context, channel: Document, provisioned: Condition
) -> float | None:
    """Return the seconds that the dispatcher has left to serve a channel; after that, record it."""
    if provisioned.reason != _WAITS_FOR_DISPATCHER:
        return None
    status = channel.get("status")
    waited = 0.0
    if reason_of(status, PROVISIONED) == _WAITS_FOR_DISPATCHER:
        waited = seconds_since(status, PROVISIONED, context.now()) or 0.0
    if waited < _PATIENCE:
        return _PATIENCE - waited
    await context.events.record(channel, EventType.WARNING, provisioned.reason, provisioned.message)
    return None


async def _await_release(context: Context, channel: Document) -> float | None:
    """Return the seconds that the dispatcher has left to release a channel; after that, record it.

    Nothing else shows to somebody who deletes a channel and waits that no dispatcher is running.
    """
    metadata = channel["metadata"]
    if DISPATCHER_FINALIZER not in metadata.get("finalizers", ()):
        return None
    deleted, now = map(datetime.fromisoformat, (metadata["deletionTimestamp"], context.now()))
    waited = max(0.0, (now - deleted).total_seconds())
    if waited < _PATIENCE:
        return _PATIENCE - waited
    message = (
        "The channel waits to be deleted until the dispatcher has released its durables"
        + _where_to_look(context.place.system_namespace)
    )
    await context.events.record(channel, EventType.WARNING, _WAITS_FOR_DISPATCHER, message)
    return None
