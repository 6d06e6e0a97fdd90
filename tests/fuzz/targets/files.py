"""Files with the desired state: YAML and JSON text, and what is made of it.

Whatever the bytes: documents of plain values or ``UnreadableDocument`` with a place; JSON means the
same as YAML; and channels that can be served, with everything else reported.
"""

import math

from dispatcher.desired.parsing import MAX_DEPTH, UnreadableDocument, parse_json, parse_yaml
from natss.contract.documents import desired_state
from tests.fuzz.target import Target, expect
from tests.fuzz.targets.desired_state import judge


def run(data: bytes) -> None:
    yaml = _read(parse_yaml, data)
    json = _read(parse_json, data)
    for documents in (yaml, json):
        if documents is not None:
            judge(desired_state((f"line {line}", document) for line, document in documents))
    if yaml is None or json is None or len(yaml) != 1:
        return
    (_, one), (_, other) = yaml[0], json[0]
    expect(_same(one, other), "JSON is another document as YAML", one, other)


def _read(parse: object, data: bytes) -> list[tuple[int, object]] | None:
    reader = parse_yaml if parse is parse_yaml else parse_json
    try:
        documents = reader(data)
    except UnreadableDocument as error:
        expect(error.reason, "refused without a reason")
        expect(0 <= error.line <= data.count(b"\n") + data.count(b"\r") + 99, "no such line")
        return None
    for _, document in documents:
        depth = _depth(document)
        expect(reader is parse_json or depth <= MAX_DEPTH, "nested too deeply", depth)
    return documents


def _depth(document: object) -> int:
    """Return the levels of lists and objects; without recursion, since JSON may have a thousand."""
    deepest, todo = 0, [(document, 0)]
    while todo:
        value, depth = todo.pop()
        deepest = max(deepest, depth)
        kinds = (str, int, float, bool, type(None), list, dict)
        expect(type(value) in kinds, "no plain value", type(value))
        if isinstance(value, dict):
            todo += [(each, depth + 1) for pair in value.items() for each in pair]
        elif isinstance(value, list):
            todo += [(each, depth + 1) for each in value]
    return deepest


def _same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return one == other


_CHANNEL = b"""\
apiVersion: eventing.knative.dev/v1alpha1
kind: Channel
metadata: {name: orders, namespace: shop}
spec:
  provisioner: {name: natss}
  arguments: {timeout: PT5S, retry: 8, deadLetterURI: "http://127.0.0.1:9009/"}
---
- &a {x: [1, 0x1F, 0o7, -1.5e3, .inf, ~, yes, 2026-01-02]}
- *a
- <<: *a
  y: !!str 5
- |
  text
- >-
  folded
"""
_JSON = b"""\
{"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "Channel",
 "metadata": {"name": "orders"}, "spec": {"provisioner": {"name": "natss"},
 "subscribable": {"subscribers": [{"uid": "u", "subscriberURI": "http:\\/\\/a\\u0041"}]}},
 "x": [1, -0, 1.5e3, true, false, null, "\\ud83d\\ude00", {}, []]}
"""

TARGET = Target(
    "files",
    run,
    seeds=(
        _CHANNEL,
        _JSON,
        b"[" * 200,
        b"[" * 200 + b"]" * 200,
        b"{a: " * 120,
        b"\xef\xbb\xbf{}",
        b"%YAML 1.1\n--- x\n...\n",
    ),
    words=(
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!int ",
        b"---\n",
        b"? ",
        b"kind: ",
        b"spec:\n",
        b"\\u",
        b"- ",
    ),
)
