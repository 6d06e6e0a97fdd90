"""Publishers for tests of the HTTP server: what they send, and how they read the answers."""

import base64
import json
from dataclasses import dataclass

from dispatcher.ingress.connection import IngressConnection
from dispatcher.ingress.context import IngressContext, Services
from dispatcher.ingress.limits import IngressLimits
from dispatcher.ingress.routing import Router, RoutingTable
from dispatcher.runtime.fair_share import FairShares, never_busy
from dispatcher.runtime.metrics import ChannelMetrics, Metrics
from dispatcher.stores.interface import NotStored
from natss.contract.resources import Channel
from tests.support.channel_ids import channel_id
from tests.support.fakes import FakeClock, FakeSink, FakeTransport, run_callbacks

HOST = "orders.default.channels.cluster.local"
OTHER_HOST = "orders-channel-abcde.default.svc.cluster.local"

AWAY = NotStored("unavailable", "NATS Streaming cannot be reached: refused", retriable=True)


def payload(stored: bytes) -> bytes:
    """Return the body of an event that is stored, in the form that the Go dispatcher writes."""
    return base64.b64decode(json.loads(stored)["payload"])


SUBJECT = "orders.default"
ORDERS = channel_id("default", "orders")
MAX_EVENT_BYTES = 4096


def post(body: bytes = b"", *headers: str, host: str | None = HOST) -> bytes:
    """Return a request with Content-Length. ``host=None`` leaves the header out."""
    lines = ["POST / HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *headers]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}"])
    return head.encode("latin-1") + b"\r\n\r\n" + body


def post_chunked(*chunks: bytes, trailers: bytes = b"", headers: str = "") -> bytes:
    """Return a request with a chunked body."""
    head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\n{headers}Transfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head.encode("ascii") + body + b"0\r\n" + trailers + b"\r\n"


@dataclass(frozen=True)
class Answer:
    """An answer as a publisher reads it; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: str


def read_answers(data: bytes, *, to_head: bool = False) -> list[Answer]:
    """Split what a server wrote; leftover bytes are an error."""
    answers = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, f"incomplete answer {head!r}"
        status_line, *lines = head.decode("ascii").split("\r\n")
        version, status, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), f"a header is there twice: {lines}"
        size = 0 if to_head else int(headers.get("content-length", 0))
        answers.append(Answer(int(status), headers, data[:size].decode("utf-8")))
        assert len(data) >= size, "the body of the last answer is cut off"
        data = data[size:]
    return answers


def orders_and_conflicts() -> list[Channel]:
    """Return a channel with two hosts, and two channels that claim one host besides their own."""
    return [
        Channel(ORDERS, (HOST, OTHER_HOST)),
        Channel(channel_id("default", "a"), ("a.test", "both.test")),
        Channel(channel_id("default", "b"), ("both.test", "b.test")),
    ]


class Publisher:
    """A publisher on a fake transport, and the server side of it.

    Attributes:
        sink: Where its events are stored.
        transport: The publisher's end.
        lane: The share of the channel ``orders``; only a test changes its limit.
    """

    def __init__(
        self,
        limits: IngressLimits | None = None,
        *,
        instant: bool = False,
        high_water: int | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.sink = FakeSink(instant=instant, max_event_bytes=MAX_EVENT_BYTES)
        lanes = FairShares(never_busy)
        self.lane = lanes.publishing(ORDERS)
        table = RoutingTable.build(orders_and_conflicts(), self.metrics.channel, lanes)
        services = Services(Router(table), self.sink, self.metrics, self.clock)
        self.context = IngressContext(services, limits or IngressLimits())
        self.context.tick()
        self.protocol, self.transport = self.connect(high_water=high_water)

    def connect(
        self, *, high_water: int | None = None, peer: str = "192.0.2.1"
    ) -> tuple[IngressConnection, FakeTransport]:
        """Open one more connection to the same server."""
        protocol = IngressConnection(self.context)
        return protocol, FakeTransport(protocol, high_water=high_water, peer=peer)

    @property
    def orders(self) -> ChannelMetrics:
        return self.metrics.channel(ORDERS)

    @property
    def stored(self) -> list[bytes]:
        """What was published to the channel ``orders``."""
        assert all(subject == SUBJECT for subject, _ in self.sink.calls)
        return [data for _, data in self.sink.calls]

    def send(self, data: bytes) -> list[Answer]:
        """Send, and return what is answered at once."""
        self.transport.receive(data)
        return self.answers()

    def answers(self) -> list[Answer]:
        """Return what was answered since the last call."""
        return read_answers(self.transport.take_output())

    async def store(self, index: int, error: BaseException | None = None) -> list[Answer]:
        """Store the event of this number, or fail it, and return what is answered then."""
        future = self.sink.futures[index]
        if error is None:
            future.set_result("guid")
        else:
            future.set_exception(error)
        await run_callbacks()
        return self.answers()

    def wait(self, seconds: float) -> list[Answer]:
        """Let time pass, tick by tick, and return what is answered meanwhile."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.advance(min(self.context.tick_interval, end - self.clock.now))
            self.context.tick()
        return self.answers()
