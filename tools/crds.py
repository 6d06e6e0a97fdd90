"""Writes the definitions of the resources for clusters before Kubernetes 1.16.

``python -m tools.crds`` makes ``config/crds-v1beta1`` of ``config/crds``. Unlike the other tools it
needs PyYAML; it is for those who work on this project.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from natss.document import Document

CONFIG = Path(__file__).resolve().parent.parent / "config"
_HEAD = "# Made of ../crds/{name} by `make crds`; not edited by hand.\n"


def main() -> int:
    """Run the command line."""
    for path, text in wanted():
        path.write_text(text)
    return 0


def wanted() -> Iterator[tuple[Path, str]]:
    """Yield each file of ``config/crds-v1beta1`` and its desired content."""
    for source in sorted((CONFIG / "crds").glob("*.yaml")):
        target = CONFIG / "crds-v1beta1" / source.name
        if source.name == "kustomization.yaml":
            yield target, source.read_text()
            continue
        document = v1beta1(yaml.safe_load(source.read_text()))
        text = yaml.safe_dump(document, sort_keys=False, width=100)
        yield target, _HEAD.format(name=source.name) + text


def v1beta1(definition: Mapping[str, Any]) -> Document:
    """Return a definition of ``apiextensions.k8s.io/v1`` as Kubernetes 1.11 to 1.21 reads it.

    The definition has one version. ``v1beta1`` prunes nothing, so what would keep unknown fields is
    left out, and with it all that ``kubectl`` of those releases calls an unknown field.
    """
    spec = definition["spec"]
    (version,) = spec["versions"]
    schema = _without_extensions(version["schema"]["openAPIV3Schema"])
    del schema["type"]  # before 1.14 refused at the root if there is a subresource for status
    return {
        "apiVersion": "apiextensions.k8s.io/v1beta1",
        "kind": definition["kind"],
        "metadata": definition["metadata"],
        "spec": {
            "group": spec["group"],
            "version": version["name"],
            "scope": spec["scope"],
            "names": spec["names"],
            "subresources": version["subresources"],
            "additionalPrinterColumns": [
                {("JSONPath" if key == "jsonPath" else key): column[key] for key in column}
                for column in version["additionalPrinterColumns"]
            ],
            "validation": {"openAPIV3Schema": schema},
        },
    }


def _without_extensions(schema: Mapping[str, Any]) -> Document:
    """Return a schema without what those releases do not know, such as rules in CEL.

    ``nullable`` came with 1.14; without it only what has no type may be null.
    """
    unknown = {"nullable", "type"} if schema.get("nullable") is True else set()
    return {
        key: _without_extensions(value) if isinstance(value, dict) else value
        for key, value in schema.items()
        if not key.startswith("x-kubernetes-") and key not in unknown
    }


if __name__ == "__main__":
    sys.exit(main())
