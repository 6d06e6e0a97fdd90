"""A durable that the server has open for a dispatcher that was replaced."""

from tests.support.data_plane import DataPlane, subscriber
from tests.support.former_owner import open_for_nobody
from tests.support.servers import NatsStreamingServer
from tests.support.subscriber import Subscriber


async def test_it_is_delivered_by_the_new_owner_all_the_same(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    """A new Subscription that both have seen, or one that was moving to another durable."""
    mail, neighbour = Subscriber(), Subscriber()
    await mail.start()
    await neighbour.start()
    async with DataPlane(memory_server, unique_name) as plane:
        plane.subscribe(subscriber(neighbour.url, "neighbour", "uid-2"))
        await plane.open()
        await open_for_nobody(memory_server, unique_name, plane.subject, "uid-1")
        plane.subscribe(
            subscriber(neighbour.url, "neighbour", "uid-2"), subscriber(mail.url, "mail", "uid-1")
        )
        await plane.publish("e1")
        await mail.wait_for_events(1)
        await neighbour.wait_for_events(1)
        await plane.publish("e2")
        await mail.wait_for_events(2)
        assert neighbour.duplicates == 0
    await mail.stop()
    await neighbour.stop()
