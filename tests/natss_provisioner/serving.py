"""A stand-in for the dispatcher: reports to the provisioner which hosts are served.

With a real one, the two are tested in ``test_ready.py``.
"""

import contextlib
import http.client
import json
import ssl
import threading
import urllib.request

from natss.document import Document
from tests.support.kubernetes import ApiAnswer, KubernetesServer

_CHANNELS = "/apis/eventing.knative.dev/v1alpha1/channels"
_NAMESPACE, _ACCOUNT = "knative-eventing", "natss-dispatcher"


class ServingStandIn:
    """Writes ``status.dispatcher.host`` of every Channel as soon as it has an address.

    As the service account of the dispatcher.

    Args:
        kubernetes: The API, which may fail and come back.
    """

    def __init__(self, kubernetes: KubernetesServer) -> None:
        self._kubernetes = kubernetes
        self._token = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="serving stand-in", daemon=True)

    def start(self) -> None:
        self._token = self._kubernetes.token_of(_NAMESPACE, _ACCOUNT)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(20.0)

    def _run(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(ApiAnswer, OSError, http.client.HTTPException, ValueError):
                self._follow()
            self._stopped.wait(0.1)

    def _follow(self) -> None:
        """List all Channels, then watch once; the watch is short because nothing else ends it."""
        listed = self._kubernetes.request("GET", _CHANNELS, token=self._token)
        for each in listed["items"]:
            self._serve(each)
        query = f"watch=1&timeoutSeconds=1&resourceVersion={listed['metadata']['resourceVersion']}"
        url = f"{self._kubernetes.url}{_CHANNELS}?{query}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._token}"})
        tls = ssl.create_default_context(cafile=str(self._kubernetes.certificate_authority))
        with urllib.request.urlopen(request, timeout=10, context=tls) as events:
            for line in events:
                if self._stopped.is_set():
                    return
                event = json.loads(line)
                if event["type"] in {"ADDED", "MODIFIED"}:
                    self._serve(event["object"])

    def _serve(self, channel: Document) -> None:
        status = channel.get("status") or {}
        host = (status.get("address") or {}).get("hostname")
        if not host or (status.get("dispatcher") or {}).get("host") == host:
            return
        metadata = channel["metadata"]
        path = f"/apis/eventing.knative.dev/v1alpha1/namespaces/{metadata['namespace']}/channels"
        with contextlib.suppress(ApiAnswer):  # deleted, or changed meanwhile: then it comes again
            self._kubernetes.request(
                "PATCH",
                f"{path}/{metadata['name']}/status",
                {
                    "metadata": {"resourceVersion": metadata["resourceVersion"]},
                    "status": {"dispatcher": {"host": host}},
                },
                token=self._token,
                content_type="application/merge-patch+json",
            )
