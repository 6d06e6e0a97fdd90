"""``docs/provisioner.md``, compared with the code and the API."""

import re

import yaml

from natss_provisioner.settings import reference
from tests.natss_provisioner.conftest import Shop
from tests.support.kubernetes import KubernetesServer
from tests.support.provisioner_process import ProvisionerProcess
from tests.support.repository import ROOT

TEXT = (ROOT / "docs" / "provisioner.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_every_setting_is_there_and_no_other() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `--")]
    assert rows
    assert [line for line in TEXT.splitlines() if line.startswith("| `--")] == rows


def test_every_reason_of_the_code_is_explained() -> None:
    source = "".join(
        path.read_text() for path in (ROOT / "natss_provisioner" / "handlers").glob("*.py")
    )
    words = set(re.findall(r'"([A-Z][a-z]+(?:[A-Z][a-z]+)*)"', source))
    assert len(words) > 8
    assert {word for word in words if f"`{word}`" not in TEXT} == set()


def test_the_channel_of_the_example_becomes_ready(
    kubernetes: KubernetesServer, provisioner: ProvisionerProcess, shop: Shop
) -> None:
    kubernetes.kubectl("apply", "-n", shop.namespace, "-f", "-", text=block("yaml"))
    name = yaml.safe_load(block("yaml"))["metadata"]["name"]
    shop.ready(name)
    assert shop.events("Ignored") == []
    assert re.match(
        r"orders-channel-[a-z0-9]{8}\.", shop.channel()["status"]["address"]["hostname"]
    )
