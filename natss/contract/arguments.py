"""``spec.arguments`` of a Channel: how its events are delivered.

Pure. In ``v1alpha1`` the field has no schema; delivery fields have the names of Knative
(``DeliverySpec``). Any value results in a policy: a wrong argument is reported as a problem and
replaced by its previous value or else the default, and the other arguments hold.
``docs/channel-arguments.md`` is the page for users.
"""

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from natss.contract.durations import format_duration, parse_duration
from natss.contract.reports import Report, did_you_mean, shown
from natss.contract.resources import (
    BackoffPolicy,
    Defaults,
    DeliveryPolicy,
    Order,
    Problem,
    Start,
    StartKind,
)
from natss.contract.uris import complete_uri, redact_value

MAX_INFLIGHT = 10_000
"""Every event in flight is held in memory and may have 1 MiB."""

MAX_RETRY = 1000
MAX_REDELIVERIES = 1_000_000
_MAX_SEQUENCE = 2**64 - 1
_MAX_TIME = 2**33
"""In seconds since the epoch; NATS Streaming counts in nanoseconds and has no later times."""

START_SYNTAX = 'new, first, last, a sequence, a time as 2024-05-01T12:00:00Z, or "1h ago"'

_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Argument:
    """One key of ``spec.arguments``."""

    field: str
    """The field of ``DeliveryPolicy``."""

    read: Callable[[object, "ChannelPlace"], object]
    """Raises ValueError with a text that completes "<value>; ...", such as "must be > 0"."""

    show: Callable[[Any], str] = str
    """Returns a value of the field as a person would write it."""

    safe: object = None
    """The replacement of a wrong value where the default might do lasting harm."""


@dataclass(frozen=True, slots=True)
class ChannelPlace:
    """The place of a Channel, which completes the bare name of a dead letter sink."""

    namespace: str
    cluster_domain: str


def parse_arguments(
    arguments: object,
    resource: str,
    namespace: str,
    defaults: Defaults,
    former: DeliveryPolicy | None = None,
) -> tuple[DeliveryPolicy, tuple[Problem, ...]]:
    """Return the policy that a Channel asks for, and the problems of its arguments.

    Never raises, whatever the value. A null counts as not given. If only ``ackWait`` is given and
    the default timeout does not fit into it, the timeout becomes half of it.

    Args:
        arguments: Those of the Channel, or None.
        resource: The name for the problems, such as ``Channel default/orders``.
        namespace: The namespace of the Channel.
        defaults: The values of arguments that are not given.
        former: The previous policy, which replaces wrong values.
    """
    report = Report(resource)
    if arguments is not None and not isinstance(arguments, Mapping):
        report.refuse(
            "spec.arguments",
            f"{shown(arguments)}; must be an object",
            "what held before, or else the defaults, are used instead",
        )
        return former or defaults.policy, tuple(report.problems)
    given = _given(arguments or {}, report)
    place = ChannelPlace(namespace, defaults.cluster_domain)
    values: dict[str, Any] = {}
    instead: dict[str, Any] = {}
    for key, value in given.items():
        argument = ARGUMENTS[key]
        try:
            values[argument.field] = argument.read(value, place)
        except ValueError as error:
            used = instead[argument.field] = _instead(argument, defaults.policy, former)
            report.refuse(
                f"spec.arguments.{key}",
                f"{shown(value)}; {error}",
                f"{argument.show(used)} is used instead",
            )
    policy = replace(defaults.policy, **values, **instead)
    timeout = fitting_timeout(policy.timeout, defaults.policy.timeout, policy.ack_wait)
    _report_contradictions(policy, timeout, values, report)
    return replace(policy, timeout=timeout), tuple(report.problems)


def _instead(argument: Argument, default: DeliveryPolicy, former: DeliveryPolicy | None) -> object:
    """Return the replacement of a wrong value."""
    if former is None and argument.safe is not None:
        return argument.safe
    return getattr(former or default, argument.field)


def _given(arguments: Mapping[object, object], report: Report) -> dict[str, object]:
    """Return the known arguments that have a value; report the unknown ones."""
    for key in arguments:
        if report.has_enough_hints:
            break
        if key not in ARGUMENTS:
            name = key if isinstance(key, str) else shown(key)
            hint = did_you_mean(name, ARGUMENTS)
            known = "" if hint else f"; known are {', '.join(ARGUMENTS)}"
            report.add(f"spec.arguments.{ascii(name)[1:-1][:60]}", f"unknown, ignored{hint}{known}")
    return {key: arguments[key] for key in ARGUMENTS if arguments.get(key) is not None}


def _report_contradictions(
    policy: DeliveryPolicy, timeout: float, given: Mapping[str, Any], report: Report
) -> None:
    """Report values that contradict each other."""
    if "timeout" in given and timeout != policy.timeout:
        report.add(
            "spec.arguments.timeout",
            f"{format_duration(policy.timeout)}; must be shorter than ackWait"
            f" ({format_duration(policy.ack_wait)}), after which NATS Streaming sends the event"
            " again",
            f"{format_duration(timeout)} is used instead",
        )
    if "max_redeliveries" in given and policy.dead_letter_uri is None:
        report.add(
            "spec.arguments.maxRedeliveries",
            "has no effect without deadLetterURI: events are sent again until they are delivered or"
            " expire in the store",
        )


