"""Serves admission reviews to the API server, in every replica, whichever leads.

Its certificate is in a Secret that all replicas share, and in the webhook configurations as what
the API server trusts; both are repaired when they are wrong. The configurations themselves are
manifests (``config/admission``). kopf's own configurations always have a timeout of 30 s, name no
Service, and are emptied when any replica ends; and its server accepts connections without a limit.
"""

import asyncio
import json
import ssl
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import structlog
from aiohttp import web

from natss.contract.channel_id import ChannelId
from natss.contract.channel_kinds import kinds
from natss.knative import channel_id, channel_resource
from natss.kube import Conflict, KubeClient, KubeError, NotFound, Resource, nesting
from natss.process.listening import listening
from natss.process.side_ports import SidePort
from natss_provisioner import reviews
from natss_provisioner.certificates import Certificate
from natss_provisioner.handlers.targets import address_of
from natss_provisioner.settings import ProvisionerSettings

log = structlog.get_logger(__name__)

NAME = "natss-admission"
"""The name of the Service, the Secret and the configurations."""

_SECRETS = Resource("", "v1", "secrets", "Secret")
_CONFIGURATIONS = [
    Resource("admissionregistration.k8s.io", "v1", f"{kind.lower()}s", kind, namespaced=False)
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
]

_TRY_AGAIN = 2.0
_MOST_BYTES = 4 * 1024 * 1024
"""The limit of one request. It has a changed object twice, and etcd stores at most 1.5 MiB."""

_HANDSHAKE_SECONDS = 5.0
"""How long a TLS handshake may take. A connection is counted only after its handshake."""

_HOSTS_TIMEOUT = 2.0
"""In seconds: how long listing the other channels may take while the API server waits."""


