"""Files mean the same to the dispatcher and to kubectl, which the tests run."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.desired.parsing import UnreadableDocument, parse
from natss.contract.documents import desired_state
from natss.contract.resources import DesiredState
from tests.support.channel_ids import channel_id
from tests.support.kubernetes import KUBECTL

HEAD = "apiVersion: eventing.knative.dev/v1alpha1\nkind: Channel\nmetadata: {name: orders}\n"
JSON_HEAD = (
    '"apiVersion":"eventing.knative.dev/v1alpha1","kind":"Channel","metadata":{"name":"orders"}'
)

SCALARS = """
8 8.0 -8.0 +8 08 09.5 010 -010 00 0.0 -0 -0.0 0_1 012 0o17 0O17 0o18 0o +0o17 -0o17 0b11 0B1 -0b1
0b12 0b 0x1F 0X1f 0x_1F 0x1f_ 0x +0x1 0xg 1_000 1__0 1_ _1 0_ 1e3 1E3 1e+06 1e-3 1e 1e+ 12e03 1e5_0
1e21 1e20 1e22 1.5e300 1e400 .5 ._5 +.5 -.5e-1 1. 1.e3 . .e3 + -- +-1 --1 1.2.3 127.0.0.1 1.5_0
685_230.15 190:20:30 1:30 9223372036854775807 -9223372036854775808 12345678901234567890123
0777777777777777777777777 0xFFFFFFFFFFFFFFFFFF 2001-01-01 2001-12-14t21:59:43.10-05:00 12e 3d
y Y n N yes Yes YES yEs no on On oN off OFF true TRUE tRUE false False ~ null Null NULL nULL
PT5S 30s 500ms 1h30m = '8' "8.0" 'y' ! ''
!!str 8
!!str y
!!int '8'
!!int 010
!!float 8
!!float "1e+06"
!!bool y
!!null ~
"""
NUMBERS = """
8 8.0 -8.0 1e+06 1E3 1e-3 -0 -0.0 0.0 1.5 1e20 1e21 1e22 1.5e300 9223372036854775807
-9223372036854775808 12345678901234567890123
"""


def scalars() -> Iterator[str]:
    for line in SCALARS.strip().splitlines():
        yield from [line] if line.startswith("!!") else line.split()


def read_by_kubectl(text: bytes, folder: Path, name: str) -> list[Any] | None:
    """Return the documents that kubectl finds in a file; None if it refuses any of them."""
    path = folder / name
    path.write_bytes(text)
    result = subprocess.run(
        [KUBECTL, "label", "--local", "--overwrite", "-o", "json", "-f", path, "read=by-kubectl"],
        capture_output=True,
        timeout=30,
        check=False,
    )
    if result.returncode:
        return None
    documents: list[Any] = []
    rest = result.stdout.decode().strip()
    while rest:
        document, end = json.JSONDecoder(parse_int=_go_number).raw_decode(rest)
        documents += document["items"] if document["kind"] == "List" else [document]
        rest = rest[end:].strip()
    for document in documents:
        del document["metadata"]["labels"]
    return documents


def _go_number(text: str) -> int | float:
    """Return a number as Go prints it: without exponent up to 1e21."""
    return int(text) if abs(int(text)) < 2**63 or text == str(-(2**63)) else float(text)


def read(text: bytes, name: str = "a.yaml") -> list[object]:
    return [document for _, document in parse(text, is_json=name.endswith(".json"))]


def test_scalars_mean_the_same(tmp_path: Path) -> None:
    text = HEAD + "spec:\n" + "".join(f"  k{i}: {each}\n" for i, each in enumerate(scalars()))
    (expected,) = read_by_kubectl(text.encode(), tmp_path, "a.yaml") or [None]
    assert isinstance(expected, dict)
    (document,) = read(text.encode())
    assert isinstance(document, dict)
    for i, each in enumerate(scalars()):
        wanted, found = expected["spec"].get(f"k{i}"), document["spec"][f"k{i}"]
        assert (found, type(found)) == (wanted, type(wanted)), each


@pytest.mark.parametrize(
    "number",
    NUMBERS.split(),
)
def test_numbers_of_json_mean_the_same(tmp_path: Path, number: str) -> None:
    text = f'{{{JSON_HEAD},"spec":{{"a":{number}}}}}'.encode()
    (expected,) = read_by_kubectl(text, tmp_path, "a.json") or [None]
    assert isinstance(expected, dict)
    for name in ("a.json", "a.yaml"):
        (document,) = read(text, name)
        assert isinstance(document, dict)
        wanted, found = expected["spec"]["a"], document["spec"]["a"]
        assert (found, type(found)) == (wanted, type(wanted))


def one(number: int) -> str:
    return f'{{{JSON_HEAD},"spec":{{"a":{number}}}}}'


def yaml(number: int) -> str:
    return f"{HEAD}spec: {{a: {number}}}\n"


@pytest.mark.parametrize(
    "text",
    [
        one(1) + one(2),
        one(1) + "\n" + one(2) + "\n\n",
        "  \n\t" + one(1) + "\r\n" + one(2),
        "\ufeff" + one(1),
        "\ufeff" + one(1) + one(2),
        "\ufeff---\n" + yaml(1),
        "\ufeff" + yaml(1),
        "---\n" + one(1) + "\n---\n" + one(2) + "\n",
        "---\n" + yaml(1) + "---\n" + yaml(2),
        yaml(1) + "---   # another\n" + yaml(2),
        (yaml(1) + "---\n" + yaml(2)).replace("\n", "\r\n"),
        yaml(1) + "---\n" + one(2),
        one(1).replace(",", ",\n\t").replace(":{", ":\t{"),
        "---\n" + one(1).replace(",", ",\n\t").replace(":{", ":\t{"),
        "---\n---\n" + yaml(1),
        "# nothing but a comment\n",
        yaml(1) + "  \n",
        "apiVersion: v1\nkind: List\nitems: null\n",
        "apiVersion: v1\nkind: List\nitems: []\n",
        '{"apiVersion":"v1","kind":"List","items":[' + one(1) + "," + one(2) + "]}",
        '{"apiVersion":"v1","kind":"List","items":[' + one(1) + "]}" + one(2),
        HEAD.splitlines()[0]
        + "\nkind: ChannelList\nitems: [{metadata: {name: a}, spec: {a: 1}}]\n",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_documents_are_found_as_by_kubectl(tmp_path: Path, text: str, name: str) -> None:
    """The content of a file counts, not its name."""
    expected = read_by_kubectl(text.encode(), tmp_path, name)
    assert expected is not None
    assert specs(read(text.encode(), name)) == [each["spec"] for each in expected]


def specs(documents: list[object]) -> list[object]:
    found: list[object] = []
    for document in documents:
        if isinstance(document, dict):
            items = document.get("items", [document])
            found += [item["spec"] for item in items or ()]
    return found


@pytest.mark.parametrize(
    "text",
    [
        "{apiVersion: a/v1, kind: A, metadata: {name: a}, spec: {a: 1}}",
        one(1) + "\n---\n" + one(2),
        "{a: 1}\n---\n" + one(2),
        "%YAML 1.1\n---\n" + yaml(1),
        yaml(1) + "--- " + one(2),
    ],
    ids=ascii,
)
def test_yaml_is_read_that_kubectl_refuses(text: str) -> None:
    """There is only one way to understand it."""
    assert read(text.encode())


@pytest.mark.parametrize(
    "text",
    [one(1) + "}", one(1) + one(2)[:-1], yaml(1) + "---\n" + one(1) + one(2), one(1) + ",", "{"],
    ids=ascii,
)
@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_half_a_file_is_no_file(text: str, name: str) -> None:
    with pytest.raises(UnreadableDocument):
        read(text.encode(), name)


def state(text: str) -> DesiredState:
    return desired_state(
        (f"line {line}", each) for line, each in parse(text.encode(), is_json=True)
    )


@pytest.mark.parametrize("number", ["8", "8.0", "8e0", "0.8e+01", "08", "010"])
def test_an_argument_may_be_written_as_helm_writes_it(number: str) -> None:
    spec = f"spec: {{provisioner: {{name: natss}}, arguments: {{retry: {number}}}}}\n"
    (channel,) = (found := state(HEAD + spec)).channels.values()
    assert (channel.policy.retry, found.problems) == (8, ())


def test_large_numbers_of_helm() -> None:
    arguments = "{maxRedeliveries: 1e+06, deadLetterURI: 'http://a.b/', timeout: 8.0}"
    text = HEAD + f"spec: {{provisioner: {{name: natss}}, arguments: {arguments}}}\n"
    found = state(text)
    assert not found.problems
    policy = found.channels[channel_id("default", "orders")].policy
    assert (policy.max_redeliveries, policy.timeout) == (1_000_000, 8.0)


def test_a_number_that_is_no_whole_one_stays_refused() -> None:
    spec = "spec: {provisioner: {name: natss}, arguments: {retry: 8.5}}\n"
    (problem,) = state(HEAD + spec).problems
    assert "the number 8.5; must be a whole number" in problem.message
