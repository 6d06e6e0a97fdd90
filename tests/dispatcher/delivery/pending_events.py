"""Events as ``Attempts.deliver`` takes them."""

from dispatcher.delivery.window import PendingEvent


def pending(data: bytes, sequence: int = 1, *, failed_rounds: int = 0) -> PendingEvent:
    """Return an event that waits, with its stored form."""
    record = PendingEvent(sequence, 1, 0, 0.0)
    record.data = data
    record.failed_rounds = failed_rounds
    return record
