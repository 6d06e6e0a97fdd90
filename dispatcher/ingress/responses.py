"""The answers of the HTTP server: refusals as values, and the bytes of every answer.

Pure. Each refusal says in one line what was wrong and what to do. ``request_reader`` and
``answers`` decide which one to send.
"""

from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

ALLOWED_METHODS = "POST, OPTIONS"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_ALLOW = b"Allow: POST, OPTIONS\r\n"
_RETRY_AFTER = b"Retry-After: 1\r\n"
CLOSE = b"Connection: close\r\n"
KEEP_ALIVE = b"Connection: keep-alive\r\n"
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii")
    for status in HTTPStatus
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Any answer but 202."""

    status: int
    text: str
    """One line without its line end."""

    closes: bool = False
    """Whether the connection cannot be used any more: what follows cannot be told apart from the
    rest of this request, or would not be read.
    """

    headers: bytes = b""
    """Further header lines, each with its line end."""


OPTIONS = Refusal(
    200,
    "POST events to this address",
    # The answer to the validation request of the CloudEvents web hook specification, section 4.2.
    headers=_ALLOW + b"WebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: *\r\n",
)
WRONG_PATH = Refusal(404, "the only path is /: the Host header names the channel")
WRONG_METHOD = Refusal(405, f"only {ALLOWED_METHODS} are allowed here", headers=_ALLOW)
UNKNOWN_METHOD = Refusal(405, f"only {ALLOWED_METHODS} are allowed here", True, _ALLOW)
HEADERS_TIMEOUT = Refusal(
    408, "the headers of the request did not arrive in time: send it again", closes=True
)
BODY_TIMEOUT = Refusal(
    408, "the body of the request did not arrive in time: send it again", closes=True
)
NO_LENGTH = Refusal(
    411,
    "the length of the body is unknown: send Content-Length, 0 for an event without data",
    closes=True,
)
CODED = Refusal(
    415,
    "the body has a content coding, which subscribers would not be told: leave out"
    " Content-Encoding and send the data as it is",
    headers=b"Accept-Encoding: identity\r\n",
)
UNKNOWN_EXPECTATION = Refusal(
    417, "the only expectation that can be met is 100-continue: leave out Expect", closes=True
)
HEADERS_TOO_LARGE = Refusal(
    431, "the headers of the request are too large or too many: send fewer", closes=True
)
TOO_MUCH_BETWEEN_CHUNKS = Refusal(
    400, "malformed request: too much between its chunks", closes=True
)
WRONG_VERSION = Refusal(505, "use HTTP/1.1", closes=True)
TOO_MANY_CONNECTIONS = Refusal(
    503,
    "too many connections are open: keep connections alive and use them again",
    True,
    _RETRY_AFTER,
)
TOO_MANY_OF_ADDRESS = Refusal(
    503,
    "too many connections are open from your address: keep connections alive and use them again",
    True,
    _RETRY_AFTER,
)
MADE_ROOM = Refusal(
    503,
    "too many connections are open, and nothing more of this request came: send it again",
    True,
    _RETRY_AFTER,
)
OVERLOADED = Refusal(
    503, "too many events are being received: send this one again later", True, _RETRY_AFTER
)
STOPPING = Refusal(
    503, "this server is stopping: send the event again on a new connection", True, _RETRY_AFTER
)
STARTING = Refusal(
    503,
    "this server has just started and does not know the channels yet: send the event again",
    headers=_RETRY_AFTER,
)
NOT_CONFIRMED = Refusal(
    503,
    "NATS Streaming did not confirm the event in time, it may be stored or not: send it again",
    headers=_RETRY_AFTER,
)
BROKEN = Refusal(500, "the server failed at this request; its log says why")


def malformed(reason: str) -> Refusal:
    """Refuse a request that cannot be trusted to end where it seems to end."""
    return Refusal(400, f"malformed request: {reason}", closes=True)


def invalid_host(reason: str) -> Refusal:
    return Refusal(400, reason)


def unknown_host(reason: str) -> Refusal:
    return Refusal(
        404,
        f"{reason}: the Host header must name one, as NAME.NAMESPACE.channels.cluster.local",
    )


def host_conflict(reason: str) -> Refusal:
    return Refusal(409, reason)


def body_too_large(limit: int, max_payload: int | None) -> Refusal:
    """Refuse a body; the rest of it is not read.

    Args:
        limit: The largest accepted body, in bytes.
        max_payload: What the NATS server takes, if the limit follows from it; else None.
    """
    text = f"the body is too large: send at most {limit} bytes"
    if max_payload is None:
        text += ", or raise --max-body-bytes of the dispatcher"
    else:
        text += (
            f"; in base64 it has to fit into max_payload of the NATS server ({max_payload} bytes),"
            " which can be raised there"
        )
    return Refusal(413, text, closes=True)


def event_too_large(reason: str) -> Refusal:
    """Refuse an event whose body was read, but whose stored form exceeds the server's limit."""
    return Refusal(413, reason)


def not_stored(reason: str, *, retriable: bool) -> Refusal:
    if retriable:
        return Refusal(503, f"not stored, send it again: {reason}", headers=_RETRY_AFTER)
    return Refusal(500, f"not stored: {reason}")


class Responses:
    """The bytes of answers, with the date of the second in which ``set_date`` was last called."""

    __slots__ = ("_date", "_second", "accepted", "accepted_closing", "accepted_keep_alive")

    def __init__(self, epoch: float) -> None:
        self._second = -1
        self.set_date(epoch)

    def set_date(self, epoch: float) -> None:
        """Set the date of all answers until the next call, in seconds since the epoch."""
        if int(epoch) == self._second:
            return
        self._second = int(epoch)
        self._date = b"Date: %b\r\n" % formatdate(self._second, usegmt=True).encode("ascii")
        head = _STATUS_LINES[202] + self._date + b"Content-Length: 0\r\n"
        self.accepted = head + b"\r\n"
        self.accepted_closing = head + CLOSE + b"\r\n"
        self.accepted_keep_alive = head + KEEP_ALIVE + b"\r\n"  # HTTP/1.0 needs the header

    def refuse(self, refusal: Refusal, connection: bytes, *, with_body: bool = True) -> bytes:
        """Return the answer with a Connection header line or none; to HEAD it has no body."""
        text = refusal.text.encode("utf-8", "replace").replace(b"\r", b" ").replace(b"\n", b" ")
        return b"".join(
            (
                _STATUS_LINES[refusal.status],
                self._date,
                refusal.headers,
                connection,
                b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
                % (len(text) + 1),
                text + b"\n" if with_body else b"",
            )
        )
