"""How many bytes one publisher may send and have kept: headers, bodies and all that is between."""

import json

import pytest

from dispatcher.ingress.limits import IngressLimits
from tests.support.publishers import HOST, MAX_EVENT_BYTES, Publisher, post, post_chunked

LIMITS = IngressLimits(
    header_timeout=10,
    body_timeout=30,
    keepalive_timeout=75,
    answer_timeout=10,
    max_header_bytes=4096,
)


LARGEST = (MAX_EVENT_BYTES - len('{"headers":{},"payload":""}')) // 4 * 3


async def test_the_largest_body_is_read_and_one_byte_more_is_413() -> None:
    publisher = Publisher(instant=True)
    assert [answer.status for answer in publisher.send(post(b"x" * LARGEST))] == [202]
    (answer,) = publisher.send(post(b"x" * (LARGEST + 1)))
    assert answer.status == 413
    assert answer.body == (
        f"the body is too large: send at most {LARGEST} bytes; in base64 it has to fit into"
        f" max_payload of the NATS server ({MAX_EVENT_BYTES} bytes), which can be raised there\n"
    )
    assert answer.headers["connection"] == "close"
    assert publisher.transport.sent_eof
    assert publisher.orders.results["too_large"] == 1
    assert len(publisher.stored) == 1


async def test_a_body_far_too_large_is_refused_before_it_comes() -> None:
    publisher = Publisher()
    head = post(b"").replace(b"Content-Length: 0", b"Content-Length: 10000000000")
    assert [answer.status for answer in publisher.send(head)] == [413]
    assert publisher.transport.sent_eof


async def test_a_chunked_body_is_413_at_the_first_byte_too_many() -> None:
    publisher = Publisher(instant=True)
    assert [a.status for a in publisher.send(post_chunked(b"x" * LARGEST))] == [202]
    endless = post_chunked(b"x" * LARGEST, b"y")
    cut = endless.index(b"y")
    assert publisher.send(endless[:cut]) == []
    assert [answer.status for answer in publisher.send(endless[cut : cut + 1])] == [413]
    assert publisher.context.budget.used == 0


async def test_the_limit_of_a_body_follows_the_server() -> None:
    publisher = Publisher(instant=True)
    publisher.sink.max_event_bytes = 100
    publisher.context.tick()
    assert [answer.status for answer in publisher.send(post(b"x" * 54))] == [202]
    publisher.sink.max_event_bytes = None
    publisher.context.tick()
    assert [answer.status for answer in publisher.send(post(b"x" * 100_000))] == [202]
    publisher.sink.max_event_bytes = 100
    publisher.context.tick()
    assert [answer.status for answer in publisher.send(post(b"x" * 55))] == [413]


async def test_a_limit_of_our_own_holds_while_the_server_is_away() -> None:
    publisher = Publisher(IngressLimits(max_body_bytes=1000), instant=True)
    publisher.sink.max_event_bytes = None
    publisher.context.tick()
    assert [answer.status for answer in publisher.send(post(b"x" * 1000))] == [202]
    (answer,) = publisher.send(post(b"x" * 1001))
    assert answer.status == 413
    assert answer.body == (
        "the body is too large: send at most 1000 bytes,"
        " or raise --max-body-bytes of the dispatcher\n"
    )


@pytest.mark.parametrize(
    ("ours", "of_nats", "named"),
    [
        (1000, 4096, "--max-body-bytes"),
        (1000, None, "--max-body-bytes"),
        (4000, 4096, "max_payload"),
        (8 * 2**20, 2**20, "max_payload"),
    ],
)
async def test_too_large_names_the_limit_that_can_be_raised(
    ours: int, of_nats: int | None, named: str
) -> None:
    publisher = Publisher(IngressLimits(max_body_bytes=ours), instant=True)
    publisher.sink.max_event_bytes = of_nats
    publisher.context.tick()
    (answer,) = publisher.send(post(b"")[:-5] + b"20000000\r\n\r\n")
    assert answer.status == 413
    assert [each for each in ("--max-body-bytes", "max_payload") if each in answer.body] == [named]


async def test_the_body_of_a_refused_request_is_bounded_too() -> None:
    publisher = Publisher(instant=True)
    head = post(b"x" * 100_000, host="nowhere.test")[:-100_000]
    (answer,) = publisher.send(head)
    assert (answer.status, answer.headers["connection"]) == (404, "close")
    publisher = Publisher(instant=True)
    data = post_chunked(b"x" * 100_000).replace(HOST.encode(), b"nowhere.test")
    (answer,) = publisher.send(data)
    assert (answer.status, answer.headers["connection"]) == (404, "close")


async def test_a_refused_body_is_not_kept() -> None:
    publisher = Publisher()
    publisher.send(post(b"x" * 2000, host="nowhere.test")[:-1])
    assert publisher.protocol._reader._body == b""


