"""No secret comes out of either program, and no tenant is told of another.

Secrets are put wherever one may stand, everything that can fail is made to fail, and whatever both
programs let out meanwhile is searched. Two tenants share the installation.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from natss import nats_streaming
from natss.nats_streaming import ConnectionOptions, NatsOptions
from tests.security.marks import Marks
from tests.security.trouble import API, DENIED, Tenant, Trouble, fill, publish
from tests.support.installation import Installation
from tests.support.kubernetes import KubernetesServer
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually

OWN_KUBERNETES = True  # what is wrong here would keep the dispatchers of other tests busy

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

FLAGS = ("--log-level=debug", "--stuck-after=1s")
PAGES = ("/", "/status", "/status?pretty", "/metrics", "/readyz", "/healthz")
PROVOKED = (
    "status 500",
    "no TLS with",
    "is forbidden (--egress-deny)",
    "no connection to http://127.0.0.1",
    "the answer is not HTTP/1.1",
    "stored message is not an event",
    "refused the credentials",
    "no answer from the Kubernetes API",
    "AuthenticationFailed",
    "must begin with http:// or https://",
    "must be a whole number",
    "Malformed",
)
"""Words of what is to fail: without them the search would have proved little."""


@dataclass
class Seen:
    """What came out, after all that."""

    marks: Marks
    everywhere: dict[str, str] = field(default_factory=dict)
    """Logs, pages and objects: text by where it was found."""

    tenants: list[Tenant] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    """What each tenant finds in its namespace, by the tenant's name."""

    said: Marks = field(default_factory=Marks)
    """What subscribers said of their failures."""

    state_dir: Path = Path()


class Scene:
    """The installation and its tenants, from the first secret to the search for it.

    Args:
        kubernetes: The API, with the manifests applied.
        folder: For logs, state and the store.
    """

    def __init__(self, kubernetes: KubernetesServer, folder: Path) -> None:
        self.seen = Seen(Marks())
        marks = self.seen.marks
        self.password = marks.new("password of NATS")
        self.kubernetes = kubernetes
        self.trouble = Trouble(marks)
        self.seen.said = self.trouble.said
        self.server = NatsStreamingServer(
            folder / "nats-streaming", store="FILE", nats=_authorization(self.password)
        )
        self.folder = folder
        for name in ("bank", "shop"):
            unique = f"{name}-{uuid.uuid4().hex[:8]}"
            self.seen.tenants.append(Tenant(kubernetes, unique, f"path-of-{unique}"))

    @property
    def url(self) -> str:
        return f"nats://eb:{self.password}@127.0.0.1:{self.server.port}"

    async def play(self) -> Seen:
        """Play everything; return what came out."""
        flags = (*FLAGS, "--natss-url", self.url)
        provisioner_flags = ("--log-level=debug", "--log-format=json")
        folder = self.folder / "installation"
        installation = Installation(self.kubernetes, self.server, folder, flags, provisioner_flags)
        installation.dispatcher._command.append(f"--egress-deny={DENIED}")  # the last one holds
        self._mark_tokens(installation)
        async with installation:
            for tenant in self.seen.tenants:
                await asyncio.to_thread(fill, tenant, self.trouble)
                await publish(installation, tenant, self.seen.marks)
            await self._store_what_is_no_event()
            for tenant in self.seen.tenants:
                await eventually(lambda tenant=tenant: self._all_are_stuck(tenant), 45.0)  # type: ignore[misc]  # mypy knows no default in a lambda
            await self._refuse_the_password(installation)
            await self._collect(installation)
            await self._take_the_api_away(installation)
        self.seen.everywhere["log of the dispatcher"] = installation.dispatcher.log.read_text()
        self.seen.everywhere["log of the provisioner"] = installation.provisioner.log.read_text()
        self.seen.state_dir = installation.dispatcher.state_dir
        return self.seen

    def _mark_tokens(self, installation: Installation) -> None:
        for program in (installation.dispatcher, installation.provisioner):
            (user,) = json.loads(program.kubeconfig.read_text())["users"]
            self.seen.marks.add("token of Kubernetes", user["user"]["token"])

    async def _store_what_is_no_event(self) -> None:
        secret = self.seen.marks.new("message that is no event")
        options = ConnectionOptions(
            cluster_id=self.server.cluster_id,
            client_id="somebody",
            nats=NatsOptions(servers=(self.url,)),
        )
        async with await nats_streaming.connect(options) as connection:
            for tenant in self.seen.tenants:
                data = json.dumps({"headers": secret, "payload": secret}).encode()
                await connection.publish(f"orders.{tenant.namespace}", data)

    async def _all_are_stuck(self, tenant: Tenant) -> bool:
        wanted = self.trouble.names
        verdicts = await asyncio.to_thread(tenant.verdicts, "orders")
        return set(verdicts.values()) == {"False"} and len(verdicts) == len(wanted)

    async def _refuse_the_password(self, installation: Installation) -> None:
        await self.server.stop()
        self.server.nats = _authorization("another")
        await self.server.start()

        async def is_told() -> bool:
            found = await asyncio.to_thread(self._objects_of, "default", "events")
            log = installation.dispatcher.log.read_text()
            return "AuthenticationFailed" in found and "refused the credentials" in log

        await eventually(is_told, 30.0)

    async def _take_the_api_away(self, installation: Installation) -> None:
        await asyncio.to_thread(self.kubernetes.kill_apiserver)
        logs = [program.log for program in (installation.dispatcher, installation.provisioner)]

        async def is_told() -> bool:
            return all("no answer from the Kubernetes API" in log.read_text() for log in logs)

        await eventually(is_told, 30.0)

    async def _collect(self, installation: Installation) -> None:
        everywhere = self.seen.everywhere
        for page in PAGES:
            _, everywhere[f"page {page}"] = await installation.dispatcher.admin(page)
        for tenant in self.seen.tenants:
            self.seen.told[tenant.namespace] = await asyncio.to_thread(tenant.told)
        everywhere |= {f"namespace {name}": text for name, text in self.seen.told.items()}
        for namespace, plural in (
            ("default", "events"),
            ("knative-eventing", "events"),
            ("knative-eventing", "configmaps"),
        ):
            found = await asyncio.to_thread(self._objects_of, namespace, plural)
            everywhere[f"{plural} of {namespace}"] = found
        provisioner = self.kubernetes.get(f"{API}/clusterchannelprovisioners/natss")
        everywhere["the provisioner"] = json.dumps(provisioner)
        everywhere["readiness of the provisioner"] = str(installation.provisioner.readiness())

    def _objects_of(self, namespace: str, plural: str) -> str:
        return json.dumps(self.kubernetes.get(f"/api/v1/namespaces/{namespace}/{plural}"))


