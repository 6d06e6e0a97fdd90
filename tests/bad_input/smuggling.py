"""Ways to smuggle a request past a proxy that are known by name, with the answers they must get.

The names are those by which attacks are known: first what the proxy in front goes by, then what the
server behind it goes by (CL for Content-Length, TE for Transfer-Encoding, 0 for none of them).
``test_publisher_requests`` has what is wrong by itself; here is what two programs might read in two
ways. After each comes a whole request, which must be answered only if it is beyond doubt one.
"""

import asyncio
from dataclasses import dataclass

from tests.support.publishers import HOST, post, read_answers

NEXT = post(b"next", "Ce-Id: next")
"""What follows on the same connection."""

HIDDEN = post(b"hidden", "Ce-Id: hidden")
"""What an attacker would have taken for a request."""

_LINE = b"POST / HTTP/1.1\r\n"
_HOST = f"Host: {HOST}\r\n".encode()
_HEAD = _LINE + _HOST
_TE = b"Transfer-Encoding: chunked\r\n"
_CHUNKED = _HEAD + _TE + b"\r\n"
_LAST = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Smuggling:
    """One attempt.

    Attributes:
        statuses: Of all answers, to ``data`` and ``NEXT``; then the connection is closed if the
            last one is not that to ``NEXT``.
        bodies: Of the events that are stored.
    """

    name: str
    data: bytes
    statuses: tuple[int, ...] = (400,)
    bodies: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        return self.name


