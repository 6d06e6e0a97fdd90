"""Answers of subscribers: two on one connection, right and wrong, cut anywhere.

Whatever the bytes: each request gets one answer or one ``EgressError``; a connection is used again
only after an answer that ends, for the strict reader as well, where the product says; what only the
sloppy reader accepts is what that one reads, and the last of its connection; a failure claims no
status but that of the first line; no answer is made of half of one; and nothing is kept beyond the
limits.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from dispatcher.egress.connection import (
    EgressConnectionState,
    EgressError,
    FailureReason,
    Response,
    StaleConnection,
)
from dispatcher.egress.limits import EgressLimits
from tests.bad_input.desync import CASES
from tests.dispatcher.egress.egress_fakes import OK, Wire
from tests.fuzz.drawing import Draws
from tests.fuzz.strict_http import (
    Incomplete,
    Malformed,
    first_status,
    read_answer,
    read_sloppy_answer,
)
from tests.fuzz.target import Target, expect

_LIMITS = EgressLimits(max_response_bytes=300, max_response_header_bytes=2000)
_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The outcome of one request."""

    status: int
    """0 if there was none."""

    claimed: int | None
    """The status that a failure claims."""

    body: bytes
    reason: FailureReason | None
    is_reusable: bool
    read: int
    """Bytes that were read until then, in whole pieces."""


def run(data: bytes) -> None:
    """Run; the first five bytes say where to cut, where the second answer begins, how it ends."""
    draws = Draws(data)
    cut, second, is_closed = draws.below(1024), draws.below(1024), draws.flag()
    stream = draws.rest()
    first, second_part = stream[:second], stream[second:]
    ways = (
        [[first], [second_part]],
        [[first[:cut], first[cut:]], [bytes([each]) for each in second_part]],
        [[bytes([each]) for each in part] for part in (first, second_part)],
    )
    whole, *others = asyncio.run(_exchange_all(ways, is_closed=is_closed))
    _judge(whole, (first, second_part), is_closed=is_closed)
    for other in others:
        _judge(other, (first, second_part), is_closed=is_closed)
        _compare(whole, other)


async def _exchange_all(
    ways: Iterable[list[list[bytes]]], *, is_closed: bool
) -> list[list[_Outcome]]:
    return [await _exchange(parts, is_closed=is_closed) for parts in ways]


async def _exchange(parts: list[list[bytes]], *, is_closed: bool) -> list[_Outcome]:
    wire = Wire(_LIMITS)
    connection = wire.connection
    outcomes = []
    for part in parts:
        answer = wire.exchange(timeout=_TIMEOUT)
        read = 0
        for piece in filter(None, part):
            if answer.done() or wire.transport.aborted:
                break
            wire.receive(piece)
            read += len(piece)
        is_reusable = connection.state is EgressConnectionState.IDLE
        if not answer.done():
            if is_closed and not wire.transport.aborted:
                wire.end()
            wire.loop.advance(_TIMEOUT + 1)
        outcomes.append(_outcome(answer, is_reusable=is_reusable, read=read))
        if not is_reusable:
            break
        connection.take()
    if connection.state is not EgressConnectionState.CLOSED:
        connection.abort()
    expect(wire.owner.calls.count("lost") == 1, "not lost once", wire.owner.calls)
    expect(wire.loop.pending_timers == 0, "a timer is left")
    return outcomes


def _outcome(answer: "asyncio.Future[Response]", *, is_reusable: bool, read: int) -> _Outcome:
    expect(answer.done(), "a request has no answer after its time")
    try:
        response = answer.result()
    except EgressError as error:
        expect(str(error).isprintable(), "an error that cannot be shown", str(error))
        return _Outcome(0, error.status, b"", error.reason, is_reusable, read)
    except StaleConnection:
        return _Outcome(0, None, b"", None, is_reusable, read)
    expect(len(response.body) <= _LIMITS.max_response_bytes, "more than the limit is kept")
    return _Outcome(response.status, None, response.body, None, is_reusable, read)


