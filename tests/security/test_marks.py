"""The search for secrets finds them: a search that finds nothing proves nothing else."""

import base64

import pytest

from tests.security.marks import Marks


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "user12:"])
@pytest.mark.parametrize("after", ["", "x", "@host/"])
def test_a_secret_is_found_plain_and_in_base64(before: str, after: str) -> None:
    marks = Marks()
    text = f"{before}{marks.new('password')}{after}"
    for shown in (text, base64.b64encode(text.encode()).decode()):
        assert marks.found({"log": f"... {shown} ..."}) == ["password in log"]


def test_both_secrets_of_a_uri_are_found() -> None:
    marks = Marks()
    uri = marks.uri("sink", "https://host:1/in")
    assert uri.startswith("https://user:s3cret")
    assert marks.found({"a": uri, "b": "s3cret"}) == [
        "password of the sink in a",
        "query of the sink in a",
    ]
