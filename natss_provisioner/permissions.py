"""Asks the API whether this program has all permissions that it needs.

Otherwise an incomplete role shows only where it is needed, perhaps much later.
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
"""In seconds: when missing permissions are checked again."""


@dataclass(frozen=True, slots=True)
class Permission:
    """The permission for a verb on the objects of a kind, in every namespace."""

    verb: str
    resource: Resource
    subresource: str = ""

    def __str__(self) -> str:
        group = f".{self.resource.group}" if self.resource.group else ""
        suffix = f"/{self.subresource}" if self.subresource else ""
        return f"{self.verb} {self.resource.plural}{group}{suffix}"


def needed(settings: ProvisionerSettings) -> Iterator[Permission]:
    """Yield all permissions for these settings, except for the Lease: the election reports that."""
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
    """Asks until no permission is missing, and remembers the missing ones."""

    def __init__(self, client: KubeClient, wanted: Iterable[Permission]) -> None:
        self._client = client
        self._wanted = tuple(wanted)
        self.missing: list[str] = []
        """The missing permissions for people, such as ``patch services``."""

    async def run(self) -> None:
        """Wait until nothing is missing, or the API refuses to say."""
        missing = self._wanted
        while True:
            try:
                answers = await asyncio.gather(*map(self._is_missing, missing))
            except Forbidden as error:
                log.info("the API does not say what this account may do", reason=str(error))
                return
            except KubeError:
                pass  # the API is away: the watches report that
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
