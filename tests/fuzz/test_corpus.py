"""The inputs that the fuzzers have kept are replayed: no defect, in little time and memory."""

import gc
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.__main__ import MOST
from tests.fuzz.table import CORPUS, TARGETS, corpus_of
from tests.fuzz.target import Target, quiet

_LONGEST = 2.0
"""Seconds of one input, on a machine that is busy; most take a few milliseconds."""

_MOST_AT_ONCE = 16 * 1024 * 1024
_MOST_LEFT = 256 * 1024
"""Bytes that one input may take, and that all of a target may leave when they are run again."""

_MOST_BYTES = 2048


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


def inputs(target: Target) -> list[bytes]:
    kept = sorted(corpus_of(target).glob("*"))
    return [*target.seeds, *(file.read_bytes() for file in kept)]


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_nothing_is_found_in_the_corpus(target: Target) -> None:
    for data in inputs(target):
        started = time.perf_counter()
        target.run(data)
        assert time.perf_counter() - started < _LONGEST, data


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_no_input_takes_much_memory_or_keeps_it(target: Target) -> None:
    chosen = inputs(target)[-MOST:]
    for data in chosen:
        target.run(data)
    gc.collect()
    tracemalloc.start()
    try:
        for data in chosen:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            target.run(data)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < _MOST_AT_ONCE, data
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < _MOST_LEFT


def test_the_corpus_is_small() -> None:
    folders = [folder for folder in CORPUS.iterdir() if folder.is_dir()]
    assert {folder.name for folder in folders} == set(TARGETS)
    files = [file for folder in folders for file in folder.iterdir()]
    assert max(len(list(folder.iterdir())) for folder in folders) <= MOST
    assert max(_size(file) for file in files) <= _MOST_BYTES


def _size(file: Path) -> int:
    return file.stat().st_size
