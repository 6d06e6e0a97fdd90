"""The picture of who imports whom is drawn from the imports that there are."""

import graphlib

import pytest

from tools import architecture


def test_the_picture_is_up_to_date() -> None:
    page = architecture.PAGE.read_text()
    assert architecture.drawn_into(page, architecture.imports()) == page, "run make picture"


def test_every_folder_is_in_it() -> None:
    folders = {
        f"{package}.{path.name}"
        for package in ("dispatcher", "natss")
        for path in (architecture.ROOT / package).iterdir()
        if (path / "__init__.py").exists()
    }
    assert folders == architecture.imports().keys() - {"dispatcher.main", "natss_provisioner"}


def test_an_arrow_that_others_imply_is_left_out() -> None:
    imports = {
        "a": frozenset({"b", "c", "d"}),
        "b": frozenset({"c"}),
        "c": frozenset({"d"}),
        "d": frozenset[str](),
    }
    assert architecture.without_detours(imports) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}


def test_a_circle_is_told() -> None:
    imports = {"a": frozenset({"b"}), "b": frozenset({"a"})}
    with pytest.raises(graphlib.CycleError):
        architecture.without_detours(imports)


def test_a_page_without_a_chart_is_refused() -> None:
    with pytest.raises(ValueError, match="0 mermaid blocks"):
        architecture.drawn_into("# A page\n", {})
