import pytest

from natss.contract.channel_id import ChannelId
from natss.contract.names import channel_label_value
from natss.document import Document
from natss_provisioner.seen_services import SeenServices
from tests.support.channel_ids import channel_id

ORDERS = channel_id("shop", "orders")


def service(name: str, channel: str | None = "orders", namespace: str = "shop") -> Document:
    labels = {"labels": {"channel": channel}} if channel else {}
    return {"metadata": {"name": name, "namespace": namespace, **labels}}


@pytest.fixture
def seen() -> SeenServices:
    services = SeenServices()
    services.put_all([service("a"), service("b", "other"), service("c", namespace="else")])
    return services


def names(seen: SeenServices, channel: ChannelId = ORDERS) -> set[str] | None:
    found = seen.of(channel)
    return None if found is None else {each["metadata"]["name"] for each in found}


def test_before_a_list_and_after_a_failure_nothing_is_known(seen: SeenServices) -> None:
    assert SeenServices().of(ORDERS) is None
    seen.forget()
    assert seen.of(ORDERS) is None
    seen.put(service("d"))
    assert seen.of(ORDERS) is None
    seen.put_all([])
    assert names(seen) == set()


def test_services_are_found_by_namespace_and_label(seen: SeenServices) -> None:
    assert names(seen) == {"a"}
    assert names(seen, channel_id("else", "orders")) == {"c"}
    assert names(seen, channel_id("shop", "none")) == set()
    seen.put(service("d"))
    seen.put(service("a"))
    assert names(seen) == {"a", "d"}


def test_the_label_of_a_long_name_is_shorter() -> None:
    seen, long = SeenServices(), "n" * 100
    seen.put_all([service("a", channel_label_value(long))])
    assert names(seen, channel_id("shop", long)) == {"a"}


def test_what_goes_or_changes_its_label_is_found_no_more(seen: SeenServices) -> None:
    seen.put(service("a", "other"))
    assert names(seen) == set()
    assert names(seen, channel_id("shop", "other")) == {"a", "b"}
    seen.drop(service("a"))  # as it was before, or after: the name counts
    seen.drop(service("a"))
    seen.put(service("b", None))
    assert names(seen, channel_id("shop", "other")) == set()


def test_a_list_replaces_all(seen: SeenServices) -> None:
    seen.put_all([service("z")])
    assert names(seen) == {"z"}
    assert names(seen, channel_id("shop", "other")) == set()
