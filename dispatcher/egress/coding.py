"""Content codings of answers, decoded within a bound, since an event has none. Pure.

Requests ask for ``identity``; servers and proxies that compress regardless are common.
"""

import zlib
from collections.abc import Callable

from dispatcher.egress.framing import Headers

_NAME = b"content-encoding"
_MOST_CODINGS = 4
_MOST_MEMBERS = 64
"""A gzip file may have any number of members, each of which costs time."""

_GZIP, _ZLIB, _RAW = 31, 15, -15
"""Formats, in the ``wbits`` of ``zlib``."""


class Undecodable(ValueError):
    """It is not in the coding that its headers name."""


class TooLong(ValueError):
    """It exceeds the bound once decoded."""


def is_coded(headers: Headers) -> bool:
    """Return whether a coding is named, even ``identity``."""
    return any(len(name) == len(_NAME) and name.lower() == _NAME for name, _ in headers)


def decode(headers: Headers, body: bytes, most: int) -> tuple[Headers, bytes]:
    """Return headers and body without the codings gzip and deflate.

    Raises:
        Undecodable, TooLong: it cannot be decoded, or there is another coding. None is passed on: a
            channel refuses events that have one.
    """
    named = [value for name, value in headers if name.lower() == _NAME]
    codings = [each.strip(b" \t").lower() for value in named for each in value.split(b",")]
    codings = [each for each in codings if each not in (b"", b"identity")]
    if len(codings) > _MOST_CODINGS:
        raise Undecodable("it has too many codings")
    if not _DECODERS.keys() >= set(codings):
        raise Undecodable("it has a coding other than gzip and deflate, though none was requested")
    for coding in reversed(codings):
        try:
            body = _DECODERS[coding](body, most)
        except zlib.error:
            raise Undecodable(f"it is not in the coding {coding.decode()}") from None
    return [header for header in headers if header[0].lower() != _NAME], body


def beginning(headers: Headers, body: bytes, most: int) -> bytes:
    """Return the decoded beginning of a body that may be cut; nothing if it cannot be decoded."""
    values = [value.strip(b" \t").lower() for name, value in headers if name.lower() == _NAME]
    if all(value in (b"", b"identity") for value in values):
        return body[:most]
    if len(values) > 1 or values[0] not in (b"gzip", b"x-gzip"):
        return b""
    try:
        return zlib.decompressobj(_GZIP).decompress(body, most)
    except zlib.error:
        return b""


def _gunzip(data: bytes, most: int) -> bytes:
    parts: list[bytes] = []
    for _ in range(_MOST_MEMBERS):
        part, data = _inflate(data, _GZIP, most)
        parts.append(part)
        most -= len(part)
        if not data.strip(b"\0"):  # some servers pad the last block
            return b"".join(parts)
    raise zlib.error("too many members")


def _undeflate(data: bytes, most: int) -> bytes:
    """Decode deflate (RFC 9110, 8.4.1.2: the zlib format); some servers send the bare stream."""
    try:
        return _inflate(data, _ZLIB, most)[0]
    except zlib.error:
        return _inflate(data, _RAW, most)[0]


def _inflate(data: bytes, wbits: int, most: int) -> tuple[bytes, bytes]:
    """Return one decoded stream and what follows it."""
    inflater = zlib.decompressobj(wbits)
    inflated = inflater.decompress(data, most + 1)
    if len(inflated) > most:
        raise TooLong
    if not inflater.eof:
        raise zlib.error("it is cut off")
    return inflated, inflater.unused_data


_DECODERS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"gzip": _gunzip,
    b"x-gzip": _gunzip,
    b"deflate": _undeflate,
}
