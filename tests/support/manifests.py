"""The manifests of ``config/`` as kustomize makes them."""

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import CONFIG
from tests.support.kubernetes import KUBECTL

INSTALLATIONS = ("default", "knative", "kyma", "nats-streaming", "nats-streaming-clustered")
"""The folders that users are meant to apply."""

Manifest = dict[str, Any]


@cache
def _text(folder: Path) -> str:
    command = [str(KUBECTL), "kustomize", str(folder)]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def manifests(installation: str, *kinds: str) -> list[Manifest]:
    """Return what ``kubectl apply -k config/<installation>`` applies, or only some kinds of it."""
    found = list(yaml.safe_load_all(_text(CONFIG / installation)))
    return [each for each in found if not kinds or each["kind"] in kinds]


def manifest(installation: str, kind: str, name: str) -> Manifest:
    """Return one of them. Raises ValueError if there is none."""
    (found,) = (each for each in manifests(installation, kind) if _name(each) == name)
    return found


def environment(container: Manifest, namespace: str) -> dict[str, str]:
    """Return the variables of a container as the kubelet sets them, without Secrets."""
    values: dict[str, str] = {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        if source.get("fieldRef") == {"fieldPath": "metadata.namespace"}:
            values[variable["name"]] = namespace
        elif "value" in variable:
            values[variable["name"]] = variable["value"]
    return values


def workloads(installation: str) -> Sequence[Manifest]:
    """Return everything that runs pods."""
    return manifests(installation, "Deployment", "StatefulSet")


def _name(document: Manifest) -> str:
    return str(document["metadata"]["name"])
