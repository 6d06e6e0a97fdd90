"""The real servers of the tests do what tests rely on."""

import socket

import pytest

from tests.conftest import StartServer
from tests.support.servers import NatsStreamingServer, ServerFailed


async def test_ready_server_answers_monitoring(memory_server: NatsStreamingServer) -> None:
    info = await memory_server.monitor("/streaming/serverz")
    assert info["cluster_id"] == memory_server.cluster_id
    assert info["state"] == "STANDALONE"


async def test_restart_keeps_ports_and_file_store(file_server: NatsStreamingServer) -> None:
    before = file_server.url, file_server.monitor_url, file_server.pid
    await file_server.kill()
    assert not file_server.is_running
    await file_server.restart()
    assert (file_server.url, file_server.monitor_url) == before[:2]
    assert file_server.pid != before[2]
    store = await file_server.monitor("/streaming/storez")
    assert store["type"] == "FILE"


async def test_paused_server_keeps_its_port_and_stops(natss_server: StartServer) -> None:
    server = await natss_server()
    server.pause()
    with socket.create_connection(("127.0.0.1", server.port), timeout=2):
        server.resume()
    server.pause()
    await server.stop()
    assert not server.is_running


async def test_wrong_configuration_is_told(natss_server: StartServer) -> None:
    with pytest.raises(ServerFailed, match="Parse error"):
        await natss_server(streaming="max_channels: { ]")
