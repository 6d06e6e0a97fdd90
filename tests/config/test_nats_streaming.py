"""NATS Streaming as ``config/`` installs it: the real servers, started as their pods would be."""

import asyncio
import base64
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.settings.settings import DispatcherSettings
from natss.nats_streaming import (
    AuthenticationFailed,
    ConnectionOptions,
    NatsOptions,
    NatsStreamingError,
    connect,
)
from tests.conftest import CONFIG
from tests.support.documents import examples, section
from tests.support.manifests import Manifest, manifest, manifests
from tests.support.servers import BINARY, free_port
from tests.support.waiting import eventually

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def container(installation: str) -> Manifest:
    stateful_set = manifest(installation, "StatefulSet", "nats-streaming")
    (only,) = stateful_set["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def configuration(installation: str) -> str:
    """Return the file that the pod finds, from whichever kind of object it comes."""
    (source,) = manifests(installation, "ConfigMap", "Secret")
    spec = manifest(installation, "StatefulSet", "nats-streaming")["spec"]["template"]["spec"]
    (volume,) = (each for each in spec["volumes"] if each["name"] == "config")
    name, text = source["metadata"]["name"], str(source["data"]["nats-streaming.conf"])
    if source["kind"] == "Secret":
        assert volume == {"name": "config", "secret": {"secretName": name}}
        return base64.b64decode(text).decode()
    assert volume == {"name": "config", "configMap": {"name": name}}
    return text


class Pod:
    """A process with arguments and configuration of a pod, on ports and in a folder of its own."""

    def __init__(self, installation: str, number: int, folder: Path) -> None:
        self.name = f"nats-streaming-{number}"
        self.installation = installation
        self.folder = folder / self.name
        self.ports = {"client": free_port(), "monitoring": free_port(), "servers": free_port()}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.ports['client']}"

    def start(self, pods: "list[Pod]") -> None:
        self.folder.mkdir(exist_ok=True)
        text = configuration(self.installation).replace("/data", str(self.folder))
        for pod in pods:
            there = f"127.0.0.1:{pod.ports['servers']}"
            text = text.replace(f"{pod.name}.nats-streaming-servers:6222", there)
        for name, port in {"client": 4222, "monitoring": 8222, "servers": 6222}.items():
            text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{self.ports[name]}")
        path = self.folder / "nats-streaming.conf"
        path.write_text(text)
        arguments = [
            each.replace("/etc/nats-streaming/nats-streaming.conf", str(path)).replace(
                "$(POD_NAME)", self.name
            )
            for each in container(self.installation)["args"]
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([BINARY, *arguments], stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def get(self, path: str) -> tuple[int, Any]:
        """Return status and answer of the monitoring port; 0 if nothing answers."""
        url = f"http://127.0.0.1:{self.ports['monitoring']}{path}"
        try:
            return await asyncio.to_thread(_get, url)
        except OSError:
            return 0, None

    async def probes(self) -> set[int]:
        """Return how the probes of the pod are answered."""
        paths = {container(self.installation)[probe]["httpGet"]["path"] for probe in PROBES}
        return {(await self.get(path))[0] for path in paths}

    async def role(self) -> str:
        """Return ``Leader``, ``Follower`` or so; empty if it is alone or does not answer."""
        _, answer = await self.get("/streaming/serverz")
        return str((answer or {}).get("role", ""))


def _get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


@pytest.fixture
async def pods(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Pod]]:
    """Yield all servers of an installation, once their probes are answered."""
    installation = request.param
    count = manifest(installation, "StatefulSet", "nats-streaming")["spec"]["replicas"]
    started = [Pod(installation, number, tmp_path) for number in range(count)]
    for pod in started:
        pod.start(started)

    async def are_ready() -> bool:
        return all([await pod.probes() == {200} for pod in started])

    try:
        await eventually(are_ready, 30.0)
        yield started
    finally:
        for pod in started:
            pod.kill()


@pytest.fixture
def with_users(tmp_path: Path) -> str:
    """Return an installation of one's own, as the document describes it."""
    secured = section("docs/install.md", "Secure it")
    (users,) = examples("conf", secured)
    own = tmp_path / "own"
    own.mkdir()
    standard = os.path.relpath(CONFIG / "nats-streaming", own)
    kustomization = examples("yaml", secured)[-1].replace("../config/nats-streaming", standard)
    (own / "kustomization.yaml").write_text(kustomization)
    before, end, _ = users.partition("  # and what is there already")
    assert end
    text = configuration("nats-streaming").replace("streaming {", before, 1)
    (own / "nats-streaming.conf").write_text(text)
    return str(own)


async def test_it_starts_with_users_as_the_document_says(with_users: str, tmp_path: Path) -> None:
    pod = Pod(with_users, 0, tmp_path)
    assert not manifests(with_users, "ConfigMap"), "it would show the passwords"
    assert container(with_users)["image"].startswith("registry.example/nats-streaming:")

    async def is_ready() -> bool:
        return await pod.probes() == {200}

    pod.start([pod])
    try:
        await eventually(is_ready, 30.0)
        with pytest.raises(AuthenticationFailed):
            await connect(options(pod))
    finally:
        pod.kill()


def options(*pods: Pod) -> ConnectionOptions:
    settings = DispatcherSettings.load(["--kubernetes=on"], {})
    servers = tuple(pod.url for pod in pods)
    return ConnectionOptions(
        cluster_id=settings.nats.cluster_id,
        client_id="test",
        nats=NatsOptions(servers=servers, reconnect_wait=0.1),
        publish_timeout=5.0,
        ping_interval=1.0,
    )


async def store(data: bytes, *pods: Pod) -> None:
    """Store a message, as soon as a server accepts it."""

    async def is_stored() -> bool:
        try:
            async with await connect(options(*pods)) as connection:
                await connection.publish("orders.shop", data)
        except NatsStreamingError:
            return False
        return True

    await eventually(is_stored, 30.0)


@pytest.mark.parametrize("pods", ["nats-streaming"], indirect=True)
async def test_one_server_keeps_what_it_has_stored(pods: list[Pod]) -> None:
    (pod,) = pods
    _, its_store = await pod.get("/streaming/storez")
    assert its_store["type"] == "FILE"
    limits = its_store["limits"]
    assert limits["max_channels"] == limits["max_msgs"] == limits["max_bytes"] == 0
    assert limits["max_age"] == 72 * 3600 * 10**9
    await store(b"kept", pod)
    pod.kill()
    pod.start(pods)

    async def is_there() -> bool:
        return bool((await pod.get("/streaming/channelsz?channel=orders.shop"))[0] == 200)

    await eventually(is_there, 30.0)
    _, channel = await pod.get("/streaming/channelsz?channel=orders.shop")
    assert channel["msgs"] == 1


@pytest.mark.parametrize("pods", ["nats-streaming-clustered"], indirect=True)
async def test_of_three_servers_one_may_be_lost(pods: list[Pod]) -> None:
    assert len(pods) == 3

    async def leader() -> Pod | None:
        alive = [pod for pod in pods if await pod.role() == "Leader"]
        return alive[0] if len(alive) == 1 else None

    await eventually(leader, 30.0)
    first = await leader()
    assert first is not None
    await store(b"one", *pods)
    first.kill()
    await eventually(leader, 30.0)
    await store(b"two", *(pod for pod in pods if pod is not first))
    second = await leader()
    assert second is not None
    _, channel = await second.get("/streaming/channelsz?channel=orders.shop")
    assert channel["msgs"] >= 2  # one whose answer was lost is there twice


@pytest.mark.parametrize("pods", ["nats-streaming"], indirect=True)
async def test_the_store_of_one_server_is_not_taken_into_a_cluster(
    pods: list[Pod], tmp_path: Path
) -> None:
    """As docs/install.md says, which has its events delivered before."""
    (pod,) = pods
    await store(b"of the single server", pod)
    pod.kill()
    clustered = Pod("nats-streaming-clustered", 0, tmp_path)
    clustered.start([clustered])

    async def is_refused() -> bool:
        log = (clustered.folder / "log").read_text()
        return "cannot restart server in clustered mode if it was not previously clustered" in log

    try:
        await eventually(is_refused, 30.0)
    finally:
        clustered.kill()


def test_the_dispatcher_looks_where_the_servers_are() -> None:
    settings = DispatcherSettings.load(["--kubernetes=on"], {})
    for installation in ("nats-streaming", "nats-streaming-clustered"):
        service = manifest(installation, "Service", "nats-streaming")
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        (port,) = service["spec"]["ports"]
        url = f"nats://{name}.{namespace}.svc.cluster.local:{port['port']}"
        assert settings.nats.servers == (url,)
        assert f'cluster_id: "{settings.nats.cluster_id}"' in configuration(installation)


def test_servers_know_each_other_by_the_names_of_their_pods() -> None:
    stateful_set = manifest("nats-streaming-clustered", "StatefulSet", "nats-streaming")
    service = stateful_set["spec"]["serviceName"]
    text = configuration("nats-streaming-clustered")
    for number in range(stateful_set["spec"]["replicas"]):
        assert f'"nats-streaming-{number}"' in text
        assert f'"nats://nats-streaming-{number}.{service}:6222"' in text
    headless = manifest("nats-streaming-clustered", "Service", service)
    assert headless["spec"]["clusterIP"] == "None"
    assert headless["spec"]["publishNotReadyAddresses"] is True


def test_both_have_the_same_limits() -> None:
    one, three = (
        configuration(each).partition("store_limits {")[2].split("}")[0]
        for each in ("nats-streaming", "nats-streaming-clustered")
    )
    lines = [
        [line.strip() for line in text.splitlines() if not line.strip().startswith("#")]
        for text in (one, three)
    ]
    assert lines[0] == lines[1]
