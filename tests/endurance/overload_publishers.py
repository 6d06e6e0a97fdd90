"""Publishers in great number that do what an answer asks them to, over plain sockets.

Each has one connection and posts one event at a time. A refused publisher waits as ``Retry-After``
says and posts the same event again, until it is answered 202; so in the end every event is owed to
every subscriber. Whatever a publisher could not understand is counted as ``wrong``.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

HOPELESS_SECONDS = 25.0
"""An answer is due in ten."""

_REFUSALS = frozenset({429, 503})
_DIALS_AT_ONCE = 128


@dataclass(slots=True)
class Answers:
    """The answers to publishers.

    Attributes:
        posted: Requests.
        accepted: Of these, answered 202.
        refused: Of these, answered 429 or 503 with ``Retry-After``, by status.
        wrong: What must not happen, by what it was.
        slowest: Seconds until the slowest answer.
    """

    posted: int = 0
    accepted: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as a publisher reads it; ``retry_after`` in seconds, None without that header."""

    status: int
    retry_after: float | None
    closes: bool


class ConnectionEnded(Exception):
    """The connection was closed or reset before the answer."""


class Publishers:
    """Posts events to one address.

    Args:
        port: That of the dispatcher, on 127.0.0.1.
        hosts: Those of the channels, used in turn.
        body: That of every event.
        patience: Seconds without an answer until a publisher counts as hung.
    """

    def __init__(
        self, port: int, hosts: list[str], body: bytes, patience: float = HOPELESS_SECONDS
    ) -> None:
        self.answers = Answers()
        self._patience = patience
        self.port = port
        self._hosts = hosts
        self._body = body
        self._dialling = asyncio.Semaphore(_DIALS_AT_ONCE)

    async def post(self, connections: int, each: int, first: int = 0) -> None:
        """Connect, then post ``each`` events on each connection until all are accepted.

        Events are numbered from ``first``.
        """
        opened = await asyncio.gather(*(self._connect() for _ in range(connections)))
        async with asyncio.TaskGroup() as group:
            for number, connection in enumerate(opened):
                numbers = range(first + number, first + connections * each, connections)
                publishing = self._publish_all(connection, numbers)
                group.create_task(publishing, name=f"publisher {number}")

    async def _publish_all(self, connection: "_Connection | None", numbers: range) -> None:
        try:
            for number in numbers:
                while True:
                    if connection is None:
                        connection = await self._connect()
                    answer = await self._publish(connection, number)
                    if answer is None or answer.closes:
                        connection.close()
                        connection = None
                    if answer is not None and answer.status == 202:
                        break
                    if answer is not None and answer.retry_after is not None:
                        await asyncio.sleep(answer.retry_after)
        finally:
            if connection is not None:
                connection.close()

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        async with self._dialling:
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", self.port)
        return connection

    async def _publish(self, connection: "_Connection", number: int) -> Answer | None:
        answers = self.answers
        answers.posted += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._patience):
                answer = await connection.exchange(self._head(number), self._body)
        except TimeoutError:
            answers.wrong["no answer"] += 1
            return None
        except ConnectionEnded as error:
            answers.wrong[str(error)] += 1
            return None
        answers.slowest = max(answers.slowest, time.monotonic() - began)
        if answer.status == 202:
            answers.accepted += 1
        elif answer.status in _REFUSALS and answer.retry_after is not None:
            answers.refused[answer.status] += 1
        else:
            answers.wrong[f"status {answer.status}"] += 1
        return answer

    def _head(self, number: int) -> bytes:
        host = self._hosts[number % len(self._hosts)]
        return (
            f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            "Ce-Specversion: 1.0\r\nCe-Type: overload.event\r\nCe-Source: /overload\r\n"
            f"Ce-Id: {number:010d}\r\nCe-Sentat: {time.time_ns():019d}\r\n"
            f"Content-Length: {len(self._body)}\r\n\r\n"
        ).encode()


class _Connection(asyncio.Protocol):
    """One request, its answer, the next request."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._read = b""
        self._end: str | None = None

    def exchange(self, head: bytes, body: bytes) -> asyncio.Future[Answer]:
        """Send a request; the future may fail with ConnectionEnded."""
        self._answer = answer = asyncio.get_running_loop().create_future()
        if self._end is None and self._transport is not None:
            self._transport.writelines((head, body))
        self._look()
        return answer

    def close(self) -> None:
        self._answer = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end = "closed without an answer" if exc is None else type(exc).__name__
        self._look()

    def _look(self) -> None:
        """Look for an answer before a request: a connection refused as a whole gets one."""
        answer = self._answer
        if answer is None or answer.done():
            return
        read = _parse(self._read)
        if read is not None:
            self._read = b""
            answer.set_result(read)
        elif self._end is not None:
            answer.set_exception(ConnectionEnded(self._end))


def _parse(data: bytes) -> Answer | None:
    """Return an answer with Content-Length, the only kind of the dispatcher; None if incomplete."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    status_line, *lines = head.decode("ascii").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    if len(body) < int(headers.get("content-length", "0")):
        return None
    retry_after = headers.get("retry-after")
    return Answer(
        int(status_line.split(" ")[1]),
        None if retry_after is None else float(retry_after),
        headers.get("connection") == "close",
    )
