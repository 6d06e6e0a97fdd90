"""A subscriber of a run answers by its nature and its trouble, and records what it received."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.faults import events
from tests.faults.history import NO_ANSWER, History, Received
from tests.faults.subscribers import Endpoint, Nature, Trouble

EVENT = events.event_id("p1", 7, "orders")


class Witness:
    """An endpoint and what it has recorded."""

    def __init__(self, history: History, nature: Nature) -> None:
        self.endpoint = Endpoint("a", nature, history, random.Random(1))
        self._history = history

    @property
    def received(self) -> list[Received]:
        return [entry for entry in self._history.entries if isinstance(entry, Received)]

    async def post(self, body: bytes = events.body(EVENT), kind: str = "faults.orders") -> int:
        """Post an event; return the status of the answer, or ``NO_ANSWER``."""
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.post(
                    self.endpoint.url("mail"),
                    data=body,
                    headers={**events.headers(EVENT), "Ce-Type": kind},
                ) as response,
            ):
                return response.status
        except aiohttp.ClientError:
            return NO_ANSWER


@pytest.fixture
async def witness(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Witness]:
    """Yield a quick witness, or one of the nature that the test is parametrized by."""
    with History(tmp_path / "history.jsonl") as history:
        witness = Witness(history, getattr(request, "param", Nature.QUICK))
        await witness.endpoint.start()
        yield witness
        await witness.endpoint.stop()


async def test_what_came_is_noted_with_the_answer(witness: Witness) -> None:
    assert await witness.post() == 200
    (received,) = witness.received
    assert (received.event, received.subscription) == (EVENT, "mail")
    assert (received.address, received.status) == ("a/mail", 200)
    assert received.intact
    assert received.at <= received.answered_at


async def test_another_body_or_header_is_seen(witness: Witness) -> None:
    await witness.post(body=events.body(EVENT)[:-1])
    await witness.post(kind="another")
    assert [received.intact for received in witness.received] == [False, False]


@pytest.mark.parametrize("witness", [Nature.FLAKY], indirect=True)
async def test_a_flaky_one_fails_now_and_then(witness: Witness) -> None:
    answers = [await witness.post() for _ in range(100)]
    assert 0 < sum(answer != 200 for answer in answers) < 50
    assert [received.status for received in witness.received] == answers


@pytest.mark.parametrize("witness", [Nature.FALTERING], indirect=True)
async def test_a_faltering_one_fails_rarely(witness: Witness) -> None:
    answers = [await witness.post() for _ in range(300)]
    assert 0 < sum(answer == 503 for answer in answers) < 30
    assert set(answers) == {200, 503}


@pytest.mark.parametrize("witness", [Nature.DOWN], indirect=True)
async def test_one_that_is_down_refuses_connections(witness: Witness) -> None:
    assert await witness.post() == NO_ANSWER
    assert witness.received == []


async def test_one_that_refuses_says_so_until_it_is_well(witness: Witness) -> None:
    witness.endpoint.be(Trouble.REFUSING)
    assert await witness.post() == 503
    witness.endpoint.be(Trouble.NONE)
    assert await witness.post() == 200


async def test_one_that_hangs_answers_when_it_is_well(witness: Witness) -> None:
    witness.endpoint.be(Trouble.HUNG)
    posting = asyncio.create_task(witness.post())
    done, _ = await asyncio.wait([posting], timeout=0.3)
    assert not done
    witness.endpoint.be(Trouble.NONE)
    assert await posting == 200


async def test_one_that_was_killed_answers_nobody_and_comes_back(witness: Witness) -> None:
    witness.endpoint.be(Trouble.HUNG)
    posting = asyncio.create_task(witness.post())
    await asyncio.wait([posting], timeout=0.3)
    await witness.endpoint.stop()
    assert await posting == NO_ANSWER
    assert await witness.post() == NO_ANSWER
    assert [received.status for received in witness.received] == [NO_ANSWER]
    await witness.endpoint.start()
    assert await witness.post() == 200
