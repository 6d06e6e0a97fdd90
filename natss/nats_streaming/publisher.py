"""Messages on their way to the server, from ``publish_nowait`` to the PubAck.

Bounds how many wait for a PubAck, in count and bytes, and fails those that get none in time. One
timer serves all: they all wait equally long, so the oldest is always the first to expire.

It leaves the session and the link to ``connection.py``, which gives it a link as long as there is
one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from google.protobuf.message import DecodeError

from natss.nats_streaming import messages, names, refusals
from natss.nats_streaming.errors import (
    MessageTooLarge,
    NoResponders,
    NotConnected,
    PublishError,
    PublishTimeout,
    SessionLost,
    TooManyPublishes,
)
from natss.nats_streaming.link import LATE_READ_SECONDS, NO_RESPONDERS, Link
from natss.nats_streaming.options import ConnectionOptions
from natss.nats_streaming.session import Session

logger = logging.getLogger(__name__)

GUID_PREFIX_LENGTH = 10
MAX_HEADS = 10_000
"""For how many channels the encoded names are cached; beyond that the cache starts anew."""

STALL_SECONDS = 0.1
"""A timer that is later than this shows that the event loop stood still."""

Waiting = tuple[asyncio.Future[str], int, float]
"""The future, the bytes it stands for, and when it expires by the loop's clock."""

MakeError = Callable[[], PublishError]
"""A new error each time, since each caller's traceback is added to the one that is raised."""


