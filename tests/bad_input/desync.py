"""Answers of subscribers of which it could be unclear where they end, and what must come of them.

An answer that ends elsewhere than it is thought to gives its rest to the next event on the same
connection: that one would count as delivered, or refused, by what was never said of it.
"""

from dataclasses import dataclass

from dispatcher.egress.connection import FailureReason
from tests.support.scripted_server import answer

_HEAD = b"HTTP/1.1 200 OK\r\n"
_TE = b"Transfer-Encoding: chunked\r\n"
_CHUNKS = b"2\r\nhi\r\n0\r\n\r\n"
_TWO = b"Content-Length: 2\r\n\r\nhi"


@dataclass(frozen=True, slots=True)
class Desync:
    """One answer; the connection is closed after it if it is ``cut``.

    Attributes:
        status: What it is taken for, with ``body``; 0 if it fails.
        reuses: Whether the next request may go over the same connection.
    """

    name: str
    data: bytes
    status: int = 0
    body: bytes = b""
    reason: FailureReason | None = FailureReason.MALFORMED
    reuses: bool = False
    cut: bool = False

    def __str__(self) -> str:
        return self.name


def _taken(
    name: str, data: bytes, status: int = 200, body: bytes = b"hi", *, reuses: bool = True
) -> Desync:
    return Desync(name, data, status, body, None, reuses)


def _sloppy(name: str, data: bytes, status: int = 200, body: bytes = b"hi") -> Desync:
    """Return an answer that Go's client accepts too; the connection is not trusted afterwards."""
    return _taken(name, data, status, body, reuses=False)


def _until_close(name: str, data: bytes, body: bytes = b"hi") -> Desync:
    return Desync(name, data, 200, body, None, cut=True)


def _half(name: str, data: bytes) -> Desync:
    return Desync(name, data, reason=FailureReason.CLOSED, cut=True)


LENGTHS = [
    Desync("two lengths", _HEAD + b"Content-Length: 5\r\n" + _TWO),
    _sloppy("a length twice", _HEAD + b"Content-Length: 2\r\n" + _TWO),
    _sloppy("a length thrice", _HEAD + b"Content-Length: 2\r\ncontent-length:2  \r\n" + _TWO),
    Desync("a length twice, in two ways", _HEAD + b"Content-Length: 02\r\n" + _TWO),
    Desync("no length twice", _HEAD + b"Content-Length: x\r\nContent-Length: x\r\n\r\nhi"),
    Desync("a list of lengths", _HEAD + b"Content-Length: 2, 2\r\n\r\nhi"),
    _sloppy("a length and chunks", _HEAD + b"Content-Length: 7\r\n" + _TE + b"\r\n" + _CHUNKS),
    _sloppy("chunks and a length", _HEAD + _TE + b"Content-Length: 0\r\n\r\n" + _CHUNKS),
    Desync(
        "chunks and two lengths",
        _HEAD + b"Content-Length: 5\r\n" + _TE + b"Content-Length: 2\r\n\r\n" + _CHUNKS,
    ),
    Desync(
        "chunks twice and a length",
        _HEAD + b"Content-Length: 2\r\n" + _TE + _TE + b"\r\n" + _CHUNKS,
    ),
    Desync(
        "gzip in chunks and a length",
        _HEAD + b"Content-Length: 2\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + _CHUNKS,
    ),
    Desync("a length in the trailers", _HEAD + _TE + b"\r\n0\r\nContent-Length: 9\r\n\r\n"),
    Desync("a plus", _HEAD + b"Content-Length: +2\r\n\r\nhi"),
    Desync("a minus", _HEAD + b"Content-Length: -2\r\n\r\nhi"),
    Desync("a length in hexadecimal", _HEAD + b"Content-Length: 0x2\r\n\r\nhi"),
    Desync("an underscore", _HEAD + b"Content-Length: 1_0\r\n\r\nhi"),
    Desync("a gap", _HEAD + b"Content-Length: 2 2\r\n\r\nhi"),
    Desync("no length after its name", _HEAD + b"Content-Length:\r\n\r\nhi"),
    Desync(
        "a length of 64 bits and two", _HEAD + b"Content-Length: 18446744073709551618\r\n\r\nhi"
    ),
    _sloppy("a folded length", _HEAD + b"Content-Length:\r\n 2\r\n\r\nhi"),
    Desync("a length folded in two", _HEAD + b"Content-Length: 1\r\n 2\r\n\r\nhi"),
    _sloppy("a space before the colon", _HEAD + b"Content-Length : 2\r\n\r\nhi"),
    _sloppy("a tab before the colon", _HEAD + b"X: y\r\nContent-Length\t: 2\r\n\r\nhi"),
    Desync("another length, a space before its colon", _HEAD + b"Content-Length : 5\r\n" + _TWO),
    _sloppy(
        "chunks, a space before the colon",
        _HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + _CHUNKS,
    ),
    _half("less than the length", _HEAD + b"Content-Length: 3\r\n\r\nhi"),
    _taken("more than the length", _HEAD + _TWO + b"!", reuses=False),
    _until_close("no length at all", _HEAD + b"\r\nhi"),
]

