"""Stand-ins for what is around the code under test: a transport, a store, a clock.

They record what was done to them and do what the test says, nothing on their own.
"""

import asyncio
from collections.abc import Callable

from dispatcher.stores.nats_streaming.errors import not_stored


class FakeTransport(asyncio.Transport):
    """One end of a connection; the test plays the peer.

    Attributes:
        protocol: Notified when the connection is lost, as a real transport does after ``close``.
        written: What was written, one entry for each call.
        reads: Whether the protocol reads now.
    """

    def __init__(
        self,
        protocol: asyncio.Protocol,
        *,
        high_water: int | None = None,
        peer: str = "192.0.2.1",
    ) -> None:
        super().__init__({"peername": (peer, 40000)})
        self.protocol = protocol
        self.written: list[bytes] = []
        self.reads = True
        self.sent_eof = False
        self.aborted = False
        self.closed = False
        self._high_water = high_water
        self._unread = 0
        protocol.connection_made(self)

    @property
    def output(self) -> bytes:
        return b"".join(self.written)

    def take_output(self) -> bytes:
        """Return what was written since the last call."""
        output = self.output
        self.written.clear()
        return output

    # --- what the peer does -----------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Deliver what the peer sends; nothing arrives while nobody reads, as in reality."""
        assert self.reads, "the protocol does not read now"
        assert not self.closed, "the connection is closed"
        self.protocol.data_received(data)

    def receive_eof(self) -> None:
        """Deliver the end of what the peer sends."""
        if not self.protocol.eof_received():
            self.close()

    def drain(self) -> None:
        """Let the peer read all that was written."""
        if self._unread:
            self._unread = 0
            self.protocol.resume_writing()

    def lose(self, error: Exception | None = None) -> None:
        """Break the connection."""
        if not self.closed:
            self.closed = True
            self.protocol.connection_lost(error)

    # --- what the protocol does -------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.sent_eof, "written after the end"
        self.written.append(bytes(data))
        if self._high_water is not None:
            was_above = self._unread > self._high_water
            self._unread += len(data)
            if self._unread > self._high_water and not was_above:
                self.protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.sent_eof = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.lose()

    def abort(self) -> None:
        self.aborted = True
        self.lose()


class FakeSink:
    """Where events are stored. ``calls`` has subject and data of each, in the order of publishing.

    With ``instant`` an event is stored at once; else the test resolves ``futures``. Each call
    raises ``error``, if there is one.
    """

    not_stored = staticmethod(not_stored)

    def __init__(self, *, instant: bool = False, max_event_bytes: int | None = 1024 * 1024) -> None:
        self.instant = instant
        self.max_event_bytes = max_event_bytes
        self.error: Exception | None = None
        self.calls: list[tuple[str, bytes]] = []
        self.futures: list[asyncio.Future[str]] = []

    def publish(self, subject: str, data: bytes) -> "asyncio.Future[str]":
        if self.error is not None:
            raise self.error
        self.calls.append((subject, data))
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        if self.instant:
            future.set_result("guid")
        return future


class FakeClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


async def run_callbacks() -> None:
    """Let everything run that is due now."""
    loop = asyncio.get_running_loop()
    for _ in range(3):  # a callback may schedule another
        done = loop.create_future()
        set_done: Callable[[None], None] = done.set_result
        loop.call_soon(set_done, None)
        await done
