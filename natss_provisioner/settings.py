"""Settings of the provisioner: read once from flags and environment, frozen, passed as an object.

Variables have the names of the dispatcher's where both programs have the setting.
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
    """The namespace of the dispatcher."""

    subscription_controller: bool = True
    """Whether Subscriptions are resolved and written into their Channels. Knative's core does this
    where it is installed, and two controllers would contradict each other.
    """

    create_provisioner: bool = False
    """Whether a missing ClusterChannelProvisioner is created, so that an installation can be
    applied in one step: otherwise its definition is not known yet when the object is sent.
    """

    leader_election: bool = True
    """Whether this process acts only while it has the Lease. Without it two replicas do everything
    twice, with no harm but duplicate reports.
    """

    pod_name: str = ""
    """The name of this replica in the Lease and in Events; empty for host name and process id."""

    resync: float = 600.0
    """In seconds: everything is reconciled again after this time, for the sake of what is not
    watched: the objects that Subscriptions name.
    """

    workers: int = 16
    """How many objects are reconciled at once; each has at most one request under way. Objects of
    one namespace get at most half of the workers.
    """

    health_listen: ListenAddress = _HEALTH
    """The address of ``/healthz`` and ``/readyz``."""

    admission: bool = False
    """Whether the API server may have requests reviewed; needs ``config/admission``."""

    admission_listen: ListenAddress = _ADMISSION
    """The address for these reviews, by HTTPS."""

    log: LogSettings = field(default_factory=LogSettings)

    @classmethod
    def load(cls, argv: Sequence[str], environ: Mapping[str, str]) -> Self:
        """Return the settings from flags and environment; flags win.

        Args:
            argv: The arguments without the name of the program.
            environ: Such as ``os.environ``; an empty variable counts as not set.

        Raises:
            SettingsError: A setting is wrong.
            SystemExit: ``--help`` or ``--version`` was given, and printed.
        """
        given = read(_SECTIONS, parser(), argv, environ)
        settings: Self = applied(cls(), {path: value.value for path, value in given.items()})
        return settings

    @property
    def instance(self) -> str:
        """The name of this replica, unique among the processes that run now."""
        return self.pod_name or f"{socket.gethostname()}_{os.getpid()}"

    @property
    def place(self) -> DispatcherPlace:
        """The place of the dispatcher."""
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
    """Return the parser of the command line, with ``--help``."""
    return make_parser(PROGRAM, _SECTIONS, ProvisionerSettings())


def reference() -> str:
    """Return the table of ``docs/provisioner.md``."""
    return markdown(_SECTIONS, ProvisionerSettings())
