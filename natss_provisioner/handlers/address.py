"""The address of a Channel: its one Service, found, adopted and repaired, or created."""

from dataclasses import dataclass

from natss.contract.names import service_host
from natss.document import Document
from natss.knative import channel_id
from natss.kube import SERVICES, ApiRefusal, NotFound
from natss_provisioner import children
from natss_provisioner.conditions import ADDRESSABLE, Condition, false, true
from natss_provisioner.handlers import services
from natss_provisioner.handlers.context import Context


@dataclass(frozen=True, slots=True)
class ChannelAddress:
    """The result of ``ensure``."""

    host: str | None
    condition: Condition
    """``Addressable``."""

    failure: ApiRefusal | None = None
    """The refusal of the API; the work has to be retried."""


async def ensure(context: Context, channel: Document) -> ChannelAddress:
    """Reconcile a channel's Service; return the address.

    Raises:
        KubeError: The API could not be asked, or the channel has an address and keeps it: reporting
            it as unready would stop publishers.
    """
    try:
        service = await _ensure_service(context, channel)
    except services.ServiceNameTaken as error:
        return ChannelAddress(None, false(ADDRESSABLE, error.reason, str(error)))
    except ApiRefusal as error:
        if error.retriable or children.known_service(channel):
            raise
        reason, message = "ServiceFailed", f"The channel's Service was refused: {error.message}"
        return ChannelAddress(None, false(ADDRESSABLE, reason, message), error)
    metadata = service["metadata"]
    host = service_host(metadata["namespace"], metadata["name"], context.place.cluster_domain)
    return ChannelAddress(host, true(ADDRESSABLE))


async def _ensure_service(context: Context, channel: Document) -> Document:
    wanted = children.channel_service(channel, context.place)
    found = children.find(channel, await _candidates(context, channel, wanted))
    for duplicate in found.duplicates:
        await services.delete(context, channel, duplicate)
    if found.service is None:
        return await services.create_or_take(context, channel, wanted)
    return await services.repair(context, channel, found.service, wanted)


async def _candidates(context: Context, channel: Document, wanted: Document) -> list[Document]:
    """Return Services with the channel's labels; else the published one, without labels.

    Leave out Services that are the address of another channel.
    """
    namespace = channel["metadata"]["namespace"]
    found = context.services.of(channel_id(channel))
    if found is None:
        labels = children.channel_selector(channel)
        found = await context.client.list(SERVICES, namespace, labels)
    labelled = [each for each in found if context.claims.rival(channel, each) is None]
    known = children.known_service(channel)
    if known is None or children.find(channel, labelled).service is not None:
        return labelled
    try:
        service = await context.client.get(SERVICES, known, namespace)
    except NotFound:
        return []
    if context.claims.rival(channel, service) is not None:
        return []
    is_its_own = children.is_owned(service, channel) or children.is_abandoned(service, wanted)
    return [service] if is_its_own else []
