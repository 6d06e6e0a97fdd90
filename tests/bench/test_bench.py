"""What the benchmarks say they measure is what they measure; none of them runs here."""

import os

import pytest

from bench.cases import BASE, CASES, Case, cases
from bench.ends import body_length, headers
from bench.measure import cpu_seconds, resident_mib
from bench.parts import HOST, stored_event
from bench.report import Figures
from bench.whole import documents
from dispatcher.event import stored_form as event
from natss.contract.documents import desired_state
from natss.contract.names import normalise_host


@pytest.mark.parametrize("wanted", sorted({case.stored_bytes for case in CASES}))
def test_events_are_as_long_as_the_case_says(wanted: int) -> None:
    assert wanted - 4 < len(stored_event(wanted)) <= wanted


def test_an_event_is_stored_with_every_header_that_is_posted() -> None:
    read = event.decode(event.encode(headers(), b"x" * body_length(270, HOST), HOST))
    stored = {line.split(b":")[0] for line in read.head.splitlines()}
    assert {name for name, _ in headers()} <= stored


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_documents_ask_for_the_channels_and_subscribers_of_the_case(case: Case) -> None:
    state = desired_state(("bench", document) for document in documents(case, "127.0.0.1:9"))
    assert state.problems == ()
    assert len(state.channels) == case.channels
    assert {len(channel.subscribers) for channel in state.channels.values()} == {case.fan_out}
    uris = [s.subscriber_uri for c in state.channels.values() for s in c.subscribers]
    assert len(set(uris)) == case.channels * case.fan_out
    hosts = {host for channel in state.channels.values() for host in channel.hosts}
    assert normalise_host(HOST) in hosts


def test_cases_differ_from_the_base_case_in_one_way_but_for_the_store() -> None:
    for case in CASES:
        ways = ("delay_ms", "fan_out", "stored_bytes", "channels", "rate")
        assert sum(getattr(case, way) != getattr(BASE, way) for way in ways) <= 1
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.name for case in cases(quick=True)} < {case.name for case in CASES}


def test_cpu_and_memory_of_a_process_are_found() -> None:
    times = os.times()
    assert cpu_seconds(os.getpid()) == pytest.approx(times.user + times.system, abs=0.1)
    assert 10 < resident_mib(os.getpid()) < 1000


def test_a_table_is_markdown_too() -> None:
    figures = Figures("Speed", ["case", "events\n/s"], [["base", "1"]])
    assert figures.as_markdown().splitlines() == [
        "## Speed",
        "",
        "| case | events /s |",
        "|---|---:|",
        "| base | 1 |",
    ]
