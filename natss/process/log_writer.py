"""A logging handler that never holds up its caller.

A thread writes the lines. If the terminal or disk behind the stream is stuck, lines wait, up to a
bound, and then are dropped and counted: the event loop must go on, because NATS Streaming gives up
clients that are silent for half a second.
"""

import logging
import queue
import threading
from typing import TextIO

from natss.contract.uris import redact

_END = None


class LineWriter(logging.Handler):
    """Writes each record as a line, without users, passwords and queries in URLs.

    Args:
        stream: Where the lines go.
        most_waiting: Lines that may wait to be written.
        close_timeout: Seconds that ``close`` waits for them.
    """

    def __init__(
        self, stream: TextIO, most_waiting: int = 10_000, close_timeout: float = 2.0
    ) -> None:
        super().__init__()
        self._stream = stream
        self._close_timeout = close_timeout
        self._lines: queue.Queue[str | None] = queue.Queue(most_waiting)
        self._dropped = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; ``logging`` calls this under the handler's lock."""
        try:
            line = redact(self.format(record))
        except Exception as error:  # a value that cannot be shown must not harm its logger
            line = f"log line of {record.name} cannot be shown: {type(error).__name__}"
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write the lines that wait, and end; ``logging`` calls this when the process ends."""
        if not self._closed:
            self._closed = True
            try:
                self._lines.put(_END, timeout=self._close_timeout)
            except queue.Full:
                return
            self._thread.join(self._close_timeout)
        super().close()

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not _END:
            if self._dropped:
                line = f"{line}\n{self._dropped} log lines were dropped: nobody took them in time"
                self._dropped = 0
            self._write(line)

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            if self._lines.empty():
                self._stream.flush()
        except (OSError, ValueError):  # the reader is gone, or the stream is closed
            self._dropped += 1