def _authorization(password: str) -> str:
    return f'authorization {{ user: "eb", password: "{password}" }}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(
    kubernetes: KubernetesServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Seen]:
    scene = Scene(kubernetes, tmp_path_factory.mktemp("scene"))
    await scene.server.start()
    await scene.trouble.start()
    try:
        yield await scene.play()
    finally:
        await scene.trouble.stop()
        await scene.server.kill()


async def test_everything_has_failed(seen: Seen) -> None:
    everything = "\n".join(seen.everywhere.values())
    assert [each for each in PROVOKED if each not in everything] == []


async def test_no_secret_comes_out(seen: Seen) -> None:
    found = seen.marks.found(seen.everywhere)
    assert found == [], "\n".join(found)


async def test_what_a_subscriber_says_of_its_failure_is_for_its_namespace_alone(seen: Seen) -> None:
    """And for who may read ``/status``; it may quote the event, so no log has it."""
    namespaces = {f"namespace {tenant.namespace}" for tenant in seen.tenants}
    allowed = {"page /", "page /status", "page /status?pretty", *namespaces}
    places = {name for name, text in seen.everywhere.items() if seen.said.found({name: text})}
    assert namespaces <= places <= allowed


async def test_that_there_was_something_to_hide_is_shown(seen: Seen) -> None:
    """As ``***``, so that a person knows why the URI is not the one that he wrote."""
    for name in ("log of the dispatcher", "page /status"):
        assert "http://***@127.0.0.1:" in seen.everywhere[name]
        assert "?***" in seen.everywhere[name]


async def test_a_tenant_is_told_nothing_of_the_other(seen: Seen) -> None:
    one, other = seen.tenants
    for told, stranger in ((one, other), (other, one)):
        assert told.namespace in seen.told[told.namespace]
        assert stranger.namespace not in seen.told[told.namespace]
        assert stranger.path not in seen.told[told.namespace]


async def test_what_is_kept_for_a_restart_is_for_nobody_else(seen: Seen) -> None:
    files = [path for path in seen.state_dir.rglob("*") if path.is_file()]
    assert files
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