CODINGS = [
    Desync("chunked in two lines", _HEAD + _TE + _TE + b"\r\n" + _CHUNKS),
    Desync("identity, then chunked", _HEAD + b"Transfer-Encoding: identity\r\n" + _TE + b"\r\n"),
    Desync("chunked, then identity", _HEAD + _TE + b"Transfer-Encoding: identity\r\n\r\n"),
    Desync("chunked twice", _HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + _CHUNKS),
    Desync("gzip in chunks", _HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + _CHUNKS),
    Desync("chunks in gzip", _HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + _CHUNKS),
    Desync("gzip", _HEAD + b"Transfer-Encoding: gzip\r\n\r\nhi"),
    Desync("no chunked", _HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + _CHUNKS),
    Desync("a parameter", _HEAD + b"Transfer-Encoding: chunked;a=b\r\n\r\n" + _CHUNKS),
    Desync("a tab after it", _HEAD + b"Transfer-Encoding: chunked\t\r\n\r\n" + _CHUNKS),
    _taken("a space after it", _HEAD + b"Transfer-Encoding: chunked \r\n\r\n" + _CHUNKS),
    _half(
        "half of it, a space after it", _HEAD + b"Transfer-Encoding: chunked \r\n\r\n2\r\nhi\r\n"
    ),
    _half("half of it", _HEAD + _TE + b"\r\n2\r\nhi\r\n"),
    _until_close("identity", _HEAD + b"Transfer-Encoding: identity\r\n\r\nhi"),
    _taken("chunks in HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + _TE + b"\r\n" + _CHUNKS, reuses=False),
    Desync("a size with 0x", _HEAD + _TE + b"\r\n0x2\r\nhi\r\n0\r\n\r\n"),
    Desync("a size with an underscore", _HEAD + _TE + b"\r\n0_2\r\nhi\r\n0\r\n\r\n"),
    Desync("a size of 64 bits and two", _HEAD + _TE + b"\r\n10000000000000002\r\nhi\r\n0\r\n\r\n"),
    Desync("a size ended by LF", _HEAD + _TE + b"\r\n2\nhi\r\n0\r\n\r\n"),
    Desync("a chunk ended by LF", _HEAD + _TE + b"\r\n2\r\nhi\n0\r\n\r\n"),
    Desync("the last ended by LF", _HEAD + _TE + b"\r\n2\r\nhi\r\n0\n\n"),
]

SPLITTING = [
    _taken("a second answer behind it", answer(200, b"hi") + answer(500), reuses=False),
    _until_close("a second answer behind LF", _HEAD + b"X: y\n\n" + answer(500), answer(500)),
    _sloppy("LF everywhere", b"HTTP/1.1 200 OK\nX: y\nContent-Length: 2\n\nhi"),
    _sloppy("LF after the status", b"HTTP/1.1 200 OK\nX: y\r\n" + _TWO),
    _sloppy("LF at the end of the head", _HEAD + b"Content-Length: 2\r\n\nhi"),
    _sloppy("LF and chunks", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n" + _CHUNKS),
    _sloppy("LF and 204", b"HTTP/1.1 204 No\nX: y\n\n", 204, b""),
    _sloppy("LF and more than the length", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi" + answer()),
    _sloppy("LF and no reason", b"HTTP/1.1 201\nContent-Length: 2\n\nhi", 201),
    _half("LF and less than the length", b"HTTP/1.1 200 OK\nContent-Length: 3\n\nhi"),
    Desync("CR twice", b"HTTP/1.1 200 OK\nX: y\r\r\n" + _TWO),
    Desync("LF in a value", _HEAD + b"X: y\nContent-Length: 0\r\n" + _TWO),
    Desync("CR in a value", _HEAD + b"X: y\rContent-Length: 0\r\n" + _TWO),
    Desync("NUL in a value", _HEAD + b"X: a\0b\r\n" + _TWO),
    Desync("LF in the reason", b"HTTP/1.1 200 OK\nContent-Length: 0\r\n" + _TWO),
    Desync("CR in the reason", b"HTTP/1.1 200 OK\rContent-Length: 0\r\n" + _TWO),
    _sloppy("a folded header", _HEAD + b"X: a\r\n b\r\n" + _TWO),
    _sloppy("a header over four lines", _HEAD + b"X:\r\n\ta\r\n  b: c\n \r\n" + _TWO),
    _sloppy("a folded coding", _HEAD + b"Transfer-Encoding:\r\n\tchunked\r\n\r\n" + _CHUNKS),
    Desync("NUL in a folded header", _HEAD + b"X: a\r\n b\0\r\n" + _TWO),
    Desync("the first header folded", _HEAD + b" X: y\r\n" + _TWO),
    Desync("no colon", _HEAD + b"X\r\n" + _TWO),
    Desync("a name of two words", _HEAD + b"X Y: z\r\n" + _TWO),
    Desync("no name", _HEAD + b": z\r\n" + _TWO),
]

FIRST_LINES = [
    Desync("HTTP/0.9", b"HTTP/0.9 200 OK\r\n" + _TWO),
    Desync("HTTP/2", b"HTTP/2.0 200 OK\r\n" + _TWO),
    Desync("HTTP/1.2", b"HTTP/1.2 200 OK\r\n" + _TWO),
    Desync("two spaces", b"HTTP/1.1  200 OK\r\n" + _TWO),
    Desync("a status of two digits", b"HTTP/1.1 20 OK\r\n" + _TWO),
    Desync("a status of four digits", b"HTTP/1.1 2000 OK\r\n" + _TWO),
    Desync("a status below 100", b"HTTP/1.1 099 OK\r\n" + _TWO),
    _taken("a status that nobody knows", b"HTTP/1.1 999 OK\r\n" + _TWO, 999),
    _taken("no reason", b"HTTP/1.1 200\r\n" + _TWO),
]

INTERIM = [
    _taken("100 first", b"HTTP/1.1 100 Continue\r\n\r\n" + answer(200, b"hi")),
    _taken("100 with a length", b"HTTP/1.1 100 Go\r\n" + _TWO[:-2] + answer(200, b"hi")),
    _taken("103 with chunks", b"HTTP/1.1 103 Hints\r\n" + _TE + b"\r\n" + answer(200, b"hi")),
    _taken("199 first", b"HTTP/1.1 199 Soon\r\n\r\n" + answer(200, b"hi")),
    _sloppy("100 with LF", b"HTTP/1.1 100 Go\nX: y\n\n" + answer(200, b"hi")),
    _sloppy("100, then LF", b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 2\n\nhi"),
    Desync("100 with LF, then another protocol", b"HTTP/1.1 100 Go\n\nHTTP/1.1 101 Ha\r\n\r\n"),
    Desync("100 with LF and no header", b"HTTP/1.1 100 Go\nX\n\n" + answer(200, b"hi")),
    Desync("100 with LF, then none", b"HTTP/1.1 100 Go\n\nSSH-2.0\r\n"),
    Desync("199 with a body", b"HTTP/1.1 199 Soon\r\n" + _TWO + answer(200, b"hi")),
    Desync("199 with chunks", b"HTTP/1.1 199 Soon\r\n" + _TE + b"\r\n" + _CHUNKS + answer(200)),
    Desync("1xx without an end", b"HTTP/1.1 102 Wait\r\n\r\n" * 10_000),
    Desync("1xx with headers without an end", (b"HTTP/1.1 103 Hints\r\nX: y\r\n\r\n") * 10_000),
]

BODILESS = [
    _taken("204 with a length", b"HTTP/1.1 204 No\r\n" + _TWO, 204, b"", reuses=False),
    _taken("204 with a length of 0", b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", 204, b""),
    _taken(
        "204 with chunks", b"HTTP/1.1 204 No\r\n" + _TE + b"\r\n" + _CHUNKS, 204, b"", reuses=False
    ),
    _taken("204 with a body", b"HTTP/1.1 204 No\r\n\r\nhi", 204, b"", reuses=False),
    _taken("304 with a length", b"HTTP/1.1 304 Same\r\n" + _TWO, 304, b"", reuses=False),
    _taken("205 with a body", b"HTTP/1.1 205 Reset\r\n" + _TWO, 205),
    _taken(
        "an upgrade that nobody asked for", _HEAD + b"Connection: upgrade\r\nUpgrade: x\r\n" + _TWO
    ),
]

CASES = [*LENGTHS, *CODINGS, *SPLITTING, *FIRST_LINES, *INTERIM, *BODILESS]
