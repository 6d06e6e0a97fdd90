"""A target is only worth what it notices: each is given a product with a defect of its kind."""

import re
from collections.abc import Callable, Iterator

import orjson
import pytest
from httptools import HttpParserError

from dispatcher.cluster import annotation
from dispatcher.desired import parsing
from dispatcher.egress import answer, tolerant
from dispatcher.event import headers, stored_form
from dispatcher.ingress import responses
from dispatcher.ingress.request_reader import RequestReader
from natss.contract import channel_status, uris
from natss.kube import client
from natss.nats_streaming.publisher import Publisher
from natss_provisioner import reviews
from tests.fuzz.table import TARGETS, corpus_of
from tests.fuzz.target import Target, quiet

Plant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


def found_by(target: Target) -> bool:
    """Return whether one of the kept inputs shows that something is wrong."""
    kept = sorted(corpus_of(target).glob("*"))
    for data in [*target.seeds, *(file.read_bytes() for file in kept)]:
        try:
            target.run(data)
        except Exception:
            return True
    return False


def a_piece_of_a_body_is_lost(patch: pytest.MonkeyPatch) -> None:
    whole = RequestReader.on_body

    def on_body(reader: RequestReader, body: bytes) -> None:
        whole(reader, body[1:] if reader.has_begun_body else body)

    patch.setattr(RequestReader, "on_body", on_body)


def a_doubtful_request_leaves_the_connection_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(responses, "malformed", responses.invalid_host)


def bytes_are_held_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestReader, "close", lambda _: None)


def half_an_answer_is_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answer, "ends_with_connection", lambda _: True)


def any_coding_is_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answer, "check_coding", lambda _: None)


def one_of_two_lengths_is_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tolerant, "_framed", lambda found: [*dict(found).items()])


def what_is_sloppy_is_trusted(patch: pytest.MonkeyPatch) -> None:
    whole = answer.AnswerReader._be_tolerant

    def be_tolerant(reader: answer.AnswerReader, data: bytes, error: HttpParserError) -> None:
        whole(reader, data, error)
        reader.is_trusted = True

    patch.setattr(answer.AnswerReader, "_be_tolerant", be_tolerant)


def a_header_may_hold_line_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(headers, "_CONTROL", re.compile(rb"(?!)"))


def characters_are_not_escaped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stored_form, "_PLAIN", bytes(range(256)))


def what_ends_is_still_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Publisher, "waiting", property(lambda publisher: publisher._count))


def nesting_has_no_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(parsing, "MAX_DEPTH", 10**6)


def any_authority_is_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(uris, "_AUTHORITY", re.compile(".*"))


def records_may_be_anything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(annotation, "_checked", lambda name: name)
    patch.setattr(annotation, "_time", lambda text: text)


def a_status_is_trusted(patch: pytest.MonkeyPatch) -> None:
    def trusting(document: object, *path: str) -> object:
        for key in path:
            document = document[key]  # type: ignore[index]  # as one would who trusts it
        return document

    patch.setattr(channel_status, "text_at", trusting)


def an_answer_goes_to_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reviews, "_told", lambda verdict: {"allowed": False, "status": {"message": ""}})


def the_api_is_trusted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(client, "_checked", lambda value: value)
    patch.setattr(client, "_decoded", orjson.loads)


@pytest.mark.parametrize(
    ("target", "plant"),
    [
        ("ingress", a_piece_of_a_body_is_lost),
        ("ingress", a_doubtful_request_leaves_the_connection_open),
        ("ingress", bytes_are_held_for_ever),
        ("egress", half_an_answer_is_taken),
        ("egress", any_coding_is_taken),
        ("egress", one_of_two_lengths_is_taken),
        ("egress", what_is_sloppy_is_trusted),
        ("stored_form", a_header_may_hold_line_ends),
        ("stored_form", characters_are_not_escaped),
        ("server_messages", what_ends_is_still_counted),
        ("files", nesting_has_no_bound),
        ("uris", any_authority_is_taken),
        ("cluster_channels", records_may_be_anything),
        ("provisioner", a_status_is_trusted),
        ("reviews", an_answer_goes_to_nobody),
        ("kube_answers", the_api_is_trusted),
    ],
)
def test_it_is_noticed(monkeypatch: pytest.MonkeyPatch, target: str, plant: Plant) -> None:
    plant(monkeypatch)
    assert found_by(TARGETS[target])
