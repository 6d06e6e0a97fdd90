"""A second reader of HTTP/1.1 messages, strict and slow: the judge of where each one ends.

It follows RFC 9112 to the letter, and where that leaves a choice it refuses. The product may accept
only what this reader accepts: two programs that disagree on where a message ends can be made to
disagree on who sent the next one.

It reads answers by Go's rules as well (``read_sloppy_answer``): what only they allow may be
accepted, as it is read here, if it is the last on its connection.
"""

import re
from dataclasses import dataclass, field

Headers = list[tuple[bytes, bytes]]

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) +([\x21-\x7e]+) +HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"(?:HTTP|RTSP|ICE)/1\.([01]) ([0-9]{3})(?: [^\r\n]*)?")
"""The product's parser accepts other protocols too, by the same rules for where an answer ends; and
anything as the reason, which nobody reads.
"""

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]+)(?:;[\t\x20-\x7e\x80-\xff]*)?")
_LENGTH = re.compile(rb"[0-9]+")


class Malformed(Exception):
    """It breaks the grammar, or leaves in doubt where it ends."""


class Incomplete(Exception):
    """It may still become a message."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer."""

    start: tuple[bytes, ...]
    """The parts of its first line."""

    headers: Headers
    body: bytes
    until_close: bool = False
    """Whether its body ends with the connection."""


@dataclass(slots=True)
class Reading:
    """What was read from a stream of messages."""

    messages: list[Message] = field(default_factory=list)
    is_malformed: bool = False
    """Whether what follows the messages can never become one."""

    rest: bytes = b""
    """What follows the messages."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def skip_empty_lines(self) -> None:
        """Skip empty lines: old programs sent one after a body (RFC 9112, 2.2)."""
        while self.data[self.at : self.at + 1] in {b"\r", b"\n"}:
            self.at += 1

    def line(self) -> bytes:
        end = self.data.find(b"\r\n", self.at)
        line = self.data[self.at : end if end >= 0 else len(self.data)]
        if b"\n" in line or b"\r" in line.removesuffix(b"\r"):
            raise Malformed("a bare CR or LF")
        if end < 0:
            raise Incomplete
        self.at = end + 2
        return line

    def exactly(self, size: int) -> bytes:
        if len(self.data) - self.at < size:
            raise Incomplete
        self.at += size
        return self.data[self.at - size : self.at]

    def all(self) -> bytes:
        return self.exactly(len(self.data) - self.at)

    def headers(self) -> Headers:
        found: Headers = []
        while line := self.line():
            name, colon, value = line.partition(b":")
            if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise Malformed("a header line")
            found.append((name.lower(), value.strip(b" \t")))
        return found

    def chunks(self) -> bytes:
        body: list[bytes] = []
        while True:
            size = _CHUNK_SIZE.fullmatch(self.line())
            if size is None:
                raise Malformed("the size of a chunk")
            number = int(size[1], 16)
            if number == 0:
                self.headers()
                return b"".join(body)
            body.append(self.exactly(number))
            if self.exactly(2) != b"\r\n":
                raise Malformed("the end of a chunk")


def read_requests(data: bytes) -> Reading:
    """Return the requests of a connection."""
    reading = Reading()
    reader = _Reader(data)
    while True:
        start = reader.at
        try:
            reading.messages.append(_request(reader))
        except Incomplete:
            reading.rest = data[start:]
            return reading
        except Malformed:
            reading.rest = data[start:]
            reading.is_malformed = True
            return reading


def read_answer(data: bytes, *, is_over: bool) -> tuple[Message, bytes]:
    """Return the first final answer of a connection, and what follows it.

    Args:
        data: All that arrived.
        is_over: Whether the peer has closed the connection after it.

    Raises:
        Malformed, Incomplete: there is none.
    """
    reader = _Reader(data)
    while True:
        message = _answer(reader, is_over=is_over)
        if not message.start[1].startswith(b"1"):
            return message, data[reader.at :]
        if message.start[1] == b"101":
            raise Malformed("another protocol")


def first_status(data: bytes) -> int | None:
    """Return the status in the first line of the first final answer, whatever follows."""
    lines = iter(data.split(b"\n")[:-1])
    for line in lines:
        if not line.strip(b"\r"):
            continue
        match = re.fullmatch(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?\r?", line)
        if match is None or match[1] == b"101":
            return None
        if not match[1].startswith(b"1"):
            return int(match[1])
        while next(lines, b"").removesuffix(b"\r"):
            pass
    return None


class _SloppyReader(_Reader):
    """Reads heads as Go's ``net/textproto`` does."""

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise Incomplete
        line = self.data[self.at : end].removesuffix(b"\r")
        self.at = end + 1
        return line

    def headers(self) -> Headers:
        lines: list[bytes] = []
        while line := self.line():
            if line[:1] in {b" ", b"\t"} and lines:
                lines[-1] += b" " + line.strip(b" \t")
            else:
                lines.append(line)
        found: Headers = []
        for line in lines:
            name, colon, value = line.partition(b":")
            name, value = name.rstrip(b" \t"), value.strip(b" \t")
            if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise Malformed("a header line")
            found.append((name.lower(), value))
        return found


