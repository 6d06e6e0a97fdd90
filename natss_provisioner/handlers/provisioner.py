"""The ClusterChannelProvisioner ``natss``: its dispatcher's Service, and ``Ready``."""

from kube import SERVICES, AlreadyExists, Document, EventType, NotFound
from natss_provisioner import children
from natss_provisioner.conditions import READY, Condition, false, is_true, true
from natss_provisioner.handlers.context import LOOK_AGAIN, Context
from natss_provisioner.resources import PROVISIONERS


async def reconcile(context: Context, name: str) -> float | None:
    """Make the Service what it should be and say so in ``status``.

    Returns:
        After how many seconds to look again for what no watch tells.

    Raises:
        KubeError: to be tried again.
    """
    try:
        provisioner = await context.client.get(PROVISIONERS, name)
    except NotFound:
        return None
    if provisioner["metadata"].get("deletionTimestamp"):
        return None
    condition = await _ensure_service(context, provisioner)
    was_ready = is_true(provisioner.get("status"), READY)
    if await context.write_status(PROVISIONERS, provisioner, (condition,), {}):
        await _tell(context, provisioner, condition, was_ready=was_ready)
    return None if condition.is_true else LOOK_AGAIN


async def _tell(
    context: Context, provisioner: Document, ready: Condition, *, was_ready: bool
) -> None:
    if not ready.is_true:
        await context.events.record(provisioner, EventType.WARNING, ready.reason, ready.message)
    elif not was_ready:
        await context.events.record(
            provisioner, EventType.NORMAL, "Ready", "Channels can be provisioned"
        )


async def _ensure_service(context: Context, provisioner: Document) -> Condition:
    wanted = children.dispatcher_service(provisioner, context.place)
    name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
    try:
        existing = await context.client.get(SERVICES, name, namespace)
    except NotFound:
        try:
            await context.client.create(SERVICES, wanted, namespace)
        except AlreadyExists:  # since we looked, by whomever
            existing = await context.client.get(SERVICES, name, namespace)
        else:
            await context.events.record(
                provisioner,
                EventType.NORMAL,
                "ServiceCreated",
                f"Created the dispatcher's Service {namespace}/{name}",
            )
            return true(READY)
    if not children.belongs_to(existing, provisioner, wanted):
        return false(
            READY,
            "ServiceNameTaken",
            f"The Service {namespace}/{name}, which the dispatcher needs, is there but was made by"
            " somebody else. It is left alone: rename or delete it.",
        )
    await _repair(context, provisioner, existing, wanted)
    return true(READY)


async def _repair(
    context: Context, provisioner: Document, existing: Document, wanted: Document
) -> None:
    repair = children.repair(existing, wanted)
    if repair is None:
        return
    name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
    await context.client.patch(SERVICES, name, repair.patch, namespace)
    await context.events.record(
        provisioner,
        EventType.NORMAL,
        "ServiceAdopted" if repair.adopts else "ServiceRepaired",
        f"Put right the Service {namespace}/{name}: {', '.join(repair.changes)}",
    )
