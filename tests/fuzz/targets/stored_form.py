"""Events on their way into the store and out of it.

What is published comes out unchanged; what is stored, by whatever program, is an event or is
reported as none; and whatever it holds, the head of the request made of it is lines of a name and a
value.
"""

import base64
import json
import re

import orjson

from dispatcher.event import headers as http
from dispatcher.event.stored_form import (
    Event,
    UnreadableEvent,
    dead_letter,
    decode,
    encode,
    reply_head,
)
from tests.fuzz.drawing import Draws
from tests.fuzz.target import Target, expect

_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [^\x00-\x08\x0a-\x1f\x7f]*")
_NAMES = (
    b"Ce-Id",
    b"ce-knativehistory",
    b"CE-%s",
    b"Content-Type",
    b"Host",
    b"knative-x",
    b"X-B3-%",
)
_STRUCTURED = b"application/cloudevents+json; charset=UTF-8"
_ERRORS = ("knativeerrordest", "knativeerrorcode", "knativeerrordata")


def run(data: bytes) -> None:
    """Run; the first byte says whether what follows is published or stored."""
    draws = Draws(data)
    if draws.flag():
        headers = [
            (draws.choice(_NAMES) if draws.flag() else draws.blob(12), draws.blob(20))
            for _ in range(draws.below(6))
        ]
        headers = [(name, value) for name, value in headers if http.travels(name) or draws.flag()]
        _publish(headers, draws.rest())
    else:
        _deliver(draws.rest())


def _publish(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    stored = encode(headers, body, "orders.shop")
    document = json.loads(stored)
    expect(base64.b64decode(document.get("payload", "")) == body, "another body", stored)
    kept = {name.decode("latin-1").lower() for name, _ in headers if http.travels(name)}
    kept.add("ce-knativehistory")
    expect({name.lower() for name in document["headers"]} == kept, "other headers", stored, kept)
    event = decode(stored)
    expect(event.body == body, "read back with another body", stored, event.body)
    _judge_head(event.head)
    history = event.get("ce-knativehistory")
    expect(history is None or history.endswith("orders.shop"), "another history", stored)
    again = encode([*_pairs(event.head)], body, "orders.shop")
    expect(decode(again).body == body, "not as it was after another channel", again)
    _follow_up(event)


def _deliver(stored: bytes) -> None:
    try:
        event = decode(stored)
    except UnreadableEvent as error:
        expect(str(error).isprintable() and len(str(error)) < 200, "cannot be shown", str(error))
        return
    _judge_head(event.head)
    _follow_up(event)


def _follow_up(event: Event) -> None:
    """Make what follows from an event: the reply to it, and its dead letter."""
    _judge_head(reply_head(_pairs(event.head), event))
    head, body = dead_letter(event, "http://u:secret@mail/", 503, event.body)
    _judge_head(head)
    expect(b"secret@" not in head, "a password is sent on", head)
    if body != event.body:
        before, after = orjson.loads(event.body), orjson.loads(body)
        expect(after["knativeerrorcode"] == 503, "no error in a structured event", body)
        kept = {key: value for key, value in before.items() if key not in _ERRORS}
        left = {key: value for key, value in after.items() if key not in _ERRORS}
        expect(kept == left, "another event", event.body, body)


def _pairs(head: bytes) -> list[tuple[bytes, bytes]]:
    lines = [line.partition(b": ") for line in head.split(b"\r\n") if line]
    return [(name, value) for name, _, value in lines]


def _judge_head(head: bytes) -> None:
    *lines, end = head.split(b"\r\n")
    expect(end == b"", "the last line has no end", head)
    names = [line.partition(b":")[0].lower() for line in lines]
    expect(all(_LINE.fullmatch(line) for line in lines), "no header line", head)
    expect(len(set(names)) == len(names), "a header twice", head)
    expect(all(map(http.travels, names)), "a header that does not travel", head)


def _stored(headers: object, payload: object) -> bytes:
    return b"\0" + json.dumps({"headers": headers, "payload": payload}).encode()


_EVENT = b'{"specversion":"1.0","knativeerrorcode":1,"data":{"a":[1,{"b":null}]}, "x" : "}" }'

TARGET = Target(
    "stored_form",
    run,
    seeds=(
        b"\1\2\1\0\5hello\1\1\4over" + _EVENT,
        b'\1\1\1\0\4a"\t<' + _EVENT,
        b"\0" + _EVENT,
        _stored({"Ce-Id": "1", "ce-knativehistory": "a; b"}, "aGVsbG8="),
        _stored({"Content-Type": _STRUCTURED.decode()}, base64.b64encode(_EVENT).decode()),
        _stored({"Ce-Id": "a\r\nX: y", "CE-ID": "\u2028", "Host": "x"}, "aGVs\nbG8="),
        _stored(None, None),
        _stored([], 5),
        b"\0plain",
        b"\0[1,2]",
    ),
    words=(b'"headers":{', b'"payload":"', b"\\u0000", b"\\ud800", b"Ce-Id", b"knativeerrordata"),
)