class Publisher:
    """The publishing half of a connection.

    Args:
        session: whose messages these are.
        options: the bounds and the timeout.
        on_refused: called when the server reports that it does not know the session.
        on_no_responders: called when NATS reports that nobody listens.
    """

    def __init__(
        self,
        session: Session,
        options: ConnectionOptions,
        on_refused: Callable[[SessionLost], None],
        on_no_responders: Callable[[], None],
    ) -> None:
        self._session = session
        self._timeout = options.publish_timeout
        self._max_count = options.max_publishes
        self._max_bytes = options.max_publish_bytes
        self._on_refused = on_refused
        self._on_no_responders = on_no_responders
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._make_error: MakeError = partial(NotConnected, "not connected yet")
        self._reply = session.inboxes.puback.encode()
        self._guid_prefix = session.conn_id[:GUID_PREFIX_LENGTH].encode()
        self._count = 0
        self._heads: dict[str, tuple[bytes, bytes]] = {}
        self._waiting: dict[bytes, Waiting] = {}
        self._waiting_bytes = 0
        self._wants_room: deque[asyncio.Future[None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Number of messages that wait for their PubAck."""
        return len(self._waiting)

    def attach(self, link: Link) -> None:
        """Send messages over this link from now on."""
        self._link = link

    def refuse(self, make_error: MakeError) -> None:
        """Take no more messages; those that wait keep waiting."""
        self._link = None
        self._make_error = make_error

    async def finish(self, timeout: float) -> None:
        """Wait for the waiting messages, at most ``timeout`` (s)."""
        futures = [future for future, _, _ in self._waiting.values() if not future.done()]
        if futures:
            await asyncio.wait(futures, timeout=timeout)

    def detach(self, make_error: MakeError) -> None:
        """Fail all that waits with such an error, and all that follows, until there is a link."""
        self.refuse(make_error)
        self._fail_all(make_error)
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def publish_nowait(self, channel: str, data: bytes) -> asyncio.Future[str]:
        """Publish as Connection.publish_nowait says."""
        link = self._link
        if link is None:
            raise self._make_error()
        size = len(data)
        if not self._has_room(size):
            raise TooManyPublishes(
                f"{len(self._waiting)} messages, {self._waiting_bytes} bytes, wait for a PubAck"
            )
        subject, head = self._heads.get(channel) or self._new_head(channel)
        self._count = count = self._count + 1
        guid = b"%b%012d" % (self._guid_prefix, count)
        packed = messages.pack_publish(head, guid, data)
        if len(packed) > link.max_payload:
            raise MessageTooLarge(len(packed), link.max_payload)
        loop = self._loop
        expires = loop.time() + self._timeout
        future: asyncio.Future[str] = loop.create_future()
        self._waiting[guid] = (future, size, expires)
        self._waiting_bytes += size
        if self._sweep is None:
            self._sweep = loop.call_at(expires, self._fail_expired, expires)
        link.send(subject, self._reply, packed)
        return future

    async def publish(self, channel: str, data: bytes) -> str:
        """Publish as Connection.publish says."""
        while True:
            try:
                future = self.publish_nowait(channel, data)
            except TooManyPublishes:
                await self._wait_for_room()
                continue
            finally:
                # However this turn ended, the next caller may take it too.
                if self._wants_room and self._has_room(0):
                    self._wake_one()
            return await future

    def receive(self, _subject: bytes, _reply: bytes, data: bytes, headers: bytes | None) -> None:
        """Take what arrives in the inbox for PubAcks."""
        if headers is not None and headers.startswith(NO_RESPONDERS):
            # NATS does not say which message it answers, and none will be answered now.
            self._on_no_responders()
            self._fail_all(partial(NoResponders, "no NATS Streaming server listens"))
            return
        try:
            guid, error = messages.read_puback(data)
        except DecodeError:
            logger.warning("a PubAck of %d bytes cannot be read", len(data))
            return
        entry = self._waiting.pop(guid, None)
        if entry is None:  # given up already
            return
        future, size, _ = entry
        self._waiting_bytes -= size
        if error:
            self._refuse(future, error)
        elif not future.done():
            future.set_result(guid.decode())
        if self._wants_room:
            self._wake_one()

    def _has_room(self, size: int) -> bool:
        count = len(self._waiting)
        return not count or (
            count < self._max_count and self._waiting_bytes + size <= self._max_bytes
        )

    def _new_head(self, channel: str) -> tuple[bytes, bytes]:
        names.check_channel(channel)
        session = self._session
        entry = (
            f"{session.pub_prefix}.{channel}".encode(),
            messages.publish_head(session.client_id, session.conn_id, channel),
        )
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        self._heads[channel] = entry
        return entry

    def _refuse(self, future: asyncio.Future[str], text: str) -> None:
        error = refusals.publish_error(text)
        if not future.done():
            future.set_exception(error)
        if isinstance(error, SessionLost):
            self._on_refused(error)

    def _fail_all(self, make_error: MakeError) -> None:
        waiting, self._waiting = self._waiting, {}
        self._waiting_bytes = 0
        for future, _, _ in waiting.values():
            if not future.done():
                future.set_exception(make_error())
        while self._wants_room:
            self._wake_one()

    def _fail_expired(self, due: float) -> None:
        """Fail the messages that are too old, and set the timer for the oldest of the rest."""
        loop = self._loop
        now = loop.time()
        if now > due + STALL_SECONDS:
            # Answers may have arrived while the loop stood still; it reads them after its timers.
            self._sweep = loop.call_later(LATE_READ_SECONDS, self._fail_expired, now)
            return
        self._sweep = None
        while self._waiting:
            guid = next(iter(self._waiting))
            future, size, expires = self._waiting[guid]
            if expires > now:
                self._sweep = loop.call_at(expires, self._fail_expired, expires)
                return
            del self._waiting[guid]
            self._waiting_bytes -= size
            if not future.done():
                future.set_exception(PublishTimeout(f"no PubAck in {self._timeout:g} s"))
            if self._wants_room:
                self._wake_one()

    async def _wait_for_room(self) -> None:
        turn: asyncio.Future[None] = self._loop.create_future()
        self._wants_room.append(turn)
        await turn

    def _wake_one(self) -> None:
        while self._wants_room:
            turn = self._wants_room.popleft()
            if not turn.done():
                turn.set_result(None)
                return
