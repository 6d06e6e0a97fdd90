"""Requests for reviews and their answers, including requests that no API server sends."""

import base64
import json
from typing import Any

import pytest

from natss.contract.names import channel_service_name
from natss.document import Document
from natss_provisioner.reviews import Malformed, answer, namespace_of_new_channel
from tests.support.channel_ids import channel_id

API = "eventing.knative.dev/v1alpha1"
DOMAIN = "cluster.local"


def request(kind: str = "Channel", /, **fields: Any) -> Document:
    new: Document = {
        "apiVersion": API,
        "kind": kind,
        "metadata": {"name": "orders"},
        "spec": {"provisioner": {"name": "natss"}},
    }
    group, _, version = API.partition("/")
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": {"group": group, "version": version, "kind": kind},
            "namespace": "shop",
            "operation": "CREATE",
            "object": new,
            "oldObject": None,
            **fields,
        },
    }


def spec_of(review: Document) -> Document:
    """Return the spec of the object in a request, for changes."""
    spec: Document = review["request"]["object"]["spec"]
    return spec


def response(review: Document, path: str = "validate") -> Document:
    answered = answer(review, path, {}, DOMAIN)
    assert (answered["apiVersion"], answered["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert answered["response"].pop("uid") == "u-1"
    found: Document = answered["response"]
    return found


def test_admitted() -> None:
    assert response(request()) == {"allowed": True}


def test_denied_with_everything_that_is_wrong() -> None:
    review = request()
    spec_of(review)["arguments"] = {"retry": -1, "order": 1, "x": 1}
    told = response(review)
    assert told["allowed"] is False
    assert told["status"]["code"] == 422
    assert told["status"]["message"] == (
        "spec.arguments.retry: the number -1; must be a whole number from 0 to 1000;"
        " spec.arguments.order: the number 1; must be none or channel"
    )
    (warning,) = told["warnings"]
    assert warning.startswith("spec.arguments.x: unknown, ignored")


def test_a_host_that_is_taken() -> None:
    host = f"{channel_service_name('shop', 'orders')}.shop.svc.{DOMAIN}"
    taken = answer(request(), "validate", {channel_id("shop", "other"): host}, DOMAIN)
    assert "which the Channel shop/other has" in taken["response"]["status"]["message"]


def test_the_provisioner_is_filled_in() -> None:
    review = request()
    spec_of(review).clear()
    spec_of(review)["arguments"] = {"retry": 1}
    operation = patch_of(review)
    assert (operation["op"], operation["path"]) == ("add", "/spec/provisioner")
    assert operation["value"]["name"] == "natss"


def test_a_spec_is_filled_in_where_there_is_none() -> None:
    review = request()
    del review["request"]["object"]["spec"]
    operation = patch_of(review)
    assert (operation["op"], operation["path"]) == ("add", "/spec")
    assert operation["value"]["provisioner"]["name"] == "natss"


def patch_of(review: Document) -> Document:
    """Return the one operation of the patch."""
    told = response(review, "mutate")
    assert (told["allowed"], told["patchType"]) == (True, "JSONPatch")
    (operation,) = json.loads(base64.b64decode(told["patch"]))
    return dict(operation)


def test_nothing_else_is_filled_in() -> None:
    changed = request(oldObject=request()["request"]["object"])
    spec_of(changed).pop("provisioner")
    for review in (request(), request("Subscription"), changed):
        assert response(review, "mutate") == {"allowed": True}


@pytest.mark.parametrize(
    ("review", "namespace"),
    [
        (request(), "shop"),
        (request(operation="UPDATE"), None),
        (request("Subscription"), None),
    ],
)
def test_whose_hosts_are_needed(review: Document, namespace: str | None) -> None:
    assert namespace_of_new_channel(review) == namespace


@pytest.mark.parametrize(
    "review",
    [
        {},
        [],
        None,
        "text",
        {"request": None},
        {"request": {}},
        request(uid=7),
        request(kind=None),
        request(kind={"kind": "Pod"}),
        request(object=None),
        request(object="text"),
        request(object={}),
        request(oldObject={"metadata": 7}),
    ],
)
def test_what_is_no_such_request(review: Any) -> None:
    with pytest.raises(Malformed):
        answer(review, "validate", {}, DOMAIN)


@pytest.mark.parametrize("path", ["", "validate/x", "other"])
def test_another_path(path: str) -> None:
    with pytest.raises(Malformed):
        answer(request(), path, {}, DOMAIN)


@pytest.mark.parametrize("spec", [None, 7, "text", [], {"provisioner": 7}, {"arguments": 7}])
@pytest.mark.parametrize("kind", ["Channel", "Subscription"])
@pytest.mark.parametrize("path", ["validate", "mutate"])
def test_any_object_gets_an_answer(spec: object, kind: str, path: str) -> None:
    """The API server leaves to us what its definition does not check."""
    review = request(kind)
    review["request"]["object"]["spec"] = spec
    assert response(review, path)["allowed"] in {True, False}
