"""Both ends of a measurement, as processes: one posts events, one receives them (``load/``)."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dispatcher.event import stored_form as event

PROGRAM = Path(__file__).parent.parent / ".tools" / "bin" / "bench-load"
CONNECTIONS = 64
_ID_DIGITS, _SENT_DIGITS = 10, 19


class MeasurementFailed(Exception):
    """Something did not happen that a figure would need."""


def headers() -> list[tuple[bytes, bytes]]:
    """Return the headers of an event as the load generator posts it."""
    return [
        (b"Content-Type", b"application/json"),
        (b"Ce-Specversion", b"1.0"),
        (b"Ce-Type", b"bench.event"),
        (b"Ce-Source", b"/bench"),
        (b"Ce-Id", b"0" * _ID_DIGITS),
        (b"Ce-Sentat", b"0" * _SENT_DIGITS),
    ]


def body_length(stored_bytes: int, host: str) -> int:
    """Return the longest body whose event's stored form does not exceed that size."""
    length = max(0, (stored_bytes - len(event.encode(headers(), b"x", host))) // 4 * 3)
    return length + 1 if length else 2


@dataclass(frozen=True, slots=True)
class Latency:
    """In milliseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        quantiles = answer["latency_ms"]
        return cls(quantiles.get("p50", 0.0), quantiles.get("p99", 0.0))


@dataclass(frozen=True, slots=True)
class Posted:
    """What the load generator did; times in seconds since the epoch."""

    begin: float
    end: float
    latency: Latency


async def post(
    address: str, host: str, events: int, body: int, *, hosts: int = 1, rate: float = 0.0
) -> Posted:
    """Post events on 64 connections until all are answered.

    Raises:
        MeasurementFailed: not each of them was answered with 202.
    """
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "load",
        f"-address={address}",
        f"-host={host}",
        f"-hosts={hosts}",
        f"-count={events}",
        f"-connections={CONNECTIONS}",
        f"-body={body}",
        f"-rate={rate}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise MeasurementFailed(errors.decode().strip())
    answer = json.loads(output)
    if answer["answers"] != {"202": events}:
        raise MeasurementFailed(f"{events} events were answered {answer['answers']}")
    return Posted(answer["begin"], answer["end"], Latency.of(answer))


@dataclass(frozen=True, slots=True)
class Arrived:
    """What the sink received; times in seconds since the epoch."""

    events: int
    duplicates: int
    end: float
    latency: Latency


class Sink:
    """A subscriber for everything, or one for each path."""

    def __init__(
        self, process: asyncio.subprocess.Process, address: str, delay_ms: int = 0
    ) -> None:
        self._process = process
        self._delay_ms = delay_ms
        self.address = address

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, delay_ms: int = 0) -> Self:
        process, address = await _start_sink(delay_ms, "127.0.0.1:0")
        return cls(process, address, delay_ms)

    async def start_again(self) -> None:
        """Start again under the same address, and count from 0."""
        self._process, _ = await _start_sink(self._delay_ms, self.address)

    async def reset(self) -> None:
        await self._command("reset")

    async def wait_for(self, events: int, seconds: float) -> Arrived:
        """Wait until so many deliveries arrived, copies not counted.

        Raises:
            MeasurementFailed: they did not in time.
        """
        arrived = await self.count_up_to(events, seconds)
        if arrived.events != events:
            raise MeasurementFailed(
                f"{arrived.events} of {events} deliveries arrived in {seconds:.0f} s"
            )
        return arrived

    async def count_up_to(self, events: int, seconds: float) -> Arrived:
        """Return what arrived until then, or until so many deliveries did.

        Raises:
            MeasurementFailed: something other than an event arrived.
        """
        answer = await self._command(f"wait {events} {int(seconds * 1000)}")
        if answer["unreadable"]:
            raise MeasurementFailed(f"{answer['unreadable']} connections were unreadable")
        return Arrived(answer["unique"], answer["duplicates"], answer["end"], Latency.of(answer))

    async def stop(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def _command(self, text: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text.encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise MeasurementFailed("the sink has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


async def _start_sink(delay_ms: int, listen: str) -> tuple[asyncio.subprocess.Process, str]:
    """Start a sink; return the process, and the address on which it listens."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "sink",
        f"-delay={delay_ms}ms",
        f"-listen={listen}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode().strip()
