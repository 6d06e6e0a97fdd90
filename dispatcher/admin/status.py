"""What the dispatcher says about itself: its connections, and the state of every subscription."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import overload

from dispatcher.durables.member import Member, MemberKey
from dispatcher.egress.target import Target
from dispatcher.reporting.observed import Observed
from dispatcher.reporting.reports import Reports
from dispatcher.reporting.sessions import SessionState, state_of
from dispatcher.reporting.verdicts import SubscriberVerdict
from dispatcher.runtime.metrics import ChannelMetrics
from dispatcher.settings.settings import PROGRAM, NatsSettings
from dispatcher.stores.interface import ConnectionHealth, DurableState
from natss.contract.channel_id import ChannelId
from natss.contract.resources import Channel, Problem
from natss.contract.uris import redact_value

_READY = {True: "yes", False: "no", None: "unknown"}


def about(nats: NatsSettings, reports: Reports) -> dict[str, str]:
    """Return which dispatcher this is, and what it cannot report elsewhere; without secrets."""
    described = {
        "version": PROGRAM.version,
        "natsStreaming": nats.shown_servers,
        "clusterId": nats.cluster_id,
        "clientId": nats.client_id,
    }
    if reports.last_error is not None:
        described["statusOfChannels"] = f"cannot be written: {reports.last_error}"
    return described


def describe(
    about_it: Mapping[str, str],
    observed: Observed,
    channels: Mapping[ChannelId, Channel],
    problems: Iterable[Problem],
    verdict: Callable[[MemberKey], SubscriberVerdict | None],
) -> dict[str, object]:
    """Return the document of ``/status``. It has no payload, no header value and no secret.

    It has the channels of this moment, each described when it is requested.
    """
    store = observed.store
    counted = dict(observed.metrics.channels())
    members: dict[ChannelId, list[Member]] = {name: [] for name in channels}
    for member in observed.reconciler.members.values():
        members.setdefault(member.key.channel, []).append(member)

    def describe_channel(name: ChannelId) -> Mapping[str, object]:
        stands_by = state_of(store.delivering) is SessionState.STANDBY
        subscriptions = [
            _describe_member(each, verdict(each.key), stands_by=stands_by) for each in members[name]
        ]
        subject = _subject(channels.get(name), members[name])
        metrics = counted.get(name) or ChannelMetrics()
        return _describe_channel(name, channels.get(name), subject, metrics, subscriptions)

    not_restored = [
        f"the durable {name} could not be opened again: {reason}"
        for name, reason in store.not_restored.items()
    ]
    return {
        "dispatcher": about_it,
        "connections": {
            "publish": _describe_link(store.publishing),
            "deliver": _describe_link(store.delivering),
        },
        "problems": [*map(str, problems), *not_restored],
        "channels": Described([partial(describe_channel, name) for name in sorted(members)]),
    }


class Described(Sequence[Mapping[str, object]]):
    """A list whose items are made when they are requested: all at once would hold up the events."""

    def __init__(self, parts: Sequence[Callable[[], Mapping[str, object]]]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, object]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, object]]: ...

    def __getitem__(
        self, index: int | slice
    ) -> Mapping[str, object] | Sequence[Mapping[str, object]]:
        return Described(self._parts[index]) if isinstance(index, slice) else self._parts[index]()


def _subject(channel: Channel | None, members: Sequence[Member]) -> str:
    """Return the subject of the durables, if the channel itself is not wanted any more."""
    return members[0].durable.name.subject if channel is None else channel.subject


def _describe_channel(
    name: ChannelId,
    channel: Channel | None,
    subject: str,
    metrics: ChannelMetrics,
    subscriptions: Sequence[object],
) -> dict[str, object]:
    description: dict[str, object] = {
        "namespace": name.namespace,
        "name": name.name,
        "state": "removed" if channel is None else "serving",
        "hosts": [] if channel is None else list(channel.hosts),
        "subject": subject,
        "published": {result: count for result, count in metrics.results.items() if count},
    }
    if metrics.held_back:  # held back for the sake of others
        description["heldBackSeconds"] = round(metrics.held_back, 1)
    if channel is not None and channel.unserved.number:
        description["notServed"] = channel.unserved.number
    return {**description, "subscriptions": subscriptions}


def _describe_link(link: ConnectionHealth) -> str:
    match state_of(link):
        case SessionState.OPEN:
            return "open"
        case SessionState.STANDBY:
            return "standing by: another dispatcher has the client id"
        case _:
            return f"closed: {link.last_error or 'just connecting'}"


def _describe_member(
    member: Member, verdict: SubscriberVerdict | None, *, stands_by: bool
) -> dict[str, object]:
    """Describe a durable; it is closed where another replica has it open, as it should be."""
    plan = member.subscription.plan
    durable = member.durable
    description: dict[str, object] = {
        "subscription": str(member.key.ref),
        "uid": member.subscriber.uid,
        "durable": durable.name.durable,
        "durableState": "standby" if stands_by else durable.state.value,
        "subscriber": _shown(plan.subscriber),
        "reply": _shown(plan.reply),
        "deadLetter": _shown(plan.dead_letter),
        **member.subscription.status(),
    }
    if verdict is not None:
        description["delivers"] = _READY[verdict.ready]
        if verdict.message:
            description["reason"] = f"{verdict.reason}: {verdict.message}"
    if durable.state is not DurableState.OPEN and durable.last_error and not stands_by:
        description["durableError"] = durable.last_error
    return description


def _shown(target: Target | None) -> str | None:
    return None if target is None else redact_value(str(target))
