"""The example of the README runs, and outlives what it says it outlives."""

import asyncio
import re
import sys

from natss import nats_streaming
from natss.nats_streaming import ConnectionOptions, NatsOptions
from tests.support.event_loops import ASYNCIO
from tests.support.repository import ROOT
from tests.support.servers import NatsStreamingServer

EVENT_LOOPS = ASYNCIO  # it runs in a process of its own

EXAMPLE = ROOT / "examples" / "nats_streaming_example.py"


def test_readme_shows_the_example() -> None:
    readme = (ROOT / "natss" / "nats_streaming" / "README.md").read_text()
    (shown,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    _docstring, code = EXAMPLE.read_text().split('"""\n\n', 1)
    assert shown == code


async def test_example_runs(file_server: NatsStreamingServer) -> None:
    output = await _output_of(file_server)
    assert output.count("stored as") == 10
    assert [line for line in output.splitlines() if line.startswith("order ")] == [
        f"order {number + 1}: {number} apples" for number in range(10)
    ]


async def test_example_waits_for_its_client_id(file_server: NatsStreamingServer) -> None:
    options = ConnectionOptions(
        cluster_id=file_server.cluster_id,
        client_id="order-desk",
        nats=NatsOptions(servers=(file_server.url,)),
    )
    async with await nats_streaming.connect(options):
        running = asyncio.create_task(_output_of(file_server))
        await asyncio.sleep(1)
        assert not running.done()
    assert (await running).count("stored as") == 10


async def _output_of(server: NatsStreamingServer) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        server.url,
        server.cluster_id,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0
    return output.decode()
