"""The commands of docs/security.md, run on the real API."""

import json
from pathlib import Path

from dispatcher.settings.settings import DispatcherSettings
from tests.support.documents import examples
from tests.support.kubernetes import KubernetesServer
from tests.support.manifests import environment
from tests.support.repository import ROOT
from tests.walk.shell import Shell


def test_the_api_is_among_what_is_denied(kubernetes: KubernetesServer, tmp_path: Path) -> None:
    (script,) = examples("sh", (ROOT / "docs" / "security.md").read_text())
    ask, _, deny = script.partition("\n")
    shell = Shell(kubernetes, tmp_path / "shell")
    address = shell.run(ask)
    changed = json.loads(shell.run(f"{deny.strip()} --dry-run=server -o json"))
    (container,) = changed["spec"]["template"]["spec"]["containers"]
    settings = DispatcherSettings.load([], environment(container, "knative-eventing"))
    assert settings.egress.denied_networks.covers(address)
