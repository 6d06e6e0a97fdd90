"""Settings of the provisioner: read once from flags and environment, frozen, passed as an object.

Names of variables are those of the dispatcher where both have the setting.
"""

import argparse
import importlib.metadata
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from natss.contract.names import (
    DEFAULT_CLUSTER_DOMAIN,
    DEFAULT_SYSTEM_NAMESPACE,
    is_dns_label,
    is_dns_name,
)
from natss.process.kinds import ADDRESS, SWITCH, ListenAddress, choice, duration, named, whole
from natss.process.logs import LogFormat, LogLevel, LogSettings
from natss.process.settings import (
    Option,
    Program,
    Section,
    SettingsError,
    applied,
    make_parser,
    markdown,
    read,
)
from natss_provisioner.children import DispatcherPlace

__all__ = ["OPTIONS", "PROGRAM", "ProvisionerSettings", "SettingsError"]

PROGRAM = Program(
    name="natss-provisioner",
    version=importlib.metadata.version("natss-channel"),
    usage="[options]",
    description="Gives every Channel of NATS Streaming its address, writes Subscriptions into their"
    " Channels, and tells the state of both in status. The Kubernetes API is found by KUBECONFIG,"
    " or in a pod by its service account.",
    units="Durations are written as 30s, 10m, PT10M or 600 (seconds).",
)

_HEALTH = ListenAddress("", 8081)
_ADMISSION = ListenAddress("", 8443)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionerSettings:
    """All settings."""

    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    """The end of every DNS name in the cluster."""

    system_namespace: str = DEFAULT_SYSTEM_NAMESPACE
    """Where the dispatcher runs."""

    subscription_controller: bool = True
    """Whether Subscriptions are resolved and written into their Channels; Knative's core does so
    where it is there, and two would contradict each other."""

    create_provisioner: bool = False
    """Whether the ClusterChannelProvisioner is created when there is none, so that an installation
    can be applied in one go: its definition is not known yet when the object would be sent."""

    leader_election: bool = True
    """Whether this process acts only while it has the Lease; without it two would do everything
    twice, to no harm but double reports."""

    pod_name: str = ""
    """Of this replica, in the Lease and in Events; empty for host name and process id."""

    resync: float = 600.0
    """Seconds after which everything is looked at again, for the sake of what is not watched: the
    objects that Subscriptions name."""

    workers: int = 16
    """How many objects are reconciled at once; each has one request under way at most. Those of one
    namespace get half of them."""

    health_listen: ListenAddress = _HEALTH
    """Where ``/healthz`` and ``/readyz`` are."""

    admission: bool = False
    """Whether the API server may ask what is to be admitted; it needs ``config/admission``."""

    admission_listen: ListenAddress = _ADMISSION
    """Where it asks, by HTTPS."""

    log: LogSettings = field(default_factory=LogSettings)

    @classmethod
    def load(cls, argv: Sequence[str], environ: Mapping[str, str]) -> Self:
        """The settings that flags and environment ask for; flags win.

        Args:
            argv: Without the name of the program.
            environ: Such as ``os.environ``; an empty variable counts as not set.

        Raises:
            SettingsError: something is wrong.
            SystemExit: ``--help`` or ``--version`` was asked for, and printed.
        """
        given = read(_SECTIONS, parser(), argv, environ)
        settings: Self = applied(cls(), {path: value.value for path, value in given.items()})
        return settings

    @property
    def instance(self) -> str:
        """Which replica this is; another one than every other process that runs now."""
        return self.pod_name or f"{socket.gethostname()}_{os.getpid()}"

    @property
    def place(self) -> DispatcherPlace:
        """Where the dispatcher is."""
        return DispatcherPlace(self.system_namespace, self.cluster_domain)


OPTIONS = (
    Option(
        "cluster_domain",
        "--cluster-domain",
        named(is_dns_name, "a DNS name", "DOMAIN"),
        "end of every DNS name in the cluster",
    ),
    Option(
        "system_namespace",
        "--system-namespace",
        named(is_dns_label, "the name of a namespace", "NAMESPACE"),
        "namespace of the dispatcher",
    ),
    Option(
        "subscription_controller",
        "--subscription-controller",
        SWITCH,
        "whether Subscriptions are taken care of; off beside Knative's core, which does it",
    ),
    Option(
        "create_provisioner",
        "--create-provisioner",
        SWITCH,
        "whether the ClusterChannelProvisioner natss is created when there is none",
    ),
    Option(
        "leader_election",
        "--leader-election",
        SWITCH,
        "whether to act only while holding the Lease natss-controller, so that of several replicas"
        " one does",
    ),
    Option(
        "pod_name",
        "--pod-name",
        named(is_dns_name, "the name of a pod", "NAME"),
        "name of this replica in the Lease and in Events",
        default="host name and process id",
    ),
    Option(
        "resync",
        "--resync",
        duration(10),
        "after this time everything is looked at again, for what is not watched",
    ),
    Option(
        "workers",
        "--workers",
        whole(1, 100),
        "how many objects are reconciled at once; those of one namespace get half of them at most",
    ),
    Option(
        "health_listen", "--health-listen", ADDRESS, "where /healthz and /readyz answer, for probes"
    ),
    Option(
        "admission",
        "--admission",
        SWITCH,
        "whether to review requests to the API before they are admitted; needs config/admission",
    ),
    Option(
        "admission_listen",
        "--admission-listen",
        ADDRESS,
        "where the API server asks for that, by HTTPS",
    ),
    Option(
        "log.format",
        "--log-format",
        choice(LogFormat),
        "auto: for people on a terminal, else JSON",
    ),
    Option("log.level", "--log-level", choice(LogLevel), "least severity that is logged"),
)

_SECTIONS = (Section("Settings", OPTIONS),)


def parser() -> argparse.ArgumentParser:
    """Of the command line, with ``--help``."""
    return make_parser(PROGRAM, _SECTIONS, ProvisionerSettings())


def reference() -> str:
    """The table of ``docs/provisioner.md``."""
    return markdown(_SECTIONS, ProvisionerSettings())
