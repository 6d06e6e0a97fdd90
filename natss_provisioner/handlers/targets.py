"""Resolves the subscriber and reply of a Subscription to the URIs that events go to.

As in Knative's controller of v0.6, a Service resolves to its name in the cluster's DNS, everything
else to the address in its status.
"""

from natss.contract.names import is_dns_name, service_host
from natss.contract.subscription_documents import SubscriberTarget, Wish
from natss.document import Document
from natss.kube import ApiRefusal, InvalidName, NotFound, Resource
from natss_provisioner.handlers.context import Context
from natss_provisioner.subscribers import Physical


class Unresolved(Exception):
    """A target has no URI for now; the text is for people.

    Attributes:
        target: The target that cannot be resolved.
    """

    def __init__(self, target: SubscriberTarget, message: str) -> None:
        super().__init__(f"{target.path}: {message}")
        self.target = target


async def resolve(context: Context, wish: Wish, namespace: str) -> Physical:
    """Return the URIs of a wish.

    Raises:
        Unresolved: An object is missing, has no address, or may not be read.
        KubeError: The API could not be asked.
    """
    subscriber, reply = wish.subscriber, wish.reply
    if isinstance(subscriber, SubscriberTarget):
        subscriber = await _uri(context, subscriber, namespace)
    return Physical(subscriber, await _uri(context, reply, namespace) if reply else None)


async def _uri(context: Context, target: SubscriberTarget, namespace: str) -> str:
    try:
        resource = resource_of(target.api_version, target.kind)
        document = await context.client.get(resource, target.name, namespace)
    except NotFound as error:
        message = f"there is no {target.kind} {namespace}/{target.name} of {target.api_version}"
        raise Unresolved(target, message) from error
    except InvalidName as error:
        raise Unresolved(target, str(error)) from error
    except ApiRefusal as error:
        if error.retriable:
            raise
        message = f"the {target.kind} {namespace}/{target.name} cannot be read: {error.message}"
        raise Unresolved(target, message) from error
    if target.is_service:
        host: str | None = service_host(namespace, target.name, context.place.cluster_domain)
    else:
        host = address_of(document)
    if host is None:
        message = f"the {target.kind} {namespace}/{target.name} has no address in its status yet"
        raise Unresolved(target, message)
    return f"http://{host}/"


def address_of(document: Document) -> str | None:
    """Return ``status.address.hostname``, else ``status.domainInternal``; None if it is no host."""
    status = document.get("status")
    status = status if isinstance(status, dict) else {}
    address = status.get("address")
    host = address.get("hostname") if isinstance(address, dict) else None
    host = host or status.get("domainInternal")
    return host if isinstance(host, str) and is_dns_name(host.lower()) else None


def resource_of(api_version: str, kind: str) -> Resource:
    """Return where the API serves a kind, by the same rule as Kubernetes' own guess."""
    group, _, version = api_version.rpartition("/")
    singular = kind.lower()
    if singular.endswith("s"):
        plural = f"{singular}es"
    elif singular.endswith("y"):
        plural = f"{singular[:-1]}ies"
    else:
        plural = f"{singular}s"
    return Resource(group, version, plural, kind)
