"""Keeps one NATS Streaming connection: opens it, and a new one whenever it is lost.

The first time and every later time are the same code. The owner's ``restore`` says what a new
connection means (which durables are opened on it).
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from dispatcher.runtime.metrics import Metrics
from dispatcher.runtime.tasks import cancel
from dispatcher.stores.interface import DurableName, StoreError
from dispatcher.stores.nats_streaming.errors import store_error
from natss import nats_streaming
from natss.backoff import Backoff, jittered
from natss.contract.labels import subject_labels
from natss.nats_streaming import Connection, ConnectionOptions, ConnectionState, NatsStreamingError

log = structlog.get_logger(__name__)

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 5.0
_LONGEST_WAIT_FOR_CLIENT_ID = 1.0
"""Seconds between two tries to connect: doubled from the first to the longest. A replica that waits
for the client id asks often, because that is how long a failover may take.
"""


_REASONS: Mapping[type[NatsStreamingError], str] = {
    nats_streaming.AuthenticationFailed: "authentication",
    nats_streaming.ClientIdInUse: "client_id_in_use",
    nats_streaming.ServerUnavailable: "no_server",
    nats_streaming.NatsUnreachable: "unreachable",
}
"""Reasons of a failed attempt to connect, as in metrics; anything else is ``refused``."""


class SessionKeeper:
    """One connection that is replaced when it is lost.

    Args:
        role: ``publish`` or ``deliver``; for logs and metrics.
        options: How to connect.
        restore: Called with each new connection, before any other code sees it.
        metrics: Receives the state of the connection.
    """

    def __init__(
        self,
        role: str,
        options: ConnectionOptions,
        restore: Callable[[Connection], None],
        metrics: Metrics,
    ) -> None:
        self.role = role
        self.connection: Connection | None = None
        self.was_open = asyncio.Event()
        self.last_error: str | None = "not connected yet"
        self.failure: StoreError | None = None
        """Why there is no connection, for code that decides by its class; None while there is one,
        or nothing was tried since it was lost.
        """
        self.has_stood_by = False
        """Whether another client had the client id since this process last had it."""
        self.not_restored: dict[DurableName, str] = {}
        """Durables that NATS Streaming refused to open again after an outage, and why."""
        self._options = options
        self._restore = restore
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether a session is open and NATS is connected now."""
        connection = self.connection
        return connection is not None and connection.state is ConnectionState.OPEN

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"nats-streaming-{self.role}")

    async def close(self) -> None:
        """Close the session, which flushes the acks and frees the client id."""
        self._closing.set()
        if self._task is not None:
            await cancel(self._task)
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close()

    async def _run(self) -> None:
        while True:
            connection = await self._connect()
            self.connection = connection
            if self._closing.is_set():  # a library swallowed the cancellation while connecting
                return
            self.last_error = self.failure = None
            self.not_restored.clear()
            self.was_open.set()
            self._metrics.set_connection(self.role, up=True)
            self._restore(connection)
            self.has_stood_by = False
            reason = await asyncio.shield(connection.lost)
            self.connection = None
            self.last_error = str(reason)
            self._metrics.set_connection(self.role, up=False)
            self._metrics.session_losses += 1
            log.warning("session lost, opening another", role=self.role, reason=str(reason))
            try:
                await connection.abandon()
            except Exception:  # from a connection that is useless anyway
                log.exception("a lost connection could not be dropped", role=self.role)

    async def _connect(self) -> Connection:
        backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        while True:
            longest = _LONGEST_WAIT
            try:
                connection = await nats_streaming.connect(self._options, on_event=self._on_event)
            except nats_streaming.ClientIdInUse as error:
                longest = _LONGEST_WAIT_FOR_CLIENT_ID
                self.has_stood_by = True
                self._tell(
                    f"another client, perhaps another dispatcher, has the client id"
                    f" {self._options.client_id}: standing by to take over when it ends",
                    error,
                )
            except nats_streaming.ServerUnavailable as error:
                self._tell(
                    f"NATS answers, but no NATS Streaming server with the cluster id"
                    f" {self._options.cluster_id} does ({error})",
                    error,
                )
            except nats_streaming.ConnectError as error:
                self._tell(str(error), error)
            except Exception as error:  # a bug must not end all delivery
                log.exception("connecting failed, retrying", role=self.role)
                self.last_error = repr(error)
            else:
                log.info(
                    "connected to NATS Streaming",
                    role=self.role,
                    client_id=self._options.client_id,
                    cluster_id=self._options.cluster_id,
                )
                return connection
            await asyncio.sleep(jittered(backoff.next(longest=longest)))

    def _tell(self, reason: str, error: NatsStreamingError) -> None:
        """Count and keep why there is no connection, and log it once for each reason."""
        self._metrics.connect_failures[self.role, _REASONS.get(type(error), "refused")] += 1
        self.failure = store_error(error)
        if reason != self.last_error:
            if isinstance(error, nats_streaming.ClientIdInUse):  # expected with two replicas
                log.info("standing by", role=self.role, reason=reason)
            else:
                log.warning("cannot connect, trying on", role=self.role, reason=reason)
        self.last_error = reason

    def _on_event(self, event: nats_streaming.ConnectionEvent) -> None:
        """Follow the connection through outages that its session outlives."""
        match event:
            case nats_streaming.StateChanged(new=ConnectionState.OPEN, old=old):
                self._metrics.set_connection(self.role, up=True)
                self.last_error = self.failure = None
                if self.connection is not None:  # not the first of this session
                    self._metrics.reconnects += 1
                    log.info("connected again, the session lives", role=self.role, was=old.value)
            case nats_streaming.StateChanged(new=ConnectionState.DISCONNECTED, reason=reason):
                self._metrics.set_connection(self.role, up=False)
                self.last_error = reason
                log.warning("connection lost, the session is kept", role=self.role, reason=reason)
            case nats_streaming.NotRestored(subscription, error):
                name = DurableName(subscription.subject, subscription.options.durable or "")
                self.not_restored[name] = str(error)
                about = subject_labels(name.subject)
                log.warning(
                    "durable not restored", **about, durable=name.durable, reason=str(error)
                )
            case nats_streaming.Restored(subscription):
                name = DurableName(subscription.subject, subscription.options.durable or "")
                self.not_restored.pop(name, None)
                log.debug("durable restored", **subject_labels(name.subject), durable=name.durable)
            case nats_streaming.ConnectionProblem(text, error) if (
                error is not None and not self.is_open
            ):
                self._tell(text, error)
            case nats_streaming.ConnectionProblem(text):
                if not self.is_open:
                    self.last_error = text
                log.warning("trouble with NATS", role=self.role, reason=text)
