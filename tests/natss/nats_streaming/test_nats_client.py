"""Pins what ``nats_client.py`` assumes about the inside of the installed nats-py.

When one of these fails after an update of nats-py, look there before anything else.
"""

import asyncio
import inspect
import logging

import pytest
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.protocol.parser import Parser

from natss.nats_streaming.errors import TlsNotOffered
from natss.nats_streaming.nats_client import NatsClient
from tests.support.proxy import Proxy
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import Changes


class Inbox:
    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes, bytes, bytes | None]] = []
        self._changes = Changes()

    def take(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.messages.append((subject, reply, data, headers))
        self._changes.note()

    async def until(self, count: int) -> None:
        await self._changes.until(lambda: len(self.messages) >= count, 5)


async def _connected(url: str, **options: object) -> NatsClient:
    client = NatsClient(must_encrypt=False)
    await client.connect([url], allow_reconnect=False, pending_size=0, **options)  # type: ignore[arg-type] # any of its options
    return client


def test_what_is_overridden_exists_with_these_parameters() -> None:
    assert list(inspect.signature(Client._process_msg).parameters) == [
        "self",
        "sid",
        "subject",
        "reply",
        "data",
        "headers",
    ]
    assert inspect.iscoroutinefunction(Client._process_msg)
    assert list(inspect.signature(Client._connect_command).parameters) == ["self"]


def test_the_parser_calls_process_msg_and_nothing_else_for_a_message() -> None:
    source = inspect.getsource(Parser.parse)
    assert source.count("self.nc._process_msg(sid, subject, reply, payload, hdr)") == 1


async def test_messages_come_as_bytes_in_order(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    client = await _connected(memory_server.url)
    inbox = Inbox()
    await client.receive(f"{unique_name}.*", inbox.take)
    for number in range(3):
        await client.publish(f"{unique_name}.{number}", b"x%d" % number, reply="r")
    await client.publish(f"{unique_name}.4", b"", headers={"A": "b"})
    await inbox.until(4)
    assert inbox.messages[:3] == [
        (f"{unique_name}.{number}".encode(), b"r", b"x%d" % number, None) for number in range(3)
    ]
    subject, reply, data, headers = inbox.messages[3]
    assert (reply, data) == (b"", b"")
    assert headers is not None
    assert headers.startswith(b"NATS/1.0\r\nA: b")
    assert all(type(part) is bytes for part in (subject, reply, data, headers))
    await client.end()


async def test_no_responders_come_with_a_status_header(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    client = await _connected(memory_server.url)
    inbox = Inbox()
    await client.receive(unique_name, inbox.take)
    await client.publish("nobody.there", b"", reply=unique_name)
    await inbox.until(1)
    assert inbox.messages == [(unique_name.encode(), b"", b"", b"NATS/1.0 503\r\n\r\n")]
    await client.end()


async def test_write_sends_commands(memory_server: NatsStreamingServer, unique_name: str) -> None:
    client = await _connected(memory_server.url)
    inbox = Inbox()
    await client.receive(unique_name, inbox.take)
    await client.flush()
    client.write(f"PUB {unique_name} reply 2\r\nhi\r\n".encode())
    await inbox.until(1)
    assert inbox.messages == [(unique_name.encode(), b"reply", b"hi", None)]
    await client.end()


async def test_receiver_that_fails_does_not_end_reading(
    memory_server: NatsStreamingServer, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_args: object) -> None:
        raise RuntimeError("as if")

    client = await _connected(memory_server.url)
    inbox = Inbox()
    await client.receive(f"{unique_name}.bad", fail)
    await client.receive(f"{unique_name}.good", inbox.take)
    with caplog.at_level(logging.ERROR):
        await client.publish(f"{unique_name}.bad", b"secret")
        await client.publish(f"{unique_name}.good", b"")
        await inbox.until(1)
    assert len(inbox.messages) == 1
    assert "a receiver of NATS messages failed" in caplog.text
    assert "secret" not in caplog.text
    await client.end()


async def test_no_task_per_subscription(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    client = await _connected(memory_server.url)
    before = len(asyncio.all_tasks())
    for number in range(10):
        await client.receive(f"{unique_name}.{number}", Inbox().take)
    assert len(asyncio.all_tasks()) == before
    await client.end()


async def test_end_leaves_nothing(memory_server: NatsStreamingServer) -> None:
    """Also with a peer that takes no more data, where nats-py's close waits for ever."""
    before = asyncio.all_tasks()
    async with Proxy(memory_server.port) as proxy:
        client = await _connected(proxy.url)
        proxy.hold()
        client.write(b"PUB a 5000000\r\n" + bytes(5_000_000))
        transport = client._transport
        assert isinstance(transport, TcpTransport)
        writer = transport._io_writer
        assert writer is not None
        await asyncio.wait_for(client.end(), 2)
        assert writer.transport.is_closing()
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == before


async def test_credentials_do_not_go_out_in_plain_text() -> None:
    """When TLS is wanted and the server does not ask for it."""
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.9.0","max_payload":1048576}\r\n')
        while data := await reader.read(1000):
            heard.extend(data)
        writer.close()

    async def give_up(error: Exception) -> None:
        raise error

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = NatsClient(must_encrypt=True)
    async with server:
        try:
            with pytest.raises(TlsNotOffered):
                await client.connect(
                    [f"nats://127.0.0.1:{port}"], user="me", password="secret", error_cb=give_up
                )
        finally:
            await client.end()
    assert bytes(heard) == b""
