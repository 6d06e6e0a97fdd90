"""The rules of the overloads notice wrong answers, losses, memory and slowness."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.endurance.overload import row
from tests.endurance.overload_publishers import Publishers
from tests.endurance.overload_run import Outcome

WELL = Outcome(
    scenario="all is well",
    posted=12,
    accepted=10,
    refused=2,
    lost=0,
    copies=0,
    before=60.0,
    highest=90.0,
    after=70.0,
    allowed=100.0,
    slowest_answer=0.5,
    slowest_health=0.02,
    recovery=1.5,
)


def test_an_overload_that_passes_breaks_no_rule() -> None:
    assert WELL.broken_rules() == []
    assert row(WELL).startswith("| all is well | 12 | 10 | 2 | 0 | 0 | 60, 90, 70 |")


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (replace(WELL, lost=1), "1 deliveries are lost"),
        (replace(WELL, wrong=Counter({"status 500": 2})), "wrong answers: {'status 500': 2}"),
        (replace(WELL, highest=101.0), "101 MiB are more than 100"),
        (replace(WELL, slowest_health=1.01), "/healthz took 1.01 s"),
        (replace(WELL, recovery=None), "it does not come to full speed again"),
    ],
)
def test_each_rule_is_told_when_it_is_broken(outcome: Outcome, said: str) -> None:
    assert outcome.broken_rules() == [said]


ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
LATER = b"HTTP/1.1 503 Unavailable\r\nRetry-After: 0\r\nContent-Length: 3\r\n\r\nno\n"
GO = b"HTTP/1.1 503 Unavailable\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
BARE = b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"


@contextlib.asynccontextmanager
async def answering(*answers: bytes | None) -> AsyncIterator[int]:
    """Serve these answers in turn; None ends the connection, b"" sends nothing."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"body"):
                answer = left.pop(0)
                if answer is None:
                    break
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("first", "refused", "wrong"),
    [
        (LATER, {503: 1}, {}),
        (GO, {503: 1}, {}),
        (BARE, {}, {"status 503": 1}),
        (BROKEN, {}, {"status 500": 1}),
        (None, {}, {"closed without an answer": 1}),
        (b"", {}, {"no answer": 1}),
    ],
    ids=["later", "later and closed", "no Retry-After", "500", "closed", "silent"],
)
async def test_publishers_count_every_answer_and_go_on_until_all_is_accepted(
    first: bytes | None, refused: dict[int, int], wrong: dict[str, int]
) -> None:
    async with answering(first, ACCEPTED, ACCEPTED) as port:
        publishers = Publishers(port, ["a.test"], b"body", patience=0.5)
        await publishers.post(connections=1, each=2)
    answers = publishers.answers
    assert (answers.posted, answers.accepted) == (3, 2)
    assert answers.refused == refused
    assert answers.wrong == wrong


async def test_a_connection_that_is_refused_before_it_asks_has_its_answer() -> None:
    refusals = [GO]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not refusals:
            await reader.readuntil(b"body")
        writer.write(refusals.pop() if refusals else ACCEPTED)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        publishers = Publishers(server.sockets[0].getsockname()[1], ["a.test"], b"body")
        await publishers.post(connections=1, each=1)
    assert publishers.answers.refused == {503: 1}
    assert publishers.answers.accepted == 1
    assert publishers.answers.wrong == {}
