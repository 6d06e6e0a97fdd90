"""An event in its three forms: as it was published, as it is stored, and as it is delivered.

Pure: bytes in, values out. The stored form is byte for byte that of the Go dispatcher v0.6.0, so
that either program delivers what the other has stored. ``dispatcher.event.headers`` decides which
headers travel; ``dispatcher.delivery.attempts`` when to send what.
"""

import binascii
import re
from collections.abc import Sequence
from typing import Any

import orjson

from dispatcher.event import headers as http
from dispatcher.event.error_attributes import add_to_headers, add_to_structured, error_attributes

Headers = Sequence[tuple[bytes, bytes]]


class UnreadableEvent(ValueError):
    """A stored message that is not an event: it is poison, and retrying will not help.

    The text says what is wrong with it and never quotes it.
    """


class Event:
    """An event that is to be delivered.

    Attributes:
        head: Header lines, each with its line end; without Host and without the length of the body.
        body: As it was published.
    """

    __slots__ = ("_headers", "body", "head")

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head = head
        self.body = body
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of ``head`` by their names in lower case."""
        if self._headers is None:
            pairs = [line.split(b": ", 1) for line in self.head.split(b"\r\n") if line]
            self._headers = {
                name.decode("ascii").lower(): value.decode("utf-8", "replace")
                for name, value in pairs
            }
        return self._headers

    def get(self, name: str) -> str | None:
        """Return the value of a header, or None. ``name`` is in lower case."""
        return self.headers.get(name)


# --- the stored form ------------------------------------------------------------------------------

_PLAIN = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\<>&')
"""Characters that stand for themselves in a JSON string as Go writes it."""

_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(0x20), *b"<>&", 0x2028, 0x2029)}
_ESCAPES |= {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    ord('"'): '\\"',
    ord("\\"): "\\\\",
}
_ESCAPES |= dict.fromkeys(range(0xDC80, 0xDD00), "\\ufffd")  # not UTF-8, read by "surrogateescape"
"""As ``encoding/json`` when v0.6.0 was built: \\b and \\f have short forms since Go 1.22 only."""


def _escape(value: bytes) -> bytes:
    """Return what Go's ``encoding/json`` puts between the quotes of a string."""
    return value.decode("utf-8", "surrogateescape").translate(_ESCAPES).encode("utf-8")


class _StoredShape:
    """How headers of certain names are stored: which values, in which order, with what around them.

    Publishers send the same names in the same order with every event, so this is worked out once
    for each such list of names.
    """

    __slots__ = ("history", "lists", "order", "template")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        places: dict[bytes, list[int]] = {}  # canonical name -> indices of its values
        for index, name in enumerate(names):
            if http.travels(name):
                places.setdefault(http.canonical(name), []).append(index)
        history = places.pop(http.HISTORY, None)
        self.history = None if history is None else history[0]
        self.order = [places[name][0] for name in sorted(places)]
        self.lists = [
            (place, places[name])
            for place, name in enumerate(sorted(places))
            if http.is_list(name) and len(places[name]) > 1
        ]
        # The history comes last: it is in lower case, and canonical names begin in upper case.
        keys = [*sorted(places), http.HISTORY.lower()]
        members = b",".join([b'"%b":"%%b"' % _escape(key).replace(b"%", b"%%") for key in keys])
        self.template = b'{"headers":{%b}' % members


_SHAPES_KEPT = 1024
_NAMES_KEPT = 4096
"""Bounds of the cache of names that others have chosen: lists, and bytes of the names in one."""

_stored_shapes: dict[tuple[bytes, ...], _StoredShape] = {}


def _stored_shape(names: tuple[bytes, ...]) -> _StoredShape:
    shape = _StoredShape(names)
    if sum(map(len, names)) <= _NAMES_KEPT:
        if len(_stored_shapes) >= _SHAPES_KEPT:
            _stored_shapes.clear()
        _stored_shapes[names] = shape
    return shape


def encode(headers: Headers, body: bytes | bytearray | memoryview, host: str) -> bytes:
    """Return the stored form of an event that was published.

    Headers that do not travel are left out; of a header given twice the first value is stored, of a
    list all of it.

    Args:
        headers: As they arrived, in their order.
        body: As it arrived.
        host: The Host under which the channel was addressed, not empty; it is added to the history.
    """
    names = tuple([name for name, _ in headers])
    shape = _stored_shapes.get(names) or _stored_shape(names)
    values = [headers[index][1].strip(http.WHITE) for index in shape.order]
    if shape.lists:
        for place, indices in shape.lists:
            parts = [headers[index][1].strip(http.WHITE) for index in indices]
            values[place] = http.LIST_SEPARATOR.join(parts)
    history = host.encode("utf-8", "surrogateescape")
    if shape.history is not None:
        earlier = headers[shape.history][1].strip(http.WHITE)
        history = earlier + http.HISTORY_SEPARATOR + history if earlier else history
    values.append(history)
    if b"".join(values).translate(None, _PLAIN):
        values = [_escape(value) for value in values]
    head = shape.template % tuple(values)
    if not body:
        return head + b"}"
    return b"".join((head, b',"payload":"', binascii.b2a_base64(body, newline=False), b'"}'))


