"""Typed reading of documents that may contain anything.

Pure. A wrong type or a missing field refuses the resource, or the part of it that needs the field;
unknown fields are reported and ignored.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from natss.contract.reports import Report, did_you_mean, shown


class Refused(Exception):
    """A resource or a part of it cannot be used.

    Attributes:
        path: The field, such as ``spec.channel.name``.
        message: What is wrong and what is allowed.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class Fields:
    """An object in a document. A null counts as absent, as it does for the Kubernetes API.

    Args:
        value: The object.
        path: Its place in the document; empty for the document itself.
        report: Collects problems that do not refuse the object.
    """

    __slots__ = ("path", "report", "value")

    def __init__(self, value: Mapping[object, object], path: str, report: Report) -> None:
        self.value = value
        self.path = path
        self.report = report

    def path_of(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        """Return whether a field has a value; empty text is none, as for Go's ``omitempty``."""
        value = self.value.get(key)
        return value is not None and value != ""

    def text(self, key: str) -> str | None:
        """Return the text of a field; None if it is absent or empty.

        Raises:
            Refused: The value is not text.
        """
        value = self.value.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise Refused(self.path_of(key), f"{shown(value)}; must be a text")
        return value.strip() or None

    def required_text(self, key: str) -> str:
        """Return the text of a field.

        Raises:
            Refused: The value is absent, empty or not text.
        """
        text = self.text(key)
        if text is None:
            raise Refused(self.path_of(key), "is missing")
        return text

    def nested(self, key: str) -> "Fields":
        """Return the object of a field; an empty one if it is absent.

        Raises:
            Refused: The value is not an object.
        """
        return fields(self.value.get(key), self.path_of(key), self.report)

    def items(self, key: str) -> Iterator[tuple[str, object]]:
        """Return the items of a list with their paths; none if it is absent.

        Raises:
            Refused: The value is not a list.
        """
        value = self.value.get(key)
        if value is None:
            return iter(())
        if not isinstance(value, list | tuple):
            raise Refused(self.path_of(key), f"{shown(value)}; must be a list")
        return ((f"{self.path_of(key)}[{i}]", item) for i, item in enumerate(value))

    def tell_unknown(self, known: Iterable[str]) -> None:
        """Report every unknown field, up to ``MOST_HINTS`` in all."""
        known = tuple(known)
        for key in self.value:
            if self.report.has_enough_hints:
                return
            if key not in known:
                name = key if isinstance(key, str) else shown(key)
                path = self.path_of(ascii(name)[1:-1][:60])
                self.report.add(path, f"unknown, ignored{did_you_mean(name, known)}")


def object_at(document: object, *path: str) -> Mapping[str, Any]:
    """Return an object in a document that anybody may have written, or an empty one."""
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document if isinstance(document, Mapping) else {}


def text_at(document: object, *path: str) -> str | None:
    """Return a text in such a document; None if there is none, or if it is empty."""
    *above, key = path
    value = object_at(document, *above).get(key)
    return value if isinstance(value, str) and value else None


def fields(value: object, path: str, report: Report) -> Fields:
    """Return the fields of an object; those of an empty one for None.

    Raises:
        Refused: The value is not an object.
    """
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise Refused(path, f"{shown(value)}; must be an object")
    return Fields(value, path, report)
