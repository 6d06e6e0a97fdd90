"""A provisioner that starts among 1,000 Channels and 3,000 Subscriptions, all as they should be.

On an API of its own. The objects were created once by a provisioner, and copied.
"""

import contextlib
import functools
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from natss.contract.names import channel_service_name
from tests.conftest import installed
from tests.natss_provisioner.conftest import Shop, writes
from tests.natss_provisioner.serving import ServingStandIn
from tests.support.etcd_copies import Renaming, copy
from tests.support.kubernetes import KubernetesServer, until
from tests.support.provisioner_process import ProvisionerProcess

CHANNELS = 1000
SUBSCRIPTIONS = ("s0000-a", "s0000-b", "s0000-c")
MEBIBYTE = 1024


@dataclass
class Crowd:
    """All objects, and the provisioner, which is not running."""

    kubernetes: KubernetesServer
    shop: Shop
    provisioner: ProvisionerProcess


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(installed(tmp_path_factory.mktemp("kubernetes")))
        provisioner = ProvisionerProcess(server, tmp_path_factory.mktemp("provisioner") / "log")
        stack.callback(provisioner.kill)
        server.create("/api/v1/namespaces", {"metadata": {"name": "shop"}})
        shop = Shop(server, "shop")
        make_original(shop, provisioner)
        copy_original(shop)
        yield Crowd(server, shop, provisioner)


def make_original(shop: Shop, provisioner: ProvisionerProcess) -> None:
    """Create one Channel with its Subscriptions, and wait until nothing has to be done."""
    serving = ServingStandIn(shop.kubernetes)
    serving.start()
    provisioner.start()
    shop.create("c0000")
    for name in SUBSCRIPTIONS:
        shop.subscribe(name, "c0000")
    for name in SUBSCRIPTIONS:
        shop.subscribed(name, 20.0)
    until(lambda: shop.is_observed("c0000"), 20.0)
    until(lambda: len(shop.events("Ready")) == 1 + len(SUBSCRIPTIONS), 20.0)
    provisioner.stop()
    serving.stop()


def copy_original(shop: Shop) -> None:
    channel, service = shop.channel("c0000"), shop.service("c0000")
    group = "eventing.knative.dev"
    keys = [f"{group}/channels/shop/c0000", f"services/specs/shop/{service['metadata']['name']}"]
    keys += [f"{group}/subscriptions/shop/{name}" for name in SUBSCRIPTIONS]
    originals = [channel, service, *map(shop.subscription, SUBSCRIPTIONS)]
    uids = [each["metadata"]["uid"] for each in originals]

    def renaming(number: int) -> Renaming:
        names = {
            channel_service_name("shop", "c0000"): channel_service_name("shop", f"c{number:04}"),
            "c0000": f"c{number:04}",
            "s0000": f"s{number:04}",
        }
        return names | {uid: str(uuid.uuid4()) for uid in uids}

    copy(shop.kubernetes, keys, map(renaming, range(1, CHANNELS)))


def peak_memory(process: ProvisionerProcess) -> int:
    """Return the peak memory in KiB since the start."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def is_done(process: ProvisionerProcess) -> bool:
    """Return whether everything was reconciled."""
    told = process.readiness()
    return told.get("role") == "leading" and told["ready"] and told["waiting"] == 0


@pytest.mark.timeout(180)
def test_after_a_start_it_puts_right_what_is_wrong_and_writes_nothing_else(crowd: Crowd) -> None:
    kubernetes, shop, provisioner = crowd.kubernetes, crowd.shop, crowd.provisioner
    broken = ["c0000", "c0250", "c0500", "c0750", "c0999"]
    services = [shop.service(name) for name in broken]
    for service in services:
        kubernetes.delete(shop.path_of(service))
    before = len(writes(kubernetes))
    provisioner.start()
    until(lambda: is_done(provisioner), 60.0)
    written = [each for each in writes(kubernetes)[before:] if "/events" not in each]
    assert [each.partition("?")[0] for each in written] == [f"create {shop.services}"] * len(broken)
    assert {shop.service(name)["metadata"]["name"] for name in broken} == {
        each["metadata"]["name"] for each in services
    }
    assert peak_memory(provisioner) < 200 * MEBIBYTE


def test_among_so_many_a_change_takes_effect_at_once(crowd: Crowd) -> None:
    if not is_done(crowd.provisioner):
        pytest.fail("the test before has failed")
    shop, waits = crowd.shop, []
    for name in ("c0100", "c0300", "c0500", "c0700", "c0900"):
        path = shop.path_of(shop.service(name))
        shop.kubernetes.delete(path)
        began = time.monotonic()
        until(functools.partial(shop.kubernetes.get, path), 20.0)
        waits.append(time.monotonic() - began)
    assert min(waits) < 1.0, waits  # the others may be those of a busy machine


def test_standing_by_is_cheap(crowd: Crowd, tmp_path: Path) -> None:
    standby = ProvisionerProcess(crowd.kubernetes, tmp_path / "log", pod="natss-controller-1")
    try:
        standby.start()
        until(lambda: standby.readiness().get("ready"), 20.0)
        assert standby.readiness()["role"] == "standing by"
        assert peak_memory(standby) < 80 * MEBIBYTE
    finally:
        standby.stop()
