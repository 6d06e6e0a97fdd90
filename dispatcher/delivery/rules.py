"""Decisions of a delivery: what an answer means, how long to wait, where a failed event goes.

Pure: no clock, no I/O. ``dispatcher.delivery.attempts`` acts on these decisions.
"""

import enum
from dataclasses import dataclass

from natss.contract.resources import BackoffPolicy, DeliveryPolicy
from natss.contract.uris import redact

_MOST_SHOWN = 200
"""Characters of an answer that are shown to people."""


class AnswerVerdict(enum.Enum):
    """What the status of an answer says about an attempt."""

    DELIVERED = enum.auto()
    RETRY = enum.auto()
    REFUSED = enum.auto()  # the same request would be refused again


class Outcome(enum.Enum):
    """How a round of attempts ended. An event is acknowledged when its outcome is settled."""

    DELIVERED = enum.auto()
    DEAD_LETTERED = enum.auto()
    UNREADABLE = enum.auto()  # a poison message: counted, logged and put aside
    WITHOUT_REPLY = enum.auto()  # accepted, but the answer can never become a reply
    FAILED = enum.auto()  # NATS Streaming will redeliver it
    POSTPONED = enum.auto()  # not begun for lack of memory; NATS Streaming redelivers it

    @property
    def settled(self) -> bool:
        return self not in (Outcome.FAILED, Outcome.POSTPONED)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a destination did not accept an event; goes into the ``knativeerror*`` attributes."""

    destination: str
    code: int
    """The status of the last answer; 500 if there was none."""

    data: bytes
    """The body of the last answer, or the text of the error."""

    has_answer: bool
    reason: str
    """Short: the status, or the kind of error as in metrics."""

    is_taken: bool = False
    """Whether the destination has accepted the event all the same: it answered 2xx, but its answer
    cannot become a reply.
    """

    @property
    def text(self) -> str:
        """What went wrong, and what the destination answered, for the people of the namespace."""
        said = _shown(self.data) if self.has_answer else ""
        return f"{self.summary}: {said}" if said else self.summary

    @property
    def summary(self) -> str:
        """The same for the log, without the words of the destination, which may quote the event."""
        return self.reason if self.has_answer else self.data.decode(errors="replace")


def _shown(data: bytes) -> str:
    """Return the beginning of an answer as one printable line, without secrets in URLs."""
    text = data.decode(errors="replace")
    text = redact("".join(each if each.isprintable() else " " for each in text))
    text = " ".join(text.split())
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


_RETRIED_CLIENT_ERRORS = frozenset({404, 408, 409, 429})
"""Knative eventing retries these besides every 5xx: the channel or service may not exist yet, or
has asked for patience.
"""

MAX_BACKOFF = 3600.0
"""In seconds. Otherwise an exponential backoff doubles past every sensible wait."""

_JITTER = 0.2
"""The random part of a wait, so that what failed together is not retried together."""


def verdict(status: int) -> AnswerVerdict:
    """Judge the status of an answer by Knative's retry rules (3xx that is left is not followed)."""
    if 200 <= status < 300:
        return AnswerVerdict.DELIVERED
    if status >= 500 or status in _RETRIED_CLIENT_ERRORS:
        return AnswerVerdict.RETRY
    return AnswerVerdict.REFUSED


def backoff(policy: DeliveryPolicy, retry: int, chance: float) -> float:
    """Return the seconds to wait before a retry.

    Args:
        policy: ``backoff_delay`` and ``backoff_policy`` are used.
        retry: Number of the retry, counted from 1 (Knative's documented formula).
        chance: From [0, 1), moves the wait by up to 10 % either way.
    """
    factor = retry if policy.backoff_policy is BackoffPolicy.LINEAR else 2 ** min(retry, 32)
    wait = min(policy.backoff_delay * factor, MAX_BACKOFF)
    return wait * (1 - _JITTER / 2 + _JITTER * chance)


def goes_to_dead_letter(policy: DeliveryPolicy, failed_rounds: int) -> bool:
    """Return whether, after so many failed rounds (>= 1), an event is not redelivered any more."""
    return policy.dead_letter_uri is not None and failed_rounds > policy.max_redeliveries


def redelivery_pause(policy: DeliveryPolicy) -> float:
    """Return the seconds that a failed event rests at least.

    NATS Streaming may send copies far more often than once per ack wait: after a long absence the
    deadlines lie in the past, and reopening a durable sends everything pending at once.
    """
    return policy.ack_wait / 2
