"""A signal wakes like an event of asyncio."""

import asyncio
import sys

import pytest

from dispatcher.runtime.signals import Signal

Event = Signal | asyncio.Event


@pytest.fixture(params=[Signal, asyncio.Event])
def event(request: pytest.FixtureRequest) -> Event:
    made: Event = request.param()
    return made


async def test_all_who_wait_go_on(event: Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    event.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 8)


async def test_nobody_waits_for_what_is_set(event: Event) -> None:
    event.set()
    await event.wait()
    event.set()
    await event.wait()


async def test_who_comes_after_it_is_cleared_waits_for_the_next_time(event: Event) -> None:
    first = asyncio.create_task(event.wait())
    await asyncio.sleep(0)
    event.set()
    event.clear()
    second = asyncio.create_task(event.wait())
    await asyncio.wait_for(first, 8)
    assert not second.done()
    event.set()
    await asyncio.wait_for(second, 8)


async def test_who_waits_no_more_is_no_harm_to_others(event: Event) -> None:
    first, second = (asyncio.create_task(event.wait()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    event.set()
    await asyncio.wait_for(second, 8)


def test_it_is_small() -> None:
    assert sys.getsizeof(Signal()) < 64