def read_sloppy_answer(data: bytes, *, is_over: bool) -> Message:
    """Return what ``read_answer`` does, for an answer that is to be the last of its connection.

    Raises:
        Malformed, Incomplete: it is not an answer by Go's rules either, or its end is ambiguous.
    """
    reader = _SloppyReader(data)
    while True:
        reader.skip_empty_lines()
        match = _STATUS_LINE.fullmatch(reader.line())
        if match is None or match[2] == b"101":
            raise Malformed("the status line")
        headers = reader.headers()
        if not match[2].startswith(b"1"):
            break
    start, values = (match[1], match[2]), _by_name(headers)
    if match[2] in {b"204", b"304"}:
        return Message(start, headers, b"")
    lengths, codings = values.get(b"content-length", []), values.get(b"transfer-encoding", [])
    if len(set(lengths)) > 1 or len(codings) > 1:
        raise Malformed("more than one length")
    if codings and codings[0].lower() == b"chunked":
        strict = _Reader(data)
        strict.at = reader.at
        return Message(start, headers, strict.chunks())
    if codings and codings[0].lower() != b"identity":
        raise Malformed("a coding that is not chunked")
    if lengths:
        if not _LENGTH.fullmatch(lengths[0]):
            raise Malformed("no length")
        return Message(start, headers, reader.exactly(int(lengths[0])))
    if not is_over:
        raise Incomplete
    return Message(start, headers, reader.all(), until_close=True)


def _request(reader: _Reader) -> Message:
    reader.skip_empty_lines()
    line = reader.line()
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise Malformed("the request line")
    headers = reader.headers()
    values = _by_name(headers)
    if len(values.get(b"host", ())) != 1:
        raise Malformed("the hosts")
    lengths, codings = _framing(values)
    if codings:
        if match[3] == b"0":
            raise Malformed("a coding in HTTP/1.0")
        body = reader.chunks()
    else:
        body = reader.exactly(int(lengths[0]) if lengths else 0)
    return Message((match[1], match[2], match[3]), headers, body)


def _answer(reader: _Reader, *, is_over: bool) -> Message:
    reader.skip_empty_lines()
    line = reader.line()
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise Malformed("the status line")
    start, headers = (match[1], match[2]), reader.headers()
    if match[2][:1] == b"1" or match[2] in {b"204", b"304"}:
        return Message(start, headers, b"")
    lengths, codings = _framing(_by_name(headers))
    if codings:
        if match[1] == b"0":
            raise Malformed("a coding in HTTP/1.0")
        return Message(start, headers, reader.chunks())
    if lengths:
        return Message(start, headers, reader.exactly(int(lengths[0])))
    if not is_over:
        raise Incomplete
    return Message(start, headers, reader.all(), until_close=True)


def _by_name(headers: Headers) -> dict[bytes, list[bytes]]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return values


def _framing(values: dict[bytes, list[bytes]]) -> tuple[list[bytes], list[bytes]]:
    """Return Content-Length and Transfer-Encoding, of which at most one is there."""
    lengths, codings = values.get(b"content-length", []), values.get(b"transfer-encoding", [])
    if len(lengths) + len(codings) > 1:
        raise Malformed("more than one length")
    if lengths and (not _LENGTH.fullmatch(lengths[0]) or len(lengths[0]) > 18):
        raise Malformed("no length")
    if codings and codings[0].lower() != b"chunked":
        raise Malformed("a coding that is not chunked alone")
    return lengths, codings
