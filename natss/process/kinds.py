"""Kinds of values that settings take: how they are written, checked and shown."""

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from natss.contract.durations import format_duration, parse_duration


@dataclass(frozen=True, slots=True)
class ValueKind:
    """What values a setting takes.

    Attributes:
        metavar: As it appears in ``--help``.
        parse: Raises ValueError with a text that begins with "must".
        show: A value as a person would write it.
    """

    metavar: str
    parse: Callable[[str], object]
    show: Callable[[Any], str] = str


def text(pattern: str, must: str, metavar: str) -> ValueKind:
    """Return a kind for texts of a certain form."""

    def parse(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"must be {must}")
        return value

    return ValueKind(metavar, parse)


def listed(value: str, separator: str = ",") -> tuple[str, ...]:
    """Return the parts of a list, without the blanks around them; empty parts do not count."""
    return tuple(part for each in value.split(separator) if (part := each.strip()))


def whole(lowest: int, highest: int = 2**31 - 1) -> ValueKind:
    """Return a kind for whole numbers."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", value, re.ASCII) or not lowest <= int(value) <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest}")
        return int(value)

    return ValueKind("N", parse)


def duration(lowest: float = 0.001, longest: float = 86400) -> ValueKind:
    """Return a kind for durations, in seconds."""

    def parse(value: str) -> float:
        seconds = parse_duration(value)
        if not lowest <= seconds <= longest:
            raise ValueError(
                f"must be from {format_duration(lowest)} to {format_duration(longest)}"
            )
        return seconds

    return ValueKind("DURATION", parse, format_duration)


_UNITS = {"": 1, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


def size(lowest: int) -> ValueKind:
    """Return a kind for sizes, in bytes."""

    def parse(value: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15})(Ki|Mi|Gi|)B?", value, re.ASCII)
        if match is None:
            raise ValueError("must be a size in bytes, as 65536, 64Ki, 8Mi or 1Gi")
        if (number := int(match[1]) * _UNITS[match[2]]) < lowest:
            raise ValueError(f"must be at least {show(lowest)}")
        return number

    def show(number: int) -> str:
        unit = max((u for u in _UNITS if number % _UNITS[u] == 0), key=lambda u: _UNITS[u])
        return f"{number // _UNITS[unit]}{unit}"

    return ValueKind("SIZE", parse, show)


def choice(choices: type[enum.Enum]) -> ValueKind:
    """Return a kind for the values of an enum."""

    def parse(value: str) -> enum.Enum:
        for each in choices:
            if each.value == value.lower():
                return each
        raise ValueError(f"must be {' or '.join(each.value for each in choices)}")

    return ValueKind("|".join(each.value for each in choices), parse, lambda each: str(each.value))


class ListenAddress(NamedTuple):
    """Where to listen; without a host on every address, IPv4 and IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: str) -> ListenAddress:
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]/\s]*)):([0-9]{1,5})", value, re.ASCII)
    if match is None or int(match[3]) > 65535:
        raise ValueError("must be HOST:PORT, as :8080, 127.0.0.1:8080 or [::1]:8080")
    return ListenAddress(match[1] or match[2] or "", int(match[3]))


ADDRESS = ValueKind("HOST:PORT", _address)


def _readable(value: str) -> Path:
    path = Path(value)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"must be a readable file ({(error.strerror or '').lower()})") from error


FILE = ValueKind("FILE", _readable)
PATH = ValueKind("PATH", Path)


def named(check: Callable[[str], bool], must: str, metavar: str) -> ValueKind:
    """Return a kind for names that pass a check."""

    def parse(value: str) -> str:
        if not check(value):
            raise ValueError(f"must be {must}")
        return value

    return ValueKind(metavar, parse)


def _switch(value: str) -> bool:
    if value.lower() not in {"on", "off", "true", "false"}:
        raise ValueError("must be on or off")
    return value.lower() in {"on", "true"}


SWITCH = ValueKind("on|off", _switch, lambda value: "on" if value else "off")
