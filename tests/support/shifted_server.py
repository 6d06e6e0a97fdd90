"""A real nats-streaming-server whose wall clock can be shifted while it runs.

Its timers stay right, as on a machine whose clock is stepped. ``make`` builds it
(``tools.shifted_clock``).
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path

from tests.support.repository import BIN
from tests.support.servers import NatsStreamingServer

CLOCK = "FAULTS_CLOCK"
"""Names the file that says how far the clock of a process is off."""
SHIFT = struct.Struct("=d")


def set_shift(file: Path, seconds: float) -> None:
    """Set the clocks that use this file so many seconds ahead."""
    with file.open("r+b" if file.exists() else "wb") as opened:
        opened.write(SHIFT.pack(seconds))


class ShiftedServer(NatsStreamingServer):
    """Uses the file ``clock`` in its directory."""

    binary = BIN / "nats-streaming-server-shifted"

    @property
    def clock(self) -> Path:
        return self.directory / "clock"

    @property
    def environ(self) -> Mapping[str, str]:
        return {**os.environ, CLOCK: str(self.clock)}

    def shift(self, seconds: float) -> None:
        """Be so many seconds ahead from now on, whether it runs or not."""
        self.directory.mkdir(parents=True, exist_ok=True)
        set_shift(self.clock, seconds)

    def start_blocking(self) -> None:
        if not self.clock.exists():
            self.shift(0.0)
        super().start_blocking()
