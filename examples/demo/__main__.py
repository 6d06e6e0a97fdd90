"""What the dispatcher promises, shown with a real server: ``make demo``.

Events are posted while first the dispatcher and then NATS Streaming is killed (SIGKILL) and
started again. In the end every event that was answered 202 must have reached every subscriber;
otherwise the exit status is 1. Channels and Subscriptions are those of ``../channels.yaml``.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from examples.demo.publisher import Publisher
from examples.demo.report import lost, progress_of, table_of
from examples.demo.running import NAMESPACE, Demo, running
from natss.contract.names import DEFAULT_CLUSTER_DOMAIN, channel_host
from tests.support.dispatcher_process import ProcessFailed
from tests.support.servers import ServerFailed

EVENTS_PER_SECOND = 100.0
DELIVERY_SECONDS = 30.0

OF_YOUR_OWN = """
For channels of your own, with a server that keeps its store in ./natss-store, and a dispatcher
that keeps in ./natss-state what a restart must not forget:
  [bold].tools/bin/nats-streaming-server -a 127.0.0.1 -store FILE -dir natss-store \\
    -cid knative-nats-streaming
  .venv/bin/natss-dispatcher --channels examples/channels.yaml \\
    --natss-url nats://127.0.0.1:4222 --listen 127.0.0.1:8080 --admin-listen 127.0.0.1:8081 \\
    --state-dir natss-state[/]
and the state of each subscription at http://127.0.0.1:8081/. An event for the channel orders:
  [bold]curl -i http://127.0.0.1:8080/ -H 'Host: orders.shop.channels.cluster.local' \\
    -H 'Ce-Id: 1' -H 'Ce-Source: /me' -H 'Ce-Type: order.created' -H 'Ce-Specversion: 1.0' \\
    -H 'Content-Type: application/json' -d '{"order": 1}'[/]"""


async def demonstrate(events: int, console: Console) -> bool:
    """Run the demo with so many events for each channel; return whether nothing was lost."""
    with tempfile.TemporaryDirectory(prefix="natss-demo-") as folder:
        async with running(Path(folder)) as demo:
            console.print(f"nats-streaming-server at {demo.server.url}, FILE store")
            console.print(f"natss-dispatcher at {demo.dispatcher.url}")
            publisher = await publish_through_crashes(demo, events, console)
            console.print(table_of(publisher, demo.subscribers, events))
            console.print(f"{publisher.attempts} requests were needed for that many events.")
            complete = not any(lost(publisher, s) for s in demo.subscribers)
            if not complete:
                console.print("Events were lost. The end of the dispatcher's log:", style="red")
                console.print(demo.dispatcher.end_of_log(), markup=False, soft_wrap=True)
    return complete


async def publish_through_crashes(demo: Demo, events: int, console: Console) -> Publisher:
    """Post the events; kill the dispatcher after a third of them, the server after another."""
    channels = dict.fromkeys(subscriber.channel for subscriber in demo.subscribers)
    hosts = {c: channel_host(NAMESPACE, c, DEFAULT_CLUSTER_DOMAIN) for c in channels}
    accepted = asyncio.Semaphore(0)
    publisher = Publisher(demo.dispatcher.url, hosts, accepted.release)
    third = events * len(hosts) // 3
    with progress_of(publisher, demo.subscribers, events, console) as progress:
        async with asyncio.TaskGroup() as group:
            group.create_task(publisher.publish(events, EVENTS_PER_SECOND), name="publishing")
            for _ in range(third):
                await accepted.acquire()
            progress.console.print("SIGKILL to the dispatcher; starting it again", style="red")
            await demo.dispatcher.kill()
            await demo.dispatcher.start()
            for _ in range(third):
                await accepted.acquire()
            progress.console.print(
                "SIGKILL to nats-streaming-server; starting it again", style="red"
            )
            await demo.server.kill()
            await demo.server.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_SECONDS):
                while any(lost(publisher, subscriber) for subscriber in demo.subscribers):
                    demo.delivered_one.clear()
                    await demo.delivered_one.wait()
    return publisher


async def interruptible(events: int, console: Console) -> bool:
    """Run ``demonstrate``; end as tidily on SIGTERM as on Ctrl-C."""
    task = asyncio.create_task(demonstrate(events, console), name="demo")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--events", type=int, default=300, help="for each channel (default 300)")
    events = parser.parse_args().events
    console = Console(highlight=False)
    try:
        complete = asyncio.run(interruptible(events, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Interrupted; everything is ended and removed.")
        return 130
    except (ProcessFailed, ServerFailed) as error:
        console.print(f"The demo could not run: {error}", style="red", markup=False)
        return 1
    console.print(OF_YOUR_OWN, soft_wrap=True)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
