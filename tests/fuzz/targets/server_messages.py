"""Messages of NATS Streaming: PubAcks, deliveries, and answers to requests.

Whatever they are: a publish ends once; what waits is counted rightly; a message reaches the handler
as protobuf reads it or not at all; and a request ends with an answer or a ``NatsStreamingError``.
"""

import asyncio
from typing import cast

from google.protobuf.message import DecodeError

from natss.nats_streaming import messages, requests
from natss.nats_streaming import protocol_pb2 as pb
from natss.nats_streaming.errors import NatsStreamingError, SessionLost
from natss.nats_streaming.link import Link
from natss.nats_streaming.message import Message
from natss.nats_streaming.options import ConnectionOptions, SubscriptionOptions
from natss.nats_streaming.publisher import Publisher
from natss.nats_streaming.session import Session
from natss.nats_streaming.subscription import Subscription, SubscriptionOwner
from tests.fuzz.drawing import Draws
from tests.fuzz.target import Target, expect

_SESSION = Session.agreed(
    "client", "conn" * 6, pb.ConnectResponse(pub_prefix="pub", ping_requests="ping")
)
_OPTIONS = ConnectionOptions(cluster_id="cluster", client_id="client")
_ERRORS = (
    "stan: unknown clientID",
    "stan: invalid publish request",
    "stan: clientID already registered",
    "stan: duplicate durable registration",
    "too many channels",
)


class _Link:
    """Keeps what is sent and answers as it is told."""

    max_payload = 1000

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.sent: list[bytes] = []

    def send(self, _subject: bytes, _reply: bytes, payload: bytes) -> None:
        self.sent.append(payload)

    async def request(self, _subject: str, _payload: bytes, _timeout: float) -> bytes:
        return self.answer

    @property
    def as_link(self) -> Link:
        return cast("Link", self)


def run(data: bytes) -> None:
    """Run; the first byte says which of them it is."""
    draws = Draws(data, _ERRORS)
    part = draws.choice((_acknowledge, _deliver, _request))
    asyncio.run(part(draws))


async def _acknowledge(draws: Draws) -> None:
    lost: list[SessionLost] = []
    publisher = Publisher(_SESSION, _OPTIONS, lost.append, lambda: None)
    link = _Link()
    publisher.attach(link.as_link)
    futures = [publisher.publish_nowait("orders", b"x" * size) for size in (0, 1, 200)]
    guids = [pb.PubMsg.FromString(each).guid for each in link.sent]
    for _ in range(draws.below(8)):
        if draws.flag():
            ack = pb.PubAck(guid=draws.choice(guids), error=draws.text() if draws.flag() else "")
            answer = ack.SerializeToString()
        else:
            answer = draws.blob(60)
        before = publisher.waiting
        publisher.receive(b"", b"", answer, draws.choice((None, b"NATS/1.0 503\r\n\r\n", b"NATS")))
        expect(publisher.waiting <= before, "more wait than before")
        waiting = sum(not future.done() for future in futures)
        expect(publisher.waiting == waiting, "waits for what has ended", publisher.waiting)
    publisher.detach(lambda: SessionLost("over"))
    for future in futures:
        error = future.exception()
        expect(error is None or isinstance(error, NatsStreamingError), "an error of another kind")
    expect(publisher.waiting == 0, "waits without a link")


async def _deliver(draws: Draws) -> None:
    got: list[Message] = []
    link = _Link()
    options = SubscriptionOptions(durable="d")
    subscription = Subscription(cast("SubscriptionOwner", None), "orders", got.append, options)
    subscription.set_opening("inbox")
    wanted: list[tuple[int, int, bytes]] = []
    opens_after = draws.below(4)
    for number in range(1 + draws.below(8)):
        if number == opens_after:
            subscription.set_open(link.as_link, "acks", options)
        raw = draws.blob(120)
        subscription.receive(raw)
        try:
            proto = pb.MsgProto.FromString(raw)
        except DecodeError:
            continue
        wanted.append((proto.sequence, proto.timestamp, proto.data))
    if not subscription.is_open:
        subscription.set_open(link.as_link, "acks", options)
    seen = [(each.sequence, each.timestamp, each.data) for each in got]
    expect(seen == wanted, "other messages than came", seen, wanted)
    acked = [pb.Ack.FromString(each).sequence for each in link.sent]
    expect(acked == [each[0] for each in wanted], "other acks", acked, wanted)
    subscription.set_closed()


async def _request(draws: Draws) -> None:
    which = draws.below(5)
    link = _Link(draws.rest()).as_link
    try:
        if which == 0:
            session = await requests.open_session(link, _OPTIONS, "conn" * 6)
            expect(session.ping_requests, "a session without pings")
        elif which == 1:
            await requests.ping(link, _SESSION, 1.0)
        elif which == 2:
            options = SubscriptionOptions(durable="d")
            await requests.subscribe(link, _SESSION, ("orders", options), "inbox", 1.0)
        elif which == 3:
            await requests.end_subscription(
                link, _SESSION, "orders", "inbox", forget=True, timeout=1.0
            )
        else:
            await requests.close_session(link, _SESSION, 1.0)
    except NatsStreamingError as error:
        expect(len(str(error)) < 5000, "an endless error")


def _seed(kind: int, *parts: bytes) -> bytes:
    return bytes((kind,)) + b"".join(parts)


_MESSAGE = pb.MsgProto(sequence=5, subject="orders", data=b"hello", timestamp=7, redelivered=True)
_RAW = _MESSAGE.SerializeToString()
_CONNECTED = pb.ConnectResponse(pub_prefix="p", sub_requests="s", ping_requests="r")

TARGET = Target(
    "server_messages",
    run,
    seeds=(
        _seed(0, bytes((3, 1, 0, 0, 0, 1, 1, 1, 0, 2, 0, 0, 3)), b"\x0a\x02hi"),
        _seed(1, bytes((1, 2, len(_RAW))), _RAW, bytes((len(_RAW),)), _RAW),
        *(_seed(2, bytes((which,)), _CONNECTED.SerializeToString()) for which in range(5)),
        *(
            _seed(2, bytes((which,)), pb.SubscriptionResponse(error=error).SerializeToString())
            for which in range(5)
            for error in ("", *_ERRORS)
        ),
    ),
    words=(messages.varint(2**40), b"\x0a\x16", b"\x12\x04stan"),
    longest=600,
)
