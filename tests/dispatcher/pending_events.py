"""Events as ``Attempts.deliver`` takes them."""

from dispatcher.window import Record


def pending(data: bytes, sequence: int = 1, *, failed_rounds: int = 0) -> Record:
    """One that waits, with its stored form."""
    record = Record(sequence, 1, 0, 0.0)
    record.data = data
    record.failed_rounds = failed_rounds
    return record
