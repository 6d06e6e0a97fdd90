"""An argument that is mistyped must not cost a new subscriber what it had asked for."""

from pathlib import Path

import pytest

from tests.support.channel_files import channel, subscription, write_documents
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber, slow


@pytest.mark.parametrize("begins_mistyped", [True, False])
async def test_a_new_subscriber_misses_nothing_for_a_mistyped_start(
    file_server: NatsStreamingServer, tmp_path: Path, begins_mistyped: bool
) -> None:
    """Neither of a channel that was right before, nor after a start with the mistake in it."""
    right, wrong = (channel("orders", {"start": start}) for start in ("1h ago", "1h"))
    path = write_documents(tmp_path / "channels.yaml", wrong if begins_mistyped else right)
    dispatcher = ObservedDispatcher(file_server, path)
    sink = Subscriber()
    await sink.start()
    await dispatcher.start()
    try:
        await dispatcher.post_many("orders", ["before"])
        dispatcher.rewrite(wrong, subscription("mail", "orders", sink.url))
        await sink.wait_for_events(1, timeout=20)
        problems = str((await dispatcher.status())["problems"])
        used = "first" if begins_mistyped else "1h ago"
        assert f"{used} is used instead" in problems
    finally:
        await dispatcher.stop()
        await dispatcher.close_http()
        await sink.stop()


async def test_events_do_not_overtake_each_other_for_a_mistyped_order(
    file_server: NatsStreamingServer, tmp_path: Path
) -> None:
    arguments = {"order": "Channel", "start": "first"}
    sink = Subscriber(slow(0.2))
    await sink.start()
    path = write_documents(
        tmp_path / "channels.yaml",
        channel("orders", arguments),
        subscription("mail", "orders", sink.url),
    )
    dispatcher = ObservedDispatcher(file_server, path)
    await dispatcher.start()
    try:
        await dispatcher.post_many("orders", [f"e{number}" for number in range(5)])
        await sink.wait_for_events(5, timeout=20)
    finally:
        await dispatcher.stop()
        await dispatcher.close_http()
        await sink.stop()
    assert sink.most_in_flight == 1
