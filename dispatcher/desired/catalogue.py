"""The documents of named files and folders; of a file that is broken now, the last good ones.

This module only reads; ``files.py`` decides when. Everything here may block, so it runs in a
thread.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dispatcher.desired.parsing import UnreadableDocument, parse
from natss.contract.resources import Problem

SUFFIXES = (".yaml", ".yml", ".json")

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Some 30,000 channels. Limits the memory and time that a wrong file may cost."""

_KEPT = "; what it said before still holds"

_NOTHING_WANTED = "; if nothing is wanted, put one there with a comment in it"

Signature = tuple[int, ...]
"""Differs between versions of a file."""

Documents = tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A file as last read."""

    signature: Signature
    documents: Documents = ()
    """The last good documents."""

    problem: Problem | None = None


class Catalogue:
    """Reads the named files and folders; unchanged files are not read again.

    Subfolders and hidden files are ignored, as by ``kubectl -f``.

    Args:
        paths: Files, and folders with files that end in one of ``SUFFIXES``.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files: dict[Path, dict[Path, _Loaded]] = {path: {} for path in paths}
        self._problems: dict[Path, Problem | None] = dict.fromkeys(paths)

    def refresh(self) -> bool:
        """Read what has changed; return whether anything has."""
        changed = False
        for path, before in self._files.items():
            files, problem = _read(path, before)
            changed |= files != before or problem != self._problems[path]
            self._files[path] = files
            self._problems[path] = problem
        return changed

    def documents(self) -> Documents:
        """Return every document with its origin, in the order of paths and file names."""
        return tuple(
            document
            for files in self._files.values()
            for loaded in files.values()
            for document in loaded.documents
        )

    def never_read(self) -> tuple[Problem, ...]:
        """Return the problems of files and folders that never existed or were never readable."""
        missing = [
            problem
            for path, problem in self._problems.items()
            if problem is not None and not self._files[path]
        ]
        broken = [
            each.problem
            for files in self._files.values()
            for each in files.values()
            if each.problem is not None and not each.documents
        ]
        return (*missing, *broken)

    def problems(self) -> tuple[Problem, ...]:
        """Return the problems of all that cannot be read."""
        told = [*self._problems.values()]
        told += [loaded.problem for files in self._files.values() for loaded in files.values()]
        return tuple(problem for problem in told if problem is not None)


def _read(path: Path, before: dict[Path, _Loaded]) -> tuple[dict[Path, _Loaded], Problem | None]:
    """Return the files of one named path; those from before if it cannot be read."""
    try:
        names = _files_at(path)
    except OSError as error:
        return before, _unreadable(path, error, bool(before))
    if not names:
        reason = f"has no files that end in {', '.join(SUFFIXES)}"
        return before, Problem(str(path), "", reason + (_KEPT if before else _NOTHING_WANTED))
    return {name: _load(name, before.get(name)) for name in names}, None


def _files_at(path: Path) -> list[Path]:
    """Return the file itself, or the files in the folder."""
    if not stat.S_ISDIR(path.stat().st_mode):
        return [path]
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if _is_wanted(entry)]
    return [path / name for name in sorted(names)]


def _is_wanted(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    return name.endswith(SUFFIXES) and not name.startswith(".") and not entry.is_dir()


def _load(path: Path, before: _Loaded | None) -> _Loaded:
    try:
        status = path.stat()
        signature = (
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )  # fmt: skip
        if before is not None and before.signature == signature:
            return before
        last_good = before or _Loaded(signature)
        try:
            documents = _documents(path, status)
        except UnreadableDocument as error:
            place = f"line {error.line}, column {error.column}" if error.line else ""
            kept = _KEPT if last_good.documents else ""
            problem = Problem(str(path), place, error.reason + kept)
            return replace(last_good, signature=signature, problem=problem)
        return _Loaded(signature, documents)
    except OSError as error:
        last_good = before or _Loaded(())
        problem = _unreadable(path, error, bool(last_good.documents))
        return replace(last_good, signature=(), problem=problem)


def _documents(path: Path, status: os.stat_result) -> Documents:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableDocument(0, 0, "is no regular file")
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableDocument(
            0, 0, f"is larger than {MAX_FILE_BYTES // 1024 // 1024} MiB; split it"
        )
    if not data:
        raise UnreadableDocument(0, 0, "is empty; if nothing is wanted, write a comment into it")
    documents = parse(data, is_json=path.suffix == ".json")
    return tuple((f"{path.name}, line {line}", document) for line, document in documents)


def _unreadable(path: Path, error: OSError, has_said: bool) -> Problem:
    reason = (error.strerror or str(error)).lower()
    return Problem(str(path), "", f"cannot be read: {reason}" + (_KEPT if has_said else ""))
