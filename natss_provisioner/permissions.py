"""What this program must be allowed to do, asked of the API itself.

Without it a role that lacks a line shows only where it is needed, perhaps much later.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import structlog

from natss.contract.channel_kinds import kinds
from natss.knative import PROVISIONERS, SUBSCRIPTIONS, channel_resource
from natss.kube import EVENTS, SERVICES, Forbidden, KubeClient, KubeError, Resource
from natss_provisioner.settings import ProvisionerSettings

log = structlog.get_logger(__name__)

_REVIEWS = Resource(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
)
_AGAIN = 20.0
"""Seconds until what was missing is asked for again."""


@dataclass(frozen=True, slots=True)
class Permission:
    """To do something with the objects of a kind, in every namespace."""

    verb: str
    resource: Resource
    subresource: str = ""

    def __str__(self) -> str:
        group = f".{self.resource.group}" if self.resource.group else ""
        suffix = f"/{self.subresource}" if self.subresource else ""
        return f"{self.verb} {self.resource.plural}{group}{suffix}"


def needed(settings: ProvisionerSettings) -> Iterator[Permission]:
    """All that is needed with these settings, but for the Lease, whose holder tells by itself."""
    channels = [channel_resource(kind) for kind in kinds()]
    for resource in (*channels, PROVISIONERS):
        for verb in ("get", "list", "watch"):
            yield Permission(verb, resource)
        yield Permission("patch", resource, "status")
    for verb in ("get", "list", "watch", "create", "patch", "delete"):
        yield Permission(verb, SERVICES)
    for verb in ("get", "create", "patch"):
        yield Permission(verb, EVENTS)
    if settings.create_provisioner:
        yield Permission("create", PROVISIONERS)
    if settings.subscription_controller:
        for verb in ("get", "list", "watch", "patch"):
            yield Permission(verb, SUBSCRIPTIONS)
        yield Permission("patch", SUBSCRIPTIONS, "status")
        for resource in channels:
            yield Permission("patch", resource)


class Permissions:
    """Asks until nothing is missing, and remembers what is."""

    def __init__(self, client: KubeClient, wanted: Iterable[Permission]) -> None:
        self._client = client
        self._wanted = tuple(wanted)
        self.missing: list[str] = []
        """As ``patch services``, for people."""

    async def run(self) -> None:
        """Return when nothing is missing, or when that cannot be asked."""
        missing = self._wanted
        while True:
            try:
                answers = await asyncio.gather(*map(self._is_missing, missing))
            except Forbidden as error:
                log.info("the API does not say what this account may do", reason=str(error))
                return
            except KubeError:
                pass  # the API is away: what follows objects tells that
            else:
                missing = tuple(
                    each for each, is_missing in zip(missing, answers, strict=True) if is_missing
                )
                self._note(list(map(str, missing)))
                if not missing:
                    return
            await asyncio.sleep(_AGAIN)

    async def _is_missing(self, permission: Permission) -> bool:
        attributes = {
            "verb": permission.verb,
            "group": permission.resource.group,
            "resource": permission.resource.plural,
            "subresource": permission.subresource,
        }
        body = {"spec": {"resourceAttributes": attributes}}
        review = await self._client.create(_REVIEWS, body)
        return not review["status"]["allowed"]

    def _note(self, missing: list[str]) -> None:
        if missing and missing != self.missing:
            log.error(
                "the service account may not do all that is needed: apply config/roles",
                missing=missing,
            )
        elif self.missing and not missing:
            log.info("the service account may do all that is needed now")
        self.missing = missing