class Webhook:
    """Answers reviews.

    Args:
        client: May get and patch the Secret and the configurations, and list Channels.
        settings: The settings of the process.
        look_again: In seconds between two checks of the Secret and the configurations.
    """

    def __init__(
        self, client: KubeClient, settings: ProvisionerSettings, *, look_again: float = 60.0
    ) -> None:
        self._client = client
        self._look_again = look_again
        self._listen = settings.admission_listen
        self._namespace = settings.system_namespace
        self._cluster_domain = settings.cluster_domain
        self._hosts = (f"{NAME}.{settings.system_namespace}.svc",)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._told: str | None = None
        self.failure: str | None = "the webhook has no certificate yet"
        """Why no requests have been reviewed so far; None once they are."""

    async def run(self) -> None:
        """Serve until cancelled, once there is a certificate.

        Raises:
            ExceptionGroup: It contains an OSError: the webhook cannot listen, or write a file.
        """
        with tempfile.TemporaryDirectory(prefix=f"{NAME}-") as folder:
            files = Path(folder)
            is_there = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep(files, is_there), name="webhook certificate")
                await is_there.wait()
                group.create_task(self._serve(), name="webhook server")

    async def _serve(self) -> None:
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_post("/{webhook:.*}", self._answer)
        port = SidePort(app)
        await port.setup()
        try:
            with listening("--admission-listen", self._listen):
                server = await asyncio.get_running_loop().create_server(
                    port.protocol,
                    self._listen.host or None,
                    self._listen.port,
                    ssl=self._tls,
                    ssl_handshake_timeout=_HANDSHAKE_SECONDS,
                )
            log.info("reviewing requests", listen=str(self._listen))
            async with server:
                await asyncio.Event().wait()
        finally:
            await port.cleanup()

    async def _keep(self, files: Path, is_there: asyncio.Event) -> None:
        while True:
            is_right = await self._put_right(files)
            if is_right:
                is_there.set()
                self.failure = None
            await asyncio.sleep(self._look_again if is_right else _TRY_AGAIN)

    async def _put_right(self, files: Path) -> bool:
        """Write the certificate into the files and have it trusted; return whether that is so."""
        try:
            certificate = await self._agree()
            if _write(files, certificate):  # new connections get it from now on
                self._tls.load_cert_chain(files / "tls.crt", files / "tls.key")
            for configuration in _CONFIGURATIONS:
                await self._trust(configuration, certificate.secret_data()["ca.crt"])
        except Conflict:  # another replica was faster: read what it has written
            return False
        except KubeError as error:
            self._tell(str(error))
            return False
        self._told = None
        return True

    async def _agree(self) -> Certificate:
        """Return the certificate in the Secret; create one if needed. Raises KubeError."""
        secret = await self._client.get(_SECRETS, NAME, self._namespace)
        now = datetime.now(UTC)
        found = Certificate.of_secret(secret.get("data"))
        if found is not None and found.is_good(self._hosts, now):
            return found
        made = Certificate.make(self._hosts, now, found)
        version = {"resourceVersion": secret["metadata"]["resourceVersion"]}
        body = {"metadata": version, "data": made.secret_data()}
        await self._client.patch(_SECRETS, NAME, body, self._namespace)
        log.info("made a certificate for the webhook", secret=NAME)
        return made

    async def _trust(self, resource: Resource, bundle: str) -> None:
        """Have a configuration trust the certificate, if it exists. Raises KubeError."""
        try:
            configuration = await self._client.get(resource, NAME)
        except NotFound:  # a missing configuration switches its part off
            return
        webhooks = configuration.get("webhooks") or []
        if all(each["clientConfig"].get("caBundle") == bundle for each in webhooks):
            return
        wanted = [
            {**each, "clientConfig": {**each["clientConfig"], "caBundle": bundle}}
            for each in webhooks
        ]
        version = {"resourceVersion": configuration["metadata"]["resourceVersion"]}
        await self._client.patch(resource, NAME, {"metadata": version, "webhooks": wanted})

    def _tell(self, failure: str) -> None:
        """Log why the certificate cannot be maintained, once for each reason."""
        if failure != self._told:
            log.warning("no certificate yet; is config/admission applied?", reason=failure)
        self._told = failure
        if self.failure is not None:
            self.failure = f"the webhook has no certificate yet: {failure}"

    async def _answer(self, request: web.Request) -> web.Response:
        """Answer one request. After an error response the API server admits the object."""
        try:
            review = nesting.loads(await request.read())
            if not isinstance(review, dict):
                raise web.HTTPBadRequest(reason="the review is no JSON object")
            nesting.cut(review)
            namespace = reviews.namespace_of_new_channel(review)
            hosts = await self._hosts_of_channels(namespace) if namespace else {}
            webhook = request.match_info["webhook"]
            return web.json_response(reviews.answer(review, webhook, hosts, self._cluster_domain))
        except json.JSONDecodeError as error:
            raise web.HTTPBadRequest(reason="the review is no JSON") from error
        except reviews.Malformed as error:
            raise web.HTTPBadRequest(reason=str(error)) from error

    async def _hosts_of_channels(self, namespace: str) -> dict[ChannelId, str]:
        """Return the hosts of the existing channels; none if they cannot be listed in time."""
        try:
            async with asyncio.timeout(_HOSTS_TIMEOUT):
                listed = [
                    document
                    for kind in kinds()
                    for document in await self._client.list(channel_resource(kind), namespace)
                ]
        except (KubeError, TimeoutError) as error:
            log.info(
                "hosts of other channels are not looked at", namespace=namespace, reason=str(error)
            )
            return {}
        hosts = {channel_id(document): address_of(document) for document in listed}
        return {name: host for name, host in hosts.items() if host is not None}


def _write(files: Path, certificate: Certificate) -> bool:
    """Replace the files if their content differs; return whether it did."""
    is_new = False
    wanted = {"tls.crt": certificate.certificate, "tls.key": certificate.key}
    for name, content in wanted.items():
        file = files / name
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)
            is_new = True
    return is_new
