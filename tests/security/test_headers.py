"""Headers from strangers, from one end to the other: the bytes that subscriber and reply are sent.

The rules one by one are tried in ``tests/dispatcher/event/test_stored_form.py`` and
``tests/bad_input``; here nothing of them may be lost between the parts.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.channel_files import channel, host, write_documents
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.scripted_server import ALWAYS_202, CLOSE, READ, ScriptedServer
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [^\x00-\x08\x0a-\x1f\x7f]*")
ADDED = {b"host", b"user-agent", b"accept-encoding", b"content-length"}
TRAVELS = re.compile(
    rb"content-type|x-request-id|traceparent|tracestate|baggage|b3|(ce-|knative-|x-b3-|x-ot-).+"
)
CODING = b"Content-Encoding"
STRANGE = (
    b"Host", b"Connection", b"Keep-Alive", b"Proxy-Authorization", b"Proxy-Connection", b"TE",
    b"Trailer", b"Upgrade", b"Authorization", b"Cookie", b"Set-Cookie", b"Location", b"Forwarded",
    b"X-Forwarded-For", b"X-Forwarded-Host", b"X-HTTP-Method-Override", b"Via",
    CODING, b"X-Evil",
)  # fmt: skip
"""Headers that nothing may pass on through a channel."""

INJECTED = (
    b"Ce-A: x\r\nX-Evil: 1",
    b"Ce-A: x\nX-Evil: 1",
    b"Ce-A: x\rX-Evil: 1",
    b"Ce-A: x\x00X-Evil: 1",
    b"Ce-A: x\r\n X-Evil: 1",
    b"Ce-A\x00: x",
    b"Ce-A : x",
    b"Ce-A\r\n: x",
    b"Ce-A: x\r\n\r\nPOST /evil HTTP/1.1\r\nHost: x\r\nContent-Length: 0",
    b"Ce-A: \x0b\x0c\x1b[31m\x7f",
    b"Ce-A: x\xe2\x80\xa8y\xc4\x8a\xc4\x8dz",
)
"""What might become a header or a request of its own on the way."""

FOLDED = b"\r\nce-a: x x-evil: 1\r\n"
"""An answer's header over two lines is one value (RFC 9112, 5.2)."""


