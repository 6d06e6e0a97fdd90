"""The definitions for clusters before Kubernetes 1.16 are those of today in another form."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import crds

FILES = dict(crds.wanted())
# Of CustomResourceDefinitionSpec and JSONSchemaProps in apiextensions.k8s.io/v1beta1, as of 1.11.
KNOWN_SPEC = {
    "group",
    "version",
    "names",
    "scope",
    "validation",
    "subresources",
    "additionalPrinterColumns",
}
KNOWN_COLUMN = {"name", "type", "format", "description", "priority", "JSONPath"}
KNOWN_SCHEMA = {
    "type",
    "format",
    "description",
    "properties",
    "additionalProperties",
    "required",
    "items",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
}
KNOWN_ROOT = {"description", "properties", "required"}


def definitions() -> list[dict[str, Any]]:
    return [yaml.safe_load(text) for path, text in FILES.items() if "kustom" not in path.name]


def schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a schema and all within it."""
    yield schema
    inner = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("not")]
    for each in [
        *inner,
        *(part for key in ("anyOf", "oneOf", "allOf") for part in schema.get(key, ())),
    ]:
        if each is not None:
            yield from schemas(each)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_files_are_up_to_date(path: Path) -> None:
    assert path.read_text() == FILES[path], "run make crds"


def test_there_are_no_others() -> None:
    assert set((crds.CONFIG / "crds-v1beta1").iterdir()) == FILES.keys()


@pytest.mark.parametrize("definition", definitions(), ids=lambda each: each["metadata"]["name"])
def test_old_releases_know_every_field(definition: dict[str, Any]) -> None:
    spec = definition["spec"]
    root = spec["validation"]["openAPIV3Schema"]
    assert spec.keys() <= KNOWN_SPEC
    assert all(column.keys() <= KNOWN_COLUMN for column in spec["additionalPrinterColumns"])
    assert root.keys() <= KNOWN_ROOT
    assert all(schema.keys() <= KNOWN_SCHEMA for schema in schemas(root))
