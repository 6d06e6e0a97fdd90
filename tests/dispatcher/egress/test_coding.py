"""Answers whose content is coded: what becomes a reply is the content itself, or nothing does."""

import gzip
import zlib
from collections.abc import AsyncIterator
from functools import partial

import pytest

from dispatcher.egress.client import Egress, EgressError, FailureReason, Target
from dispatcher.egress.limits import EgressLimits
from dispatcher.event.stored_form import Event, reply_head
from tests.support.scripted_server import READ, REPEAT, ScriptedServer, answer

gzipped = partial(gzip.compress, mtime=0)

LIMIT = 100_000
BODY = b'{"order": 1}' * 50
BARE = zlib.compressobj(wbits=-15)
RAW = BARE.compress(BODY) + BARE.flush()


def shown(value: object) -> str | None:
    return f"{len(value)} bytes" if isinstance(value, bytes) else None


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    egress = Egress(EgressLimits(max_response_bytes=LIMIT))
    yield egress
    await egress.close()


async def response_of(
    egress: Egress, body: bytes, *codings: bytes, status: int = 200
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    headers = [b"Content-Encoding: " + coding for coding in codings]
    async with ScriptedServer(
        (READ, answer(status, body, b"Ce-Id: r1", *headers), REPEAT)
    ) as server:
        response = await egress.post(Target.parse(server.url), b"", b"{}", 5.0)
    assert response.status == status
    return response.headers, response.body


@pytest.mark.parametrize(
    ("codings", "data"),
    [
        ([], BODY),
        ([b"identity"], BODY),
        ([b""], BODY),
        ([b"gzip"], gzipped(BODY)),
        ([b"x-gzip"], gzipped(BODY)),
        ([b"GZIP "], gzipped(BODY[:9]) + gzipped(BODY[9:]) + b"\0\0"),
        ([b"deflate"], zlib.compress(BODY)),
        ([b"deflate"], RAW),
        ([b"deflate, gzip"], gzipped(zlib.compress(BODY))),
        ([b"deflate", b"identity", b"gzip"], gzipped(zlib.compress(BODY))),
        ([b"gzip"], gzipped(b"x" * LIMIT)),
    ],
    ids=shown,
)
async def test_a_coding_is_taken_off(egress: Egress, codings: list[bytes], data: bytes) -> None:
    headers, body = await response_of(egress, data, *codings)
    assert body in (BODY, b"x" * LIMIT)
    head = reply_head(headers, Event(b"", b""))
    assert b"Ce-Id: r1\r\n" in head
    assert b"encoding" not in head.lower()


@pytest.mark.parametrize(
    ("codings", "data", "reason"),
    [
        ([b"gzip"], gzipped(b"x" * (LIMIT + 1)), FailureReason.TOO_LARGE),
        ([b"gzip"], gzipped(b"x" * 50_000) * 3, FailureReason.TOO_LARGE),
        ([b"deflate"], zlib.compress(bytes(10_000_000)), FailureReason.TOO_LARGE),
        ([b"gzip, gzip"], gzipped(gzipped(bytes(10**8))), FailureReason.TOO_LARGE),
        ([b"gzip"], BODY, FailureReason.MALFORMED),
        ([b"gzip"], gzipped(BODY)[:-9], FailureReason.MALFORMED),
        ([b"gzip"], gzipped(BODY) + b"rest", FailureReason.MALFORMED),
        ([b"gzip"], gzipped(b"") * 1000, FailureReason.MALFORMED),
        ([b"deflate"], BODY, FailureReason.MALFORMED),
        ([b"gzip"] * 5, gzipped(BODY), FailureReason.MALFORMED),
        ([b"br"], b"\x0b\x02\x80hello\x03", FailureReason.MALFORMED),
        ([b"br, gzip"], gzipped(b"brotli"), FailureReason.MALFORMED),
        ([b"gzip", b"zstd"], b"zstd of gzip", FailureReason.MALFORMED),
    ],
    ids=shown,
)
async def test_what_cannot_be_decoded_becomes_no_reply(
    egress: Egress, codings: list[bytes], data: bytes, reason: FailureReason
) -> None:
    with pytest.raises(EgressError) as caught:
        await response_of(egress, data, *codings)
    assert caught.value.reason is reason
    assert caught.value.status == 200, "the subscriber has the event"


@pytest.mark.parametrize(
    ("codings", "data", "words"),
    [
        ([b"gzip"], gzipped(b"no disk"), b"no disk"),
        ([b"gzip"], BODY, b""),
        ([b"br"], BODY, b""),
        ([b"identity"], b"no disk", b"no disk"),
    ],
    ids=shown,
)
async def test_a_failure_is_told_in_words(
    egress: Egress, codings: list[bytes], data: bytes, words: bytes
) -> None:
    _, body = await response_of(egress, data, *codings, status=500)
    assert body == words


async def test_a_coding_does_not_matter_where_no_reply_is_wanted(egress: Egress) -> None:
    async with ScriptedServer(
        (READ, answer(200, b"not gzip", b"Content-Encoding: gzip"), REPEAT)
    ) as server:
        target = Target.parse(server.url)
        assert (await egress.post(target, b"", b"{}", 5.0, wants_body=False)).status == 200
