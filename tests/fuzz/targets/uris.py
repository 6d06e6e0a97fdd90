"""URIs of subscribers, from what somebody wrote to the head of a request.

Whatever the text: what is accepted can be called, at the host and port that every reader would find
in it; the request begins with three lines at most; and no password is shown, accepted or not.
"""

import contextlib
from urllib.parse import urlsplit

from dispatcher.egress.target import InvalidTarget
from dispatcher.egress.target import Target as Subscriber
from natss.contract.uris import complete_uri, redact, redact_value
from tests.fuzz.drawing import Draws
from tests.fuzz.target import Target, expect

_SECRET = "hunter2"
_PARTS = (
    "http://", "HTTPS://", "//", "/", "?", "#", "@", ":", "::", "[::1]", "[fe80::1%25e]", "]", ".",
    "orders", "a" * 64, "127.0.0.1", "0x7f.1", "localhost", "8080", "0", "65536", "%00", "%0d%0a",
    "user:", f"user:{_SECRET}@", f"?token={_SECRET}", " ", "\\", "\t", "\xe4", "xn--a", "_a-", "-",
)  # fmt: skip


def run(data: bytes) -> None:
    draws = Draws(data, _PARTS)
    text = "".join(draws.text(12) for _ in range(1 + draws.below(12)))
    try:
        uri = complete_uri(text, "shop", "cluster.local")
    except ValueError as error:
        expect(_SECRET not in str(error) and str(error).startswith("must "), "says too much", error)
        _judge_refusal(text)
        return
    expect(complete_uri(uri, "shop", "cluster.local") == uri, "completed twice", uri)
    try:
        subscriber = Subscriber.parse(uri)
    except InvalidTarget as error:
        raise AssertionError(f"taken, and cannot be called: {uri!a}: {error}") from error
    _judge(subscriber, uri)
    if urlsplit(uri).password == _SECRET and text.count(_SECRET) == 1:
        expect(_SECRET not in redact_value(text), "a password is shown", text)
        expect(_SECRET not in redact(uri), "a password is logged", uri)
        expect(_SECRET not in f"{subscriber} {subscriber!r}", "a password is shown", uri)


def _judge(subscriber: Subscriber, uri: str) -> None:
    parts = urlsplit(uri)
    default = 443 if parts.scheme == "https" else 80
    expect(subscriber.host == (parts.hostname or ""), "another host", subscriber.host, uri)
    expect(subscriber.port == (parts.port or default), "another port", subscriber.port, uri)
    expect(subscriber.tls == (parts.scheme == "https"), "another scheme", uri)
    lines = subscriber.request_prefix.split(b"\r\n")
    expect(lines.pop() == b"", "a line without end", lines)
    expect(2 <= len(lines) <= 3, "another number of lines", lines)
    expect(all(line[:1] > b" " for line in lines), "a folded line", lines)
    expect(lines[0].count(b" ") == 2 and lines[0].endswith(b" HTTP/1.1"), "a request line", lines)
    expect(lines[1].startswith(b"Host: ") and b"@" not in lines[1], "another Host", lines)
    for line in lines:
        expect(line.isascii() and line.decode().isprintable(), "a line that is not plain", line)


def _judge_refusal(text: str) -> None:
    """Check that what cannot be completed is no address that could be called."""
    with contextlib.suppress(InvalidTarget):
        subscriber = Subscriber.parse(text)
        # Some characters of a password must be encoded, or not every reader accepts it.
        is_odd = len(text) > 8192 or any(each in text for each in '[]"<>')
        expect(is_odd, "refused, but can be called", text, subscriber)


TARGET = Target(
    "uris",
    run,
    seeds=(
        bytes((2, 0, 1, 0, 14, 0, 4)),
        bytes((2, 0, 1, 0, 10, 0, 19)),
        bytes((3, 0, 1, 0, 25, 0, 15, 0, 26)),
        bytes((3, 0, 14, 0, 8, 0, 19, 0, 4)),
        bytes((3, 0, 1, 0, 10, 0, 8, 0, 19)),
    ),
    longest=200,
)
