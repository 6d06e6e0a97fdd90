"""Subscriptions while the provisioner restarts, and with what other controllers left behind.

On an API of its own, so that only the processes of these tests act.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from natss.document import Document
from tests.natss_provisioner.conftest import Shop, reference, writes
from tests.support.kubernetes import KubernetesServer, until
from tests.support.provisioner_process import ProvisionerProcess

OWN_KUBERNETES = True


@pytest.fixture
def provisioner(kubernetes: KubernetesServer, tmp_path: Path) -> Iterator[ProvisionerProcess]:
    """Return a provisioner for the test to start, once it has created what exists before."""
    process = ProvisionerProcess(kubernetes, tmp_path / "log")
    yield process
    process.kill()


def entry(shop: Shop, name: str, uid: str | None, uri: str, /, **ref: object) -> Document:
    """Return an entry as Knative eventing v0.6 wrote it; without uid as v0.5 did."""
    named = {**reference("Subscription", name), "namespace": shop.namespace, **ref}
    return {**({"uid": uid} if uid else {}), "ref": named, "subscriberURI": uri}


def put(shop: Shop, *entries: Document) -> None:
    change = {"spec": {"subscribable": {"subscribers": list(entries)}}}
    shop.kubernetes.patch(f"{shop.channels}/orders", change)


def test_at_steady_state_a_restart_writes_nothing(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    names = [f"s{number}" for number in range(12)]
    for channel in ("orders", "answers"):
        shop.create(channel)
    for name in names:
        shop.subscribe(
            name,
            subscriber={"dnsName": f"http://{name}/"},
            reply={"channel": reference("Channel", "answers")},
        )
    provisioner.start()
    for name in names:
        shop.subscribed(name, 20.0)
    until(lambda: len(shop.events("Ready")) == len(names) + 2, 20.0)
    # Each entry in its list is a new generation of the channel, which the status reports too.
    until(lambda: all(map(shop.is_observed, ("orders", "answers"))), 20.0)
    assert provisioner.stop() == 0
    before = writes(kubernetes)
    resource_versions = [shop.subscription(name)["metadata"]["resourceVersion"] for name in names]
    provisioner.start()
    shop.create("marker")
    shop.subscribe("later", "marker")
    shop.subscribed("later", 20.0)
    until(lambda: any("later" in each for each in shop.events("SubscriberAdded")), 20.0)
    assert provisioner.stop() == 0
    new = writes(kubernetes)[len(before) :]
    assert [each for each in new if _is_of_old(each, names)] == []
    assert [
        shop.subscription(name)["metadata"]["resourceVersion"] for name in names
    ] == resource_versions


def _is_of_old(write: str, names: list[str]) -> bool:
    parts = write.partition("?")[0].split("/")
    return parts[-1] in names or parts[-2] in names or "orders" in parts or "answers" in parts


def test_what_go_left_is_taken_over(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    shop.create()
    uid = shop.subscribe(subscriber={"dnsName": "http://x/"}, reply={})["metadata"]["uid"]
    left = entry(shop, "mail", uid, "http://x/", uid=uid)
    put(shop, left)
    kubernetes.patch(
        f"{shop.subscriptions}/mail", {"metadata": {"finalizers": ["subscription-controller"]}}
    )
    provisioner.start()
    shop.subscribed()
    assert shop.entries() == [left]
    assert writes(kubernetes, f"{shop.namespace}/channels/orders?") == []


def test_a_durable_of_v05_keeps_its_name(shop: Shop, provisioner: ProvisionerProcess) -> None:
    shop.create()
    shop.subscribe(subscriber={"uri": "http://new/"})
    put(shop, entry(shop, "mail", None, "http://old/"))
    provisioner.start()
    shop.subscribed()
    (after,) = shop.entries()
    assert "uid" not in after
    assert after["subscriberURI"] == "http://new/"


def test_a_channel_that_was_changed_meanwhile_is_not_followed(
    shop: Shop, provisioner: ProvisionerProcess
) -> None:
    for name in ("orders", "other"):
        shop.create(name)
    shop.subscribe()
    provisioner.start()
    shop.subscribed()
    provisioner.kill()
    move = {"spec": {"channel": reference("Channel", "other")}}
    shop.kubernetes.patch(f"{shop.subscriptions}/mail", move)
    provisioner.start()
    until(lambda: shop.told()["Ready"] == "Immutable", 20.0)
    assert (len(shop.entries()), shop.entries("other")) == (1, [])


def test_entries_that_were_left_over_are_removed(
    shop: Shop, provisioner: ProvisionerProcess
) -> None:
    shop.create()
    shop.create("other")
    elsewhere = shop.subscribe("elsewhere", "other")["metadata"]["uid"]
    shop.subscribe("again")
    kept: list[Document] = [
        {"uid": "by-hand", "subscriberURI": "http://x/"},
        entry(shop, "no-uid", None, "http://x/"),
        entry(shop, "foreign", "1", "http://x/", kind="Trigger"),
    ]
    put(
        shop,
        entry(shop, "gone", "2", "http://x/", uid="2"),
        *kept,
        entry(shop, "elsewhere", elsewhere, "http://x/"),
        entry(shop, "again", "earlier", "http://x/"),
    )
    provisioner.start()
    again = shop.subscribed("again")["metadata"]["uid"]
    until(lambda: len(shop.entries()) == 4)
    assert shop.entries()[:3] == kept
    assert shop.entries()[3]["uid"] == again
    shop.subscribed("elsewhere")


def test_what_is_deleted_meanwhile_is_finished_at_the_start(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    shop.create()
    for name in ("waiting", "forced", "stays"):
        shop.subscribe(name)
    provisioner.start()
    for name in ("waiting", "forced", "stays"):
        shop.subscribed(name)
    provisioner.kill()
    kubernetes.delete(f"{shop.subscriptions}/waiting")
    kubernetes.delete(f"{shop.subscriptions}/forced")
    kubernetes.patch(f"{shop.subscriptions}/forced", {"metadata": {"finalizers": None}})
    assert len(shop.entries()) == 3
    provisioner.start()
    until(lambda: [each["ref"]["name"] for each in shop.entries()] == ["stays"])
    until(lambda: len(kubernetes.get(shop.subscriptions)["items"]) == 1)


def test_a_forced_deletion_leaves_no_entry(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    shop.create()
    shop.subscribe()
    provisioner.start()
    shop.subscribed()
    kubernetes.patch(f"{shop.subscriptions}/mail", {"metadata": {"finalizers": None}})
    kubernetes.delete(f"{shop.subscriptions}/mail")
    until(lambda: shop.entries() == [])


def test_killed_in_the_middle_it_goes_on_where_it_was(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess
) -> None:
    provisioner.start()
    shop.create()
    names = [f"s{number}" for number in range(8)]
    for name in names:
        shop.subscribe(name)
        if name in {"s2", "s5"}:
            provisioner.kill()
            gone = "s1" if name == "s2" else "s0"
            kubernetes.delete(f"{shop.subscriptions}/{gone}")
            provisioner.start()
    left = [name for name in names if name not in {"s0", "s1"}]
    for name in left:
        shop.subscribed(name)
    until(lambda: sorted(each["ref"]["name"] for each in shop.entries()) == left)


def test_two_at_once_lose_no_entry(
    kubernetes: KubernetesServer, shop: Shop, provisioner: ProvisionerProcess, tmp_path: Path
) -> None:
    other = ProvisionerProcess(kubernetes, tmp_path / "other-log")
    try:
        provisioner.start()
        other.start()
        shop.create()
        names = [f"s{number:02}" for number in range(20)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(shop.subscribe, names))
        for name in names:
            shop.subscribed(name)
        assert sorted(each["ref"]["name"] for each in shop.entries()) == names
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: kubernetes.delete(f"{shop.subscriptions}/{n}"), names[5:]))
        until(lambda: len(kubernetes.get(shop.subscriptions)["items"]) == 5)
        until(lambda: sorted(each["ref"]["name"] for each in shop.entries()) == names[:5])
    finally:
        other.kill()


def test_switched_off_it_touches_no_subscription(
    kubernetes: KubernetesServer, shop: Shop, tmp_path: Path
) -> None:
    process = ProvisionerProcess(
        kubernetes, tmp_path / "log", flags=["--subscription-controller=off"]
    )
    try:
        shop.subscribe()
        shop.create()
        put(shop, entry(shop, "gone", "2", "http://x/"))
        process.start()
        shop.ready()
        shop.create("later")
        shop.ready("later")
    finally:
        process.kill()
    assert writes(kubernetes, f"{shop.namespace}/subscriptions") == []
    assert writes(kubernetes, f"{shop.namespace}/channels/orders?") == []
    assert len(shop.entries()) == 1
    assert "finalizers" not in shop.subscription()["metadata"]
