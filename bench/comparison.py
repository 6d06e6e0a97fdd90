"""Measures the parts and the whole in turn, several times: a noisy moment must not decide."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.cases import Case
from bench.ends import MeasurementFailed, Sink, body_length, post
from bench.measure import cpu_seconds
from bench.parts import HOST
from bench.whole import CLUSTER_ID, Result, run
from tests.support.servers import NatsStreamingServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """CPU in microseconds for each event; medians."""

    store: str
    nats_streaming: float
    server: float
    client: float
    stored_form: float
    """To make and read it; making it is part of ``server`` as well."""

    whole: float
    result: Result
    """The run with the median throughput."""

    @property
    def parts(self) -> float:
        return self.nats_streaming + self.server + self.client

    @property
    def ratio(self) -> float:
        return self.whole / self.parts


async def compare(case: Case, folder: Path, rounds: int) -> Comparison:
    """Measure each part and the whole, in turn, so many times."""
    parts: list[tuple[float, float, float, float]] = []
    results: list[Result] = []
    for number in range(rounds):
        here = folder / f"round-{number}"
        parts.append(
            (
                await _nats_streaming(case, here / "parts"),
                await _server(case),
                await _client(case),
                await _part("stored-form", case),
            )
        )
        results.append(await run(case, here))
    nats_streaming, server, client, stored_form = map(median, zip(*parts, strict=True))
    by_speed = sorted(results, key=lambda result: result.events_per_second)
    return Comparison(
        store=case.store,
        nats_streaming=nats_streaming,
        server=server,
        client=client,
        stored_form=stored_form,
        whole=median(result.dispatcher_cpu for result in results),
        result=by_speed[len(by_speed) // 2],
    )


async def _nats_streaming(case: Case, folder: Path) -> float:
    server = NatsStreamingServer(
        folder, store="FILE" if case.store == "FILE" else "MEMORY", cluster_id=CLUSTER_ID
    )
    try:
        await server.start()
        return await _part("nats-streaming", case, f"--url={server.url}")
    finally:
        await server.kill()


async def _client(case: Case) -> float:
    sink = await Sink.start()
    try:
        return await _part("client", case, f"--sink={sink.address}")
    finally:
        await sink.stop()


async def _server(case: Case) -> float:
    process = await asyncio.create_subprocess_exec(
        *_command("server", case), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        address = f"127.0.0.1:{json.loads(await process.stdout.readline())['port']}"
        body = body_length(case.stored_bytes, HOST)
        await post(address, HOST, 2_000, body)
        before = cpu_seconds(process.pid)
        await post(address, HOST, case.events, body)
        return (cpu_seconds(process.pid) - before) / case.events * 1e6
    finally:
        process.kill()
        await process.wait()


async def _part(name: str, case: Case, *more: str) -> float:
    process = await asyncio.create_subprocess_exec(
        *_command(name, case), *more, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise MeasurementFailed(f"the part {name} ended with status {process.returncode}")
    cpu: float = json.loads(output)["cpu"]
    return cpu


def _command(name: str, case: Case) -> list[str]:
    return [
        sys.executable,
        "-m",
        "bench.parts",
        name,
        f"--events={case.events}",
        f"--stored-bytes={case.stored_bytes}",
        f"--cluster-id={CLUSTER_ID}",
    ]
