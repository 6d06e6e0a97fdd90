"""Choices that are derived from bytes, so that changing bytes changes choices.

A fuzzer knows only bytes; this makes values of every kind of them, the same each time. When the
bytes are used up, every choice is the first one.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_DEEPEST = 2000
"""Levels of deliberately deep nesting: far beyond what any parser here follows."""


class Draws:
    """Choices that are read off bytes.

    Args:
        data: The source of the choices, from its beginning to its end.
        words: Texts that mean something where the values are used.
    """

    def __init__(self, data: bytes, words: Sequence[str] = ()) -> None:
        self._data = data
        self._words = ("", *words)
        self._at = 0

    def below(self, count: int) -> int:
        """Return a number from 0 to ``count`` - 1."""
        size = 1 if count <= 256 else 2
        return int.from_bytes(self._take(size)) % count

    def flag(self) -> bool:
        return bool(self.below(2))

    def choice(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def blob(self, most: int) -> bytes:
        """Return as many bytes as the next choice says."""
        return self._take(self.below(most + 1))

    def text(self, most: int = 40) -> str:
        """Return one of the words, or any text that JSON can hold."""
        if self.flag():
            return self.blob(most).decode("utf-8", "ignore")
        return self.choice(self._words)

    def key(self) -> str:
        """Return a text that may name a field; secrets appear in values only."""
        text = self.text()
        return "x" if "secret" in text else text

    def rest(self) -> bytes:
        """Return all that is left."""
        return self._take(len(self._data) - self._at)

    def json(self, depth: int = 3) -> object:
        """Return a value as JSON yields it, seldom one that is nested very deeply."""
        kind = self.below(12 if depth else 8)
        if kind < 8:
            return self._scalar(kind)
        if kind == 8:
            return [self.json(depth - 1) for _ in range(self.below(4))]
        if kind < 11:
            return {self.key(): self.json(depth - 1) for _ in range(self.below(4))}
        return self._nested(self.below(_DEEPEST))

    def _scalar(self, kind: int) -> object:
        if kind == 0:
            return None
        if kind == 1:
            return self.flag()
        if kind == 2:
            return self.below(256) - 128
        if kind == 3:
            return self.choice(
                (2**31, -(2**63), 2**64 - 1, 0.5, -0.0, 1e308, 1.8446744073709552e19)
            )
        return self.text()

    def _nested(self, levels: int) -> object:
        value: object = None
        is_list = self.flag()
        for _ in range(levels):
            value = [value] if is_list else {"a": value}
        return value

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken
