"""Requests of publishers, right and wrong, cut anywhere.

Whatever the bytes: no event is stored that the strict reader does not find at the same place with
the same body; nothing is answered after a request whose end that reader cannot find; the same bytes
in other pieces are the same requests; and nothing is held when the connection is gone.
"""

import asyncio
import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass

from dispatcher.ingress.limits import IngressLimits
from tests.bad_input.smuggling import CASES
from tests.bad_input.test_publisher_requests import ALL, CHUNKED, HEAD, ODD_BUT_VALID
from tests.fuzz.drawing import Draws
from tests.fuzz.strict_http import Reading, read_requests
from tests.fuzz.target import Target, expect
from tests.support.publishers import HOST, Publisher, post, post_chunked

_LIMITS = IngressLimits(max_body_bytes=300)
_BYTE_BY_BYTE = 400
_CLOSING_REFUSALS = {400, 405, 413, 417, 431, 500, 505}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The outcome of a stream."""

    statuses: list[int]
    stored: list[bytes]
    """Bodies."""

    is_over: bool
    """Whether the connection takes no more requests."""


def run(data: bytes) -> None:
    """Run; the first four bytes say where to cut."""
    draws = Draws(data)
    cuts = sorted((draws.below(1024), draws.below(1024)))
    stream = draws.rest()
    size = 1 if len(stream) <= _BYTE_BY_BYTE else 7
    ways = (
        [stream],
        [stream[: cuts[0]], stream[cuts[0] : cuts[1]], stream[cuts[1] :]],
        [stream[at : at + size] for at in range(0, len(stream), size)],
    )
    strict = read_requests(stream)
    outcomes = asyncio.run(_send_all(ways))
    for outcome in outcomes:
        _judge(outcome, strict)
    for other in outcomes[1:]:
        _compare(outcomes[0], other)


async def _send_all(ways: Iterable[list[bytes]]) -> list[_Outcome]:
    return [await _send(pieces) for pieces in ways]


async def _send(pieces: list[bytes]) -> _Outcome:
    publisher = Publisher(_LIMITS, instant=True)
    transport, budget = publisher.transport, publisher.context.budget
    sent = 0
    for piece in filter(None, pieces):
        if transport.sent_eof or transport.is_closing() or not transport.reads:
            break
        transport.receive(piece)
        sent += len(piece)
        expect(budget.used <= 2 * sent + 2048, "more is held than was sent", budget.used, sent)
    is_over = transport.sent_eof or transport.is_closing()
    statuses = _statuses(transport.take_output())
    if not transport.is_closing():
        transport.receive_eof()
    if not transport.is_closing():
        transport.lose()
    expect(budget.used == 0, "bytes are held after the end", budget.used)
    expect(not publisher.context.connections, "the connection is kept after its end")
    events = [event for _, event in publisher.sink.calls]
    stored = [base64.b64decode(json.loads(event).get("payload", "")) for event in events]
    return _Outcome(statuses, stored, is_over)


def _statuses(output: bytes) -> list[int]:
    """Return the statuses of answers without ``100 Continue``; that to HEAD may have no body."""
    statuses = []
    while output:
        head, end, output = output.partition(b"\r\n\r\n")
        expect(end, "half an answer", head)
        version, status, *_ = head.split(b" ")
        expect(version == b"HTTP/1.1", "no answer of HTTP", head)
        if status == b"100":
            continue
        statuses.append(int(status))
        (length,) = [
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        if not output.startswith(b"HTTP/1.1 ") and output:
            body, output = output[:length], output[length:]
            expect(len(body) == length, "the body of an answer is cut", body)
            expect(body.count(b"\n") == 1, "not one line of text", body)
    return statuses


def _judge(outcome: _Outcome, strict: Reading) -> None:
    found = strict.messages
    expect(500 not in outcome.statuses, "the server broke", outcome)
    accepted = [number for number, status in enumerate(outcome.statuses) if status == 202]
    expect(len(accepted) == len(outcome.stored), "202 without an event, or the reverse", outcome)
    for number, body in zip(accepted, outcome.stored, strict=True):
        expect(number < len(found), "stored what is no request", outcome, strict)
        expect(found[number].body == body, "stored another body", outcome, strict)
    expect(
        len(outcome.statuses) <= len(found) + 1,
        "answered after a doubtful request",
        outcome,
        strict,
    )
    if len(outcome.statuses) > len(found):
        expect(outcome.statuses[-1] >= 400, "took a doubtful request", outcome, strict)
        expect(outcome.is_over, "went on after a doubtful request", outcome, strict)
    has_head = b"\r\n\r\n" in strict.rest.lstrip(b"\r\n")
    if strict.is_malformed and has_head and len(outcome.statuses) == len(found):
        expect(outcome.is_over, "waits for the rest of what is wrong", outcome, strict)


def _compare(one: _Outcome, other: _Outcome) -> None:
    expect(one.stored == other.stored, "other events when cut", one, other)
    if one.statuses != other.statuses:
        # The first wrong byte is found before the whole line has arrived that would say more.
        same = one.statuses[:-1] == other.statuses[:-1]
        lasts = {*one.statuses[-1:], *other.statuses[-1:]}
        expect(same and lasts <= _CLOSING_REFUSALS, "other answers when cut", one, other)


_ODD = b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.1\r\n\r\n"
_EXPECTING = HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"
_UPGRADING = post(b"up", "Connection: upgrade", "Upgrade: h2c")
_WHERE = bytes((0, 40, 0, 90))

TARGET = Target(
    "ingress",
    run,
    seeds=tuple(
        _WHERE + stream
        for stream in (
            post(b"hello", "Ce-Id: 1") + post(b"again"),
            post_chunked(b"a", b"bc", trailers=b"X: y\r\n") + post(b"next"),
            _ODD,
            _EXPECTING,
            _UPGRADING + post(b"next"),
            post(b"half of it")[:-5],
            _UPGRADING[:-1],
            CHUNKED + b"5\r\nhal",
            HEAD + b"Ce-Id: 1\r\nCe-So",
            *(case.data for cases in ALL.values() for case in cases),
            *(case.data for case in ODD_BUT_VALID),
            *(case.data for case in CASES),
        )
    ),
    words=(
        HEAD,
        CHUNKED,
        f"Host: {HOST}\r\n".encode(),
        b"Content-Length: ",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: upgrade\r\nUpgrade: x\r\n",
        b"Connection: close\r\n",
        b"0\r\n\r\n",
        b"\r\n\r\n",
        b" HTTP/1.0\r\n",
        b"GET http://a.test/ HTTP/1.1\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
    longest=900,
)
