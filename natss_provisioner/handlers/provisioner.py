"""The ClusterChannelProvisioner ``natss``: its dispatcher's Service, and its conditions."""

from natss.contract.dispatchers import DISPATCHERS
from natss.document import Document
from natss.knative import PROVISIONERS
from natss.kube import SERVICES, AlreadyExists, EventType, NotFound
from natss_provisioner import children
from natss_provisioner.conditions import READY, Condition, false, is_true, true
from natss_provisioner.connection import connection
from natss_provisioner.handlers import services
from natss_provisioner.handlers.context import LOOK_AGAIN, Context


async def reconcile(context: Context, name: str) -> float | None:
    """Reconcile the Service and report its state in ``status``.

    Create a missing provisioner if the settings ask for it.

    Returns:
        The seconds until it must be reconciled again for changes that no watch reports.

    Raises:
        KubeError: The work has to be retried.
    """
    try:
        provisioner = await context.provisioner(name)
    except NotFound:
        return await _create(context, name) if context.creates_provisioner else None
    if provisioner["metadata"].get("deletionTimestamp"):
        return None
    try:
        await _ensure_service(context, provisioner)
        condition = true(READY)
    except services.ServiceNameTaken as error:
        condition = false(READY, "ServiceNameTaken", str(error))
    was_ready = is_true(provisioner.get("status"), READY)
    told = connection(provisioner, context.now(), context.place.system_namespace)
    conditions = (condition, *([told.condition] if told.condition else []))
    fields = {DISPATCHERS: dict.fromkeys(sorted(told.expired))} if told.expired else {}
    if await context.write_status(PROVISIONERS, provisioner, conditions, fields):
        await _tell(context, provisioner, condition, was_ready=was_ready)
    return told.again_in if condition.is_true else LOOK_AGAIN


async def _create(context: Context, name: str) -> float | None:
    """Create the provisioner, which is reconciled once it is seen; return as ``reconcile`` does."""
    body = {
        "apiVersion": PROVISIONERS.api_version,
        "kind": PROVISIONERS.kind,
        "metadata": {"name": name, "labels": {children.MANAGED_BY: children.MANAGER}},
        "spec": {},
    }
    try:
        await context.writer.create(PROVISIONERS, body)
    except NotFound:
        return LOOK_AGAIN  # its kind is not defined yet
    except AlreadyExists:
        pass  # somebody else has created it meanwhile
    return None


async def _ensure_service(context: Context, provisioner: Document) -> None:
    wanted = children.dispatcher_service(provisioner, context.place)
    name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
    try:
        existing = await context.client.get(SERVICES, name, namespace)
    except NotFound:
        existing = None
    if existing is not None and children.belongs_to(existing, provisioner, wanted):
        await services.repair(context, provisioner, existing, wanted)
    else:
        await services.create_or_take(context, provisioner, wanted)


async def _tell(
    context: Context, provisioner: Document, ready: Condition, *, was_ready: bool
) -> None:
    if not ready.is_true:
        await context.events.record(provisioner, EventType.WARNING, ready.reason, ready.message)
    elif not was_ready:
        await context.events.record(
            provisioner, EventType.NORMAL, "Ready", "Channels can be provisioned"
        )
