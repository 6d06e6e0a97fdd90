"""One connection to a subscriber: bytes of answers in, responses or errors out, on fakes."""

import pytest

from dispatcher.egress.connection import (
    EgressConnectionState,
    EgressError,
    FailureReason,
    Response,
    StaleConnection,
)
from dispatcher.egress.framing import Headers
from dispatcher.egress.limits import EgressLimits
from tests.dispatcher.egress.egress_fakes import OK, Wire, bytewise

LENGTH_2 = (b"Content-Length", b"2")
CHUNKED = (b"Transfer-Encoding", b"chunked")

ANSWERS = [
    pytest.param(OK, 200, [LENGTH_2], b"hi", True, id="content-length"),
    pytest.param(
        b"HTTP/1.1 202 \r\ncontent-length: 0\r\n\r\n",
        202,
        [(b"content-length", b"0")],
        b"",
        True,
        id="no body",
    ),
    pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 204, [], b"", True, id="204"),
    pytest.param(
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        204,
        [(b"Content-Length", b"0")],
        b"",
        True,
        id="204 with length 0",
    ),
    pytest.param(b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, [], b"", True, id="304"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n",
        200,
        [CHUNKED],
        b"hi",
        True,
        id="chunked",
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nCe-Id: 9\r\n\r\n",
        200,
        [CHUNKED],
        b"",
        True,
        id="a trailer is not a header",
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        200,
        [(b"Connection", b"close"), LENGTH_2],
        b"hi",
        False,
        id="connection: close",
    ),
    pytest.param(
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, [LENGTH_2], b"hi", False, id="1.0"
    ),
    pytest.param(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        200,
        [(b"Connection", b"keep-alive"), LENGTH_2],
        b"hi",
        True,
        id="1.0 keep-alive",
    ),
    pytest.param(
        b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: z\r\n\r\n" + OK,
        200,
        [LENGTH_2],
        b"hi",
        True,
        id="1xx before",
    ),
    pytest.param(
        b"HTTP/1.1 301 Moved\r\nLocation: http://other/\r\nContent-Length: 0\r\n\r\n",
        301,
        [(b"Location", b"http://other/"), (b"Content-Length", b"0")],
        b"",
        True,
        id="redirects are not followed",
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
        200,
        [(b"Connection", b"upgrade"), (b"Upgrade", b"h2c"), LENGTH_2],
        b"hi",
        True,
        id="offer of an upgrade",
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nX:\r\nContent-Length: 0\r\n\r\n",
        200,
        [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"), (b"X", b""), (b"Content-Length", b"0")],
        b"",
        True,
        id="headers in their order",
    ),
]


@pytest.mark.parametrize(("data", "status", "headers", "body", "reusable"), ANSWERS)
@pytest.mark.parametrize("dripped", [False, True], ids=["at once", "byte by byte"])
async def test_answers(
    data: bytes, status: int, headers: Headers, body: bytes, reusable: bool, dripped: bool
) -> None:
    wire = Wire()
    answer = wire.exchange()
    wire.receive(*(bytewise(data) if dripped else [data]))
    response: Response = answer.result()
    assert (response.status, response.headers, response.body) == (status, headers, body)
    assert wire.connection.state is (
        EgressConnectionState.IDLE if reusable else EgressConnectionState.CLOSED
    )
    assert wire.transport.aborted is not reusable
    assert wire.owner.calls == (["released"] if reusable else ["lost"])


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x03\x00\x02\x02\x16",
        b"<html>\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 000 Zero\r\n\r\n",
        b"HTTP/7.1 200 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nnonsense",
    ],
)
async def test_what_is_no_http_is_malformed(data: bytes) -> None:
    """Also on a kept-alive connection: it is the subscriber's fault, not the connection's age."""
    for uses_before in (0, 1):
        wire = Wire()
        wire.use(uses_before)
        answer = wire.exchange()
        wire.receive(data)
        error = answer.exception()
        assert isinstance(error, EgressError)
        assert error.reason is FailureReason.MALFORMED
        assert wire.connection.state is EgressConnectionState.CLOSED
        assert wire.transport.aborted


@pytest.mark.parametrize("uses_before", [0, 1])
@pytest.mark.parametrize("dripped", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (
            b"HTTP/1.1 200 OK\nX: y\nContent-Length: 2\n\nhi",
            [(b"X", b"y"), (b"Content-Length", b"2")],
        ),
        (
            b"HTTP/1.1 200 OK\r\nCe-Id : 7\r\nX: a\r\n\t b\r\nContent-Length: 2\r\n\r\nhi",
            [(b"Ce-Id", b"7"), (b"X", b"a b"), (b"Content-Length", b"2")],
        ),
        (
            b"HTTP/1.1 200 X\nContent-Length:9\nTransfer-Encoding:chunked\n\n2\r\nhi\r\n0\r\n\r\n",
            [(b"Transfer-Encoding", b"chunked")],
        ),
        (
            b"HTTP/1.1 103 X\nX: y\n\nHTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 2\n\nhi",
            [(b"Content-Length", b"2")],
        ),
    ],
)
async def test_a_sloppy_head_is_read_as_go_reads_it(
    data: bytes, headers: Headers, dripped: bool, uses_before: int
) -> None:
    """And no other answer is taken from that connection."""
    wire = Wire()
    wire.use(uses_before)
    answer = wire.exchange()
    wire.receive(*(bytewise(data) if dripped else [data]))
    response: Response = answer.result()
    assert (response.status, response.headers, response.body) == (200, headers, b"hi")
    assert wire.connection.state is EgressConnectionState.CLOSED
    assert wire.owner.budget.used == 0


