"""Two tenants of one installation, whose objects have secrets and fail in every way there is."""

import asyncio
import json
from collections.abc import Mapping

from aiohttp import web

from natss.contract.names import channel_host
from natss.document import Document
from tests.security.marks import Marks
from tests.support.installation import Installation
from tests.support.kubernetes import ApiAnswer, KubernetesServer
from tests.support.scripted_server import READ, REPEAT, Script, ScriptedServer
from tests.support.servers import free_port
from tests.support.subscriber import Received, Subscriber
from tests.support.waiting import eventually

API = "/apis/eventing.knative.dev/v1alpha1"
DENIED = "127.0.0.3"
"""An address that the dispatcher is to be told not to call."""


class Trouble:
    """Subscribers each of which fails in another way, and shows secrets while it does.

    Args:
        marks: For the secrets.
    """

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self.said = Marks()
        """What a subscriber says of its failure: for its own namespace and ``/status`` alone."""
        self.refusing = Subscriber(self._refuse)
        answers = (
            b"HTTP/1.1 500 %b\r\n\x00: %b\r\n\r\n",
            b"HTTP/1.1 2%b %b\r\n\r\n",
            b"%b %b\r\n\r\n",
            b"HTTP/1.1 500 No\r\nContent-Length: %b\r\nX: %b\r\n\r\n",
            b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n%b",
        )
        self.garbage = [ScriptedServer(self._script(answer)) for answer in answers]

    @property
    def names(self) -> set[str]:
        """Of the Subscriptions whose URIs can be read."""
        garbage = {f"garbage-{number}" for number in range(len(self.garbage))}
        return {"refusing", "unreachable", "denied", "tls"} | garbage

    async def start(self) -> None:
        await self.refusing.start()
        for server in self.garbage:
            await server.__aenter__()

    async def stop(self) -> None:
        await self.refusing.stop()
        for server in self.garbage:
            await server.__aexit__(None, None, None)

    def uris(self, path: str) -> dict[str, str]:
        """Return for each name of a Subscription where its events go."""
        port, uri = self.refusing.port, self.marks.uri
        return {
            "refusing": uri("refusing subscriber", f"127.0.0.1:{port}/{path}"),
            "unreachable": uri("unreachable subscriber", f"127.0.0.1:{free_port()}/{path}"),
            "denied": uri("denied subscriber", f"{DENIED}:{port}/{path}"),
            "tls": uri("subscriber without TLS", f"https://127.0.0.1:{port}/{path}"),
            **{
                f"garbage-{number}": uri("garbling subscriber", f"127.0.0.1:{server.port}/{path}")
                for number, server in enumerate(self.garbage)
            },
        }

    def malformed(self) -> dict[str, str]:
        """Return URIs that cannot be read."""
        uri = self.marks.uri
        return {
            "port": uri("URI with a bad port", "host:99999/"),
            "scheme": uri("URI with a bad scheme", "ftp://host/"),
            "blank": uri("URI with a blank", "host/in put"),
            "letter": uri("URI with a letter beyond ASCII", "host/\u00fc"),
            "brackets": uri("URI with a bracket", "[host/"),
            "nothing": uri("URI without a host", ""),
            "bare": uri("URI without a scheme", "-host-:port").removeprefix("http://"),
        }

    async def _refuse(self, _: Received) -> web.Response:
        marks = self.marks
        header = marks.new("header of an answer")
        body = f"{self.said.new('body of an answer')} {marks.uri('URI in an answer', 'db/')}"
        location = marks.uri("redirect", "host/")
        headers = {"Ce-Secret": header, "Set-Cookie": header, "Location": location}
        return web.Response(status=500, reason=header, text=body, headers=headers)

    def _script(self, answer: bytes) -> Script:
        secret = self.marks.new("an answer that is no HTTP").encode()
        return (READ, answer % (secret, secret), REPEAT)


