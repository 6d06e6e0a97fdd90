"""A NATS Streaming server that says what a test wants, over a real NATS server.

For answers that the real one gives in rare moments only, or gave in other versions.
"""

from collections.abc import Callable
from typing import Self

from nats.aio.client import Client
from nats.aio.msg import Msg

from natss.nats_streaming import protocol_pb2 as pb


class FakeStreaming:
    """Serves one cluster id; an async context manager.

    Attributes:
        requests: all that was asked, in order.
        connect_error, ping_error, close_error: what is answered; empty for success.
        subscribe_errors, end_errors: one for each request to come, then success.
        puback: makes the answer to a message; None gives none.
        early: what is delivered before a subscribe request is answered.
        holds_pubacks: they wait for ``release_pubacks``.
        old_protocol: no pings, as before server 0.10.
    """

    def __init__(self, nats_url: str, cluster_id: str) -> None:
        self.cluster_id = cluster_id
        self.requests: list[object] = []
        self.connect_error = ""
        self.ping_error = ""
        self.close_error = ""
        self.subscribe_errors: list[str] = []
        self.end_errors: list[str] = []
        self.puback: Callable[[pb.PubMsg], pb.PubAck | None] = lambda message: pb.PubAck(
            guid=message.guid
        )
        self.early: list[pb.MsgProto] = []
        self.holds_pubacks = False
        self.old_protocol = False
        self._url = nats_url
        self._nats = Client()
        self._held: list[tuple[Msg, pb.PubAck]] = []

    async def __aenter__(self) -> Self:
        await self._nats.connect(self._url)
        prefix = f"fake.{self.cluster_id}"
        for subject, answer in (
            (f"_STAN.discover.{self.cluster_id}", self._connect),
            (f"{prefix}.ping", self._ping),
            (f"{prefix}.pub.>", self._publish),
            (f"{prefix}.sub", self._subscribe),
            (f"{prefix}.end", self._end),
            (f"{prefix}.close", self._close),
        ):
            await self._nats.subscribe(subject, cb=answer)
        await self._nats.flush()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self._nats.close()

    async def deliver(self, inbox: str, message: pb.MsgProto) -> None:
        await self._nats.publish(inbox, message.SerializeToString())
        await self._nats.flush()

    async def _connect(self, message: Msg) -> None:
        self.requests.append(pb.ConnectRequest.FromString(message.data))
        prefix = f"fake.{self.cluster_id}"
        answer = pb.ConnectResponse(
            error=self.connect_error,
            pub_prefix=f"{prefix}.pub",
            sub_requests=f"{prefix}.sub",
            unsub_requests=f"{prefix}.end",
            close_requests=f"{prefix}.close",
            sub_close_requests=f"{prefix}.end",
            ping_requests="" if self.old_protocol else f"{prefix}.ping",
        )
        await message.respond(answer.SerializeToString())

    async def _ping(self, message: Msg) -> None:
        await message.respond(pb.PingResponse(error=self.ping_error).SerializeToString())

    async def _publish(self, message: Msg) -> None:
        request = pb.PubMsg.FromString(message.data)
        self.requests.append(request)
        answer = self.puback(request)
        if answer is not None and self.holds_pubacks:
            self._held.append((message, answer))
        elif answer is not None:
            await message.respond(answer.SerializeToString())

    async def release_pubacks(self) -> None:
        for message, answer in self._held:
            await message.respond(answer.SerializeToString())

    async def _subscribe(self, message: Msg) -> None:
        request = pb.SubscriptionRequest.FromString(message.data)
        self.requests.append(request)
        error = self.subscribe_errors.pop(0) if self.subscribe_errors else ""
        for early in self.early:
            await self._nats.publish(request.inbox, early.SerializeToString())
        if error == "no answer":
            return
        answer = pb.SubscriptionResponse(ack_inbox=f"{request.inbox}.ack", error=error)
        await message.respond(answer.SerializeToString())

    async def _end(self, message: Msg) -> None:
        self.requests.append(pb.UnsubscribeRequest.FromString(message.data))
        error = self.end_errors.pop(0) if self.end_errors else ""
        if error != "no answer":
            await message.respond(pb.SubscriptionResponse(error=error).SerializeToString())

    async def _close(self, message: Msg) -> None:
        self.requests.append(pb.CloseRequest.FromString(message.data))
        await message.respond(pb.CloseResponse(error=self.close_error).SerializeToString())
