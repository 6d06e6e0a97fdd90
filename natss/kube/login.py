"""How to reach the Kubernetes API, and with which credentials.

kopf logs in with the same, so that a program has one identity.
"""

import os
from pathlib import Path
from typing import Any

import kopf
import yaml

from natss.kube.errors import LoginFailed

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def connection_info() -> kopf.ConnectionInfo:
    """Read the credentials again: ``KUBECONFIG``, else the pod's account, else ``~/.kube/config``.

    A token in a file is read each time, because Kubernetes replaces it before it expires. In a
    kubeconfig, tokens, token files, passwords and client certificates are supported; plugins
    (``exec``) are not.

    Raises:
        LoginFailed: there are no credentials, or they cannot be read.
    """
    try:
        if os.environ.get("KUBECONFIG") or not (_ACCOUNT / "token").exists():
            info = _of_kubeconfig()
        else:
            info = kopf.login_with_service_account(settings=kopf.OperatorSettings())
    except yaml.YAMLError as error:
        raise LoginFailed(f"the kubeconfig is no YAML{_place(error)}") from None
    except (OSError, kopf.LoginError) as error:
        raise LoginFailed(f"the credentials of Kubernetes cannot be read: {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise LoginFailed(f"the kubeconfig has an unknown form: {error!r}") from error
    if info is None:
        raise LoginFailed(
            "no Kubernetes credentials: neither is this a pod with a service account, nor is"
            " KUBECONFIG set, nor is there a file ~/.kube/config"
        )
    return info


def _of_kubeconfig() -> kopf.ConnectionInfo | None:
    info = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
    if info is None or info.token or info.certificate_path or info.certificate_data:
        return info
    token_file = _token_file()
    if token_file is None:
        return info
    fields: dict[str, Any] = {**vars(info), "token": token_file.read_text().strip()}
    return kopf.ConnectionInfo(**fields)


def _place(error: yaml.YAMLError) -> str:
    """Return where the mistake is; the error's own text quotes the lines around it, tokens too."""
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""


def _token_file() -> Path | None:
    """Return ``users[].user.tokenFile`` of the current context, which kopf does not read."""
    paths = os.environ.get("KUBECONFIG") or "~/.kube/config"
    path = Path(paths.split(os.pathsep)[0]).expanduser()
    config = yaml.safe_load(path.read_text())
    contexts = {item["name"]: item["context"] for item in config["contexts"]}
    users = {item["name"]: item["user"] for item in config["users"]}
    name = users[contexts[config["current-context"]]["user"]].get("tokenFile")
    return path.parent / name if name else None
