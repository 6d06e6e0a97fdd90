"""What publishers are told in the documentation is what they are answered."""

import re

from dispatcher.ingress import responses
from dispatcher.ingress.responses import Refusal
from tests.support.repository import ROOT

TEXT = (ROOT / "docs" / "publishing.md").read_text("utf-8")


def test_every_status_has_its_row() -> None:
    constants = [value for value in vars(responses).values() if isinstance(value, Refusal)]
    made = [
        responses.malformed(""),
        responses.invalid_host(""),
        responses.unknown_host(""),
        responses.host_conflict(""),
        responses.body_too_large(1, None),
        responses.event_too_large(""),
        responses.not_stored("", retriable=True),
        responses.not_stored("", retriable=False),
    ]
    used = {refusal.status for refusal in constants + made} - {200} | {202}
    rows = re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)
    assert rows == sorted(str(status) for status in used)


def test_refusals_are_one_line_that_says_something() -> None:
    for refusal in (value for value in vars(responses).values() if isinstance(value, Refusal)):
        assert len(refusal.text) > 10
        assert "\n" not in refusal.text
        assert (b"Retry-After" in refusal.headers) == (refusal.status == 503)
        assert (b"Allow" in refusal.headers) == (refusal.status in {200, 405})