@pytest.mark.parametrize("step", [100, 100_000])
@pytest.mark.parametrize(
    "extra",
    [
        "X-Large: " + "x" * 5000,
        "\r\n".join(f"X-{number}: x" for number in range(600)),
        "Ce-Id: " + "x" * 4000 + "\r\nCe-Type: " + "y" * 100,
    ],
    ids=["one", "many", "together"],
)
async def test_headers_too_large_are_431(extra: str, step: int) -> None:
    publisher = Publisher(LIMITS)
    data = post(b"x", extra)
    answers = []
    for start in range(0, len(data), step):
        if not publisher.transport.sent_eof:
            answers += publisher.send(data[start : start + step])
    (answer,) = answers
    assert answer.status == 431
    assert answer.headers["connection"] == "close"
    assert publisher.transport.sent_eof
    assert publisher.metrics.refused[431] == 1


async def test_a_header_line_without_end_is_431_before_it_fills_the_memory() -> None:
    publisher = Publisher(LIMITS)
    publisher.send(post()[:-4] + b"\r\nX-Endless: ")
    answers = []
    for _ in range(6):
        if not publisher.transport.sent_eof:
            answers += publisher.send(b"x" * 1000)
    assert [answer.status for answer in answers] == [431]


async def test_many_headers_are_431_whatever_their_size() -> None:
    publisher = Publisher(instant=True)
    names = [f"X-{number}: 1" for number in range(254)]
    assert [answer.status for answer in publisher.send(post(b"", *names))] == [202]
    assert [answer.status for answer in publisher.send(post(b"", *names, "X: 1"))] == [431]


async def test_many_headers_are_431_before_the_last_has_come() -> None:
    publisher = Publisher(LIMITS)
    publisher.send(post()[:-4])
    answers = []
    for _ in range(40):
        if not publisher.transport.sent_eof:
            answers += publisher.send(b"\r\na:" * 10)
    assert [answer.status for answer in answers] == [431]


async def test_large_headers_within_the_limit_are_taken() -> None:
    publisher = Publisher(LIMITS, instant=True)
    data = post(b"x", "Ce-Large: " + "x" * 3900)
    for step in (100, 10_000):
        answers = []
        for start in range(0, len(data), step):
            answers += publisher.send(data[start : start + step])
        assert [answer.status for answer in answers] == [202]
    assert len(json.loads(publisher.stored[0])["headers"]["Ce-Large"]) == 3900


async def test_the_headers_of_a_pipeline_are_not_added_up() -> None:
    publisher = Publisher(LIMITS, instant=True)
    data = post(b"x", "Ce-Large: " + "x" * 3000) * 20
    answers = []
    for start in range(0, len(data), 2500):
        answers += publisher.send(data[start : start + 2500])
    assert [answer.status for answer in answers] == [202] * 20


@pytest.mark.parametrize(
    "flood", [b"1;" + b"a" * 500, b"0\r\nX: " + b"a" * 500], ids=["extension", "trailer"]
)
async def test_what_is_between_chunks_is_bounded(flood: bytes) -> None:
    publisher = Publisher(LIMITS)
    publisher.send(post_chunked(b"x")[:-5])
    answers = publisher.send(flood)
    for _ in range(20):
        if not publisher.transport.sent_eof:
            answers += publisher.send(b"a" * 500)
    assert [answer.status for answer in answers] == [400]
    assert publisher.context.budget.used == 0


async def test_bodies_of_all_connections_have_one_budget() -> None:
    publisher = Publisher(IngressLimits(max_buffered_bytes=4000), instant=True)
    cut = post(b"x" * 1000)[:-1]
    publisher.send(cut)
    _, second = publisher.connect()
    second.receive(cut)
    _, third = publisher.connect()
    third.receive(cut)
    assert third.output.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in third.output
    assert b"Connection: close\r\n" in third.output
    assert third.sent_eof
    # Nobody else is harmed, and what is done with is given back.
    assert [answer.status for answer in publisher.send(b"x")] == [202]
    assert 999 < publisher.context.budget.used < 1500, "a body and its headers"
    second.lose()
    assert publisher.context.budget.used == 0


async def test_headers_count_as_memory_while_their_body_is_awaited() -> None:
    publisher = Publisher(IngressLimits(max_buffered_bytes=200_000), instant=True)
    cut = post(b"xx", "Ce-Large: " + "x" * 60_000)[:-1]
    publisher.send(cut)
    assert publisher.context.budget.used > 60_000
    _, second = publisher.connect()
    second.receive(cut)
    _, third = publisher.connect()
    third.receive(cut)
    assert third.output.startswith(b"HTTP/1.1 503 ")
    assert [answer.status for answer in publisher.send(b"x")] == [202]
    second.lose()
    assert publisher.context.budget.used == 0


def test_a_quarter_of_the_memory_is_for_what_is_not_confirmed() -> None:
    """Or a slow server would take the room in which the next events are read."""
    limits = IngressLimits(max_buffered_bytes=32 * 2**20)
    assert limits.max_unconfirmed_bytes == 8 * 2**20
    assert limits.max_incoming_bytes == 24 * 2**20