@pytest.mark.parametrize("block", [10**6, 100])
async def test_a_sloppy_head_is_limited_too(block: int) -> None:
    wire = Wire(EgressLimits(max_response_header_bytes=1000))
    data = b"HTTP/1.1 200 OK\n" + b"X: y\n" * 2000
    answer = wire.exchange()
    wire.receive(*(data[i : i + block] for i in range(0, len(data), block)))
    with pytest.raises(EgressError, match="more than 1000 bytes of headers") as caught:
        answer.result()
    assert caught.value.status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", None),
        (b"HTTP/1.1 20", None),
        (b"HTTP/1.1 200 OK", None),
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.1 202 OK\nX: ", 202),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 500 Oh\r\nX", 500),
        (b"HTTP/1.1 204 No\r\nX\0: y\r\n", 204),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", 200),
        (b"HTTP/1.1 201 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n", 201),
        (b"HTTP/1.1 101 Switching\r\n\r\n", None),
        (b"SSH-2.0-OpenSSH_9.2 200 OK\r\n", None),
    ],
)
@pytest.mark.parametrize("end", ["closed", "timed out"])
@pytest.mark.parametrize("uses_before", [0, 1])
async def test_a_failure_says_what_the_first_line_said(
    data: bytes, status: int | None, end: str, uses_before: int
) -> None:
    """And nothing of an earlier answer."""
    wire = Wire()
    wire.use(uses_before)
    answer = wire.exchange()
    if data:
        wire.receive(data)
    if end == "closed":
        wire.end()
    else:
        wire.loop.advance(60)
    error = answer.exception()
    if isinstance(error, StaleConnection):
        assert not data
    else:
        assert isinstance(error, EgressError)
        assert error.status == status


@pytest.mark.parametrize("size", [0, 10, 5000, 100_000])
async def test_little_is_kept_of_a_body_that_nobody_wants(size: int) -> None:
    wire = Wire(EgressLimits(max_response_bytes=10_000))
    answer = wire.exchange(wants_body=False)
    wire.receive(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size + 1) + b"x" * size)
    if not answer.done():
        wire.receive(b"x")
    response: Response = answer.result()
    assert (response.status, response.body) == (200, b"x" * min(size + 1, 1024))
    assert wire.connection.state is (
        EgressConnectionState.IDLE if size <= 10_000 else EgressConnectionState.CLOSED
    )


async def test_reason_of_malformed_is_told_without_content() -> None:
    wire = Wire()
    answer = wire.exchange()
    wire.receive(b"HTTP/1.1 101 secret\r\n\r\n")
    assert str(answer.exception()) == (
        "the answer is not HTTP/1.1: status 101 without being asked for"
    )
    wire = Wire()
    answer = wire.exchange()
    wire.receive(b"HTTP/1.1 200 OK\r\nsecret\r\n\r\n")
    assert "secret" not in str(answer.exception())


@pytest.mark.parametrize("status", [204, 304])
async def test_body_that_must_not_be_ends_the_connection(status: int) -> None:
    """RFC 9112, 6.3: such an answer has no body; if the peer sends one all the same, it is lost."""
    wire = Wire()
    answer = wire.exchange()
    wire.receive(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status)
    assert (answer.result().status, answer.result().body) == (status, b"")
    assert wire.connection.state is EgressConnectionState.CLOSED


@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 ", OK, b"\0" * 1000])
async def test_bytes_after_the_answer_end_the_connection(surplus: bytes) -> None:
    """They would be taken for the answer to the next request."""
    wire = Wire()
    answer = wire.exchange()
    wire.receive(OK + surplus)
    response: Response = answer.result()
    assert (response.status, response.headers, response.body) == (200, [LENGTH_2], b"hi")
    assert wire.connection.state is EgressConnectionState.CLOSED


async def test_bytes_while_idle_end_the_connection() -> None:
    wire = Wire()
    wire.exchange()
    wire.receive(OK)
    wire.receive(OK)
    assert wire.connection.state is EgressConnectionState.CLOSED
    assert wire.owner.calls == ["released", "lost"]


async def test_body_until_the_connection_ends() -> None:
    wire = Wire()
    answer = wire.exchange()
    wire.receive(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nall ", b"of ", b"it")
    assert not answer.done()
    wire.end()
    assert answer.result().body == b"all of it"
    assert wire.connection.state is EgressConnectionState.CLOSED


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"", "before the answer"),
        (b"HTT", "in the headers of the answer"),
        (b"HTTP/1.1 200 OK\r\n", "in the headers of the answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "in the headers of the answer"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "in the body of an answer with status 200",
        ),
        (
            b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            "answer with status 503",
        ),
    ],
)
async def test_end_before_the_answer_is_complete(data: bytes, where: str) -> None:
    wire = Wire()
    answer = wire.exchange()
    if data:
        wire.receive(data)
    wire.end()
    error = answer.exception()
    assert isinstance(error, EgressError)
    assert error.reason is FailureReason.CLOSED
    assert where in str(error)
    assert wire.owner.calls == ["lost"]


