"""Objects and commands of all other documents, on the real API."""

from pathlib import Path

import pytest

from tests.support.documents import examples
from tests.support.kubernetes import KubernetesServer
from tests.support.repository import ROOT
from tests.walk.shell import Shell

GROUP = "eventing.knative.dev/"
STUCK = "docs/stuck-subscriber.md"
NOT_HERE = ("kubectl port-forward", "curl")
"""They need a node."""


def documents() -> list[Path]:
    """Return the documents with a Channel or so among their examples."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [path for path in paths if objects(path)]


def objects(path: Path) -> list[str]:
    """Return the objects as text, since ``kubectl`` reads times otherwise than Python does."""
    return [text for text in examples("yaml", path.read_text()) if f"apiVersion: {GROUP}" in text]


@pytest.fixture
def shop(kubernetes: KubernetesServer) -> KubernetesServer:
    """Return an API with the objects of the example."""
    kubernetes.kubectl("apply", "-f", ROOT / "examples" / "orders.yaml")
    return kubernetes


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_the_api_takes_every_object(shop: KubernetesServer, path: Path) -> None:
    text = "\n---\n".join(objects(path))
    shop.kubectl("apply", "--dry-run=server", "-f", "-", text=text)


def test_commands_that_look_for_a_stuck_subscriber_work(
    shop: KubernetesServer, tmp_path: Path
) -> None:
    shell = Shell(shop, tmp_path / "shell")
    scripts = "".join(examples("sh", (ROOT / STUCK).read_text())).splitlines()
    here = [line for line in scripts if not line.startswith(NOT_HERE)]
    assert here
    shell.run("\n".join(here))


def test_kubectl_knows_the_flags_of_the_rest(shop: KubernetesServer, tmp_path: Path) -> None:
    shell = Shell(shop, tmp_path / "shell")
    scripts = "".join(examples("sh", (ROOT / STUCK).read_text())).splitlines()
    forwards = [line for line in scripts if line.startswith("kubectl port-forward")]
    assert forwards
    for line in forwards:
        # There is no pod, and in this installation no NATS Streaming.
        with pytest.raises(AssertionError, match=r"timed out waiting|not found"):
            shell.run(f"{line} --pod-running-timeout=1ms")
