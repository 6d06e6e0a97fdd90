"""The dispatcher as a process whose environment names a proxy."""

from collections.abc import Mapping
from pathlib import Path

from tests.conftest import StartServer
from tests.support.channel_files import channel, subscription, write_documents
from tests.support.http_proxy import HttpProxy
from tests.support.observed_dispatcher import ObservedDispatcher
from tests.support.scripted_server import ALWAYS_202, ScriptedServer
from tests.support.waiting import eventually


class Proxied(ObservedDispatcher):
    variables: Mapping[str, str]

    @property
    def environ(self) -> Mapping[str, str]:
        return {**super().environ, **self.variables}


async def test_subscribers_are_called_by_the_proxy_of_the_environment(
    natss_server: StartServer, tmp_path: Path
) -> None:
    """And that is told at the start, without its password."""
    server = await natss_server()
    documents = [channel("orders"), subscription("mail", "orders", "http://mail.example/in")]
    channels = write_documents(tmp_path / "channels.yaml", *documents)
    async with (
        ScriptedServer(ALWAYS_202) as subscriber,
        HttpProxy({"mail.example:80": subscriber.port}) as proxy,
    ):
        dispatcher = Proxied(server, channels)
        dispatcher.variables = {
            "http_proxy": proxy.url.replace("://", "://me:secret@"),
            "no_proxy": ".svc",
        }
        try:
            await dispatcher.start()
            told = await dispatcher.wait_for_log("subscribers are called by a proxy")
            assert told["http"] == proxy.url
            assert told["https"] == "directly"
            assert told["no_proxy"] == ".svc"
            assert "secret" not in dispatcher.log.read_text()
            assert await dispatcher.post("orders", "e1") == 202

            async def is_delivered() -> bool:
                return bool(subscriber.requests)

            await eventually(is_delivered)
        finally:
            await dispatcher.close_http()
            await dispatcher.kill()
    assert proxy.heads[0].startswith(b"POST http://mail.example:80/in HTTP/1.1\r\n")