async def test_reset_is_no_end_of_a_body() -> None:
    wire = Wire()
    answer = wire.exchange()
    wire.receive(b"HTTP/1.1 200 OK\r\n\r\nsome")
    wire.connection.connection_lost(ConnectionResetError())
    error = answer.exception()
    assert isinstance(error, EgressError)
    assert error.reason is FailureReason.CLOSED
    assert "reset" in str(error)


@pytest.mark.parametrize("exc", [None, ConnectionResetError(), BrokenPipeError()])
async def test_kept_alive_connection_closed_before_the_answer_is_stale(
    exc: Exception | None,
) -> None:
    wire = Wire()
    wire.exchange()
    wire.receive(OK)
    wire.connection.take()
    answer = wire.exchange()
    wire.connection.connection_lost(exc)
    assert isinstance(answer.exception(), StaleConnection)


async def test_kept_alive_connection_closed_since_it_was_taken_is_stale() -> None:
    wire = Wire()
    wire.exchange()
    wire.receive(OK)
    wire.connection.take()
    wire.end()
    assert isinstance(wire.exchange().exception(), StaleConnection)


async def test_kept_alive_connection_closed_within_the_answer_is_not_stale() -> None:
    """The subscriber has begun to answer this very request, so it has seen it."""
    wire = Wire()
    wire.exchange()
    wire.receive(OK)
    wire.connection.take()
    answer = wire.exchange()
    wire.receive(b"H")
    wire.end()
    assert isinstance(answer.exception(), EgressError)


# Limits


def head_of(size: int) -> bytes:
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("block", [10**6, 100, 1])
async def test_head_at_the_limit(block: int) -> None:
    wire = Wire(EgressLimits(max_response_header_bytes=1000))
    data = head_of(1000) + b"hi"
    answer = wire.exchange()
    wire.receive(*(data[i : i + block] for i in range(0, len(data), block)))
    assert answer.result().body == b"hi"
    assert wire.connection.state is EgressConnectionState.IDLE


@pytest.mark.parametrize("block", [10**6, 100, 1])
@pytest.mark.parametrize("head", [head_of(1001), head_of(100_000), b"HTTP/1.1 100 Go\r\n\r\n" * 99])
async def test_head_over_the_limit(head: bytes, block: int) -> None:
    wire = Wire(EgressLimits(max_response_header_bytes=1000))
    data = head + b"hi"
    answer = wire.exchange()
    wire.receive(*(data[i : i + block] for i in range(0, len(data), block)))
    error = answer.exception()
    assert isinstance(error, EgressError)
    assert error.reason is FailureReason.MALFORMED
    assert "more than 1000 bytes of headers" in str(error)
    assert wire.connection.state is EgressConnectionState.CLOSED


async def test_head_is_limited_for_each_answer() -> None:
    wire = Wire(EgressLimits(max_response_header_bytes=1000))
    for _ in range(3):
        answer = wire.exchange()
        wire.receive(head_of(1000) + b"hi")
        assert answer.result().status == 200
        wire.connection.take()


def body_framings(body: bytes) -> dict[str, bytes]:
    return {
        "length": b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        "until close": b"\r\n" + body,
    }


@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("block", [10**6, 7])
async def test_body_at_the_limit(framing: str, status: int, block: int) -> None:
    wire = Wire(EgressLimits(max_response_bytes=1000))
    data = b"HTTP/1.1 %d X\r\n" % status + body_framings(b"b" * 1000)[framing]
    answer = wire.exchange()
    wire.receive(*(data[i : i + block] for i in range(0, len(data), block)))
    if framing == "until close":
        wire.end()
    assert answer.result().body == b"b" * 1000


@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
@pytest.mark.parametrize("size", [1001, 50_000])
@pytest.mark.parametrize("block", [10**6, 7])
async def test_body_over_the_limit(framing: str, size: int, block: int) -> None:
    """It stops reading; a failure keeps its status and the beginning of what it said."""
    for status in (200, 299, 300, 503):
        wire = Wire(EgressLimits(max_response_bytes=1000))
        data = b"HTTP/1.1 %d X\r\n" % status + body_framings(b"b" * size)[framing]
        answer = wire.exchange()
        wire.receive(*(data[i : i + block] for i in range(0, len(data), block)))
        assert wire.transport.aborted
        assert wire.connection.state is EgressConnectionState.CLOSED
        if status < 300:
            error = answer.exception()
            assert isinstance(error, EgressError)
            assert error.reason is FailureReason.TOO_LARGE
            assert str(error) == f"answered {status} with a body of more than 1000 bytes"
        else:
            assert (answer.result().status, answer.result().body) == (status, b"b" * 1000)
