"""What the dispatcher says of itself: its connections, and the state of every subscription."""

from collections.abc import Callable, Iterable, Mapping

from contract.resources import Channel, Problem, ResourceName
from contract.uris import redact_value
from dispatcher.durable import DurableState
from dispatcher.egress.target import Target
from dispatcher.link import Link
from dispatcher.member import Member, MemberKey
from dispatcher.metrics import Metrics
from dispatcher.reporting.observed import Observed
from dispatcher.reporting.reports import Reports
from dispatcher.reporting.sessions import SessionState, state_of
from dispatcher.reporting.verdicts import Verdict
from dispatcher.settings import PROGRAM, NatsSettings

_READY = {True: "yes", False: "no", None: "unknown"}


def about(nats: NatsSettings, reports: Reports) -> dict[str, str]:
    """Which dispatcher this is, and what it cannot tell elsewhere; without secrets."""
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
    channels: Mapping[ResourceName, Channel],
    problems: Iterable[Problem],
    verdict: Callable[[MemberKey], Verdict | None],
) -> dict[str, object]:
    """The document of ``/status``. It has no payload, no header value and no secret."""
    broker = observed.broker
    by_channel: dict[ResourceName, list[object]] = {name: [] for name in channels}
    stands_by = state_of(broker.delivering) is SessionState.STANDBY
    for key, member in observed.fanout.members.items():
        described = _describe_member(key, member, verdict(key), stands_by=stands_by)
        by_channel.setdefault(key.channel, []).append(described)
    not_restored = [
        f"the durable {name} could not be opened again: {reason}"
        for name, reason in broker.delivering.not_restored.items()
    ]
    return {
        "dispatcher": about_it,
        "connections": {
            "publish": _describe_link(broker.publishing),
            "deliver": _describe_link(broker.delivering),
        },
        "problems": [*map(str, problems), *not_restored],
        "channels": [
            {
                "namespace": name.namespace,
                "name": name.name,
                "state": "serving" if name in channels else "removed",
                "hosts": list(channels[name].hosts) if name in channels else [],
                "subject": f"{name.name}.{name.namespace}",
                "published": _published(observed.metrics, name) if name in channels else {},
                **_held_back(observed.metrics, name, is_known=name in channels),
                "subscriptions": subscriptions,
            }
            for name, subscriptions in sorted(by_channel.items())
        ],
    }


def _published(metrics: Metrics, name: ResourceName) -> dict[str, int]:
    return {result: count for result, count in metrics.channel(name).results.items() if count}


def _held_back(metrics: Metrics, name: ResourceName, *, is_known: bool) -> dict[str, float]:
    """That the channel was limited for the sake of others, if it ever was."""
    seconds = metrics.channel(name).held_back if is_known else 0.0
    return {"heldBackSeconds": round(seconds, 1)} if seconds else {}


def _describe_link(link: Link) -> str:
    match state_of(link):
        case SessionState.OPEN:
            return "open"
        case SessionState.STANDBY:
            return "standing by: another dispatcher has the client id"
        case _:
            return f"closed: {link.last_error or 'just connecting'}"


def _describe_member(
    key: MemberKey, member: Member, verdict: Verdict | None, *, stands_by: bool
) -> dict[str, object]:
    """A durable is closed where another replica has it open, which is as it should be."""
    plan = member.subscription.plan
    durable = member.durable
    description: dict[str, object] = {
        "subscription": str(key.ref),
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
