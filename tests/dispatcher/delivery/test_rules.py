"""Tables of delivery decisions."""

import pytest

from dispatcher.delivery.rules import (
    MAX_BACKOFF,
    AnswerVerdict,
    Failure,
    Outcome,
    backoff,
    goes_to_dead_letter,
    redelivery_pause,
    verdict,
)
from natss.contract.resources import BackoffPolicy, DeliveryPolicy


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((200, 201, 202, 204, 299), AnswerVerdict.DELIVERED),
        ((404, 408, 409, 429, 500, 501, 502, 503, 504, 599), AnswerVerdict.RETRY),
        (
            (101, 300, 301, 302, 307, 308, 400, 401, 403, 405, 410, 413, 422, 499),
            AnswerVerdict.REFUSED,
        ),
    ],
)
def test_verdict_of_a_status(statuses: tuple[int, ...], expected: AnswerVerdict) -> None:
    assert {verdict(status) for status in statuses} == {expected}


@pytest.mark.parametrize(
    ("kind", "waits"),
    [
        (BackoffPolicy.EXPONENTIAL, [1.0, 2.0, 4.0, 8.0]),
        (BackoffPolicy.LINEAR, [0.5, 1.0, 1.5, 2.0]),
    ],
)
def test_backoff_follows_the_documented_formula(kind: BackoffPolicy, waits: list[float]) -> None:
    policy = DeliveryPolicy(backoff_delay=0.5, backoff_policy=kind)
    assert [backoff(policy, retry, chance=0.5) for retry in (1, 2, 3, 4)] == pytest.approx(waits)


def test_backoff_moves_by_a_tenth_either_way() -> None:
    policy = DeliveryPolicy(backoff_delay=1.0, backoff_policy=BackoffPolicy.LINEAR)
    assert backoff(policy, 1, chance=0.0) == pytest.approx(0.9)
    assert backoff(policy, 1, chance=0.999999) == pytest.approx(1.1, abs=1e-3)


def test_backoff_stays_finite() -> None:
    policy = DeliveryPolicy(backoff_delay=10.0)
    assert backoff(policy, 100_000, chance=0.5) == MAX_BACKOFF


@pytest.mark.parametrize(
    ("uri", "max_redeliveries", "failed_rounds", "expected"),
    [
        (None, 0, 1, False),
        (None, 0, 10_000, False),
        ("http://dead/", 0, 1, True),
        ("http://dead/", 2, 1, False),
        ("http://dead/", 2, 2, False),
        ("http://dead/", 2, 3, True),
    ],
)
def test_dead_letter_after_the_redeliveries_that_were_asked_for(
    uri: str | None, max_redeliveries: int, failed_rounds: int, expected: bool
) -> None:
    policy = DeliveryPolicy(dead_letter_uri=uri, max_redeliveries=max_redeliveries)
    assert goes_to_dead_letter(policy, failed_rounds) is expected


def test_only_a_failed_round_or_none_is_left_to_redelivery() -> None:
    left = [outcome for outcome in Outcome if not outcome.settled]
    assert left == [Outcome.FAILED, Outcome.POSTPONED]


def test_a_failed_event_rests_for_less_than_its_ack_wait() -> None:
    assert 0 < redelivery_pause(DeliveryPolicy(ack_wait=1)) < 1


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "status 500"),
        (b" \r\n ", "status 500"),
        (b"no disk", "status 500: no disk"),
        (b"Traceback:\r\n  File\x00\x1b[31m x\xe2\x80\xae\n", "status 500: Traceback: File [31m x"),
        ("schön".encode(), "status 500: schön"),
        (b"\xff\xfe", "status 500: \ufffd\ufffd"),
        (b"x" * 201, f"status 500: {'x' * 200}..."),
        (
            b"cannot reach postgres://app:hush@db/shop?sslkey=hush now",
            "status 500: cannot reach postgres://***@db/shop?*** now",
        ),
    ],
)
def test_a_failure_shows_what_the_destination_said(answer: bytes, text: str) -> None:
    failure = Failure("http://h/", 500, answer, True, "status 500")
    assert failure.text == text
    assert failure.summary == "status 500", "the log has none of it"


def test_a_failure_without_an_answer_says_what_went_wrong() -> None:
    failure = Failure("http://h/", 500, b"no connection", False, "connect")
    assert failure.text == failure.summary == "no connection"
