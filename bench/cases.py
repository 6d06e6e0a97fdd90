"""What is measured: a base case, and cases that differ from it in one way."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run through the dispatcher.

    Attributes:
        delay_ms: How long a subscriber takes to answer.
        fan_out: Subscribers of each channel.
        stored_bytes: Length of an event as it is stored.
        events: How many are posted; enough for several seconds.
        rate: Events posted each second; 0 for as many as are answered.
    """

    name: str
    store: str = "MEMORY"
    delay_ms: int = 0
    fan_out: int = 1
    stored_bytes: int = 270
    channels: int = 1
    events: int = 50_000
    rate: float = 0.0

    @property
    def deliveries(self) -> int:
        return self.events * self.fan_out


BASE = Case(name="base case")
FILE = replace(BASE, name="FILE store", store="FILE")
FIVE_MS = replace(BASE, name="subscriber takes 5 ms", delay_ms=5, events=40_000)
CASES = (
    BASE,
    FILE,
    FIVE_MS,
    replace(BASE, name="subscriber takes 200 ms", delay_ms=200, events=2_560),
    replace(BASE, name="10 subscribers", fan_out=10, events=8_000),
    replace(BASE, name="100 subscribers", fan_out=100, events=1_000),
    replace(BASE, name="events of 4 KiB", stored_bytes=4 << 10, events=30_000),
    replace(BASE, name="events of 64 KiB", stored_bytes=64 << 10, events=5_000),
    replace(BASE, name="1,000 channels", channels=1_000, events=40_000),
    replace(BASE, name="1,000 events/s", rate=1_000, events=8_000),
    replace(FILE, name="1,000/s, FILE store", rate=1_000, events=8_000),
)


def cases(*, quick: bool) -> tuple[Case, ...]:
    """Return all cases, or three short ones for a first impression."""
    if not quick:
        return CASES
    return tuple(replace(case, events=case.events // 4) for case in (BASE, FILE, FIVE_MS))
