"""Reads the bytes of an answer: its head, where its body ends, and what of it is kept.

No I/O. ``connection`` feeds it, and acts on its attributes.
"""

import httptools

from dispatcher.egress import tolerant
from dispatcher.egress.framing import (
    Headers,
    UnusableHead,
    check_coding,
    ends_with_connection,
    has_body,
)
from dispatcher.egress.limits import EgressLimits

_VERSIONS = frozenset({"1.1", "1.0"})

_HEADER_COST = 128
"""Bytes of memory that a header takes besides its name and value."""

_BEGINNING = 1024
"""Bytes that are kept of a body that nobody wants: they show why an attempt failed."""


class UnreadableAnswer(Exception):
    """It is not an answer in HTTP/1.1, or its end is unclear. The text quotes nothing of it."""


class AnswerReader:
    """Reads one answer after the other, each after ``begin``.

    Attributes:
        status: The status, once the head is read.
        headers: Without trailers.
        body_size: Bytes of the body that have arrived.
        is_complete: Whether all of it has arrived.
        is_reading_head: Whether its head, or an interim one (1xx), is not complete.
        is_trusted: Whether another request may follow on the same connection.
    """

    __slots__ = (
        "_body",
        "_head_cost",
        "_head_room",
        "_is_sloppy",
        "_kept",
        "_limits",
        "_most",
        "_parser",
        "_raw",
        "body_size",
        "headers",
        "is_complete",
        "is_reading_head",
        "is_trusted",
        "status",
    )

    def __init__(self, limits: EgressLimits) -> None:
        self._limits = limits
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: Headers = []
        self.body_size = 0
        self.is_complete = False
        self.is_reading_head = True
        self.is_trusted = True
        self._is_sloppy = False
        self._raw = b""
        self._head_room = 0
        self._head_cost = 0
        self._body: list[bytes] = []
        self._kept = 0
        self._most = 0

    @property
    def cost(self) -> int:
        """Bytes of memory that the answer takes so far."""
        return self._head_cost + self._kept

    @property
    def known_status(self) -> int | None:
        """The status of the first line, even if the head is incomplete or unreadable."""
        return tolerant.status_of(self._raw) if self.is_reading_head else self.status

    def begin(self, *, wants_body: bool) -> None:
        """Expect the next answer; of a body that is not wanted, keep only the beginning.

        Call ``forget`` for the previous answer first.
        """
        self._most = self._limits.max_response_bytes if wants_body else _BEGINNING
        self._head_room = self._limits.max_response_header_bytes
        self._head_cost = 0
        self.status = 0
        self.is_complete = False
        self.is_reading_head = True

    def forget(self) -> None:
        """Keep nothing of the answer; a connection may be idle for a long time."""
        self.headers = []
        self._body = []
        self._raw = b""
        self._kept = self.body_size = 0

    def close(self) -> None:
        """Read no more; break the reference from the parser to this object."""
        del self._parser

    def body(self) -> bytes:
        """Return what is kept of the body."""
        return b"".join(self._body)

    def feed(self, data: bytes) -> None:
        """Read what has arrived.

        Raises:
            UnreadableAnswer: before the answer was complete.
        """
        try:
            if not self.is_reading_head:
                self._parser.feed_data(data)
            elif self._is_sloppy:
                self._feed_sloppy_head(data)
            else:
                self._feed_head(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, UnusableHead) as error:
            self.is_trusted = False
            if not self.is_complete:
                raise UnreadableAnswer(f"the answer is not HTTP/1.1: {_text(error)}") from error

    def end(self) -> bool:
        """Return whether the answer is complete now that the peer has closed the connection."""
        return not self.is_reading_head and ends_with_connection(self.headers)

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise UnusableHead("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_reading_head:  # otherwise a trailer, which may not replace a header
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 100 or status == 101:
            raise UnusableHead(f"status {status} without being asked for")
        version = self._parser.get_http_version()
        if version not in _VERSIONS:
            raise UnusableHead(f"it is HTTP/{version}")
        self.status = status
        if status >= 200:
            check_coding(self.headers)
            self.is_reading_head = False

    def on_body(self, data: bytes) -> None:
        if self.is_reading_head:  # RFC 9110, 15.2; the parser knows only some of them
            raise UnusableHead(f"status {self.status} with a body")
        self.body_size += len(data)
        room = self._most - self._kept
        if room > 0:
            kept = data if len(data) <= room else data[:room]
            self._body.append(kept)
            self._kept += len(kept)

    def on_message_complete(self) -> None:
        if self.is_reading_head:  # 1xx: the final answer comes later
            self.headers = []
            return
        self.is_complete = True
        if not self._parser.should_keep_alive():
            self.is_trusted = False
        elif self.status in (204, 304) and has_body(self.headers):
            self.is_trusted = False  # the parser ended it here, the peer may send a body

    # The head.

    def _feed_head(self, data: bytes) -> None:
        """Parse, but not one byte of a head beyond the limit."""
        room = self._head_room
        most = self._limits.max_response_header_bytes
        try:
            self._parser.feed_data(data if len(data) <= room else data[:room])
        except httptools.HttpParserError as error:
            if not self.is_reading_head or isinstance(error.__context__, UnusableHead):
                self._raw += data
                raise
            self._be_tolerant(data, error)
            return
        self._head_cost = most - room + len(self.headers) * _HEADER_COST
        if not self.is_reading_head:
            self._head_cost += min(len(data), room) - self.body_size
            self._raw = b""
            if len(data) > room:
                self._parser.feed_data(data[room:])
            return
        self._raw += data
        self._head_cost += len(data)
        self._head_room = room - len(data)
        if self._head_room < 0:
            raise UnusableHead(f"more than {most} bytes of headers")

    def _be_tolerant(self, data: bytes, error: httptools.HttpParserError) -> None:
        """Read again what the parser has refused."""
        self._is_sloppy = True
        self.is_trusted = False
        try:
            self._feed_sloppy_head(data)
        except UnusableHead:
            if self.known_status is None:
                raise error from None  # it is far from HTTP, and the parser says where
            raise

    def _feed_sloppy_head(self, data: bytes) -> None:
        most = self._limits.max_response_header_bytes
        self._raw += data
        found = tolerant.in_strict_form(self._raw)
        head, rest = (self._raw, b"") if found is None else found
        self._head_cost = 2 * len(head)
        if len(head) > most:
            raise UnusableHead(f"more than {most} bytes of headers")
        if found is None:
            return
        self._parser = httptools.HttpResponseParser(self)
        self.headers = []
        self._parser.feed_data(head)
        self._head_cost = len(head) + len(self.headers) * _HEADER_COST
        self._parser.feed_data(rest)


def _text(error: Exception) -> str:
    """Return what is wrong, in the words of the parser or of the callback that stopped it."""
    return str(error.__context__ if isinstance(error.__context__, UnusableHead) else error)
