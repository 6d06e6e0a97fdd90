"""Which HTTP headers travel with an event, and how they are written.

Pure. The rules are those of the Go dispatcher v0.6.0 (``pkg/provisioners/message.go`` of
knative/eventing): one set of headers travels in, out and with a reply, everything else is dropped.
Trace context that did not exist then is added to the set: that of the W3C, with its baggage, and B3
in one header. ``docs/publishing.md`` has the table for users.
"""

import re
from collections.abc import Iterable, Mapping

HISTORY = b"Ce-Knativehistory"
"""The hosts of the channels that an event has passed, separated by ``HISTORY_SEPARATOR``."""

HISTORY_SEPARATOR = b"; "
LIST_SEPARATOR = b","
CORRELATION = b"Knative-Correlation-Id"
WHITE = b" \t"
"""What may surround a value and is not part of it (RFC 9110, 5.5)."""

_SET = re.compile(
    rb"content-type|x-request-id|traceparent|tracestate|baggage|b3|(?:ce-|knative-|x-b3-|x-ot-).*",
    re.IGNORECASE,
)
_SPAN = re.compile(r"traceparent|tracestate|b3|x-b3-.*|x-ot-.*")
_LISTS = frozenset({b"Tracestate", b"Baggage"})
"""Several lines of these are one list (W3C Trace Context, 3.3.1; Baggage, 3.3)."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def travels(name: bytes) -> bool:
    """Return whether a header of this name, in any case, is stored and forwarded.

    Host, framing and hop-by-hop headers are not in the set.
    """
    return _SET.fullmatch(name) is not None and _TOKEN.fullmatch(name) is not None


def is_list(name: bytes) -> bool:
    """Return whether several lines of this canonical name are one list, which is kept whole."""
    return name in _LISTS


def inherited_trace(own: Iterable[bytes], event: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return the trace context that a reply inherits from the event that was answered.

    What the subscriber's answer has takes precedence. Its spans are not mixed with those of the
    event: two standards would name two different parents.

    Args:
        own: Canonical names of the headers of the reply.
        event: Headers of the event by their names in lower case.
    """
    names = {name.decode("ascii").lower() for name in own}
    has_span = any(map(_SPAN.fullmatch, names))
    return {
        canonical(name.encode("ascii")): value.encode("utf-8")
        for name, value in event.items()
        if (not has_span and _SPAN.fullmatch(name))
        or (name == "baggage" and "baggage" not in names)
    }


def canonical(name: bytes) -> bytes:
    """Return a name as Go writes it (``textproto.CanonicalMIMEHeaderKey``).

    ``ce-ID`` becomes ``Ce-Id``.

    Args:
        name: One that travels; Go leaves names that are not tokens as they are.
    """
    return b"-".join([part.capitalize() for part in name.split(b"-")])


def forwarded(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return canonical names and values of the headers that travel, the first value of each.

    Those of ``_LISTS`` keep all their values. A value with a control character (CR, LF and NUL
    among them) could be read as more than a value, so it is left out. Go's client refuses to send
    it too. A history with two spellings, as the Go dispatcher stores it when an event passes a
    second channel, becomes one.
    """
    kept: dict[bytes, bytes] = {}
    for name, value in headers:
        if not travels(name) or _CONTROL.search(value) is not None:
            continue
        key = canonical(name)
        if key == HISTORY and key in kept:
            kept[key] += HISTORY_SEPARATOR + value.strip(WHITE)
        elif key in _LISTS and key in kept:
            kept[key] += LIST_SEPARATOR + value.strip(WHITE)
        else:
            kept.setdefault(key, value.strip(WHITE))
    return kept


def lines(headers: dict[bytes, bytes]) -> bytes:
    """Return headers as they go over the wire, each with its line end."""
    return b"".join([b"%b: %b\r\n" % item for item in headers.items()])
