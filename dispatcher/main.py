"""``natss-dispatcher``: puts the parts together, starts them, and stops them in order."""

import asyncio
import os
import resource
import sys

import structlog

from dispatcher.admin import status
from dispatcher.admin.readiness import Readiness, readiness
from dispatcher.admin.server import Admin
from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.cluster.orphans import Orphans
from dispatcher.cluster.source import KubernetesSource
from dispatcher.desired import Source
from dispatcher.desired.files import FileSource
from dispatcher.durables.ledger import Ledger
from dispatcher.durables.members import DeliveryParts
from dispatcher.durables.reconciler import Reconciler
from dispatcher.egress.authorities import subscriber_tls
from dispatcher.egress.client import Egress
from dispatcher.ingress.context import Services
from dispatcher.ingress.routing import Router, RoutingTable
from dispatcher.ingress.server import Ingress
from dispatcher.reporting.observed import Observed
from dispatcher.reporting.reports import Cluster, Reports
from dispatcher.runtime import collector
from dispatcher.runtime.byte_budget import ByteBudget
from dispatcher.runtime.fair_share import FairShares
from dispatcher.runtime.loop_load import LoopLoad
from dispatcher.runtime.metrics import Metrics
from dispatcher.runtime.state_folder import NO_FOLDER, StateFolder
from dispatcher.runtime.tasks import BackgroundTasks, cancel
from dispatcher.runtime.turns import Turns
from dispatcher.settings.settings import PROGRAM, DispatcherSettings, SettingsError
from dispatcher.stores.factory import make_store
from natss.contract.channel_id import ChannelId
from natss.contract.labels import object_labels
from natss.contract.resources import Channel, DesiredState, Problem
from natss.kube import KubeClient, connection_info
from natss.process import logs
from natss.process.event_loops import UvloopLoop
from natss.process.listening import listening
from natss.process.settings import exit_with
from natss.process.signals import on_termination

log = structlog.get_logger(__name__)


_TALKATIVE = ("watchfiles", "asyncio", "nats")
"""Libraries whose INFO is of no use to operators."""


