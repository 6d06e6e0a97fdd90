"""What ``status`` of a Channel should say about this dispatcher. Pure."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from dispatcher.cluster.channel_table import Entry
from dispatcher.durables.member import MemberKey
from dispatcher.ingress.routing import Route, Router
from dispatcher.reporting.verdicts import NOT_SERVED, UNPROVEN, SubscriberVerdict
from natss.contract.channel_kinds import api_of
from natss.contract.names import normalise_host
from natss.contract.places import MOST_TOLD
from natss.contract.resources import Channel

_READY = {True: "True", False: "False", None: "Unknown"}


class WantedStatus:
    """Determines what is to be written on a Channel.

    Args:
        routes: Which hosts are served, and for which channels.
        verdict: Returns that of a subscription that this process delivers to; None for every other.
    """

    def __init__(
        self, routes: Router, verdict: Callable[[MemberKey], SubscriberVerdict | None]
    ) -> None:
        self._routes = routes
        self._verdict = verdict

    def __call__(self, entry: Entry) -> dict[str, Any] | None:
        """Return the parts of ``status`` that differ from the desired ones; None if none does."""
        form, wanted = api_of(entry.name.kind).status, dict[str, Any]()
        host = entry.address
        if host is not None and host != entry.reported_host and self._serves(entry):
            wanted |= form.with_served_host(host)
        if entry.channel is not None:
            reported = entry.reported_subscribers
            subscribers = self._subscribers(entry.channel, reported)
            if subscribers is not None and subscribers != reported:
                wanted |= form.with_subscribers(subscribers)
        return wanted or None

    def _serves(self, entry: Entry) -> bool:
        """Return whether events for the address go to this channel and no other.

        Any replica reports once that a host is served, and never takes it back: to publishers a
        channel that is not ready is gone, and an outage passes.
        """
        route = self._routes.table.hosts.get(normalise_host(entry.address or ""))
        return isinstance(route, Route) and route.channel.name == entry.name

    def _subscribers(
        self, channel: Channel, reported: list[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]] | None:
        """Return the list as it should be; None if this process has nothing to say.

        What was reported before, by this process or another, stays where nothing better is known.
        """
        told = {str(each.get("uid")): each for each in reported}
        wanted: list[Mapping[str, Any]] = []
        for subscriber in channel.subscribers:
            verdict = self._verdict(MemberKey(channel.name, subscriber.ref))
            before = told.get(subscriber.durable)
            if verdict is not None and _is_better(verdict, before):
                wanted.append(_entry(subscriber.durable, verdict))
            elif before is not None:
                wanted.append(before)
            else:
                return None
        unserved = islice(channel.unserved.durables.values(), MOST_TOLD)
        return [*wanted, *(_entry(durable, NOT_SERVED) for durable in unserved)]


def _is_better(verdict: SubscriberVerdict, before: Mapping[str, Any] | None) -> bool:
    """Return whether it says more than what was reported before."""
    if verdict is UNPROVEN and before is not None:
        return before.get("ready") == "True"
    return verdict.ready is not None or before is None


def _entry(uid: str, verdict: SubscriberVerdict) -> dict[str, str]:
    entry = {"uid": uid, "ready": _READY[verdict.ready]}
    explained = {"reason": verdict.reason, "message": verdict.message}
    return entry | {key: text for key, text in explained.items() if text}
