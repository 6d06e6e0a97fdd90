"""The definitions of Knative eventing v0.5 and v0.6, in the form that Kubernetes accepts today.

They were ``v1beta1``: one version, a schema of a few fields, and unknown fields are kept. ``v1``
says the latter with ``x-kubernetes-preserve-unknown-fields``, as Kubernetes itself does when it
converts such a definition.
"""

from typing import Any, Literal

Release = Literal["v0.5", "v0.6"]
Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_PRESERVING: Schema = {"x-kubernetes-preserve-unknown-fields": True}


def definitions(release: Release) -> list[dict[str, Any]]:
    """Return the three definitions that channels need."""
    return [
        _definition(release, "ClusterChannelProvisioner", "ccp", {}, ["provisioner"]),
        _definition(release, "Channel", "chan", _channel(release)),
        _definition(release, "Subscription", "sub", _subscription()),
    ]


def _definition(
    release: Release, kind: str, short: str, spec: Schema, categories: list[str] | None = None
) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    columns = [
        {
            "name": name,
            "type": "string",
            "jsonPath": f'.status.conditions[?(@.type=="Ready")].{key}',
        }
        for name, key in (("Ready", "status"), ("Reason", "reason"))
    ]
    age = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    root = _object({"spec": spec}) if spec else {"type": "object", **_PRESERVING}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.eventing.knative.dev",
            "labels": {
                "eventing.knative.dev/release": f"{release}.0",
                "knative.dev/crd-install": "true",
            },
        },
        "spec": {
            "group": "eventing.knative.dev",
            "scope": "Cluster" if kind == "ClusterChannelProvisioner" else "Namespaced",
            "names": {
                "kind": kind,
                "plural": plural,
                "singular": kind.lower(),
                "categories": ["all", "knative", "eventing", *(categories or [])],
                "shortNames": [short],
            },
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [*columns, age],
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


def _object(properties: Schema, *required: str) -> Schema:
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, **needed, **_PRESERVING}


def _reference(*required: str, **more: Schema) -> Schema:
    return _object({**dict.fromkeys(("apiVersion", "kind", "name"), _TEXT), **more}, *required)


def _channel(release: Release) -> Schema:
    """Return the schema of a Channel: v0.6 names the durable by ``uid``, v0.5 has only a reference.

    v0.5 accepted a provisioner of which only the name was given, because Kyma wrote that then.
    """
    reference = _reference("namespace", "name", "uid", namespace=_TEXT, uid=_TEXT)
    needed = ("apiVersion", "kind", "name") if release == "v0.6" else ("name",)
    entry: Schema = {"ref": reference, "subscriberURI": _TEXT, "replyURI": _TEXT}
    items = _object({**entry, "uid": _TEXT}, "uid") if release == "v0.6" else _object(entry)
    return _object(
        {
            "provisioner": _reference(*needed),
            "arguments": {"type": "object", **_PRESERVING},
            "subscribable": _object({"subscribers": {"type": "array", "items": items}}),
        }
    )


def _subscription() -> Schema:
    kind = {"type": "string", "pattern": "^Channel$"}
    channel = _reference("apiVersion", "kind", "name", kind=kind)
    reference = _reference("apiVersion", "kind", "name")
    return _object(
        {
            "channel": channel,
            "subscriber": _object({"dnsName": _TEXT, "uri": _TEXT, "ref": reference}),
            "reply": _object({"channel": channel}),
        },
        "channel",
    )