class Dispatcher:
    """The data plane of one process; made inside the running event loop.

    Args:
        settings: Of the process.
        source: Says which channels and subscribers are wanted.
        ledger: Every durable that there may be.
        cluster: Where people are told what becomes of their channels; None without Kubernetes.
        folder: What outlives this process where there is no Kubernetes.

    Raises:
        SettingsError: a file that the settings name cannot be used.
    """

    def __init__(
        self,
        settings: DispatcherSettings,
        source: Source,
        ledger: Ledger,
        cluster: Cluster | None = None,
        folder: StateFolder = NO_FOLDER,
    ) -> None:
        self._settings = settings
        self._source = source
        self._ledger = ledger
        self._metrics = Metrics()
        self._channels: dict[ChannelId, Channel] = {}
        self._problems: list[Problem] = []
        self._tasks = BackgroundTasks()
        self._is_loaded = asyncio.Event()
        self._is_serving = asyncio.Event()
        self._store = make_store(
            settings.nats,
            self._metrics,
            ledger.note_session,
            publish_timeout=settings.ingress.answer_timeout,  # its publisher gets 503
            max_publish_bytes=settings.ingress.max_unconfirmed_bytes,
        )
        budget = ByteBudget(settings.delivery.max_buffered_bytes)
        tls = subscriber_tls(settings.delivery.tls_ca_file)
        self._egress = Egress(settings.egress, tls, budget=budget, proxies=settings.proxies)
        self._load = LoopLoad()
        self._lanes = FairShares(self._load.since_last, self._metrics.count_held_back)
        parts = DeliveryParts(self._egress, self._metrics, budget, self._lanes)
        self._reconciler = Reconciler(self._store, ledger, parts)
        self._routes = Router()
        self._ingress = Ingress(
            Services(self._routes, self._store, self._metrics), settings.ingress
        )
        self._admin = Admin(self._readiness, self._status, self._metrics)
        self._observed = Observed(self._store, self._reconciler, self._routes, self._metrics)
        self._reports = Reports(self._observed, settings.delivery.stuck_after, cluster, folder)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then finish what has begun.

        Raises:
            CannotListen: the process cannot listen on an address.
        """
        settings = self._settings
        try:
            with listening("--admin-listen", settings.admin_listen):
                await self._admin.start(settings.admin_listen.host, settings.admin_listen.port)
            with listening("--listen", settings.listen):
                port = await self._ingress.start(settings.listen.host, settings.listen.port)
            self._store.start()
            log.info("listening", host=settings.listen.host or "every address", port=port)
            working = asyncio.create_task(self._source.run(self._apply), name="source")
            remembering = self._tasks.start(self._ledger.run(), "records")
            ready = self._tasks.start(self._tell_ready(), "ready")
            reporting = self._tasks.start(self._reports.run(self._is_serving), "reports")
            stopping = asyncio.create_task(_wait(stop), name="stop")
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            await cancel(ready, reporting, stopping)
            if not stop.is_set():
                working.result()  # the source has failed: end, to be restarted
            await cancel(working)
            await self._drain()
            await cancel(remembering)
        finally:
            await self._close()

    async def _drain(self) -> None:
        timeout = self._settings.ingress.drain_timeout
        log.info("stopping: finishing what has begun", at_most_seconds=timeout)
        deliveries = asyncio.create_task(self._reconciler.drain(), name="drain deliveries")
        requests = asyncio.create_task(self._ingress.drain(timeout), name="drain requests")
        await asyncio.wait((deliveries, requests), timeout=timeout)
        await cancel(deliveries, requests)

    async def _close(self) -> None:
        await self._ingress.close()
        await self._reconciler.close()
        self._lanes.close()
        self._load.close()
        await self._ledger.write()
        await self._store.close()
        await self._egress.close()
        await self._admin.close()
        log.info("stopped")

    async def _tell_ready(self) -> None:
        await self._is_loaded.wait()
        await self._store.publishing.was_open.wait()
        self._is_serving.set()
        log.info("ready: events are taken", channels=len(self._channels))
        await self._store.delivering.was_open.wait()
        log.info("delivering: this dispatcher has the client id of the durables")

    async def _apply(self, state: DesiredState) -> None:
        """Make the desired state the actual one; deliveries first, so that no event is missed.

        Meanwhile, events are accepted and delivered by the previous routes.
        """
        problems = [*state.problems, *await self._reconciler.apply(state)]
        for name in self._channels.keys() - state.channels.keys():
            self._metrics.forget_channel(name)
        table = RoutingTable.build(state.channels.values(), self._metrics.channel, self._lanes)
        self._routes.swap(table)
        problems += table.problems
        known = set(self._problems)
        new = [problem for problem in problems if problem not in known]
        self._channels = dict(state.channels)
        self._problems = problems
        if not self._is_loaded.is_set():
            collector.when_loaded()
            self._store.start_delivering()
            self._is_loaded.set()
        self._reports.applied(self._channels, new)
        turns = Turns()
        for problem in new:
            log.warning("problem in the channels", **_fields(problem))
            await turns.piece_done()
        log.info(
            "channels applied",
            channels=len(self._channels),
            subscriptions=sum(len(each.subscribers) for each in self._channels.values()),
            problems=len(problems),
        )

    def _readiness(self) -> Readiness:
        unread = self._source.never_read() if self._is_loaded.is_set() else None
        return readiness(self._store, unread, self._reports.last_error)

    def _status(self) -> dict[str, object]:
        return status.describe(
            status.about(self._settings.nats, self._reports),
            self._observed,
            self._channels,
            self._problems,
            self._reports.verdict,
        )


def _fields(problem: Problem) -> dict[str, str]:
    """Return the fields for the log, without empty ones."""
    fields = {
        **object_labels(*problem.resource.split(" ", 1)),
        "reason": problem.reason,
        "field": problem.path,
        "message": problem.said,
        "origin": problem.origin,
    }
    return {key: value for key, value in fields.items() if value}


def _raise_open_files() -> None:
    """Raise the limit: each connection is an open file, and the soft limit is often 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def serve(settings: DispatcherSettings) -> None:
    """Run the dispatcher until SIGTERM or SIGINT; a second one ends it at once.

    Raises:
        SettingsError, OSError: it cannot start with these settings.
    """
    folder = StateFolder(settings.source.state_dir)
    grace = settings.delivery.removal_grace
    source: Source
    if settings.source.kubernetes:
        ledger = Ledger(StateFolder(None), grace, are_kept=True)  # kept on the Channels
        client = KubeClient(connection_info, field_manager=PROGRAM.name)
        table = ChannelTable(settings.defaults, gives_epochs=settings.source.channel_epochs)
        cluster = Cluster(client, table, PROGRAM.name)
        orphans = Orphans(client, settings.source.system_namespace, ledger, settings.defaults)
        source = KubernetesSource(client, cluster.channels, folder, ledger, orphans)
    else:
        ledger = Ledger(folder, grace)
        cluster = None
        if not folder.keeps:
            log.warning(
                "without --state-dir a restart forgets subscribers that were removed or made anew:"
                " their durables stay in NATS Streaming, and what waits for them is not delivered"
            )
        source = FileSource(settings.source.channels, settings.defaults, ledger.of)
    dispatcher = Dispatcher(settings, source, ledger, cluster, folder)
    stop = asyncio.Event()
    on_termination(stop.set)
    try:
        await dispatcher.run(stop)
    finally:
        if cluster is not None:
            await cluster.client.close()


def main() -> None:
    """Run the console command."""
    settings = DispatcherSettings.load_or_exit(sys.argv[1:], os.environ)
    logs.configure(settings.log, quiet=_TALKATIVE)
    log.info(
        "starting",
        nats_streaming=settings.nats.shown_servers,
        cluster_id=settings.nats.cluster_id,
        client_id=settings.nats.client_id,
    )
    if settings.proxies.are_used:
        log.info(
            "subscribers are called by a proxy (HTTP_PROXY, HTTPS_PROXY)",
            http=str(settings.proxies.http or "directly"),
            https=str(settings.proxies.https or "directly"),
            no_proxy=settings.proxies.no_proxy,
        )
    _raise_open_files()
    collector.before_loading()
    try:
        with asyncio.Runner(loop_factory=UvloopLoop) as runner:
            runner.run(serve(settings))
    except SettingsError as error:
        exit_with(PROGRAM, error)
    except OSError as error:
        log.error("cannot start", reason=str(error))
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
