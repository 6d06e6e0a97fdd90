"""The ConfigMap of orphaned durables: when it is full, and that each entry is removed once."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from structlog.testing import capture_logs

from dispatcher.cluster.orphans import CONFIG_MAP, Orphans, _key, _record, _value
from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.runtime.state_folder import StateFolder
from natss.contract.resources import Defaults, ResourceName
from natss.kube import Invalid, KubeClient, connection_info
from tests.support.channel_ids import channel_id
from tests.support.cluster_dispatcher import ACCOUNT, NAMESPACE
from tests.support.kubernetes import ApiAnswer, KubernetesServer
from tests.support.other_kind import OTHER, known, other_id

ORDERS = channel_id("shop", "orders")
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"


@pytest.fixture
def records() -> Ledger:
    """Return a ledger with a durable of a Channel that is being deleted."""
    records = Ledger(StateFolder(None), 60.0)
    records.want(ORDERS, ResourceName("shop", "orders"), "mail", 0.0)
    records.dismiss(ORDERS, "mail", 0.0)
    return records


@pytest.fixture
async def client(kubernetes: KubernetesServer) -> AsyncIterator[KubeClient]:
    """Return a client with the account of the dispatcher."""
    info = kopf.ConnectionInfo(
        server=kubernetes.url,
        ca_path=str(kubernetes.certificate_authority),
        token=kubernetes.token_of(NAMESPACE, ACCOUNT),
    )
    client = KubeClient(lambda: info, field_manager="natss-dispatcher")
    yield client
    await client.close()


@pytest.fixture
async def full(kubernetes: KubernetesServer) -> AsyncIterator[str]:
    """Return the path of the ConfigMap, which accepts nothing more."""
    path = f"{CONFIG_MAPS}/{CONFIG_MAP}"
    body = {"metadata": {"name": CONFIG_MAP}, "data": {"others": "x" * 2**20}}
    with contextlib.suppress(ApiAnswer):  # of another test on the same API
        await asyncio.to_thread(kubernetes.delete, path)
    await asyncio.to_thread(kubernetes.create, CONFIG_MAPS, body)
    yield path
    await asyncio.to_thread(kubernetes.delete, path)


async def test_that_the_config_map_is_full_is_told_once(
    kubernetes: KubernetesServer, client: KubeClient, full: str, records: Ledger
) -> None:
    orphans = Orphans(client, NAMESPACE, records, Defaults(), patience=0.01)
    with capture_logs() as logged:
        for _ in range(2):
            with pytest.raises(Invalid, match="Too long"):
                await orphans.released(ORDERS)
    (told,) = [each for each in logged if each["log_level"] == "error"]
    assert told["event"].startswith("the ConfigMap takes no more orphaned durables")
    assert told["config_map"] == f"{NAMESPACE}/{CONFIG_MAP}"
    await asyncio.to_thread(kubernetes.patch, full, {"data": {"others": None}})
    await orphans.released(ORDERS)
    kept = (await asyncio.to_thread(kubernetes.get, full))["data"]
    assert len(kept) == 1
    assert "mail" in next(iter(kept.values()))


class PlayedApi(KubeClient):
    """An API with one durable in the ConfigMap and no Channels."""

    def __init__(self, record: DurableRecord) -> None:
        super().__init__(connection_info, field_manager="tests")
        self.record = record
        self.others: dict[str, str] = {}
        self.listed: list[str] = []
        self.patches: list[Any] = []
        self.patched = asyncio.Event()

    async def get(self, *_: Any) -> Any:
        return {"data": {_key(self.record): _value(self.record), **self.others}}

    async def list(self, *arguments: Any, **__: Any) -> Any:
        self.listed.append(arguments[1])
        return []

    async def patch(self, *arguments: Any, **_: Any) -> Any:
        self.patches.append(arguments[2])
        self.patched.set()


async def test_a_durable_is_taken_out_once_however_many_sessions_there_were(
    records: Ledger,
) -> None:
    (record,) = records.of(ORDERS)
    api = PlayedApi(record)
    orphans = Orphans(api, NAMESPACE, records, Defaults())
    adopted: asyncio.Queue[None] = asyncio.Queue()
    task = asyncio.create_task(orphans.run(lambda: adopted.put_nowait(None)))
    async with asyncio.timeout(20.0):
        for _ in range(3):
            records.note_session(is_open=True)
            await adopted.get()
        records.forget(ORDERS, "mail")
        await api.patched.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert api.patches == [{"data": {_key(record): None}}]
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize(
    "channel", ["shop?watch=true/x", "/x", "../x", "Shop/x", "shop/", "shop#/x"]
)
async def test_what_names_no_channel_is_no_request_and_keeps_nothing_else(
    records: Ledger, channel: str
) -> None:
    (record,) = records.of(ORDERS)
    api = PlayedApi(record)
    other = {"channel": channel, "subscription": "shop/mail", "durable": "other"}
    api.others["other"] = json.dumps(other)
    adopted: asyncio.Queue[None] = asyncio.Queue()
    task = asyncio.create_task(
        Orphans(api, NAMESPACE, records, Defaults()).run(lambda: adopted.put_nowait(None))
    )
    async with asyncio.timeout(20.0):
        records.note_session(is_open=True)
        await adopted.get()
    assert api.listed == ["shop"]
    task.cancel()
    await asyncio.wait([task])


def test_two_kinds_of_channels_of_one_name_are_kept_apart() -> None:
    mail = ResourceName("shop", "mail")
    one = DurableRecord(ORDERS, mail, "u1")
    two = DurableRecord(other_id("shop", "orders"), mail, "u1")
    assert _key(one) != _key(two)
    assert "kind" not in _value(one), "it is as it was before there were kinds"
    with known(OTHER):
        assert [_record(_value(each)) for each in (one, two)] == [one, two]
    assert _record(_value(two)) is None, "of a kind that is not known"