def smallest_stored_size(body_size: int) -> int:
    """Return the fewest bytes that the stored form of a body takes, whatever the headers.

    If that is more than the server takes, reading the body is pointless.
    """
    return len(b'{"headers":{},"payload":""}') + (body_size + 2) // 3 * 4


# --- reading --------------------------------------------------------------------------------------

_LIKE_ENVELOPE = re.compile(rb'\s*\{\s*"(?:headers|payload)"\s*:')
_ENVELOPE = frozenset({"headers", "payload"})
_STRUCTURED = "application/cloudevents+json"
_STRUCTURED_HEAD = b"Content-Type: application/cloudevents+json\r\n"


def decode(data: bytes) -> Event:
    """Read a stored message.

    - A JSON object of ``headers`` and ``payload``, one or both and nothing else, is the form of
      v0.4.0 and later.
    - Anything else is the form of v0.3.0, which stored the body alone. If it is a JSON object with
      ``specversion``, as later Go programs store CloudEvents, it gets the content type of a
      structured one.

    Raises:
        UnreadableEvent: It is or begins like the form of v0.4.0, but is broken.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if _LIKE_ENVELOPE.match(data) is None:
            return Event(b"", data)
        raise UnreadableEvent(f"it is no valid JSON from character {error.pos} on") from None
    if type(document) is not dict:
        return Event(b"", data)
    if document and document.keys() <= _ENVELOPE:
        return Event(_head(document.get("headers")), _body(document.get("payload")))
    structured = isinstance(document.get("specversion"), str)
    return Event(_STRUCTURED_HEAD if structured else b"", data)


def _body(payload: Any) -> bytes:
    if payload is None:
        return b""
    if type(payload) is not str:
        raise UnreadableEvent("its payload is not a string")
    try:
        return binascii.a2b_base64(payload, strict_mode=True)
    except ValueError:
        pass
    try:  # Go's reader skips line ends, which some encoders insert
        unfolded = payload.replace("\r", "").replace("\n", "")
        return binascii.a2b_base64(unfolded, strict_mode=True)
    except ValueError:
        raise UnreadableEvent("its payload is not base64") from None


_head_templates: dict[tuple[str, ...], str] = {}


def _head_template(names: tuple[str, ...]) -> str | None:
    """Return header lines with a place for each stored value; None if values must be checked."""
    raw = [name.encode("utf-8") for name in names]
    travelling = [http.canonical(name) for name in raw if http.travels(name)]
    if len(travelling) != len(set(travelling)):
        return None
    template = "".join(
        http.canonical(name).decode("ascii").replace("%", "%%") + ": %s\r\n"
        if http.travels(name)
        else "%.0s"  # consumes the value and writes nothing
        for name in raw
    )
    if sum(map(len, names)) <= _NAMES_KEPT:
        if len(_head_templates) >= _SHAPES_KEPT:
            _head_templates.clear()
        _head_templates[names] = template
    return template


def _head(stored: Any) -> bytes:
    if stored is None:
        return b""
    if type(stored) is not dict:
        raise UnreadableEvent("its headers are not an object")
    values = tuple(stored.values())
    try:
        joined = "".join(values)
    except TypeError:
        raise UnreadableEvent("the value of a header is not a string") from None
    names = tuple(stored)
    template = _head_templates.get(names) or _head_template(names)
    if template is not None and joined.isascii() and joined.isprintable():
        return (template % values).encode("ascii")
    pairs = [(name.encode("utf-8"), value.encode("utf-8")) for name, value in stored.items()]
    return http.lines(http.forwarded(pairs))


# --- what follows from the answer of a subscriber -------------------------------------------------


def reply_head(response_headers: Headers, event: Event) -> bytes:
    """Return the head of a reply: what travels of the subscriber's answer, as its own event.

    ``Knative-Correlation-Id`` is that of the event which was answered, if it has one (Go v0.6.0).
    So is the trace context where the answer has none: few subscribers repeat it.
    """
    headers = http.forwarded(response_headers)
    correlation = event.get("knative-correlation-id")
    if correlation is not None:
        headers[http.CORRELATION] = correlation.encode("utf-8")
    headers |= http.inherited_trace(headers, event.headers)
    return http.lines(headers)


def dead_letter(event: Event, destination: str, code: int, data: bytes) -> tuple[bytes, bytes]:
    """Return head and body of an event for the dead letter sink, with Knative's error attributes.

    In a structured CloudEvent (JSON) they go into the body, where its readers look for attributes;
    every other byte of it stays. Otherwise, or if the body is not a JSON object, they are headers.

    Args:
        event: The event as it was to be delivered.
        destination: URL that did not accept it, or empty; userinfo is left out.
        code: Status of the last answer, 500 if there was none.
        data: Body of the last answer, or the text of the error; long ones are cut.
    """
    attributes = error_attributes(destination, code, data)
    media_type = (event.get("content-type") or "").partition(";")[0].strip().lower()
    if media_type == _STRUCTURED:
        body = add_to_structured(attributes, event.body)
        if body is not None:
            return event.head, body
    return add_to_headers(attributes, event.head), event.body
