"""Settings of the dispatcher: read once from flags and environment, frozen, passed as objects.

``dispatcher.settings.table`` declares flags and variables; ``docs/settings.md`` is the page for
users.
"""

import argparse
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dispatcher.egress.denied import LOOPBACK
from dispatcher.egress.limits import EgressLimits
from dispatcher.egress.proxies import InvalidProxy, Proxies
from dispatcher.ingress.limits import IngressLimits
from dispatcher.settings.table import SECTIONS
from dispatcher.stores.nats_streaming.settings import NatsSettings
from natss.contract.arguments import fitting_timeout
from natss.contract.names import (
    DEFAULT_CLUSTER_DOMAIN,
    DEFAULT_SYSTEM_NAMESPACE,
    default_natss_url,
)
from natss.contract.resources import Defaults, DeliveryPolicy
from natss.contract.uris import complete_uri
from natss.process.kinds import ListenAddress
from natss.process.logs import LogSettings
from natss.process.settings import (
    Given,
    Program,
    SettingsError,
    applied,
    exit_with,
    make_parser,
    markdown,
    read,
)

__all__ = ["PROGRAM", "DispatcherSettings", "ListenAddress", "NatsSettings", "SettingsError"]

PROGRAM = Program(
    name="natss-dispatcher",
    version=importlib.metadata.version("natss-channel"),
    usage="(--channels PATH ... | --kubernetes on) [options]",
    description="Takes events over HTTP, stores them in NATS Streaming before it answers 202, and"
    " delivers them to every subscriber of their channel.",
    units="Durations are written as 30s, 1m30s, PT30S or 30 (seconds), sizes as 65536, 64Ki or 8Mi"
    " (bytes).",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """Where Channels and Subscriptions come from."""

    channels: tuple[Path, ...] = ()
    """Files and folders; they need not exist yet."""

    kubernetes: bool = False
    """Whether the Kubernetes API says which Channels there are, and who subscribes to them."""

    state_dir: Path | None = None
    """Its content must outlive the process, not the pod: without it, a restart in a cluster waits
    for the Kubernetes API, and one with files forgets which durables exist.
    """

    channel_epochs: bool = False
    """Whether new Channels of the cluster get a subject that no other Channel of their name has
    had; the program in Go does not know such subjects.
    """

    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    """The end of every DNS name in the cluster."""

    system_namespace: str = DEFAULT_SYSTEM_NAMESPACE
    """Where the dispatcher runs; bare names in process-wide settings are Services in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """What applies to all subscriptions, or to those whose Channel says nothing else."""

    policy: DeliveryPolicy = field(default_factory=DeliveryPolicy)

    removal_grace: float = 60.0
    """Seconds that the durable of a removed subscriber is retained, so that a Subscription that is
    deleted and created again (Kyma does so to change an endpoint) continues where it was.
    """

    stuck_after: float = 60.0
    """Seconds of failure after which a subscriber is reported as stuck. Shorter failures pass: pods
    restart, and an event of the first round may fail for half a minute by the default policy.
    """

    max_subscribers: int = 1000
    """How many subscribers of one channel are served. A channel is applied as a whole, so others
    have to wait for its size. NATS Streaming has the same limit by default, and counts the durables
    of subscribers that are away or were just removed.
    """

    max_buffered_bytes: int = 256 * 1024 * 1024
    """Bytes of memory for events held for delivery, of all subscriptions together: for what waits,
    for deliveries under way (half of it at most, so that events may wait), and for answers longer
    than 4 KiB. Beyond it, events are left to be sent again by NATS Streaming.
    """

    tls_ca_file: Path | None = None
    """Authorities that are trusted besides the system's when subscribers use https."""


_EVENTS = ListenAddress("", 8080)
_ADMIN = ListenAddress("", 8081)


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherSettings:
    """All settings."""

    source: SourceSettings = field(default_factory=SourceSettings)
    nats: NatsSettings = field(default_factory=NatsSettings)
    listen: ListenAddress = _EVENTS
    admin_listen: ListenAddress = _ADMIN
    ingress: IngressLimits = field(default_factory=IngressLimits)
    egress: EgressLimits = field(default_factory=EgressLimits)
    delivery: DeliverySettings = field(default_factory=DeliverySettings)
    proxies: Proxies = field(default_factory=Proxies)
    """The proxies through which subscribers are called, from ``HTTP_PROXY``, ``HTTPS_PROXY`` and
    ``NO_PROXY``, which are not settings of this program alone and have no flags.
    """

    log: LogSettings = field(default_factory=LogSettings)

    @classmethod
    def load(cls, argv: Sequence[str], environ: Mapping[str, str]) -> "DispatcherSettings":
        """Load the settings from flags and environment.

        Args:
            argv: The arguments, without the name of the program.
            environ: Such as ``os.environ``.

        Raises:
            SettingsError: something is wrong or missing; the text is one line.
            SystemExit: ``--help`` or ``--version`` was asked for, and printed.
        """
        given = read(SECTIONS, parser(), argv, environ)
        values = {path: value.value for path, value in given.items()}
        if not values.keys() & {"source.channels", "source.kubernetes"}:
            values["source.kubernetes"] = bool(environ.get(_IN_POD))
        try:
            proxies = Proxies.of_environment(environ)
        except InvalidProxy as error:
            raise SettingsError(str(error)) from error
        settings: DispatcherSettings = replace(applied(cls(), values), proxies=proxies)
        settings = _derived(settings, given)
        _check(settings, given)
        return settings

    @classmethod
    def load_or_exit(cls, argv: Sequence[str], environ: Mapping[str, str]) -> "DispatcherSettings":
        """Load the settings; print a mistake on stderr in one line and exit with status 2."""
        try:
            return cls.load(argv, environ)
        except SettingsError as error:
            exit_with(PROGRAM, error)

    @property
    def defaults(self) -> Defaults:
        """The defaults for what documents leave open."""
        return Defaults(
            cluster_domain=self.source.cluster_domain,
            policy=self.delivery.policy,
            max_subscribers=self.delivery.max_subscribers,
        )


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with ``--help``."""
    return make_parser(PROGRAM, SECTIONS, DispatcherSettings())


def reference() -> str:
    """Return the tables of ``docs/settings.md``."""
    return markdown(SECTIONS, DispatcherSettings())


_IN_POD = "KUBERNETES_SERVICE_HOST"
"""The variable that the kubelet sets in every pod."""


def _derived(settings: DispatcherSettings, given: Mapping[str, Given]) -> DispatcherSettings:
    """Fill in what follows from other settings."""
    source, policy = settings.source, settings.delivery.policy
    values: dict[str, object] = {}
    if "nats.servers" not in given:
        url = default_natss_url(source.cluster_domain)
        values["nats.servers"] = (url,)
    if "egress.denied_networks" not in given and source.kubernetes:
        values["egress.denied_networks"] = settings.egress.denied_networks + LOOPBACK
    if "ingress.max_connections_per_address" not in given:
        most = settings.ingress.max_connections
        values["ingress.max_connections_per_address"] = most - most // 10
    if policy.dead_letter_uri is not None:
        uri = complete_uri(policy.dead_letter_uri, source.system_namespace, source.cluster_domain)
        values["delivery.policy.dead_letter_uri"] = uri
    if "delivery.policy.timeout" not in given:
        timeout = fitting_timeout(policy.timeout, policy.timeout, policy.ack_wait)
        values["delivery.policy.timeout"] = timeout
    derived: DispatcherSettings = applied(settings, values)
    return derived


_WAYS_TO_LOG_IN = ("user", "token_file", "credentials_file", "nkey_seed_file")


def _check(settings: DispatcherSettings, given: Mapping[str, Given]) -> None:
    """Find settings that contradict each other or are missing."""
    nats, policy, ingress = settings.nats, settings.delivery.policy, settings.ingress
    source = settings.source
    if not source.channels and not source.kubernetes:
        raise SettingsError(
            "--channels: say which file or folder has the channels, or that they are in the"
            " cluster (--kubernetes=on); see --help"
        )
    if source.channels and source.kubernetes:
        places = f"{given['source.channels'].where} and {given['source.kubernetes'].where}"
        raise SettingsError(f"{places}: the channels can be in one of them only")
    if source.channel_epochs and not source.kubernetes:
        raise SettingsError(
            f"{given['source.channel_epochs'].where}: is for the Channels of a cluster"
            " (--kubernetes=on); in a file write the annotation natss-dispatcher/epoch"
        )
    if policy.timeout >= policy.ack_wait:
        where = given["delivery.policy.timeout"].where
        raise SettingsError(f"{where}: must be shorter than the ack wait ({policy.ack_wait}s)")
    if ingress.max_body_bytes > ingress.max_incoming_bytes:
        raise SettingsError("--max-body-bytes: must fit into 3/4 of --max-buffered-bytes")
    if (nats.user is None) != (nats.password_file is None):
        raise SettingsError("--natss-user and --natss-password-file need each other")
    if (nats.tls_cert_file is None) != (nats.tls_key_file is None):
        raise SettingsError("--natss-tls-cert-file and --natss-tls-key-file need each other")
    ways = [f"nats.{name}" for name in _WAYS_TO_LOG_IN if getattr(nats, name) is not None]
    if any("@" in server for server in nats.servers):
        ways.append("nats.servers")
    if len(ways) > 1:
        places = " and ".join(given[way].where for way in ways)
        raise SettingsError(f"{places}: only one way to log in to NATS can be used")
