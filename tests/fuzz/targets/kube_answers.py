"""Answers of the Kubernetes API, or of a proxy on the way: lists, watches, errors, Secrets.

Whatever the bytes: the result is objects that have ``metadata``, or a ``KubeError``; the same
however they are cut; and a certificate that is whole, or none.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import cast

import aiohttp
import orjson

from natss.document import Document
from natss.kube import KubeError, Listing, Resource
from natss.kube.client import KubeClient, _decoded, _events
from natss.kube.errors import refusal
from natss_provisioner.certificates import Certificate
from tests.fuzz.drawing import Draws
from tests.fuzz.target import Target, expect

_NOW = datetime(2026, 1, 2, tzinfo=UTC)
_HOSTS = ("natss-admission.knative-eventing.svc",)
_CHANNELS = Resource("eventing.knative.dev", "v1alpha1", "channels", "Channel")


class _Content:
    """The body of an answer, in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


class _Client(KubeClient):
    """Returns this page, again and again if it says so."""

    def __init__(self, page: Document) -> None:
        super().__init__(lambda: (_ for _ in ()).throw(AssertionError), field_manager="fuzz")
        self._pages = [page, {"metadata": {"resourceVersion": "1"}, "items": None}]

    async def _request(self, *_: object, **__: object) -> Document:
        return self._pages.pop(0)


def run(data: bytes) -> None:
    """Run; the first byte says what is answered."""
    draws = Draws(data)
    part = draws.choice((_watch, _list, _refuse, _secret))
    part(draws)


def _watch(draws: Draws) -> None:
    cut, size = draws.below(1024), 1 + draws.below(16)
    stream = draws.rest()
    whole = asyncio.run(_read([stream]))
    expect(asyncio.run(_read([stream[:cut], stream[cut:]])) == whole, "others when cut", whole)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    expect(asyncio.run(_read(pieces)) == whole, "others when cut small", whole)


async def _read(pieces: list[bytes]) -> list[object]:
    """Return the events, and the error at their end if there is one."""
    found: list[object] = []
    content = cast("aiohttp.StreamReader", _Content(pieces))
    try:
        async for event in _events(content):
            document = event["object"]
            expect(document["metadata"]["resourceVersion"], "an object without version", event)
            found.append(event)
    except KubeError as error:
        expect(len(str(error)) < 2000, "an endless error", str(error))
        found.append(type(error))
    return found


def _list(draws: Draws) -> None:
    page = _decoded(draws.rest())
    if not isinstance(page, dict):
        return
    try:
        listing = asyncio.run(_Client(page).list_all(_CHANNELS))
    except KubeError:
        return
    expect(isinstance(listing, Listing), "no list")
    for document in listing.documents:
        expect(isinstance(document["metadata"], dict), "no object", document)
        expect("kind" in document, "an object without kind", document)


def _refuse(draws: Draws) -> None:
    retry_after, body = draws.text(8), _decoded(draws.rest())
    for status in (400, 404, 409, 410, 429, 500, 599):
        error = refusal(status, body, retry_after)
        expect(error.status == status and str(error), "another status", error)


def _secret(draws: Draws) -> None:
    """Check a Secret with a certificate in which some bytes were replaced."""
    made = _CERTIFICATE.secret_data()
    key = draws.choice(tuple(made))
    pem = bytearray(base64.b64decode(made[key]))
    for _ in range(draws.below(6)):
        at = draws.below(len(pem))
        if draws.flag():
            pem[at : at + 1 + draws.below(64)] = draws.blob(40)
        else:
            pem[at] = draws.below(256)
    made[key] = base64.b64encode(pem).decode()
    if draws.below(8) == 7:
        made[key] = draws.text()
    found = Certificate.of_secret(made)
    if found is not None:
        found.is_good(_HOSTS, _NOW)
        Certificate.make(_HOSTS, _NOW, found)


_CERTIFICATE = Certificate.make(_HOSTS, _NOW)
_EVENT = orjson.dumps({"type": "ADDED", "object": {"metadata": {"resourceVersion": "5"}}}) + b"\n"
_ERROR = orjson.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410}}) + b"\n"
_PAGE = orjson.dumps({"metadata": {"continue": "x"}, "items": [{"metadata": {"name": "a"}}]})

TARGET = Target(
    "kube_answers",
    run,
    seeds=(
        b"\0\0\5\3" + _EVENT + _EVENT + _ERROR,
        b"\0\0\5\3<html>\n",
        b"\0\0\5\3" + b'{"type":"ADDED","object":{}}\n' + _EVENT,
        b"\1" + _PAGE,
        b'\1{"metadata":{},"items":[5]}',
        b"\2\1\0015" + orjson.dumps({"kind": "Status", "reason": "Expired", "message": "old"}),
        b"\3\0\2\0\x50\1\5hello",
        b"\3\1\1\1\x01\0\x41",
    ),
    words=(_EVENT, _ERROR, b'"metadata":{', b'"resourceVersion":"1"', b'"object":{', b"\n"),
)
