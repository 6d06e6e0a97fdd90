"""The attributes that tell a dead letter sink why it gets an event.

Pure. Names, meaning and the limit on the data are those of Knative eventing (``knativeerrordest``,
``knativeerrorcode``, ``knativeerrordata``).
"""

import binascii
import json
import re
from urllib.parse import quote

import orjson

from dispatcher.event import headers as http

_DESTINATION, _CODE, _DATA = "knativeerrordest", "knativeerrorcode", "knativeerrordata"
_NAMES = frozenset({_DESTINATION, _CODE, _DATA})
_HEADERS = frozenset(f"ce-{name}".encode() for name in _NAMES)

MAX_DATA = 1024
"""Characters of ``knativeerrordata``; more bytes of an answer are of no use."""

_USERINFO = re.compile(r"^([^:/?#]+://)[^/?#]*@")

_UNQUOTED = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""CloudEvents HTTP binding, 3.1.3.2: a header value percent-encodes everything else."""

Attributes = dict[str, str | int]


def error_attributes(destination: str, code: int, data: bytes) -> Attributes:
    """Return what went wrong, as CloudEvents attributes.

    An empty attribute is left out, since it would be invalid.

    Args:
        destination: URL that did not accept the event; user and password are left out.
        code: Status of the answer.
        data: Encoded as standard base64, of which 1024 characters are kept.
    """
    attributes: Attributes = {}
    if destination:
        attributes[_DESTINATION] = _USERINFO.sub(r"\1", destination)
    attributes[_CODE] = code
    if data:
        encoded = binascii.b2a_base64(data[:MAX_DATA], newline=False)
        attributes[_DATA] = encoded[:MAX_DATA].decode("ascii")
    return attributes


def add_to_headers(attributes: Attributes, head: bytes) -> bytes:
    """Return header lines with the attributes as ``Ce-Knativeerror*``; replace existing ones."""
    kept = [
        line
        for line in head.splitlines(keepends=True)
        if line.partition(b":")[0].lower() not in _HEADERS
    ]
    added = {
        f"Ce-{name.capitalize()}".encode(): quote(str(value), safe=_UNQUOTED).encode("ascii")
        for name, value in attributes.items()
    }
    return b"".join(kept) + http.lines(added)


def add_to_structured(attributes: Attributes, body: bytes) -> bytes | None:
    """Return a structured CloudEvent in JSON with the attributes; existing ones are replaced.

    Every other byte stays, including numbers and the order of members.

    Returns:
        None if the body is not a JSON object.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    if not _NAMES.isdisjoint(document):
        try:
            body = _without_members(body.decode("utf-8"), _NAMES).encode("utf-8")
        except RecursionError:  # nested deeper than Python's parser goes
            return None
    end = body.rindex(b"}")
    comma = b"" if document.keys() <= _NAMES else b","
    return b"".join((body[:end], comma, orjson.dumps(attributes)[1:-1], body[end:]))


_JSON = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


def _without_members(text: str, names: frozenset[str]) -> str:
    """Return a valid JSON object without these members; the text of all others is kept."""
    kept = []
    position = _after_space(text, text.index("{") + 1)
    while text[position] != "}":
        start = position
        name, position = _JSON.raw_decode(text, start)
        colon = _after_space(text, position)
        _, end = _JSON.raw_decode(text, _after_space(text, colon + 1))
        if name not in names:
            kept.append(text[start:end])
        position = _after_space(text, end)
        if text[position] == ",":
            position = _after_space(text, position + 1)
    return "{" + ",".join(kept) + "}"


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()
