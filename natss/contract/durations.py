"""Durations as people write them in YAML, environment variables and flags.

Pure. There are three formats, all in use around Knative:

- ISO 8601 as in Knative's ``DeliverySpec``: ``PT0.5S``, ``PT1M30S``, ``P1DT12H``, ``P1W``. Years
  and months are refused because they have no fixed length.
- Go's: ``500ms``, ``30s``, ``1m30s``, ``24h``. Here ``m`` is a minute. There is no unit for days.
- A plain number of seconds: ``30``, ``0.5``, as in Kubernetes' ``timeoutSeconds``.
"""

import math
import re

EXAMPLES = "PT30S, 30s or 30 (seconds)"
"""For error messages."""

MAX_SECONDS = 10 * 365 * 86400
"""Ten years: longer durations are mistakes, and much longer ones overflow timers."""

_ISO = re.compile(
    r"P(?=[0-9T])"
    r"(?:(?P<weeks>[0-9]+(?:[.,][0-9]+)?)W)?"
    r"(?:(?P<days>[0-9]+(?:[.,][0-9]+)?)D)?"
    r"(?:T(?=[0-9])"
    r"(?:(?P<hours>[0-9]+(?:[.,][0-9]+)?)H)?"
    r"(?:(?P<minutes>[0-9]+(?:[.,][0-9]+)?)M)?"
    r"(?:(?P<seconds>[0-9]+(?:[.,][0-9]+)?)S)?)?",
    re.ASCII,
)
_ISO_SECONDS = {"weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}

_GO_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_GO = re.compile(rf"(?:{_GO_PART})+", re.ASCII)
_GO_SECONDS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+", re.ASCII)

_MAX_TEXT = 64


def parse_duration(value: object) -> float:
    """Return the seconds of a duration, from 0 to ``MAX_SECONDS``.

    Args:
        value: A text in one of the three formats, or a number of seconds.

    Raises:
        ValueError: It is not a duration; the text says what to write instead ("must be ...").
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"must be a duration such as {EXAMPLES}")
    seconds = _of_text(value.strip()) if isinstance(value, str) else _of_number(value)
    if seconds > MAX_SECONDS:
        raise ValueError("must be a duration of ten years at most")
    return seconds


def format_duration(seconds: float) -> str:
    """Return a duration for people: ``1m30s``, ``500ms``; ``parse_duration`` reads it back."""
    if seconds == 0:
        return "0s"
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    if whole == 0:
        return f"{milliseconds}ms" if milliseconds else f"{seconds}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if minutes else ""
    if milliseconds:
        return text + f"{rest + milliseconds / 1000:g}s"
    return text + (f"{rest}s" if rest else "")


def _of_number(number: float) -> float:
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"must be a finite duration such as {EXAMPLES}")
    if number < 0:
        raise ValueError("must not be negative")
    return float(min(number, 2 * MAX_SECONDS))  # an int may be too large for a float


def _of_text(text: str) -> float:
    if not text or len(text) > _MAX_TEXT:
        raise ValueError(f"must be a duration such as {EXAMPLES}")
    if text.startswith("-"):
        raise ValueError("must not be negative")
    if _NUMBER.fullmatch(text):
        return float(text)
    if match := _ISO.fullmatch(text):
        parts = match.groupdict(default="0")
        return sum(float(n.replace(",", ".")) * _ISO_SECONDS[unit] for unit, n in parts.items())
    if _GO.fullmatch(text):
        parts_of_go = re.findall(_GO_PART, text)
        return sum(float(n) * _GO_SECONDS[_ascii_unit(unit)] for n, unit in parts_of_go)
    raise ValueError(_correction(text))


def _ascii_unit(unit: str) -> str:
    """Return the unit in ASCII: Go accepts two characters for micro."""
    return "us" if unit.endswith("s") and unit not in _GO_SECONDS else unit


def _correction(text: str) -> str:
    """Return what to write instead of a text that is not a duration."""
    if re.fullmatch(r"P[0-9.,]+[YM].*", text, re.ASCII):
        return "must not have years or months, which have no fixed length; a minute is PT1M"
    if re.fullmatch(r"[0-9.]+d", text, re.ASCII):
        return f"must be a duration; for days write P{text[:-1]}D"
    if re.fullmatch(r"p[0-9t][0-9a-zA-Z.,]*", text, re.ASCII):
        return f"must be a duration; ISO 8601 has capital letters, as {text.upper()}"
    return f"must be a duration such as {EXAMPLES}"
