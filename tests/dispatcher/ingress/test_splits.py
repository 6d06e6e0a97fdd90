"""However the network cuts a stream of requests, the answers are the same."""

import base64
import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.ingress.limits import IngressLimits
from tests.support.publishers import HOST, Answer, Publisher, post, post_chunked

UPGRADE = ("Connection: upgrade", "Upgrade: h2c")

REQUESTS = st.sampled_from(
    [
        post(b""),
        post(b"hello", "Ce-Id: 1"),
        post(bytes(range(256)) * 4, "Content-Type: application/octet-stream"),
        post(b"x" * 100, host="nowhere.test"),
        post(b"x" * 100, host="both.test"),
        post(b"x", "Connection: keep-alive").replace(b"1.1", b"1.0"),
        post(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
        post(b"upgraded", *UPGRADE),
        post_chunked(),
        post_chunked(b"a", b"bc", b"def" * 50),
        post_chunked(b"a", trailers=b"X-Trailer: b\r\n"),
        post_chunked(b"upgraded", headers="\r\n".join((*UPGRADE, ""))),
        f"OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(),
        f"GET /x?y HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(),
        b"\r\n" + post(b"after an empty line"),
    ]
)


def run(pieces: list[bytes], limits: IngressLimits) -> tuple[list[Answer], list[bytes]]:
    publisher = Publisher(limits, instant=True)
    for piece in pieces:
        publisher.transport.receive(piece)
    assert publisher.context.budget.used == 0
    answers = publisher.answers()
    for answer in answers:
        del answer.headers["date"]  # a second may pass between two runs
    return answers, publisher.stored


@settings(max_examples=150, deadline=None)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=6), data=st.data())
async def test_answers_do_not_depend_on_where_a_stream_is_cut(
    requests: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(requests)
    limits = IngressLimits(max_pipelined=data.draw(st.sampled_from([1, 2, 16])))
    cuts = data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=20))
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(edges)]
    whole = run([stream], limits)
    assert len(whole[0]) == len(requests)
    assert run(pieces, limits) == whole


@settings(max_examples=50, deadline=None)
@given(bodies=st.lists(st.binary(max_size=300), min_size=1, max_size=5), data=st.data())
async def test_every_byte_of_every_body_arrives(bodies: list[bytes], data: st.DataObject) -> None:
    requests = [
        post_chunked(*[body[index : index + 7] for index in range(0, len(body), 7)])
        if data.draw(st.booleans())
        else post(body)
        for body in bodies
    ]
    stream = b"".join(requests)
    size = data.draw(st.integers(1, len(stream)))
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    _, stored = run(pieces, IngressLimits())
    payloads = [base64.b64decode(json.loads(event).get("payload", "")) for event in stored]
    assert payloads == bodies
