"""What the README shows is what happens."""

import asyncio
import re
import shlex
import urllib.request
from pathlib import Path

import yaml

from natss.contract.documents import desired_state
from natss.contract.resources import Defaults
from tests.support.channel_ids import channel_id
from tests.support.dispatcher_process import DispatcherProcess
from tests.support.repository import ROOT
from tests.support.servers import NatsStreamingServer


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shown_request(address: str) -> urllib.request.Request:
    """Return the request of the README's curl line, to another address."""
    (line,) = [block for block in blocks("sh") if block.startswith("curl")]
    words = shlex.split(line.replace("\\\n", " "))
    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    data = words[words.index("-d") + 1].encode()
    assert words[:3] == ["curl", "-i", "http://127.0.0.1:8080/"]
    return urllib.request.Request(address, data, headers)


def status_of(request: urllib.request.Request) -> int:
    with urllib.request.urlopen(request, timeout=5) as response:
        status: int = response.status
    return status


async def test_the_curl_line_is_answered_with_202(
    tmp_path: Path, memory_server: NatsStreamingServer
) -> None:
    dispatcher = DispatcherProcess(
        ROOT / "examples" / "channels.yaml",
        memory_server.url,
        memory_server.cluster_id,
        tmp_path / "log",
        ["--client-id=readme"],
    )
    await dispatcher.start()
    try:
        assert await asyncio.to_thread(status_of, shown_request(dispatcher.url)) == 202
    finally:
        await dispatcher.stop()


def test_the_documents_mean_what_they_seem_to() -> None:
    (block,) = blocks("yaml")
    documents = [("README.md", document) for document in yaml.safe_load_all(block)]
    state = desired_state(documents, Defaults())
    assert state.problems == ()
    channel = state.channels[channel_id("shop", "orders")]
    assert channel.policy.retry == 8
    assert channel.policy.dead_letter_uri == "http://127.0.0.1:9009/"
    (subscriber,) = channel.subscribers
    assert subscriber.subscriber_uri == "http://127.0.0.1:9001/orders"
