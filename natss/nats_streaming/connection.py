"""The life of a session: opened once, kept over reconnects of NATS, lost or closed for good.

The same function makes every link (a NATS connection), the first and each later one. After a
reconnect, the connection pings the session; if the session lives, it opens the durables again: on
the server a durable can be dead while pings and publishes succeed.

It leaves publishing to ``publisher.py``, subscriptions to ``subscribing.py``, pings to
``liveness.py``. The owner replaces a lost session with a new connection.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Self

from natss.nats_streaming import requests
from natss.nats_streaming.errors import (
    ConnectError,
    ConnectionClosed,
    NatsStreamingError,
    NotConnected,
    SessionLost,
    SubscribeError,
)
from natss.nats_streaming.events import (
    ConnectionEvent,
    ConnectionProblem,
    ConnectionState,
    NotRestored,
    Restored,
    StateChanged,
)
from natss.nats_streaming.handling import Handler
from natss.nats_streaming.link import Link
from natss.nats_streaming.links import LinkKeeper
from natss.nats_streaming.liveness import Liveness, LivenessVerdict
from natss.nats_streaming.options import ConnectionOptions, SubscriptionOptions
from natss.nats_streaming.publisher import Publisher
from natss.nats_streaming.session import Session
from natss.nats_streaming.subscribing import Subscriptions
from natss.nats_streaming.subscription import Subscription

logger = logging.getLogger(__name__)

OnEvent = Callable[[ConnectionEvent], None]

UNANSWERED_BEFORE_RESTORE = 2
"""After so many pings without an answer the server may have been restarted: when it answers again,
durables are opened again. A single answer may be late for other reasons.
"""


class Connection:
    """A session with NATS Streaming; ``connect`` makes it.

    Attributes:
        session: a value; others may use what it holds as well.
        lost: resolved once, with the reason, when the session is gone for good. It stays pending
            when the owner closes the connection.
    """

    def __init__(self, options: ConnectionOptions, session: Session, on_event: OnEvent) -> None:
        self.options = options
        self.session = session
        self.lost: asyncio.Future[SessionLost] = asyncio.get_running_loop().create_future()
        self._on_event = on_event
        self._state = ConnectionState.RESTORING
        self._link: Link | None = None
        self._max_payload = 0
        self._publisher = Publisher(session, options, self._lose, self._suspect_restart)
        self._subscriptions = Subscriptions(
            session, options, self._lose, self._tell_restored, self._ask_now
        )
        self._keeper = LinkKeeper(options, session.conn_id, self)
        self._liveness = Liveness(options.ping_interval, self._ping, self._take_verdict, self._lose)
        self._unanswered = 0
        self._restoring: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._cancelled: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Connection {self.client_id} {self._state.value}>"

    @property
    def state(self) -> ConnectionState:
        return self._state

    @property
    def client_id(self) -> str:
        return self.session.client_id

    @property
    def max_payload(self) -> int:
        """The largest packed message that NATS takes, in bytes, as of the latest link."""
        return self._max_payload

    @property
    def last_answer(self) -> float:
        """When the server last answered a ping, by the clock of the event loop (monotonic, s)."""
        return self._liveness.last_answer

    @property
    def publishes_waiting(self) -> int:
        """Number of messages that wait for the server's answer."""
        return self._publisher.waiting

    def publish_nowait(self, subject: str, data: bytes) -> asyncio.Future[str]:
        """Send a message to a channel; the future's result is the guid, once the message is stored.

        The future fails with PublishError: NotConnected, PublishTimeout, NoResponders and
        SessionLost leave open whether it was stored.

        Raises:
            NotConnected, SessionLost: nothing can be sent now, or ever.
            TooManyPublishes: the bounds in the options are reached.
            MessageTooLarge: for NATS.
            InvalidChannelName: by the rules of the server.
        """
        return self._publisher.publish_nowait(subject, data)

    async def publish(self, subject: str, data: bytes) -> str:
        """Publish as ``publish_nowait`` does; wait for room and the outcome, return the guid."""
        return await self._publisher.publish(subject, data)

    async def subscribe(
        self, subject: str, handler: Handler, options: SubscriptionOptions | None = None
    ) -> Subscription:
        """Deliver a channel's messages to a handler until closed, also after reconnects.

        Args:
            subject: the channel.
            handler: called at once for each message, so it must not block; if it returns an
                awaitable, that is awaited before the next message is handled.
            options: defaults to new messages, not durable.

        Raises:
            NotConnected, ServerUnavailable: try again; the next attempt clears up what the server
                may have made of this one.
            SubscribeError: as the server said.
        """
        return await self._subscriptions.subscribe(
            subject, handler, SubscriptionOptions() if options is None else options
        )

    async def close(self) -> None:
        """End the session: wait for handlers and PubAcks, flush acks, free the client id.

        Takes a few seconds at most, whatever state NATS is in. What still waits for a PubAck then
        fails with ConnectionClosed. If the session is lost, nothing is sent to the server.
        """
        async with self._ending:
            timeout = self.options.request_timeout
            link = self._link
            if link is not None and not self._state.is_final:
                self._set_state(ConnectionState.CLOSING, "closed by its owner")
                self._keeper.stop()
                self._publisher.refuse(_closed)
                self._subscriptions.mute()
                await asyncio.gather(
                    self._subscriptions.finish(timeout, asyncio.current_task()),
                    self._publisher.finish(timeout),
                )
                with contextlib.suppress(SubscribeError):
                    await requests.close_session(link, self.session, timeout)
            await self._end("closed by its owner", timeout)

    async def abandon(self) -> None:
        """Drop the connection and send nothing to the server, as you must after a lost session.

        Handlers that await are cancelled.
        """
        async with self._ending:
            if self._link is not None:
                self._link.abort("abandoned by its owner")
            await self._end("abandoned by its owner", 0.0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    async def start(self, link: Link) -> None:
        """Take the link over which the session was opened. Raises NotConnected."""
        await self._keeper.take(link)
        self._unanswered = 0
        self._set_state(ConnectionState.OPEN, "session opened")
        self._spawn(self._keeper.run(), "keep link")
        self._spawn(self._liveness.run(), "ping")
        self._spawn(self._probe_subscriptions(), "probe")

    def _set_state(self, state: ConnectionState, reason: str) -> None:
        old = self._state
        if old.is_final or old is state:
            return
        self._state = state
        self._tell(StateChanged(old, state, reason))

    def _tell(self, event: ConnectionEvent) -> None:
        try:
            self._on_event(event)
        except Exception:
            logger.exception("the owner failed to take %s", type(event).__name__)

    def _tell_restored(self, subscription: Subscription, error: NatsStreamingError | None) -> None:
        self._tell(Restored(subscription) if error is None else NotRestored(subscription, error))

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"{self.client_id}: {name}")
        task.add_done_callback(self._check_end)
        self._tasks.append(task)
        return task

    def _check_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.remove(task)
        if task in self._cancelled:
            self._cancelled.remove(task)
            return
        error = asyncio.CancelledError("by someone else") if task.cancelled() else task.exception()
        if error is not None:
            logger.error("task %s failed", task.get_name(), exc_info=error)
            self._lose(SessionLost(f"task {task.get_name()} failed: {error!r}"))

    def _cancel(self, task: asyncio.Task[None] | None) -> None:
        if task is not None and not task.done():
            self._cancelled.add(task)
            task.cancel()

    async def listen(self, link: Link) -> None:
        """Receive PubAcks and deliveries. Part of LinkOwner."""
        inboxes = self.session.inboxes
        await link.receive(inboxes.puback, self._publisher.receive)
        await link.receive(f"{inboxes.deliveries}.*", self._subscriptions.receive)
        await link.receive(f"{inboxes.probes}.*", self._subscriptions.receive_probe)
        await link.flush()

    def link_up(self, link: Link) -> None:
        """Resume publishing; hold the rest until the session is found alive. Part of LinkOwner."""
        self._link = link
        self._max_payload = link.max_payload
        self._publisher.attach(link)
        self._subscriptions.attach(link)
        self._set_state(ConnectionState.RESTORING, f"connected to {link.server}")
        self._unanswered = UNANSWERED_BEFORE_RESTORE
        self._liveness.ask_now()

    def link_down(self, reason: str) -> None:
        """Stop using the link. Part of LinkOwner."""
        if not self._state.is_final:
            self._detach(partial(NotConnected, reason))
            if self._state is not ConnectionState.CLOSING:
                self._set_state(ConnectionState.DISCONNECTED, reason)

    def tell_problem(self, text: str, error: ConnectError | None = None) -> None:
        """Tell the owner of a problem. Part of LinkOwner."""
        self._tell(ConnectionProblem(text, error))

    async def _ping(self) -> None:
        link = self._link
        if link is None:
            raise NotConnected("no link to ping over")
        link.check()
        self._subscriptions.ping_begins()
        await requests.ping(link, self.session, self.options.request_timeout)
        self._subscriptions.ping_answered()

    def _ask_now(self) -> None:
        self._liveness.ask_now()

    def _take_verdict(self, verdict: LivenessVerdict) -> None:
        if verdict is LivenessVerdict.UNANSWERED:
            self._unanswered += 1
        elif verdict is LivenessVerdict.NOBODY_LISTENS:
            self._suspect_restart()
        else:
            if self._unanswered >= UNANSWERED_BEFORE_RESTORE and self._link is not None:
                self._set_state(ConnectionState.RESTORING, "the server answers again")
                self._cancel(self._restoring)
                self._restoring = self._spawn(self._restore(self._link), "restore")
            else:
                self._subscriptions.revive()
            self._unanswered = 0

    async def _probe_subscriptions(self) -> None:
        while True:
            await asyncio.sleep(self.options.probe_interval)
            if self._state is ConnectionState.OPEN:
                self._subscriptions.probe()

    def _suspect_restart(self) -> None:
        self._unanswered = UNANSWERED_BEFORE_RESTORE

    async def _restore(self, link: Link) -> None:
        await self._subscriptions.restore(link)
        if self._state is ConnectionState.RESTORING and link is self._link:
            self._set_state(ConnectionState.OPEN, "session restored")

    def _lose(self, error: SessionLost) -> None:
        if self._state.is_final or self._state is ConnectionState.CLOSING:
            return
        self._set_state(ConnectionState.LOST, error.reason)
        if self._link is not None:
            # At once: the heartbeat inbox would still be answered for the old session.
            self._link.abort(error.reason)
        self._keeper.stop()
        self._detach(partial(SessionLost, error.reason))
        self._subscriptions.close()
        self.lost.set_result(error)

    def _detach(self, make_error: Callable[[], SessionLost | NotConnected]) -> None:
        self._link = None
        self._cancel(self._restoring)
        self._publisher.detach(make_error)
        self._subscriptions.detach(make_error)

    async def _end(self, reason: str, timeout: float) -> None:
        """Free everything; what was sent before still goes out."""
        if not self._state.is_final:
            self._set_state(ConnectionState.CLOSED, reason)
            self._detach(_closed)
            self._subscriptions.close()
        self._keeper.stop()
        current = asyncio.current_task()
        await self._subscriptions.finish(timeout, current)
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            self._cancel(task)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._keeper.close()


def _closed() -> ConnectionClosed:
    return ConnectionClosed("the connection was closed by its owner")
