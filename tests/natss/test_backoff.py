import pytest

from natss.backoff import Backoff, jittered


@pytest.mark.parametrize(
    ("first", "longest", "waits"),
    [
        (0.25, 5.0, [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]),
        (0.5, 4.0, [0.5, 1.0, 2.0, 4.0, 4.0]),
        (3.0, 3.0, [3.0, 3.0]),
    ],
)
def test_waits_double_up_to_the_longest(first: float, longest: float, waits: list[float]) -> None:
    backoff = Backoff(first, longest)
    assert [backoff.next() for _ in waits] == waits


@pytest.mark.parametrize("failures", [1, 2, 99, 10_000])
def test_a_wait_never_exceeds_the_longest_or_overflows(failures: int) -> None:
    backoff = Backoff(0.2, 10.0)
    waits = [backoff.next() for _ in range(failures)]
    assert waits[0] == 0.2
    assert max(waits) <= 10.0


def test_a_success_starts_it_again() -> None:
    backoff = Backoff(0.5, 30.0)
    before = [backoff.next() for _ in range(3)]
    backoff.reset()
    assert before == [backoff.next() for _ in range(3)] == [0.5, 1.0, 2.0]


def test_the_upcoming_wait_can_be_seen_without_using_it_up() -> None:
    backoff = Backoff(0.5, 30.0)
    assert backoff.upcoming == backoff.upcoming == backoff.next() == 0.5
    assert backoff.upcoming == 1.0


def test_another_bound_holds_for_the_waits_after_this_one() -> None:
    backoff = Backoff(0.25, 5.0)
    waits = [backoff.next(longest=each) for each in (None, None, None, None, 1.0, 1.0, None, 30.0)]
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 1.0, 1.0, 2.0]
    assert [backoff.next(longest=30.0) for _ in range(4)] == [4.0, 8.0, 16.0, 30.0]
    assert [backoff.next() for _ in range(2)] == [30.0, 5.0]


def test_a_server_may_ask_for_more_but_not_for_less() -> None:
    backoff = Backoff(0.2, 3.0)
    backoff.raise_to(0.1)
    assert backoff.next() == 0.2
    backoff.raise_to(20.0)
    assert [backoff.next() for _ in range(2)] == [20.0, 3.0]


def test_jitter_is_a_fifth_either_way() -> None:
    waits = [jittered(10.0) for _ in range(200)]
    assert 8.0 <= min(waits) < 9.0
    assert 11.0 < max(waits) <= 12.0
