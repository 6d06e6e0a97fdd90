"""A real Kubernetes API for tests: etcd and kube-apiserver on 127.0.0.1, on ports of their own.

There are no nodes: objects are stored, validated, defaulted and watched as in any cluster, and RBAC
holds; but nothing runs pods, and unless the controllers are started (``start_controllers``) nothing
collects garbage or empties a namespace that is deleted. Programs under test act as the service
accounts of the manifests (``kubeconfig_of``).

The programs are found at ``.tools/bin`` (``make`` puts them there).
"""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from natss.document import Document
from tests.support.repository import BIN
from tests.support.servers import ServerFailed, free_port
from tests.support.waiting import poll

KUBECTL = BIN / "kubectl"
START_SECONDS = 40.0
STOP_SECONDS = 10.0
_ADMIN_TOKEN = "the-admin-of-a-server-that-only-tests-can-reach"
_MERGE_PATCH = "application/merge-patch+json"
_CONTROLLERS = ("garbage-collector-controller", "namespace-controller", "serviceaccount-controller")

_WRITES = ["create", "update", "patch", "delete", "deletecollection"]
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"], "verbs": _WRITES},
        {"level": "None"},
    ],
}


class ApiAnswer(Exception):
    """The API server refused a request; ``code`` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class KubernetesServer:
    """etcd and kube-apiserver with one administrator, the group ``system:masters``.

    Args:
        directory: its own folder: certificates, keys, logs, the store of etcd.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._etcd_ports = free_port(), free_port()
        self._controllers_port = free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def etcd_url(self) -> str:
        return f"http://127.0.0.1:{self._etcd_ports[0]}"

    @property
    def certificate_authority(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's file, for kubectl."""
        return self.directory / "admin.kubeconfig"

    def start(self) -> None:
        """Start both and wait until the API is ready. Raises ServerFailed."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write_secrets()
        self._tls = ssl.create_default_context(cafile=str(self.certificate_authority))
        self.start_etcd()
        self.start_apiserver()

    def start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._etcd_ports)
        self._launch(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )

    def start_apiserver(self) -> None:
        """Start kube-apiserver, for the first time or after ``kill_apiserver``."""
        keys = self.directory
        self._launch(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_ports[0]}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--advertise-address=10.96.0.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            f"--token-auth-file={keys / 'tokens.csv'}",
            f"--tls-cert-file={keys / 'server.pem'}",
            f"--tls-private-key-file={keys / 'server.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys / 'accounts.key'}",
            f"--service-account-signing-key-file={keys / 'accounts.key'}",
            "--profiling=false",
            f"--audit-policy-file={keys / 'audit-policy.json'}",
            f"--audit-log-path={keys / 'audit.log'}",
            "--audit-log-mode=blocking",
        )
        self._wait_until("kube-apiserver", self._is_ready)

    def kill_apiserver(self) -> None:
        """Kill it (SIGKILL): watches break, nothing answers; what was stored stays in etcd."""
        self._end("kube-apiserver", signal.SIGKILL)

    def start_controllers(self) -> None:
        """Start kube-controller-manager and wait until it works. Raises ServerFailed.

        It deletes objects that have lost their owner, empties deleted namespaces and gives each
        namespace its service account; it runs no workloads. Its garbage collector needs half a
        minute to see kinds that are defined later, so apply the definitions first.
        """
        keys = self.directory
        self._launch(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            f"--controllers={','.join(_CONTROLLERS)}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._controllers_port}",
            f"--tls-cert-file={keys / 'server.pem'}",
            f"--tls-private-key-file={keys / 'server.key'}",
            "--kube-api-qps=300",
            "--kube-api-burst=500",
            "--profiling=false",
        )
        self._wait_until("kube-controller-manager", self._are_controllers_ready)

    def stop(self) -> None:
        self._end("kube-controller-manager", signal.SIGKILL)
        self._end("kube-apiserver", signal.SIGKILL)  # SIGTERM makes it drain for a minute
        self._end("etcd", signal.SIGKILL)

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str = _ADMIN_TOKEN,
        content_type: str = "application/json",
    ) -> Document:
        """Make one request, as the administrator by default. Raises ApiAnswer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._tls) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise ApiAnswer(error.code, _message(error.read())) from None
        assert isinstance(answer, dict)
        return answer

    def get(self, path: str) -> Document:
        return self.request("GET", path)

    def create(self, path: str, body: Mapping[str, Any]) -> Document:
        return self.request("POST", path, body)

    def delete(self, path: str) -> Document:
        return self.request("DELETE", path)

    def patch(self, path: str, body: Mapping[str, Any]) -> Document:
        """Merge a patch, as ``kubectl patch --type merge`` does."""
        return self.request("PATCH", path, body, content_type=_MERGE_PATCH)

    def token_of(self, namespace: str, account: str, seconds: int = 3600) -> str:
        """Return a token of a service account, as a pod of it would get. At least 600 seconds."""
        request = {"spec": {"expirationSeconds": seconds}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        answer = self.create(path, request)
        return str(answer["status"]["token"])

    def kubeconfig_of(self, namespace: str, account: str) -> Path:
        """Write a file with which a program acts as a service account, by a new token."""
        path = self.directory / f"{namespace}.{account}.kubeconfig"
        path.write_text(self.kubeconfig_with(self.token_of(namespace, account)))
        return path

    def writes(self, namespace: str, account: str) -> list[str]:
        """Return all writes of a service account since the start, each as ``patch /api/v1/...``."""
        user = f"system:serviceaccount:{namespace}:{account}"
        log = self.directory / "audit.log"
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        return [
            f"{entry['verb']} {entry['requestURI']}"
            for entry in entries
            if entry["user"]["username"] == user
        ]

    def kubectl(self, *arguments: str | Path, text: str | None = None) -> str:
        """Return the output of kubectl, as the administrator. Raises AssertionError if it fails."""
        result = subprocess.run(
            [KUBECTL, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )
        assert result.returncode == 0, f"kubectl {arguments}: {result.stderr}"
        return result.stdout

    def _write_secrets(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.certificate_authority)
        server = authority.issue_cert("127.0.0.1", "localhost")
        server.private_key_pem.write_to_path(self.directory / "server.key")
        (self.directory / "server.pem").write_bytes(
            b"".join(blob.bytes() for blob in server.cert_chain_pems)
        )
        accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (self.directory / "accounts.key").write_bytes(
            accounts.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        (self.directory / "tokens.csv").write_text(f'{_ADMIN_TOKEN},admin,admin,"system:masters"\n')
        self.kubeconfig.write_text(self.kubeconfig_with(_ADMIN_TOKEN))
        (self.directory / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))

    def kubeconfig_with(self, token: str) -> str:
        """Return the text of a kubeconfig with a token."""
        cluster = {"server": self.url, "certificate-authority": str(self.certificate_authority)}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "tests", "cluster": cluster}],
                "users": [{"name": "user", "user": {"token": token}}],
                "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "user"}}],
                "current-context": "tests",
            }
        )

    def _launch(self, name: str, *flags: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [BIN / name, *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _wait_until(self, awaited: str, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise ServerFailed(f"{name} ended:\n{self.end_of_log(name)}")
            if is_ready():
                return
            time.sleep(0.05)
        raise ServerFailed(f"{awaited} is not ready:\n{self.end_of_log(awaited)}")

    def _are_controllers_ready(self) -> bool:
        """Return whether all of them were started."""
        url = f"https://127.0.0.1:{self._controllers_port}/healthz"
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(url, timeout=5, context=self._tls) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def _is_ready(self) -> bool:
        """Return whether it serves everything, including its first objects (for RBAC, say)."""
        roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
        with contextlib.suppress(OSError):
            return (
                self._status_of("/api/v1/namespaces/default") == 200
                and self._status_of(f"{roles}/cluster-admin") == 200
                and self._status_of("/no-such-path") == 404  # 503 until all paths are known
            )
        return False

    def _status_of(self, path: str) -> int:
        try:
            self.get(path)
        except ApiAnswer as answer:
            return answer.code
        return 200

    def end_of_log(self, name: str, lines: int = 20) -> str:
        text = (self.directory / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _end(self, name: str, number: int) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


@contextlib.contextmanager
def running_kubernetes(folder: Path) -> Iterator[KubernetesServer]:
    """Yield a Kubernetes API on which nothing was ever installed."""
    server = KubernetesServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def until(look: Callable[[], Any], seconds: float = 45.0) -> Any:
    """Return what ``look`` gives once that is true; a missing object counts as not yet.

    Another program acts on the API meanwhile, so there is nothing to await but the state itself.

    Raises:
        AssertionError: It is not true in time; the text has what was seen last.
    """
    return poll(look, seconds, is_not_yet=_is_missing)


def _is_missing(error: Exception) -> bool:
    if isinstance(error, ApiAnswer):
        return error.code == 404
    return isinstance(error, KeyError | IndexError)