def fitting_timeout(wanted: float, default: float, ack_wait: int) -> float:
    """Return the timeout of an attempt, in seconds: always shorter than ``ack_wait``."""
    return next((timeout for timeout in (wanted, default) if timeout < ack_wait), ack_wait / 2)


def _shown_start(start: Start) -> str:
    if start.kind is StartKind.AGO:
        return f"{format_duration(start.value)} ago"
    if start.kind is StartKind.SEQUENCE:
        return str(start.value)
    if start.kind is StartKind.TIME:
        return datetime.fromtimestamp(start.value, UTC).isoformat()
    return str(start.kind.value)


def _shown_choice(choice: enum.Enum) -> str:
    return str(choice.value)


def _shown_uri(uri: str | None) -> str:
    return redact_value(uri) if uri else "none"


def _whole(lowest: int, highest: int) -> Callable[[object, ChannelPlace], int]:
    def read(value: object, _: ChannelPlace) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            quoted = isinstance(value, str) and re.fullmatch(r"[0-9]+", value, re.ASCII)
            hint = ", without quotes" if quoted else ""
            raise ValueError(f"must be a whole number from {lowest} to {highest}{hint}")
        return value

    return read


def _ack_wait(value: object, _: ChannelPlace) -> int:
    seconds = parse_duration(value)
    if seconds < 1 or not seconds.is_integer():
        raise ValueError("must be whole seconds, at least 1, as PT30S")
    return int(seconds)


def _timeout(value: object, _: ChannelPlace) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        raise ValueError("must be longer than 0")
    return seconds


def _duration(value: object, _: ChannelPlace) -> float:
    return parse_duration(value)


def _one_of(choices: type[enum.Enum]) -> Callable[[object, ChannelPlace], enum.Enum]:
    def read(value: object, _: ChannelPlace) -> enum.Enum:
        for choice in choices:
            if value == choice.value:
                return choice
        raise ValueError(f"must be {' or '.join(choice.value for choice in choices)}")

    return read


def _uri(value: object, place: ChannelPlace) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a URI such as http://dead-letters.default")
    return complete_uri(value, place.namespace, place.cluster_domain)


def _start(value: object, _: ChannelPlace) -> Start:
    """Parse ``START_SYNTAX``; a number is a sequence, and only text with " ago" a duration."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _sequence(value)
    if not isinstance(value, str):
        raise ValueError(f"must be {START_SYNTAX}")
    text = value.strip()
    if text in {"new", "first", "last"}:
        return Start(StartKind(text))
    if re.fullmatch(r"[0-9]{1,20}", text, re.ASCII):
        return _sequence(int(text))
    if text.endswith(" ago"):
        return _ago(text.removesuffix(" ago").strip())
    if match := _RFC3339.fullmatch(text):
        return _time(match)
    raise ValueError(f"must be {START_SYNTAX}{_start_hint(text)}")


def _sequence(number: int) -> Start:
    if not 1 <= number <= _MAX_SEQUENCE:
        raise ValueError("must be a sequence of at least 1")
    return Start(StartKind.SEQUENCE, number)


def _ago(text: str) -> Start:
    if re.fullmatch(r"[0-9.]+", text, re.ASCII):
        raise ValueError(f'must say its unit, as "{text}s ago"')
    return Start(StartKind.AGO, parse_duration(text))


def _time(match: re.Match[str]) -> Start:
    day, clock, fraction, offset = match.groups(default="")
    offset = "+00:00" if offset in "Zz" else offset
    try:
        seconds = datetime.fromisoformat(f"{day}T{clock}{offset}").timestamp()
    except (ValueError, OverflowError):
        raise ValueError("must be a time that exists") from None
    if not 0 <= seconds < _MAX_TIME:
        raise ValueError("must be a time from 1970 to 2241")
    return Start(StartKind.TIME, seconds + float(fraction or 0))


def _start_hint(text: str) -> str:
    """Return a hint what a text lacks that is nearly right."""
    if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
        return " (a time needs a date, the seconds and Z or an offset)"
    try:
        parse_duration(text)
    except ValueError:
        return did_you_mean(text, ["new", "first", "last"])
    return f' (did you mean "{text} ago"?)'


ARGUMENTS: Mapping[str, Argument] = {
    "ackWait": Argument("ack_wait", _ack_wait, format_duration),
    "maxInflight": Argument("max_inflight", _whole(1, MAX_INFLIGHT)),
    "timeout": Argument("timeout", _timeout, format_duration),
    "retry": Argument("retry", _whole(0, MAX_RETRY)),
    "backoffDelay": Argument("backoff_delay", _duration, format_duration),
    "backoffPolicy": Argument("backoff_policy", _one_of(BackoffPolicy), _shown_choice),
    "maxRedeliveries": Argument("max_redeliveries", _whole(0, MAX_REDELIVERIES)),
    "deadLetterURI": Argument("dead_letter_uri", _uri, _shown_uri),
    # A new subscriber never gets the events before its start; and overtaking cannot be undone.
    "start": Argument("start", _start, _shown_start, safe=Start(StartKind.FIRST)),
    "order": Argument("order", _one_of(Order), _shown_choice, safe=Order.CHANNEL),
}
