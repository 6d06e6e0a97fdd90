"""Collects the problems of one document while it is read, and words them.

Pure. Values are shown short and without secrets; lists and objects are never shown, because they
may be large or contain anything.
"""

import difflib
from collections.abc import Iterable, Mapping

from natss.contract.resources import Problem
from natss.contract.uris import redact_value

MOST_HINTS = 50
MOST_REFUSALS = 1000
"""The most problems reported of one resource: one of 1 MB can contain 100,000 mistakes, and each
costs time to find a suggestion, to compare and to show.
"""

_MORE = "has more mistakes than are told"

_SHOWN = 60
_NAMES: Mapping[type, str] = {
    type(None): "empty",
    list: "a list",
    tuple: "a list",
    Mapping: "an object",
}


class Report:
    """Collects the problems of one resource.

    Args:
        resource: Its name, such as ``Channel default/orders``.
        origin: Where it was read, such as ``channels.yaml, line 12``.
    """

    __slots__ = ("_hints", "_refusals", "origin", "problems", "resource")

    def __init__(self, resource: str, origin: str = "") -> None:
        self.resource = resource
        self.origin = origin
        self.problems: list[Problem] = []
        self._hints = 0
        self._refusals = 0

    @property
    def has_enough_hints(self) -> bool:
        """Whether ``add`` leaves out further problems."""
        return self._hints > MOST_HINTS

    def add(self, path: str, message: str, consequence: str = "") -> None:
        """Report a problem that does not affect what is used."""
        self._hints += 1
        if self._hints <= MOST_HINTS:
            self._note(path, message, consequence)
        elif self._hints == MOST_HINTS + 1:
            self._note("", _MORE)

    def refuse(self, path: str, message: str, consequence: str = "") -> None:
        """Report something that cannot be used as it is written."""
        self._refusals += 1
        if self._refusals <= MOST_REFUSALS:
            self._note(path, message, consequence, refused=True)
        elif self._refusals == MOST_REFUSALS + 1:
            self._note("", _MORE, refused=True)

    def _note(
        self, path: str, message: str, consequence: str = "", *, refused: bool = False
    ) -> None:
        problem = Problem(self.resource, path, message, self.origin, consequence, refused)
        self.problems.append(problem)


def shown(value: object) -> str:
    """Return a wrong value for people: its type, and of short values the value itself."""
    if isinstance(value, str):
        text = redact_value(value)
        return f"the text {(text if len(text) <= _SHOWN else text[:_SHOWN] + '...')!a}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        large = isinstance(value, int) and value.bit_length() > 128
        return "a very large number" if large else f"the number {value}"
    for kind, name in _NAMES.items():
        if isinstance(value, kind):
            return name
    return f"of the type {type(value).__name__}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean "retry"?)`` if a known name is similar, else an empty text."""
    by_folded = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name[:100].lower(), by_folded, n=1, cutoff=0.6)
    return f' (did you mean "{by_folded[near[0]]}"?)' if near else ""
