"""The natss provisioner of Knative v0.5 and v0.6 as it was deployed, by Knative or by Kyma."""

from typing import Any, Literal

Deployed = Literal["knative", "kyma"]
Manifest = dict[str, Any]

NAMESPACE = "knative-eventing"
_READ = ["get", "list", "watch"]
_EVENTING = "eventing.knative.dev"


def manifests(deployed: Deployed) -> list[Manifest]:
    """Return all objects, in an order in which they can be applied; the kinds must be defined."""
    return [
        {
            "apiVersion": f"{_EVENTING}/v1alpha1",
            "kind": "ClusterChannelProvisioner",
            "metadata": {"name": "natss"},
            "spec": {},
        },
        *_accounts(),
        *_roles(),
        _deployment("controller", deployed),
        _deployment("dispatcher", deployed),
    ]


def _accounts() -> list[Manifest]:
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": f"natss-{role}", "namespace": NAMESPACE},
        }
        for role in ("controller", "dispatcher")
    ]


def _roles() -> list[Manifest]:
    channels = ["channels", "channels/status"]
    provisioners = ["clusterchannelprovisioners", "clusterchannelprovisioners/status"]
    rules = {
        "controller": [
            _rule(_EVENTING, [*channels, *provisioners], [*_READ, "update"]),
            _rule("", ["services"], [*_READ, "create", "update"]),
        ],
        "dispatcher": [
            _rule(_EVENTING, ["channels"], [*_READ, "update"]),
            _rule(_EVENTING, ["channels/finalizers"], ["update"]),
        ],
    }
    bindings = {"controller": "natss-channel-controller", "dispatcher": "natss-dispatcher"}
    group = "rbac.authorization.k8s.io"
    made: list[Manifest] = []
    for role, its_rules in rules.items():
        name = f"natss-{role}"
        head = {"apiVersion": f"{group}/v1", "kind": "ClusterRole"}
        made.append({**head, "metadata": {"name": name}, "rules": its_rules})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
        made.append(
            {
                "apiVersion": f"{group}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": bindings[role]},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
                "subjects": [subject],
            }
        )
    return made


def _rule(group: str, resources: list[str], verbs: list[str]) -> Manifest:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _deployment(role: str, deployed: Deployed) -> Manifest:
    name = f"natss-{role}"
    labels = {"clusterChannelProvisioner": "natss", "role": role}
    if deployed == "kyma":
        labels["app"] = name
    container = {
        "name": role,
        "image": f"registry.example/{deployed}/natss-{role}:v0.6.0",
        "env": _environment(deployed),
    }
    template: Manifest = {
        "metadata": {"labels": labels},
        "spec": {"serviceAccountName": name, "containers": [container]},
    }
    if role == "dispatcher":
        template["metadata"]["annotations"] = {"sidecar.istio.io/inject": "true"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


def _environment(deployed: Deployed) -> list[Manifest]:
    field = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    variables: list[Manifest] = [{"name": "SYSTEM_NAMESPACE", "valueFrom": field}]
    if deployed == "kyma":
        for name, key in (("EB_USER", "username"), ("EB_PASS", "password")):
            secret = {"secretKeyRef": {"name": "nats-user-eventbus", "key": key}}
            variables.append({"name": name, "valueFrom": secret})
        url = "nats://$(EB_USER):$(EB_PASS)@nats-streaming.natss:4222"
        variables.append({"name": "DEFAULT_NATSS_URL", "value": url})
        variables.append({"name": "DEFAULT_CLUSTER_ID", "value": "kyma-nats-streaming"})
    return variables