def _judge(outcomes: list[_Outcome], parts: tuple[bytes, bytes], *, is_closed: bool) -> None:
    for outcome, sent in zip(outcomes, parts, strict=False):
        if not outcome.status:
            expect(not outcome.is_reusable, "used again after a failure", outcome)
            said = (None, first_status(sent[: outcome.read]))
            expect(outcome.claimed in said, "claims a status", outcome, sent)
            continue
        try:
            strict, rest = read_answer(sent, is_over=is_closed)
        except Incomplete:
            is_cut = len(outcome.body) == _LIMITS.max_response_bytes and outcome.status >= 300
            expect(is_cut and not outcome.is_reusable, "half an answer is taken", outcome, sent)
            continue
        except Malformed:
            expect(not outcome.is_reusable, "used again after a doubtful answer", outcome, sent)
            _judge_sloppy(outcome, sent, is_closed=is_closed)
            continue
        expect(int(strict.start[1]) == outcome.status, "another status", outcome, strict)
        is_all = strict.body[: _LIMITS.max_response_bytes] == outcome.body
        expect(is_all, "another body", outcome, strict)
        if outcome.is_reusable:
            expect(not strict.until_close, "used again, but it has no end", outcome, strict)
            surplus = sent[len(sent) - len(rest) : outcome.read]
            expect(not surplus.strip(b"\r\n"), "bytes are left over", outcome, strict)


def _judge_sloppy(outcome: _Outcome, sent: bytes, *, is_closed: bool) -> None:
    try:
        sloppy = read_sloppy_answer(sent, is_over=is_closed)
    except (Incomplete, Malformed):
        expect(False, "taken, and no reader knows it", outcome, sent)
        return
    expect(int(sloppy.start[1]) == outcome.status, "another status", outcome, sloppy)
    is_all = sloppy.body[: _LIMITS.max_response_bytes] == outcome.body
    expect(is_all, "another body", outcome, sloppy)


def _compare(one: list[_Outcome], other: list[_Outcome]) -> None:
    """Compare the first answer; whether there is a second depends on what came with the first."""
    a, b = one[0], other[0]
    if (a.status, a.body, a.reason) == (b.status, b.body, b.reason):
        return
    # What is wrong behind too large a body is seen or not, as it comes with it or later.
    reasons = {a.reason, b.reason} - {None}
    sizes = (len(a.body), len(b.body))
    is_large = FailureReason.TOO_LARGE in reasons or _LIMITS.max_response_bytes in sizes
    expect(is_large and FailureReason.MALFORMED in reasons, "another answer when cut", a, b)


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


def _seed(first: bytes, second: bytes = OK, *, closed: bool = True) -> bytes:
    cut = len(first) // 2
    return cut.to_bytes(2) + len(first).to_bytes(2) + bytes((closed,)) + first + second


TARGET = Target(
    "egress",
    run,
    seeds=(
        _seed(OK),
        _seed(_INTERIM + OK, closed=False),
        _seed(_CHUNKED + b"2\r\nhi\r\n0\r\nX: y\r\n\r\n"),
        _seed(b"HTTP/1.1 204 No Content\r\n\r\n"),
        _seed(b"HTTP/1.1 100 Go\nX: y\n\nHTTP/1.1 200 OK\nX:\n y\nContent-Length : 2\n\nhi"),
        _seed(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\nuntil the end", b""),
        _seed(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"),
        *(_seed(case.data, after) for case in CASES for after in (OK, b"") if len(case.data) < 500),
    ),
    words=(
        OK,
        _INTERIM,
        _CHUNKED,
        b"HTTP/1.1 103 Early Hints\r\n",
        b"HTTP/1.1 199 X\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Connection: close\r\n",
        b"0\r\n\r\n",
    ),
    longest=900,
)
