"""Writes to a Service on behalf of its owner, each with an Event that reports it."""

from natss.document import Document
from natss.knative import PROVISIONERS
from natss.kube import SERVICES, AlreadyExists, Conflict, EventType, NotFound
from natss_provisioner import children
from natss_provisioner.handlers.context import Context


class ServiceNameTaken(Exception):
    """A Service of the needed name exists and belongs to somebody else.

    Attributes:
        reason: One word, for conditions.
    """

    reason = "ServiceNameTaken"


class HostTaken(ServiceNameTaken):
    """The Service is the address that another Channel has published."""

    reason = "HostTaken"


async def create_or_take(context: Context, owner: Document, wanted: Document) -> Document:
    """Create a Service; if one of that name was created for the owner, repair it.

    Raises:
        ServiceNameTaken: Somebody else created it; it is left alone.
        HostTaken: It belongs to another channel and is left to that one.
        KubeError: Another failure.
    """
    name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
    try:
        service = await context.writer.create(SERVICES, wanted, namespace)
    except AlreadyExists:
        service = await context.client.get(SERVICES, name, namespace)
        if not children.belongs_to(service, owner, wanted):
            raise ServiceNameTaken(
                f"The Service {namespace}/{name}, which is needed, is there but was made by"
                " somebody else. It is left alone: rename or delete it."
            ) from None
        is_channel = owner["kind"] != PROVISIONERS.kind
        rival = context.claims.rival(owner, service) if is_channel else None
        if rival is not None:
            raise HostTaken(
                f"The Service {namespace}/{name}, which is needed, is the address of the"
                f" {rival.title}. It is left to that one: delete one of the two channels."
            ) from None
        return await repair(context, owner, service, wanted)
    await context.events.record(
        owner, EventType.NORMAL, "ServiceCreated", f"Created the Service {namespace}/{name}"
    )
    return service


async def repair(
    context: Context, owner: Document, service: Document, wanted: Document
) -> Document:
    """Repair a Service of the owner if it differs from what is wanted; return it as it is then.

    Raises:
        Conflict: It has been changed or deleted meanwhile.
        KubeError: Another failure.
    """
    needed = children.repair(service, wanted)
    if needed is None:
        return service
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    try:
        repaired = await context.writer.patch(SERVICES, name, needed.patch, namespace)
    except NotFound as error:
        raise Conflict(error.status, error.reason, error.message) from error
    await context.events.record(
        owner,
        EventType.NORMAL,
        "ServiceAdopted" if needed.adopts else "ServiceRepaired",
        f"Put right the Service {namespace}/{name}: {', '.join(needed.changes)}",
    )
    return repaired


async def delete(context: Context, owner: Document, service: Document) -> None:
    """Delete a surplus Service, unless it is gone already. Raises KubeError."""
    metadata = service["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    try:
        await context.writer.delete(SERVICES, name, namespace, uid=metadata["uid"])
    except NotFound:
        return
    await context.events.record(
        owner,
        EventType.NORMAL,
        "ServiceDeleted",
        f"Deleted the Service {namespace}/{name}: a channel has one, and this was one more",
    )
