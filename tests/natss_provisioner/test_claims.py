"""Which Channel has a Service that several may claim as their address."""

import pytest

from natss.contract.eventing import CHANNEL
from natss.document import Document
from natss_provisioner.claims import Claims
from tests.support.channel_ids import CHANNELS, channel_id

OLD, NEW = "2019-01-01T00:00:00Z", "2024-01-01T00:00:00Z"


def channel(name: str, service: str | None, created: str = NEW) -> Document:
    metadata = {
        "name": name,
        "namespace": "shop",
        "uid": f"uid-of-{name}",
        "creationTimestamp": created,
    }
    hostname = f"{service}.shop.svc.cluster.local" if service else None
    return {
        "apiVersion": CHANNELS.api_version,
        "kind": CHANNELS.kind,
        "metadata": metadata,
        "status": {"address": {"hostname": hostname}},
    }


def service(name: str = "s", owner: str | None = None) -> Document:
    references = [{"uid": f"uid-of-{owner}", "controller": True}] if owner else []
    return {"metadata": {"name": name, "namespace": "shop", "ownerReferences": references}}


def seen(*channels: Document) -> Claims:
    claims = Claims()
    for each in channels:
        claims.put(each)
    return claims


B = channel_id("shop", "b")


@pytest.mark.parametrize(
    ("others", "own", "found", "rival"),
    [
        ([], channel("a", None), service(), None),
        ([], channel("a", "s"), service(), None),
        ([channel("b", "other")], channel("a", None), service(), None),
        ([channel("b", None)], channel("a", None), service(), None),
        ([channel("b", "s")], channel("a", None), service(), B),
        ([channel("b", "s")], channel("a", None, OLD), service(), B),
        ([channel("b", "s")], channel("a", "other", OLD), service(), B),
        ([channel("b", "s")], channel("a", None), service(owner="a"), None),
        ([channel("b", "s")], channel("a", "s", OLD), service(), None),
        ([channel("b", "s", OLD)], channel("a", "s"), service(), B),
        ([channel("b", "s")], channel("a", "s"), service(), None),  # as old: by name
        ([channel("b", "s"), channel("0", "s")], channel("a", "s"), service(), "0"),
        ([channel("a", "s")], channel("a", None), service(), None),  # itself, a moment ago
    ],
)
def test_who_has_the_better_right(
    others: list[Document], own: Document, found: Document, rival: object
) -> None:
    expected = channel_id("shop", rival) if isinstance(rival, str) else rival
    assert seen(*others).rival(own, found) == expected


def test_a_claim_moves_with_the_address_and_goes_with_the_channel() -> None:
    claims = seen(channel("b", "s"))
    own = channel("a", None)
    claims.put(channel("b", "t"))
    assert claims.rival(own, service("s")) is None
    assert claims.rival(own, service("t")) == B
    claims.drop(B)
    claims.drop(B)
    assert claims.rival(own, service("t")) is None
    claims.put(channel("b", "t"))
    claims.forget(CHANNEL)
    assert claims.rival(own, service("t")) is None


def test_an_address_of_another_form_is_no_claim() -> None:
    odd = channel("b", "s")
    odd["status"]["address"]["hostname"] = "s.elsewhere.svc.cluster.local"
    assert seen(odd).rival(channel("a", None), service()) is None
