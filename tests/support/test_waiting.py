import asyncio
from collections.abc import Iterator

import pytest

from tests.support.waiting import Changes, eventually, poll


async def test_a_change_is_seen_by_everybody_who_waits_for_it() -> None:
    changes, seen = Changes(), 0

    async def wait_for(number: int) -> int:
        await changes.until(lambda: seen >= number)
        return number

    waiting = [asyncio.create_task(wait_for(number)) for number in (0, 1, 2, 2)]
    for _ in range(2):
        await asyncio.sleep(0)
        seen += 1
        changes.note()
    assert await asyncio.gather(*waiting) == [0, 1, 2, 2]


async def test_what_does_not_come_ends_the_wait() -> None:
    with pytest.raises(TimeoutError):
        await Changes().until(lambda: False, 0.01)
    with pytest.raises(TimeoutError):
        await eventually(lambda: False, 0.02, every=0.001)


async def test_functions_and_coroutines_are_asked_until_they_answer() -> None:
    plain, awaited = iter([None, 0, "so"]), iter([[], [1]])

    async def look() -> list[int]:
        return next(awaited)

    assert await eventually(lambda: next(plain), every=0.001) == "so"
    assert await eventually(look, every=0.001) == [1]
    assert await eventually(lambda: asyncio.sleep(0, "told"), every=0.001) == "told"


def test_an_error_counts_as_not_yet_or_is_raised() -> None:
    answers: Iterator[str | Exception] = iter([KeyError("a"), "so"])

    def look() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def is_missing(error: Exception) -> bool:
        return isinstance(error, KeyError)

    assert poll(look, 5.0, is_not_yet=is_missing, every=0.001) == "so"
    answers = iter([ValueError("b"), "so"])
    with pytest.raises(ValueError, match="b"):
        poll(look, 5.0, is_not_yet=is_missing, every=0.001)


def test_what_was_seen_last_is_told() -> None:
    def look() -> str:
        raise KeyError("phase")

    with pytest.raises(AssertionError, match=r"last seen: None KeyError\('phase'\)"):
        poll(look, 0.0, is_not_yet=lambda _: True, every=0.001)
