"""Settings of the provisioner: read once from flags and environment, frozen, passed as an object.

Names of variables are those of the dispatcher where both have the setting.
"""

import argparse
import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Self

from contract.durations import format_duration, parse_duration
from contract.names import (
    DEFAULT_CLUSTER_DOMAIN,
    DEFAULT_SYSTEM_NAMESPACE,
    is_dns_label,
    is_dns_name,
)
from contract.reports import did_you_mean, shown
from natss_provisioner.children import Place

PROGRAM = "natss-provisioner"
_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("auto", "json", "console")


class SettingsError(Exception):
    """A setting that is wrong; the text fits in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings."""

    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    """The end of every DNS name in the cluster."""

    system_namespace: str = DEFAULT_SYSTEM_NAMESPACE
    """Where the dispatcher runs."""

    resync: float = 600.0
    """Seconds after which everything is looked at again, in case a change was missed: while a
    watch is broken for long, the API forgets what was deleted."""

    workers: int = 8
    """How many objects are reconciled at once; each has one request under way at most."""

    health_listen: str = "0.0.0.0:8081"
    """Host and port of ``/healthz``; the kubelet calls it from outside the pod."""

    log_level: str = "info"
    log_format: str = "auto"
    """``auto`` is for people on a terminal, else JSON."""

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
        arguments, unknown = parser().parse_known_args(list(argv))
        if unknown:
            name = unknown[0].partition("=")[0]
            hint = did_you_mean(name, [option.flag for option in OPTIONS])
            raise SettingsError(f"unknown argument {ascii(name)[1:-1]}{hint}; see --help")
        values: dict[str, Any] = {}
        for option in OPTIONS:
            flag = getattr(arguments, option.field)
            text = flag if flag is not None else environ.get(option.env, "").strip() or None
            if text is None:
                continue
            try:
                values[option.field] = option.parse(text)
            except ValueError as error:
                where = option.flag if flag is not None else option.env
                raise SettingsError(f"{where}: {shown(text)} cannot be used: it {error}") from error
        return cls(**values)

    @property
    def place(self) -> Place:
        """Where the dispatcher is."""
        return Place(self.system_namespace, self.cluster_domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How one field of the settings is given; its default and reason stand at the field."""

    field: str
    env: str
    metavar: str
    help: str
    parse: Callable[[str], object]
    """Raises ValueError with a text that begins with "must"."""

    show: Callable[[Any], str] = str

    @property
    def flag(self) -> str:
        return "--" + self.field.replace("_", "-")


def _named(check: Callable[[str], bool], must: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not check(text):
            raise ValueError(f"must be {must}")
        return text

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    return _named(choices.__contains__, " or ".join(choices))


def _resync(text: str) -> float:
    seconds = parse_duration(text)
    if seconds < 10:
        raise ValueError("must be at least 10s, for all objects are read each time")
    return seconds


def _workers(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text, re.ASCII) or not 1 <= int(text) <= 100:
        raise ValueError("must be a whole number from 1 to 100")
    return int(text)


def _address(text: str) -> str:
    match = re.fullmatch(r"([^\s:/]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", text, re.ASCII)
    if match is None or int(match[2]) > 65535:
        raise ValueError("must be HOST:PORT, as 0.0.0.0:8081")
    return text


OPTIONS = (
    Option(
        field="cluster_domain",
        env="CLUSTER_DOMAIN",
        metavar="DOMAIN",
        help="end of every DNS name in the cluster",
        parse=_named(is_dns_name, "a DNS name"),
    ),
    Option(
        field="system_namespace",
        env="SYSTEM_NAMESPACE",
        metavar="NAMESPACE",
        help="namespace of the dispatcher",
        parse=_named(is_dns_label, "the name of a namespace"),
    ),
    Option(
        field="resync",
        env="RESYNC",
        metavar="DURATION",
        help="after this time everything is looked at again, in case a change was missed",
        parse=_resync,
        show=format_duration,
    ),
    Option(
        field="workers",
        env="WORKERS",
        metavar="N",
        help="how many objects are reconciled at once",
        parse=_workers,
    ),
    Option(
        field="health_listen",
        env="HEALTH_LISTEN",
        metavar="HOST:PORT",
        help="where /healthz answers, for probes",
        parse=_address,
    ),
    Option(
        field="log_level",
        env="LOG_LEVEL",
        metavar="LEVEL",
        help=f"least severity that is logged: {', '.join(_LEVELS)}",
        parse=_one_of(*_LEVELS),
    ),
    Option(
        field="log_format",
        env="LOG_FORMAT",
        metavar="FORMAT",
        help="auto (readable on a terminal, else JSON), json or console",
        parse=_one_of(*_FORMATS),
    ),
)


class _Parser(argparse.ArgumentParser):
    """Tells mistakes to the caller instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; see --help")


def parser() -> argparse.ArgumentParser:
    """Of the command line, with ``--help``."""
    defaults = Settings()
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [options]",
        description="Gives every Channel of NATS Streaming its address and tells its state in"
        " status. The Kubernetes API is found by KUBECONFIG, or in a pod by its service account.",
        epilog="Durations are written as 30s, 10m, PT10M or 600 (seconds). In brackets stand the"
        " environment variable and the default; a flag wins over its variable.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=26, width=80),
        allow_abbrev=False,
        add_help=False,
    )
    for option in OPTIONS:
        default = option.show(getattr(defaults, option.field))
        parser.add_argument(
            option.flag,
            dest=option.field,
            metavar=option.metavar,
            help=f"{option.help} [{option.env}; {default}]",
        )
    parser.add_argument("--help", "-h", action="help", help="show this text and exit")
    version = importlib.metadata.version("natss-channel")
    parser.add_argument(
        "--version",
        action="version",
        version=f"{PROGRAM} {version}",
        help="show the version and exit",
    )
    return parser