def check(request: bytes) -> dict[bytes, bytes]:
    """Return the headers of a request, which has only permitted ones, each once."""
    head, end, body = request.partition(b"\r\n\r\n")
    assert end
    assert b"evil" not in head.lower().replace(FOLDED, b"")
    first, *lines = head.split(b"\r\n")
    assert re.fullmatch(rb"POST /[a-z]+ HTTP/1\.1", first)
    assert [line for line in lines if LINE.fullmatch(line) is None] == []
    pairs = [line.split(b": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs)
    assert [each for each in headers.keys() - ADDED if TRAVELS.fullmatch(each) is None] == []
    assert int(headers[b"content-length"]) == len(body)
    return headers


class Place:
    """A channel whose subscriber answers as it is told, and whose replies are caught.

    Args:
        server: Where events are stored.
        name: Of the channel; nobody else has it.
        folder: For documents and log.
    """

    def __init__(self, server: NatsStreamingServer, name: str, folder: Path) -> None:
        self.answers: list[bytes] = []
        """Header lines of the subscriber's next answers; without any there is no body."""

        self.subscriber = ScriptedServer((READ, self._answer, CLOSE))
        self.reply = ScriptedServer(ALWAYS_202)
        self.name = name
        self._documents = folder / "channels.yaml"
        self._documents.touch()
        flags = (f"--client-id={name}", "--retry=0", "--ack-wait=1m")
        self.dispatcher = ObservedDispatcher(server, self._documents, flags)

    async def start(self) -> None:
        document = channel(self.name)
        entry = {
            "uid": self.name,
            "ref": {"namespace": "default", "name": "mail"},
            "subscriberURI": f"{self.subscriber.url}in",
            "replyURI": f"{self.reply.url}reply",
        }
        document["spec"]["subscribable"] = {"subscribers": [entry]}
        write_documents(self._documents, document)
        await self.dispatcher.start()
        await eventually(self._is_open)

    async def post(self, *lines: bytes) -> int:
        """Post an event with these lines in its head; return the status of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.dispatcher.port)
        lines = (b"POST / HTTP/1.1", b"Host: " + host(self.name).encode(), *lines)
        writer.write(b"\r\n".join(lines) + b"\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1])

    async def settle(self) -> None:
        """Wait until nothing is under way, neither to the subscriber nor to the reply."""
        before = len(self.subscriber.requests)
        assert await self.post(b"Ce-Id: last") == 202
        await self.subscriber.until(lambda: len(self.subscriber.requests) > before)
        await eventually(self._is_idle)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = self.answers.pop(0) + b"\r\n" if self.answers else b""
        body = b"reply" if lines else b""
        writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (lines, len(body)) + body)
        await writer.drain()

    async def _is_open(self) -> bool:
        return bool((await self.dispatcher.subscription("default/mail"))["durableState"] == "open")

    async def _is_idle(self) -> bool:
        return not (await self.dispatcher.subscription("default/mail"))["inFlight"]


@pytest.fixture
async def place(
    memory_server: NatsStreamingServer, unique_name: str, tmp_path: Path
) -> AsyncIterator[Place]:
    place = Place(memory_server, unique_name, tmp_path)
    async with place.subscriber, place.reply:
        try:
            await place.start()
            yield place
        finally:
            await place.dispatcher.close_http()
            await place.dispatcher.kill()


async def test_headers_of_a_publisher(place: Place) -> None:
    strange = [b"%b: evil" % name for name in STRANGE if name not in {b"Host", CODING}]
    assert await place.post(b"Ce-Id: e1", *strange) == 202
    assert await place.post(CODING + b": evil") == 415
    taken = [await place.post(injected) for injected in INJECTED]
    assert set(taken) <= {202, 400}
    await place.settle()
    seen = [check(request) for request in place.subscriber.requests]
    assert len(seen) == taken.count(202) + 2
    assert {headers[b"host"] for headers in seen} == {b"127.0.0.1:%d" % place.subscriber.port}
    assert b"e1" in {headers.get(b"ce-id") for headers in seen}


async def test_headers_of_an_answer(place: Place) -> None:
    strange = [b"%b: evil" % name for name in STRANGE if name not in {b"Upgrade", CODING}]
    coded = CODING + b": evil\r\nCe-Id: r2"
    answers = (coded, b"\r\n".join([b"Ce-Id: r1", *strange]), *INJECTED)
    for number, lines in enumerate(answers, start=1):
        place.answers.append(lines)
        assert await place.post(b"Ce-Id: e") == 202
        await place.subscriber.until(lambda number=number: len(place.subscriber.requests) >= number)  # type: ignore[misc]  # mypy knows no default in a lambda
    await place.settle()
    seen = [check(request) for request in place.reply.requests]
    identities = {headers.get(b"ce-id") for headers in seen}
    assert b"r1" in identities
    assert b"r2" not in identities, "nobody could read it without its coding"
    assert {headers[b"host"] for headers in seen} == {b"127.0.0.1:%d" % place.reply.port}


async def test_trace_context_reaches_subscriber_and_reply(place: Place) -> None:
    trace = {
        b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"tracestate": b"a=1",
        b"baggage": b"user=7",
        b"b3": b"0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
    }
    place.answers.append(b"Ce-Id: r1\r\nContent-Type: text/plain")
    assert await place.post(b"Ce-Id: e1", *(b"%b: %b" % pair for pair in trace.items())) == 202
    await place.reply.until(lambda: len(place.reply.requests) >= 1)
    for server, identity in ((place.subscriber, b"e1"), (place.reply, b"r1")):
        headers = check(server.requests[0])
        assert headers[b"ce-id"] == identity
        assert headers.items() >= trace.items()
