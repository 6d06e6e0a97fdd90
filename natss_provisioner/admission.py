"""What a Channel or a Subscription may ask for, and how it is told if it asks for something else.

Pure. The same rules hold where requests are admitted, and are told in ``status`` where they are
not.
"""

from collections.abc import Sequence

from contract.resources import Problem
from natss_provisioner.conditions import SPEC_ACCEPTED, Condition, advice

_IMMUTABLE = frozenset({"spec.provisioner", "spec.channel"})

_LONGEST = 1000
"""Characters of a message; what is left out is in Events and in the log of the dispatcher."""


def told(problems: Sequence[Problem]) -> Condition | None:
    """``SpecAccepted``, as advice; None if there is nothing to tell."""
    if not problems:
        return None
    reason = "Ignored"
    if any(problem.refused for problem in problems):
        reason = "Refused"
    if any(problem.path in _IMMUTABLE for problem in problems):
        reason = "Immutable"
    message = "; ".join(f"{problem.path}: {problem.message}" for problem in problems)
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]}..."
    return advice(SPEC_ACCEPTED, reason, message)
