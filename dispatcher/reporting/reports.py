"""Puts the reports together: which parts observe, and which are notified.

Without Kubernetes there is the log; in a cluster, also Events and the ``status`` of Channels.
"""

import asyncio
import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.durables.member import MemberKey
from dispatcher.reporting.channel_status import ChannelStatus
from dispatcher.reporting.connection_status import ConnectionStatus
from dispatcher.reporting.events import Events
from dispatcher.reporting.observed import Observed
from dispatcher.reporting.observer import Observer
from dispatcher.reporting.occurrences import Occurrence, logged, warning, write_log
from dispatcher.reporting.recorded import InFolder, OnChannels, RecordedVerdicts
from dispatcher.reporting.verdicts import SubscriberVerdict
from dispatcher.reporting.wanted_status import WantedStatus
from dispatcher.runtime.state_folder import NO_FOLDER, StateFolder
from natss.contract.channel_id import ChannelId
from natss.contract.channel_kinds import kind_called
from natss.contract.resources import Channel, Problem
from natss.kube import KubeClient

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The Kubernetes API as this program may use it, and the Channels that it returned."""

    client: KubeClient
    channels: ChannelTable
    program: str
    """The name under which Events are written."""


class Reports:
    """Reports to people what becomes of their channels.

    Args:
        observed: The parts to look at.
        patience: Seconds of failure after which a subscriber is stuck.
        cluster: Where to report; None without Kubernetes.
        folder: Where a process without Kubernetes keeps what it has reported, for the next process.
    """

    def __init__(
        self,
        observed: Observed,
        patience: float,
        cluster: Cluster | None,
        folder: StateFolder = NO_FOLDER,
    ) -> None:
        self._events = (
            None if cluster is None else Events(cluster.client, cluster.channels, cluster.program)
        )
        self._is_broken = False
        self._recorded: RecordedVerdicts = (
            InFolder(folder) if cluster is None else OnChannels(cluster.channels)
        )
        self._observer = Observer(
            observed,
            patience,
            self._tell,
            self._look,
            self._recorded,
        )
        self._connection = (
            None
            if cluster is None
            else ConnectionStatus(cluster.client, observed.store, socket.gethostname())
        )
        self._status = (
            None
            if cluster is None
            else ChannelStatus(
                cluster.client,
                cluster.channels,
                WantedStatus(observed.routes, self._observer.verdict),
                lambda: observed.store.delivering.is_open,
            )
        )

    def verdict(self, key: MemberKey) -> SubscriberVerdict | None:
        """Return whether a subscription's events get through; None if that is unknown here."""
        return self._observer.verdict(key)

    @property
    def last_error(self) -> str | None:
        """Why ``status`` of Channels cannot be written; None if it can."""
        return None if self._status is None else self._status.last_error

    def applied(self, channels: Mapping[ChannelId, Channel], new: Sequence[Problem]) -> None:
        """Note that other channels are served now, and report the ``new`` problems with them.

        Never fails: the caller serves events.
        """
        try:
            self._tell_problems(channels, new)
            self._look()
        except Exception:
            if not self._is_broken:
                log.exception("problems cannot be reported (delivery goes on)")
            self._is_broken = True
        else:
            self._is_broken = False

    def _tell_problems(self, channels: Mapping[ChannelId, Channel], new: Sequence[Problem]) -> None:
        if self._events is not None and new:
            for problem, channel in _concerned(new, channels):
                self._events.tell(logged(warning(channel, problem.reason, problem.text)))

    async def run(self, serving: asyncio.Event) -> None:
        """Report until cancelled.

        Args:
            serving: Set once events are accepted. Before that no request is routed here, and no
                host is served.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._observer.run(), name="observer")
            group.create_task(self._recorded.run(), name="recorded verdicts")
            if self._events is not None:
                group.create_task(self._events.run(), name="events")
            if self._connection is not None:
                group.create_task(self._connection.run(), name="connection status")
            if self._status is not None:
                await serving.wait()
                group.create_task(self._status.run(), name="channel status")

    def _look(self) -> None:
        if self._status is not None:
            self._status.look()

    def _tell(self, occurrence: Occurrence) -> None:
        if self._events is not None:
            self._events.tell(occurrence)  # also logs it
        else:
            write_log(occurrence)


def _concerned(
    problems: Iterable[Problem], channels: Mapping[ChannelId, Channel]
) -> Iterator[tuple[Problem, ChannelId]]:
    """Yield each problem with each Channel that it is about; it may be served only later."""
    subscribed: defaultdict[str, set[ChannelId]] = defaultdict(set)
    for name, channel in channels.items():
        for subscriber in channel.subscribers:
            subscribed[str(subscriber.ref)].add(name)
    for problem in problems:
        kind, _, text = problem.resource.partition(" ")
        channel_kind = kind_called(kind)
        if channel_kind is not None and "/" in text:  # otherwise not even its name could be read
            yield problem, ChannelId(channel_kind, *text.split("/", 1))
        elif kind == "Subscription":
            for name in subscribed.get(text, ()):
                yield problem, name
