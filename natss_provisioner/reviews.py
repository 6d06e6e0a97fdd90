"""Admission reviews of the Kubernetes API (``admission.k8s.io/v1``): a request in, its answer out.

Pure. ``admission.py`` decides what is admitted.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.channel_kinds import kind_of
from natss.document import Document
from natss.knative import SUBSCRIPTIONS
from natss_provisioner.admission import (
    Review,
    channel_defaults,
    review_channel,
    review_subscription,
)

VALIDATE, MUTATE = "validate", "mutate"
"""The last part of the URL's path, as in ``config/admission``."""


class Malformed(Exception):
    """The text is not a request for a review, or is one for another kind of object."""


def namespace_of_new_channel(review: Mapping[str, Any]) -> str | None:
    """Return the namespace whose other channels ``answer`` needs; None if it needs none.

    Raises:
        Malformed: The review is not such a request.
    """
    request = _request(review)
    if _channel_kind(request) is not None and request.get("operation") == "CREATE":
        return str(request.get("namespace") or "")
    return None


def answer(
    review: Mapping[str, Any], path: str, hosts: Mapping[ChannelId, str], cluster_domain: str
) -> Document:
    """Return the answer to a request.

    Args:
        review: The ``AdmissionReview`` with the request.
        path: ``VALIDATE`` or ``MUTATE``.
        hosts: As for ``admission.review_channel``.
        cluster_domain: The end of every DNS name in the cluster.

    Raises:
        Malformed: The review is not a request for an object of ours.
    """
    request = _request(review)
    kind = _channel_kind(request)
    new, old = _object(request, "object"), _object(request, "oldObject")
    if new is None:
        raise Malformed("request.object is missing")
    if path == MUTATE:
        patch = channel_defaults(new) if kind is not None and old is None else None
        return _answered(request, _patched(new, patch) if patch else {"allowed": True})
    if path != VALIDATE:
        raise Malformed(f"the path ends neither with {VALIDATE} nor with {MUTATE}")
    if kind is not None:
        verdict = review_channel(new, old, hosts, cluster_domain)
    else:
        verdict = review_subscription(new, old, cluster_domain)
    return _answered(request, _told(verdict))


def _request(review: Mapping[str, Any]) -> Mapping[str, Any]:
    request = review.get("request") if isinstance(review, Mapping) else None
    if not isinstance(request, Mapping) or not isinstance(request.get("uid"), str):
        raise Malformed("there is no request with a uid")
    return request


def _channel_kind(request: Mapping[str, Any]) -> ChannelKind | None:
    """Return the kind of the channel that a request is for; None for a Subscription."""
    given = _identity(request)
    kind = kind_of(given["apiVersion"], given["kind"])
    if kind is None and given != _SUBSCRIPTION:
        raise Malformed("the request is for another kind of object")
    return kind


def _identity(request: Mapping[str, Any]) -> dict[str, str]:
    """Return ``apiVersion`` and ``kind`` of the object that a request is for."""
    kind = request.get("kind")
    kind = kind if isinstance(kind, Mapping) else {}
    return {
        "apiVersion": f"{kind.get('group')}/{kind.get('version')}",
        "kind": str(kind.get("kind")),
    }


_SUBSCRIPTION = {"apiVersion": SUBSCRIPTIONS.api_version, "kind": SUBSCRIPTIONS.kind}


def _object(request: Mapping[str, Any], key: str) -> Document | None:
    """Return an object of a request, with its namespace even if only the request has it yet."""
    found = request.get(key)
    if found is None:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
        raise Malformed(f"request.{key} is no object of the API")
    namespace = request.get("namespace") or "default"
    metadata = {"namespace": namespace, **found["metadata"]}
    return {**found, **_identity(request), "metadata": metadata}


def _told(verdict: Review) -> Document:
    response: Document = {"allowed": not verdict.denied}
    if verdict.denied:
        words = "; ".join(f"{each.path}: {each.message}" for each in verdict.denied)
        response["status"] = {"code": 422, "reason": "Invalid", "message": words}
    if verdict.warnings:
        response["warnings"] = [f"{each.path}: {each.message}" for each in verdict.warnings]
    return response


def _patched(new: Document, patch: Mapping[str, Any]) -> Document:
    """Return the fields to fill in as the JSON patch that the API requires."""
    filled = patch["spec"]
    operations = [{"op": "add", "path": "/spec", "value": filled}]
    if new.get("spec"):
        operations = [
            {"op": "add", "path": f"/spec/{key}", "value": value} for key, value in filled.items()
        ]
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def _answered(request: Mapping[str, Any], response: Document) -> Document:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": request["uid"], **response},
    }
