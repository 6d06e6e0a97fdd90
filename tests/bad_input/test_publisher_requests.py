"""Requests that break HTTP: refused, and closed where the next one cannot be told apart.

Most of them are known ways to smuggle a request past a proxy: two programs that disagree on where a
request ends can be made to disagree on who sent the next one.
"""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.publishers import HOST, Publisher, post

HEAD = f"POST / HTTP/1.1\r\nHost: {HOST}\r\n".encode()
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = post(b"smuggled", "Ce-Id: smuggled")


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    status: int = 400

    def __str__(self) -> str:
        return self.name


def framed(name: str, headers: bytes, body: bytes = b"x") -> Case:
    return Case(name, HEAD + headers + b"\r\n\r\n" + body)


LENGTHS = [
    framed("twice", b"Content-Length: 1\r\nContent-Length: 1"),
    framed("two of them", b"Content-Length: 1\r\ncontent-length: 5"),
    framed("a list", b"Content-Length: 1, 1"),
    framed("a plus", b"Content-Length: +1"),
    framed("a minus", b"Content-Length: -1"),
    framed("hexadecimal", b"Content-Length: 0x1"),
    framed("a gap", b"Content-Length: 1 1"),
    framed("an underscore", b"Content-Length: 1_0"),
    framed("no number", b"Content-Length: one"),
    framed("empty", b"Content-Length:"),
    framed("a fraction", b"Content-Length: 1.0"),
    framed("beyond 64 bits", b"Content-Length: 99999999999999999999999"),
    framed("the largest of 64 bits", b"Content-Length: 18446744073709551615"),
    framed("a negative zero", b"Content-Length: -0", b""),
    framed("other digits", b"Content-Length: \xc2\xb9"),
]

