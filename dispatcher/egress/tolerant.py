"""Answers whose head is sloppy but unambiguous, rewritten in the form of the RFC. Pure.

The parser is strict, and reads every answer first. What it refuses is read here as Go's
``net/http`` reads it: lines that end with LF alone, a length that is given twice, ``chunked`` with
a length besides, a blank before the colon, a header over several lines. Everything else stays
refused. After such an answer its connection is not used again: where the next one begins cannot be
trusted.
"""

import re

from dispatcher.egress.framing import UnusableHead

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n\0]*)?\r?\n")
_BEGIN = b"HTTP/1."
_END = re.compile(rb"\n\r?\n")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_WHITE = b" \t"
_LENGTH, _CODING = b"content-length", b"transfer-encoding"

Header = tuple[bytes, bytes]


def status_of(data: bytes) -> int | None:
    """Return the status in the first line, whatever follows; None if there is no such line.

    Interim answers (1xx) are passed over.
    """
    line = _STATUS_LINE.match(data, _after_interim(data))
    return None if line is None or line[1].startswith(b"1") else int(line[1])


def in_strict_form(data: bytes) -> tuple[bytes, bytes] | None:
    """Return the head in strict form, and what follows it; None if it is incomplete.

    Interim answers are left out.

    Raises:
        UnusableHead: it has none of the forms above.
    """
    start = _after_interim(data)
    for interim in _END.split(data[:start].lstrip(b"\r\n"))[:-1]:
        _, begins, block = interim.partition(b"\n")
        _headers(block + begins)
    line = _STATUS_LINE.match(data, start)
    if line is None:
        if _BEGIN.startswith(data[start : start + len(_BEGIN)]) and b"\n" not in data[start:]:
            return None
        raise UnusableHead("its first line is not a status line")
    if line[1] == b"101":
        raise UnusableHead("status 101 without being asked for")
    end = _END.search(data, line.end() - 1)
    if end is None:
        return None
    headers = _headers(data[line.end() : end.start() + 1])
    lines = [line[0].rstrip(b"\r\n"), *(b"%b: %b" % each for each in _framed(headers))]
    return b"\r\n".join((*lines, b"", b"")), data[end.end() :]


def _after_interim(data: bytes) -> int:
    """Return the index after interim answers: of the final answer, or of an incomplete one."""
    at = len(data) - len(data.lstrip(b"\r\n"))
    while (line := _STATUS_LINE.match(data, at)) is not None and line[1].startswith(b"1"):
        end = _END.search(data, line.end() - 1)
        if end is None or line[1] == b"101":
            break
        at = end.end()
    return at


def _headers(block: bytes) -> list[Header]:
    headers: list[Header] = []
    for line in re.split(rb"\r?\n", block)[:-1]:
        if line[:1] in (b" ", b"\t"):
            if not headers:
                raise UnusableHead("its first header begins with a blank")
            name, value = headers.pop()
            value = b"%b %b" % (value, line.strip(_WHITE))
        else:
            name, colon, value = line.partition(b":")
            name = name.rstrip(_WHITE)
            if not colon or _NAME.fullmatch(name) is None:
                raise UnusableHead("a line of its head is not a header")
        headers.append((name, value.strip(_WHITE)))
    if any(_CONTROL.search(value) for _, value in headers):
        raise UnusableHead("a header has a control character")
    return headers


def _framed(headers: list[Header]) -> list[Header]:
    """Return the headers with one that says where the body ends; ``chunked`` beats a length."""
    lengths = [value for name, value in headers if name.lower() == _LENGTH]
    codings = [value for name, value in headers if name.lower() == _CODING]
    if any(length != lengths[0] for length in lengths):
        raise UnusableHead("it has two different lengths")
    if len(codings) > 1:
        raise UnusableHead("it has two transfer codings")
    kept = [header for header in headers if header[0].lower() != _LENGTH]
    if lengths and not (codings and codings[0].lower() == b"chunked"):
        kept.append((b"Content-Length", lengths[0]))
    return kept
