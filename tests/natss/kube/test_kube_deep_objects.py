"""What a tenant writes into his own object, however deep, keeps nobody from being seen."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import kopf
import pytest

from dispatcher.cluster.channel_table import ChannelTable
from natss.contract.resources import Defaults
from natss.kube import Changed, KubeClient, Listing, follow
from tests.support.channel_ids import CHANNELS, channel_id
from tests.support.kubernetes import KubernetesServer

LEVELS = 5000


@pytest.fixture
async def client(kubernetes: KubernetesServer) -> AsyncIterator[KubeClient]:
    line = (kubernetes.directory / "tokens.csv").read_text()
    info = kopf.ConnectionInfo(
        server=kubernetes.url,
        ca_path=str(kubernetes.certificate_authority),
        token=line.partition(",")[0],
    )
    client = KubeClient(lambda: info, field_manager="tests")
    yield client
    await client.close()


def channel(namespace: str, name: str, argument: str) -> str:
    """Return JSON text; Python could not write what is so deep."""
    head = {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "Channel"}
    text = json.dumps({**head, "metadata": {"name": name, "namespace": namespace}, "spec": "SPEC"})
    spec = f'{{"provisioner": {{"name": "natss"}}, "arguments": {{"retry": {argument}}}}}'
    return text.replace('"SPEC"', spec)


@pytest.fixture
def own_namespace(kubernetes: KubernetesServer, namespace: str) -> Iterator[str]:
    """Yield a namespace and empty it: other tests on this API could not list what is so deep."""
    yield namespace
    kubernetes.kubectl("delete", "channels.eventing.knative.dev", "--all", "-n", namespace)


async def test_a_channel_that_is_nested_too_deeply_hides_no_other(
    kubernetes: KubernetesServer, client: KubeClient, own_namespace: str
) -> None:
    namespace = own_namespace
    table = ChannelTable(Defaults())
    kubernetes.kubectl("apply", "-f", "-", text=channel(namespace, "good", "1"))
    deep = "[" * LEVELS + "]" * LEVELS
    kubernetes.kubectl("create", "-f", "-", text=channel(namespace, "deep", deep))
    async with asyncio.timeout(30), aclosing(follow(client, CHANNELS)) as news:
        listing = await anext(news)
        assert isinstance(listing, Listing)
        for document in listing.documents:
            table.put(document)
        kubernetes.kubectl("create", "-f", "-", text=channel(namespace, "deeper", deep))
        change = await anext(news)
        assert isinstance(change, Changed)
        table.put(change.document)
    for name in ("good", "deep", "deeper"):
        entry = table.get(channel_id(namespace, name))
        assert entry is not None
        assert entry.channel is not None
        assert [each.path for each in entry.problems] == ["spec.arguments.retry"] * (name != "good")
    assert json.dumps(table.dump())