CODINGS = [
    framed("after a length", b"Content-Length: 1\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    framed("before a length", b"Transfer-Encoding: chunked\r\nContent-Length: 1", b"0\r\n\r\n"),
    framed("gzip", b"Transfer-Encoding: gzip"),
    framed("gzip, chunked", b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
    framed("chunked, gzip", b"Transfer-Encoding: chunked, gzip", b"0\r\n\r\n"),
    framed("chunked, chunked", b"Transfer-Encoding: chunked, chunked", b"0\r\n\r\n"),
    framed("identity", b"Transfer-Encoding: identity"),
    framed("identity and a length", b"Transfer-Encoding: identity\r\nContent-Length: 1"),
    framed("empty", b"Transfer-Encoding:", b""),
    framed("xchunked", b"Transfer-Encoding: xchunked", b"0\r\n\r\n"),
    framed("with a parameter", b"Transfer-Encoding: chunked;a=b", b"0\r\n\r\n"),
    framed("quoted", b'Transfer-Encoding: "chunked"', b"0\r\n\r\n"),
    framed("vertical tab", b"Transfer-Encoding: \x0bchunked", b"0\r\n\r\n"),
    framed("two lines", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    framed("twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    framed("no space", b"Transfer-Encoding : chunked", b"0\r\n\r\n"),
    Case("in HTTP/1.0", CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n"),
    Case(
        "in HTTP/1.0 kept alive",
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0")
        + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
]

CHUNKS = [
    Case("no number", CHUNKED + b"zz\r\nx\r\n0\r\n\r\n"),
    Case("with 0x", CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n"),
    Case("negative", CHUNKED + b"-1\r\nx\r\n0\r\n\r\n"),
    Case("a plus", CHUNKED + b"+1\r\nx\r\n0\r\n\r\n"),
    Case("a space before", CHUNKED + b" 1\r\nx\r\n0\r\n\r\n"),
    Case("a space after", CHUNKED + b"1 \r\nx\r\n0\r\n\r\n"),
    Case("empty", CHUNKED + b"\r\nx\r\n0\r\n\r\n"),
    Case("beyond 64 bits", CHUNKED + b"fffffffffffffffff\r\nx"),
    Case("ended by LF", CHUNKED + b"1\nx\r\n0\r\n\r\n"),
    Case("extension ended by LF", CHUNKED + b"1;a\nx\r\n0\r\n\r\n"),
    Case("data ended by LF", CHUNKED + b"1\r\nx\n0\r\n\r\n"),
    Case("data not ended", CHUNKED + b"1\r\nx0\r\n\r\n"),
    Case("data too long", CHUNKED + b"1\r\nxyz\r\n0\r\n\r\n"),
    Case("last ended by LF", CHUNKED + b"0\n\n"),
    Case("last without its end", CHUNKED + b"0\r\n\rX"),
    Case("a length in the trailers", CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n"),
    Case("NUL in the trailers", CHUNKED + b"0\r\nX: a\0b\r\n\r\n"),
]

HOSTS = [
    Case("none", post(b"x", host=None)),
    Case("none in HTTP/1.0", post(b"x", host=None).replace(b"1.1", b"1.0")),
    Case("two", post(b"x", "Host: b.test")),
    Case("twice the same", post(b"x", f"host: {HOST}")),
]

HEADERS = [
    framed("folded", b"Ce-Id: a\r\n b"),
    framed("folded by a tab", b"Ce-Id: a\r\n\tb"),
    framed("folded from the start", b"Ce-Id:\r\n a"),
    framed("a folded length", b"Content-Length:\r\n 1"),
    framed("a folded coding", b"Transfer-Encoding:\r\n chunked", b"0\r\n\r\n"),
    Case("the first one folded", f"POST / HTTP/1.1\r\n Host: {HOST}\r\n\r\n".encode()),
    framed("NUL in a value", b"Ce-Id: a\0b"),
    framed("NUL in a name", b"Ce\0-Id: a"),
    framed("CR in a value", b"Ce-Id: a\rb"),
    framed("CR at the end of a value", b"Ce-Id: a\r"),
    framed("LF in a value", b"Ce-Id: a\nX-Injected: b"),
    framed("LF in a name", b"Ce\n-Id: a"),
    framed("a control in a value", b"Ce-Id: a\x01b"),
    framed("escape in a value", b"Ce-Id: a\x1b[31mb"),
    framed("delete in a value", b"Ce-Id: a\x7fb"),
    framed("a space before the colon", b"Ce-Id : a"),
    framed("a tab before the colon", b"Ce-Id\t: a"),
    framed("a space before the colon of the length", b"Content-Length : 1"),
    framed("a space in a name", b"Ce Id: a"),
    framed("a bracket in a name", b"Ce(Id): a"),
    framed("no ASCII in a name", b"Ce-\xc3\xa4: a"),
    framed("no name", b": a"),
    framed("no colon", b"Ce-Id"),
]

REQUEST_LINES = [
    Case("no version", f"POST /\r\nHost: {HOST}\r\n\r\n".encode(), 505),
    Case("version 0.9", HEAD.replace(b"1.1", b"0.9") + b"\r\n", 505),
    Case("version 2.0", HEAD.replace(b"1.1", b"2.0") + b"\r\n", 505),
    Case("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Case("version 1.2", HEAD.replace(b"1.1", b"1.2") + b"\r\n"),
    Case("version 1.10", HEAD.replace(b"1.1", b"1.10") + b"\r\n"),
    Case("version 11", HEAD.replace(b"1.1", b"11") + b"\r\n"),
    Case("another protocol", HEAD.replace(b"HTTP", b"ICAP") + b"\r\n"),
    Case("in lower case", HEAD.replace(b"HTTP", b"http") + b"\r\n"),
    Case("a tab", HEAD.replace(b"POST ", b"POST\t") + b"\r\n"),
    Case("a space in the target", HEAD.replace(b" / ", b" /a b ") + b"\r\n"),
    Case("NUL in the target", HEAD.replace(b" / ", b" /\0 ") + b"\r\n"),
    Case("no ASCII in the target", HEAD.replace(b" / ", b" /\xff ") + b"\r\n"),
    Case("ended by LF", HEAD.replace(b"\r\n", b"\n") + b"\n"),
    Case("ended by CR", HEAD.replace(b"\r\n", b"\r") + b"\r"),
    Case("a space before", b" " + HEAD + b"\r\n"),
    Case("a method in lower case", HEAD.replace(b"POST", b"post") + b"\r\n", 405),
    Case("an unknown method", HEAD.replace(b"POST", b"BREW") + b"\r\n", 405),
    Case("a method cut off", HEAD[1:] + b"\r\n", 405),
    Case("a method with NUL", HEAD.replace(b"POST", b"PO\0ST") + b"\r\n"),
]

GARBAGE = [
    Case("every byte", bytes(range(256)) * 4),
    Case("zeros", bytes(1000)),
    Case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
    Case("an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    Case("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
    Case("NATS", b'CONNECT {"verbose":false}\r\nPUB x 1\r\nx\r\n'),
    Case("SMTP", b"EHLO there\r\n"),
    Case("a line of text", b"hello, is there anybody?\r\n"),
    Case("SOCKS", b"\x05\x01\x00" * 10),
]

ALL = {
    "length": LENGTHS,
    "coding": CODINGS,
    "chunk": CHUNKS,
    "host": HOSTS,
    "header": HEADERS,
    "line": REQUEST_LINES,
    "garbage": GARBAGE,
}
CASES = [pytest.param(case, id=f"{kind}-{case}") for kind, cases in ALL.items() for case in cases]


@pytest.mark.parametrize("case", CASES)
async def test_it_is_refused_and_the_connection_closed(case: Case) -> None:
    publisher = Publisher(instant=True)
    answers = publisher.send(case.data + SMUGGLED)
    assert [answer.status for answer in answers] == [case.status]
    (answer,) = answers
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body.endswith("\n")
    assert len(answer.body.splitlines()) == 1
    assert len(answer.body) > 10
    assert publisher.transport.sent_eof
    assert publisher.stored == []
    assert publisher.metrics.refused[case.status] == 1
    # Nothing that comes later on this connection is looked at.
    publisher.transport.receive(SMUGGLED)
    assert publisher.answers() == []
    assert publisher.stored == []
    publisher.transport.receive_eof()
    assert publisher.context.budget.used == 0
    assert publisher.context.connections == set()


@pytest.mark.parametrize("case", CASES)
async def test_it_is_refused_however_it_is_cut(case: Case) -> None:
    publisher = Publisher(instant=True)
    answers = []
    for byte in case.data + SMUGGLED:
        if publisher.transport.sent_eof:
            break
        answers += publisher.send(bytes([byte]))
    (answer,) = answers
    assert answer.status in {400, case.status}  # an unknown method needs the whole line
    assert answer.headers["connection"] == "close"
    assert publisher.stored == []


@pytest.mark.parametrize("case", CASES)
async def test_events_before_it_are_stored_and_answered(case: Case) -> None:
    publisher = Publisher()
    publisher.send(post(b"good") + case.data + SMUGGLED)
    assert len(publisher.stored) == 1
    answers = await publisher.store(0)
    assert len(answers) == 2
    assert answers[0].status == 202
    assert answers[1].status in {400, case.status}
    assert publisher.transport.sent_eof


ODD_BUT_VALID = [
    Case("empty lines before", b"\r\n\r\n" + HEAD + b"Content-Length: 1\r\n\r\nx"),
    Case("spaces around a length", HEAD + b"Content-Length: \t1 \r\n\r\nx"),
    Case("zeros before a length", HEAD + b"Content-Length: 0001\r\n\r\nx"),
    Case("names in any case", HEAD + b"cOnTeNt-LeNgTh: 1\r\n\r\nx"),
    Case("Chunked", HEAD + b"TRANSFER-ENCODING: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
    Case("a chunk with extensions", CHUNKED + b'1;a=b;c="d e"\r\nx\r\n0\r\n\r\n'),
    Case("zeros before the size of a chunk", CHUNKED + b"0001\r\nx\r\n000\r\n\r\n"),
    Case("an empty value", HEAD + b"Ce-Empty:\r\nContent-Length: 1\r\n\r\nx"),
    Case("a tab in a value", HEAD + b"Ce-Tab: a\tb\r\nContent-Length: 1\r\n\r\nx"),
    Case("no ASCII in a value", HEAD + b"Ce-Text: \xc3\xa4\r\nContent-Length: 1\r\n\r\nx"),
    Case("no UTF-8 in a value", HEAD + b"Ce-Text: \xff\xfe\r\nContent-Length: 1\r\n\r\nx"),
]


@pytest.mark.parametrize("case", ODD_BUT_VALID, ids=str)
async def test_what_is_odd_but_valid_is_taken(case: Case) -> None:
    publisher = Publisher(instant=True)
    answers = publisher.send(case.data + post(b"next"))
    assert [answer.status for answer in answers] == [202, 202]
    assert b'"payload":"eA=="' in publisher.stored[0]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("x" * 10_240, 400),
        ("", 400),
        ("a b", 400),
        ("user@" + HOST, 400),
        (HOST + ":port", 400),
        (HOST + ":80:80", 400),
        (HOST + "/", 400),
        (HOST + "," + HOST, 400),
        ("\xe4.test", 400),
        ("<script>", 400),
        ("x" * 250, 404),
        ("..", 404),
    ],
)
async def test_a_host_that_names_nothing(host: str, status: int) -> None:
    publisher = Publisher(instant=True)
    answers = publisher.send(post(b"x", host=host) + post(b"next"))
    assert [answer.status for answer in answers] == [status, 202]
    assert len(answers[0].body.splitlines()) == 1
    assert len(answers[0].body) < 400
    assert "<" not in answers[0].body


async def test_a_neighbour_notices_nothing() -> None:
    publisher = Publisher(instant=True)
    for case in (case for cases in ALL.values() for case in cases):
        _, other = publisher.connect()
        other.receive(case.data)
        assert [answer.status for answer in publisher.send(post(b"x"))] == [202]
        other.lose()
    assert publisher.context.budget.used == 0


@settings(max_examples=200, deadline=None)
@given(
    data=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [
                    HEAD,
                    CHUNKED,
                    b"\r\n",
                    b"\n",
                    b"Content-Length: 3\r\n",
                    b"Host: x\r\n",
                    b"0\r\n\r\n",
                    b"3\r\nabc\r\n",
                    b"Expect: 100-continue\r\n",
                    b"Connection: upgrade\r\nUpgrade: x\r\n",
                    post(b"abc"),
                ]
            ),
        ),
        max_size=12,
    )
)
async def test_nothing_a_peer_sends_breaks_the_server(data: list[bytes]) -> None:
    publisher = Publisher(instant=True)
    answers = []
    for piece in data:
        if publisher.transport.sent_eof or publisher.transport.is_closing():
            break
        publisher.transport.receive(piece)
        answers += publisher.answers()
    assert all(answer.status != 500 for answer in answers)
    assert len(publisher.stored) == [answer.status for answer in answers].count(202)
    if not publisher.transport.is_closing():
        publisher.transport.receive_eof()
    assert publisher.context.budget.used == 0
    assert publisher.context.connections == set()