class Tenant:
    """One namespace and what its owner does in it.

    Args:
        kubernetes: The API.
        namespace: The tenant's.
        path: A mark of the tenant's URIs.
    """

    def __init__(self, kubernetes: KubernetesServer, namespace: str, path: str) -> None:
        self.kubernetes = kubernetes
        self.namespace = namespace
        self.path = path
        kubernetes.create("/api/v1/namespaces", {"metadata": {"name": namespace}})

    def create(self, kind: str, name: str, spec: Mapping[str, object]) -> None:
        """Create an object, unless the API itself refuses it."""
        document = {
            "apiVersion": "eventing.knative.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }
        try:
            self.kubernetes.create(self._path(f"{kind.lower()}s"), document)
        except ApiAnswer as answer:
            if answer.code != 422:
                raise

    def subscribe(self, name: str, uri: str, key: str = "uri") -> None:
        channel = {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "Channel"}
        spec = {"channel": {**channel, "name": "orders"}, "subscriber": {key: uri}}
        self.create("Subscription", name, spec)

    def events(self) -> list[Document]:
        found = self.kubernetes.get(f"/api/v1/namespaces/{self.namespace}/events")["items"]
        return list(found)

    def verdicts(self, channel: str) -> dict[str, str]:
        """Return ``ready`` of each subscriber in the status of a Channel, by uid."""
        document = self.kubernetes.get(f"{self._path('channels')}/{channel}")
        status = document.get("status", {}).get("subscribableStatus", {})
        return {each["uid"]: each["ready"] for each in status.get("subscribers", ())}

    def told(self) -> str:
        """Return all that the programs have written here, without what the tenant has written.

        ``physicalSubscription`` and ``spec.subscribable`` are the tenant's URIs.
        """
        objects: list[object] = [*self.events()]
        for plural in ("channels", "subscriptions"):
            for each in self.kubernetes.get(self._path(plural))["items"]:
                status = {**each.get("status", {})}
                status.pop("physicalSubscription", None)
                objects += [status, each["metadata"].get("annotations")]
        services = self.kubernetes.get(f"/api/v1/namespaces/{self.namespace}/services")
        return json.dumps([*objects, services["items"]])

    def _path(self, plural: str) -> str:
        return f"{API}/namespaces/{self.namespace}/{plural}"


def fill(tenant: Tenant, trouble: Trouble) -> None:
    """Create all that can be wrong."""
    uri, path = trouble.marks.uri, tenant.path
    sink = uri("dead letter sink", f"127.0.0.1:{trouble.refusing.port}/{path}")
    natss = {"name": "natss"}
    quick = {"retry": 1, "backoffDelay": "PT0.05S", "ackWait": "PT1S", "timeout": "PT0.9S"}
    tenant.create("Channel", "orders", {"provisioner": natss, "arguments": quick})
    tenant.create("Channel", "sunk", {
        "provisioner": natss,
        "arguments": {**quick, "deadLetterURI": sink},
        "subscribable": {"subscribers": [
            {"uid": "u1", "subscriberURI": trouble.uris(path)["refusing"]},
            {"uid": "u2", "subscriberURI": trouble.malformed()["port"]},
        ]},
    })  # fmt: skip
    wrong = {key: uri(f"argument {key}", "host/") for key in (*quick, "start", "order", "unknown")}
    wrong["deadLetterURI"] = trouble.malformed()["scheme"]
    tenant.create("Channel", "wrong", {"provisioner": natss, "arguments": wrong})
    for name, address in trouble.uris(path).items():
        tenant.subscribe(name, address)
    for name, address in trouble.malformed().items():
        tenant.subscribe(f"malformed-{name}", address)
        tenant.subscribe(f"malformed-dns-{name}", address, "dnsName")


async def publish(installation: Installation, tenant: Tenant, marks: Marks) -> None:
    """Post events that are accepted, and requests that are refused."""
    dispatcher = installation.dispatcher
    host = channel_host(tenant.namespace, "orders", "cluster.local")
    names = ("Ce-Secret", "Authorization", "Cookie", "X-Secret", "Knative-Correlation-Id")
    headers = {
        "Host": host,
        **{name: marks.new(f"header {name} of an event") for name in names},
    }
    for channel in ("orders", "sunk"):
        headers["Host"] = channel_host(tenant.namespace, channel, "cluster.local")
        body = json.dumps({"secret": marks.new("payload")})

        async def is_taken(body: str = body) -> bool:
            async with dispatcher.http.post(dispatcher.url, data=body, headers=headers) as response:
                return response.status == 202

        await eventually(is_taken)
    for number in range(8):
        secret = marks.new(f"refused request {number}").encode()
        request = (
            b"POST / HTTP/1.1\r\nHost: h\r\nX: %b\x00\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n",
            b"%b / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"POST /?%b HTTP/1.1\r\nHost: h\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %b\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: %b\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nExpect: %b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: %b\r\n\r\n",
        )[number] % secret
        reader, writer = await asyncio.open_connection("127.0.0.1", dispatcher.port)
        writer.write(request)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 4"), (request, answer)
