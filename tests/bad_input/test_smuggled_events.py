"""What would be smuggled past a proxy reaches no subscriber: every known way, on a dispatcher."""

from pathlib import Path

from tests.bad_input.smuggling import CASES, NEXT, statuses_of
from tests.conftest import StartServer
from tests.support.channel_files import channel, subscription, write_documents
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.publishers import ORDERS
from tests.support.subscriber import Subscriber


async def test_no_subscriber_gets_what_was_smuggled(
    natss_server: StartServer, tmp_path: Path
) -> None:
    """All cases on one dispatcher; the channel's subscriber tells what came."""
    server = await natss_server()
    sink = Subscriber()
    await sink.start()
    path = write_documents(
        tmp_path / "channels.yaml",
        channel(ORDERS.name, {"order": "channel"}),
        subscription("sink", ORDERS.name, sink.url),
    )
    dispatcher = ObservedDispatcher(server, path)
    try:
        await dispatcher.start()
        for case in CASES:
            statuses = await statuses_of(dispatcher.port, case.data + NEXT)
            assert statuses == list(case.statuses), case
        assert await dispatcher.post(ORDERS.name, "last", b"last") == 202
        await sink.wait_until(lambda: sink.counts["last"] > 0)
    finally:
        await dispatcher.stop()
        await dispatcher.close_http()
        await sink.stop()
    wanted = [body for case in CASES for body in case.bodies]
    assert [each.body for each in sink.received] == [*wanted, b"last"]
