"""The fuzzers, ``make fuzz``: each target for its share of the time, one process after another.

A defect ends a target; its input is kept beside the corpus and told. Of all other inputs those few
are kept in the corpus that together reach the most of the product.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.table import TARGETS, corpus_of
from tests.fuzz.target import Target

MOST = 30
"""Inputs in the corpus of one target: every ``make test`` replays them."""

_LONGEST_RUN = 10
"""Seconds that one input may take."""

_MOST_MEMORY = 1024
"""MiB that the process may take."""

_RUNS = re.compile(rb"stat::number_of_executed_units:\s*([0-9]+)|Done ([0-9]+) runs")
_REACHED = re.compile(rb"\bcov: ([0-9]+) ft: ([0-9]+)")


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of one target."""

    name: str
    runs: int
    reached: int
    kept: int
    defects: tuple[Path, ...]


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fuzz(target: Target, seconds: float, artefacts: Path) -> Found:
    """Run one target, and keep the inputs that are worth it."""
    corpus = corpus_of(target)
    corpus.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"natss-fuzz-{target.name}-"))
    try:
        new, seeds = folder / "new", folder / "seeds"
        _write_all(seeds, target.seeds)
        new.mkdir()
        words = folder / "words"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words or (b"\0",)))
        before = set(artefacts.iterdir())
        output, status = _engine(
            target,
            f"-max_total_time={max(1, round(seconds))}",
            f"-max_len={target.longest}",
            f"-dict={words}",
            f"-artifact_prefix={artefacts}/{target.name}-",
            "-print_final_stats=1",
            *map(str, (new, corpus, seeds)),
        )
        defects = tuple(sorted(set(artefacts.iterdir()) - before))
        _check(output, status, is_fine=bool(defects))
        _choose(target, corpus, new, folder / "chosen")
        runs = sum(int(one or other) for one, other in _RUNS.findall(output)[:1])
        reached = max((int(count) for count, _ in _REACHED.findall(output)), default=0)
        if defects:
            tell(output[-4000:].decode(errors="replace"))
        return Found(target.name, runs, reached, len(list(corpus.iterdir())), defects)
    finally:
        shutil.rmtree(folder)


def _engine(target: Target, *arguments: str) -> tuple[bytes, int]:
    """Run libFuzzer on it; return what it printed, and its status."""
    command = [sys.executable, "-m", "tests.fuzz.engine", target.name]
    limits = [f"-timeout={_LONGEST_RUN}", f"-rss_limit_mb={_MOST_MEMORY}"]
    result = subprocess.run(
        [*command, *limits, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,  # it fails if there is a defect
    )
    return result.stdout, result.returncode


def _check(output: bytes, status: int, *, is_fine: bool = False) -> None:
    """Raise RuntimeError if libFuzzer could not do its work."""
    if status and not is_fine:
        raise RuntimeError(output[-4000:].decode(errors="replace"))


def _write_all(folder: Path, inputs: Sequence[bytes]) -> None:
    folder.mkdir()
    for number, data in enumerate(inputs):
        (folder / f"seed-{number}").write_bytes(data)


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _choose(target: Target, corpus: Path, new: Path, chosen: Path) -> None:
    """Keep the few inputs that together reach the most code."""
    chosen.mkdir()
    _check(*_engine(target, "-set_cover_merge=1", *map(str, (chosen, corpus, new))))
    # libFuzzer writes first the input that reaches the most new code.
    best = sorted(chosen.iterdir(), key=lambda file: file.stat().st_mtime_ns)[:MOST]
    for file in corpus.iterdir():
        file.unlink()
    for file in best:
        shutil.copyfile(file, corpus / file.name)


def run(names: Sequence[str], minutes: float, artefacts: Path) -> bool:
    """Run all targets; return whether none found a defect."""
    artefacts.mkdir(parents=True, exist_ok=True)
    found: list[Found] = []
    try:
        for name in names:
            found.append(fuzz(TARGETS[name], 60 * minutes / len(names), artefacts))
            tell(_row(found[-1]))
    finally:
        total = sum(each.runs for each in found)
        tell(f"{total} executions, {sum(len(each.defects) for each in found)} defects")
    return not any(each.defects for each in found)


def _row(found: Found) -> str:
    row = f"{found.name}: {found.runs} executions, {found.reached} places, {found.kept} inputs kept"
    return "\n  ".join((row, *(f"DEFECT {file}" for file in found.defects)))


def main() -> int:
    """Run the command line; return 1 if there is a defect."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of all targets together")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only these")
    parser.add_argument("--defects", type=Path, default=Path("fuzz-defects"), metavar="FOLDER")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    try:
        return 0 if run(names, options.minutes, options.defects) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