async def statuses_of(port: int, data: bytes) -> list[int]:
    """Return the statuses of all answers to what is sent at once, before the end of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(20):
            answers = read_answers(await reader.read(-1))
    finally:
        writer.close()
        await writer.wait_closed()
    return [answer.status for answer in answers if answer.status != 100]


def taken(name: str, data: bytes, body: bytes) -> Smuggling:
    """Return one request, whose body may look like anything."""
    return Smuggling(name, data, (202, 202), (body, b"next"))


def passed_over(name: str, data: bytes, status: int) -> Smuggling:
    """Return a request that is refused with its body, which is not read as a request."""
    return Smuggling(name, data, (status, 202), (b"next",))


def _length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n" % len(body)


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


TWO_LENGTHS = [
    Smuggling("CL.TE", _HEAD + _length(_LAST + HIDDEN) + _TE + b"\r\n" + _LAST + HIDDEN),
    Smuggling("TE.CL", _HEAD + b"Content-Length: 4\r\n" + _TE + b"\r\n" + _chunk(HIDDEN) + _LAST),
    Smuggling("CL.TE, the length after", _HEAD + _TE + b"Content-Length: 6\r\n\r\n" + _LAST + b"G"),
    Smuggling("CL.CL", _HEAD + b"Content-Length: 0\r\n" + _length(HIDDEN) + b"\r\n" + HIDDEN),
    Smuggling("CL.CL, the other order", _HEAD + _length(HIDDEN) + b"Content-Length: 0\r\n\r\n"),
    Smuggling("a list of lengths", _HEAD + b"Content-Length: 0, 58\r\n\r\n" + HIDDEN),
    Smuggling("TE.TE", _HEAD + _TE + b"Transfer-encoding: cow\r\n\r\n" + _LAST),
    Smuggling("TE.TE, the other order", _HEAD + b"Transfer-encoding: cow\r\n" + _TE + b"\r\n"),
    Smuggling(
        "length 0 and chunks", _HEAD + b"Content-Length: 0\r\n" + _TE + b"\r\n" + _chunk(HIDDEN)
    ),
]

NO_LENGTH = [
    passed_over(
        "CL.0, by a path that has no body",
        b"POST /image.png HTTP/1.1\r\n" + _HOST + _length(HIDDEN) + b"\r\n" + HIDDEN,
        404,
    ),
    passed_over(
        "CL.0, by GET", b"GET / HTTP/1.1\r\n" + _HOST + _length(HIDDEN) + b"\r\n" + HIDDEN, 405
    ),
    passed_over(
        "CL.0, by OPTIONS",
        b"OPTIONS / HTTP/1.1\r\n" + _HOST + _length(HIDDEN) + b"\r\n" + HIDDEN,
        200,
    ),
    passed_over(
        "TE.0, by OPTIONS",
        b"OPTIONS / HTTP/1.1\r\n" + _HOST + _TE + b"\r\n" + _chunk(HIDDEN) + _LAST,
        200,
    ),
    passed_over(
        "TE.0, by GET", b"GET / HTTP/1.1\r\n" + _HOST + _TE + b"\r\n" + _chunk(HIDDEN) + _LAST, 405
    ),
    passed_over(
        "CL.0, by an unknown host",
        b"POST / HTTP/1.1\r\nHost: nowhere.test\r\n" + _length(HIDDEN) + b"\r\n" + HIDDEN,
        404,
    ),
    taken("0.CL, a request in a body", _HEAD + _length(HIDDEN) + b"\r\n" + HIDDEN, HIDDEN),
    taken("0.TE, a request in a chunk", _CHUNKED + _chunk(HIDDEN) + _LAST, HIDDEN),
    Smuggling("0.CL, what nobody announced", _HEAD + b"\r\nX" + HIDDEN, (202, 400), (b"",)),
    Smuggling(
        "0.CL, the length behind a name with NUL", _HEAD + b"Content-Length\0: 58\r\n\r\n" + HIDDEN
    ),
    Smuggling("0.CL, the length behind a space", _HEAD + b" Content-Length: 58\r\n\r\n" + HIDDEN),
    Smuggling(
        "0.CL, the length in a folded line",
        _HEAD + b"X: y\r\n\tContent-Length: 58\r\n\r\n" + HIDDEN,
    ),
    Smuggling(
        "a length with an underscore for the hyphen",
        _HEAD + b"Content_Length: 6\r\n\r\n" + HIDDEN,
        (202, 202, 202),
        (b"", b"hidden", b"next"),
    ),
]

HIDDEN_CODINGS = [
    Smuggling(f"coding {name}", _HEAD + _length(_LAST) + line + b"\r\n\r\n" + _LAST)
    for name, line in (
        ("behind a tab", b"Transfer-Encoding:\tchunked"),
        ("before a tab", b"Transfer-Encoding: chunked\t"),
        ("before a space", b"Transfer-Encoding: chunked "),
        ("in mixed case", b"tRANSFER-eNCODING: cHUNKED"),
        ("before a form feed", b"Transfer-Encoding: chunked\x0c"),
        ("before a vertical tab", b"Transfer-Encoding: chunked\x0b"),
        ("behind a form feed", b"Transfer-Encoding: \x0cchunked"),
        ("behind NEL", b"Transfer-Encoding: \x85chunked"),
        ("behind a space of Latin-1", b"Transfer-Encoding: \xa0chunked"),
        ("before a byte of Latin-1", b"Transfer-Encoding: chunked\xff"),
        ("behind NUL", b"Transfer-Encoding: \0chunked"),
        ("before NUL", b"Transfer-Encoding: chunked\0"),
        ("named with NUL", b"Transfer-Encoding\0: chunked"),
        ("named with a tab", b"Transfer-Encoding\t: chunked"),
        ("named with a byte of Latin-1", b"Transfer-Encoding\xa0: chunked"),
        ("behind a bare LF", b"Transfer-Encoding:\n chunked"),
        ("behind a bare CR", b"Transfer-Encoding:\r chunked"),
        ("hidden by a bare LF", b"X: y\nTransfer-Encoding: chunked"),
        ("hidden by a bare CR", b"X: y\rTransfer-Encoding: chunked"),
        ("hidden by LF and CR", b"X: y\n\rTransfer-Encoding: chunked"),
        ("hidden by CR CR LF", b"X: y\r\r\nTransfer-Encoding: chunked"),
        ("hidden by CRLF and CR", b"X: y\r\n\rTransfer-Encoding: chunked"),
        ("folded to another header", b"X: y\r\n Transfer-Encoding: chunked"),
        ("folded", b"Transfer-Encoding:\r\n chunked"),
        ("in apostrophes", b"Transfer-Encoding: 'chunked'"),
        ("before a comma", b"Transfer-Encoding: chunked,"),
        ("behind a comma", b"Transfer-Encoding: ,chunked"),
        ("before identity", b"Transfer-Encoding: chunked, identity"),
        ("behind identity", b"Transfer-Encoding: identity, chunked"),
        ("before a semicolon", b"Transfer-Encoding: chunked;"),
        ("cut short", b"Transfer-Encoding: chunke"),
        ("too long", b"Transfer-Encoding: chunkedchunked"),
        ("with a hyphen", b"Transfer-Encoding: chunked-"),
        ("without colon", b"Transfer-Encoding chunked"),
        ("behind two colons", b"Transfer-Encoding:: chunked"),
    )
]

OTHER_NAMES = [
    taken(f"a header {name}", _HEAD + _length(_LAST) + line + b"\r\n\r\n" + _LAST, _LAST)
    for name, line in (
        ("with an underscore for the hyphen", b"Transfer_Encoding: chunked"),
        ("of another name", b"X-Transfer-Encoding: chunked"),
        ("of content", b"Content-Language: chunked"),
        ("TE", b"TE: chunked"),
        ("that says what is of the connection", b"Connection: Content-Length, Transfer-Encoding"),
    )
]

SIZES = [
    Smuggling(f"size {name}", _CHUNKED + size + b"\r\n" + b"x" * 16 + b"\r\n" + _LAST)
    for name, size in (
        ("with an underscore", b"1_0"),
        ("with 0X", b"0X10"),
        ("with h", b"10h"),
        ("with a comma", b"1,0"),
        ("with a point", b"10.0"),
        ("with an exponent sign", b"1p4"),
        ("behind a tab", b"\t10"),
        ("before a tab", b"10\t"),
        ("behind NUL", b"\x0010"),
        ("before NUL", b"10\0"),
        ("behind LF", b"\n10"),
        ("before CR", b"10\r"),
        ("in other digits", b"\xef\xbc\x91\xef\xbc\x90"),
        ("that is 16 in 64 bits", b"10000000000000010"),
        ("that is 16 in 32 bits and 0 in the rest", b"fffffffff00000010"),
        ("in brackets", b"{10}"),
        ("that is quoted", b'"10"'),
    )
]

EXTENSIONS = [
    Smuggling(
        f"extension with {name}", _CHUNKED + b"10;" + text + b"\r\n" + b"x" * 16 + b"\r\n" + _LAST
    )
    for name, text in (
        ("a bare LF", b"a\nb"),
        ("a bare CR", b"a\rb"),
        ("NUL", b"a\0b"),
        ("CR before its end", b"a\r"),
        ("LF in quotes", b'a="\n"'),
    )
]

CHUNK_ENDS = [
    Smuggling(f"chunk with {name}", _CHUNKED + data + HIDDEN)
    for name, data in (
        ("LF for its end", b"1\r\nx\n0\r\n\r\n"),
        ("CR for its end", b"1\r\nx\r0\r\n\r\n"),
        ("CR CR LF for its end", b"1\r\nx\r\r\n0\r\n\r\n"),
        ("two bytes for its end", b"1\r\nxyz0\r\n\r\n"),
        ("a blank for its end", b"1\r\nx \r\n0\r\n\r\n"),
        ("nothing but LF after the last", b"0\r\n\n"),
        ("CR and LF apart after the last", b"0\r\n\rX\n"),
        ("a sign at the last", b"-0\r\n\r\n"),
        ("a plus at the last", b"+0\r\n\r\n"),
    )
]

TRAILERS = [
    taken(
        "a coding in the trailers", _CHUNKED + _chunk(b"x") + b"0\r\nX-Encoding: y\r\n\r\n", b"x"
    ),
    taken("a host in the trailers", _CHUNKED + _chunk(b"x") + b"0\r\nHost: a.test\r\n\r\n", b"x"),
    taken("an event in the trailers", _CHUNKED + _chunk(b"x") + b"0\r\nCe-Id: evil\r\n\r\n", b"x"),
    Smuggling("a folded trailer", _CHUNKED + _chunk(b"x") + b"0\r\nX: y\r\n z\r\n\r\n"),
    Smuggling("a trailer ended by LF", _CHUNKED + _chunk(b"x") + b"0\r\nX: y\n\r\n"),
    Smuggling("a trailer without colon", _CHUNKED + _chunk(b"x") + b"0\r\nX\r\n\r\n"),
    Smuggling("a request for a trailer", _CHUNKED + _chunk(b"x") + b"0\r\n" + HIDDEN),
]

ENDS_OF_HEADERS = [
    Smuggling(f"headers ended by {name}", _HEAD + b"Content-Length: 6" + end + HIDDEN)
    for name, end in (
        ("LF LF", b"\n\n"),
        ("CRLF LF", b"\r\n\n"),
        ("LF CRLF", b"\n\r\n"),
        ("CR CR", b"\r\r"),
        ("CRLF CR", b"\r\n\r"),
        ("CRLF and a blank", b"\r\n \r\n"),
        ("NUL", b"\0\r\n\r\n"),
    )
]

TARGETS = [
    Smuggling(
        "absolute, another host than Host",
        b"POST http://nowhere.test/ HTTP/1.1\r\n" + _HOST + _length(b"x") + b"\r\nx",
        (404, 202),
        (b"next",),
    ),
    taken(
        "absolute, where Host is another",
        b"POST http://"
        + HOST.encode()
        + b"/ HTTP/1.1\r\nHost: nowhere.test\r\nContent-Length: 1\r\n\r\nx",
        b"x",
    ),
    Smuggling("absolute without Host", b"POST http://" + HOST.encode() + b"/ HTTP/1.1\r\n\r\n"),
    Smuggling(
        "absolute with a user",
        b"POST http://a@" + HOST.encode() + b"/ HTTP/1.1\r\n" + _HOST + b"\r\n",
        (404, 202),
        (b"next",),
    ),
    passed_over("absolute without host", b"POST http:/// HTTP/1.1\r\n" + _HOST + b"\r\n", 400),
    # RFC 9112, 3 leaves it open to take words that stand apart; nobody takes them for others.
    taken("two spaces before the target", _HEAD.replace(b"POST ", b"POST  ") + b"\r\n", b""),
    taken("two spaces before the version", _HEAD.replace(b" HTTP", b"  HTTP") + b"\r\n", b""),
    Smuggling("a space after the version", _HEAD.replace(b"1.1\r", b"1.1 \r") + b"\r\n"),
    Smuggling("CR after the version", _HEAD.replace(b"1.1\r", b"1.1\r\r") + b"\r\n"),
    Smuggling("two versions", _HEAD.replace(b"HTTP/1.1", b"HTTP/1.1 HTTP/1.1") + b"\r\n"),
    Smuggling("an empty target", _HEAD.replace(b" / ", b"  ") + b"\r\n"),
    passed_over("the star for POST", _HEAD.replace(b" / ", b" * ") + b"\r\n", 404),
    passed_over("two slashes", _HEAD.replace(b" / ", b" //a.test/ ") + b"\r\n", 404),
    Smuggling("a version of two digits", _HEAD.replace(b"1.1", b"1.01") + b"\r\n"),
]

OTHER_HOSTS = [
    Smuggling(f"Host {name}", _LINE + lines + b"\r\n\r\n")
    for name, lines in (
        ("and an empty one", _HOST + b"Host:"),
        ("behind an empty one", b"Host:\r\n" + _HOST.strip()),
        ("behind a space", b" " + _HOST.strip()),
        ("before the colon a space", b"Host : " + HOST.encode()),
        ("folded", b"Host:\r\n " + HOST.encode()),
        ("with NUL", _HOST.strip() + b"\0.test"),
        ("with another after CR", _HOST.strip() + b"\rHost: a.test"),
    )
]

OTHER_PROTOCOLS = [
    taken(
        "an upgrade to h2c with a request for a body",
        _HEAD
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        + _length(HIDDEN)
        + b"\r\n"
        + HIDDEN,
        HIDDEN,
    ),
    taken(
        "an upgrade to h2c with chunks",
        _HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + _TE + b"\r\n" + _chunk(HIDDEN) + _LAST,
        HIDDEN,
    ),
    taken(
        "a WebSocket of a version that nobody knows",
        _HEAD
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n"
        + _length(HIDDEN)
        + b"\r\n"
        + HIDDEN,
        HIDDEN,
    ),
    Smuggling(
        "an upgrade with two lengths",
        _HEAD
        + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n"
        + _TE
        + b"\r\n"
        + _LAST,
    ),
    Smuggling(
        "a tunnel", b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n" + HIDDEN, (405,)
    ),
    Smuggling(
        "a tunnel with a length",
        b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\nContent-Length: 5\r\n\r\n" + HIDDEN,
        (405,),
    ),
    Smuggling(
        "HTTP/2 that was not asked for",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)),
        (505,),
    ),
    Smuggling(
        "an expectation with a body that was not waited for",
        _HEAD + b"Expect: 100-continue\r\n" + _length(HIDDEN) + b"\r\n" + HIDDEN,
        (202, 202),
        (HIDDEN, b"next"),
    ),
    Smuggling(
        "an expectation that is hidden",
        _HEAD + b"Expect: y 100-continue\r\n" + _length(HIDDEN) + b"\r\n" + HIDDEN,
        (417,),
    ),
    Smuggling(
        "an expectation of GET",
        b"GET / HTTP/1.1\r\n"
        + _HOST
        + b"Expect: 100-continue\r\n"
        + _length(HIDDEN)
        + b"\r\n"
        + HIDDEN,
        (405,),
    ),
    Smuggling(
        "too large a body with a request in it",
        _HEAD + b"Content-Length: 99999999\r\n\r\n" + HIDDEN,
        (413,),
    ),
    Smuggling(
        "a length of 32 bits and one",
        _HEAD + b"Content-Length: 4294967297\r\n\r\nx" + HIDDEN,
        (413,),
    ),
    Smuggling(
        "the end of the connection, then a request",
        _HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\nx" + HIDDEN,
        (202,),
        (b"x",),
    ),
    Smuggling(
        "HTTP/1.0, then a request",
        _HEAD.replace(b"1.1", b"1.0") + b"Content-Length: 1\r\n\r\nx" + HIDDEN,
        (202,),
        (b"x",),
    ),
]

CASES = [
    *TWO_LENGTHS,
    *NO_LENGTH,
    *HIDDEN_CODINGS,
    *OTHER_NAMES,
    *SIZES,
    *EXTENSIONS,
    *CHUNK_ENDS,
    *TRAILERS,
    *ENDS_OF_HEADERS,
    *TARGETS,
    *OTHER_HOSTS,
    *OTHER_PROTOCOLS,
]
