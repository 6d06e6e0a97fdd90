"""Settings: every one by flag and variable, one line for every mistake, no secret ever shown."""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.egress import proxies
from dispatcher.egress.denied import DeniedNetworks
from dispatcher.egress.proxies import Proxies
from dispatcher.settings.settings import DispatcherSettings, SettingsError, reference
from dispatcher.settings.table import SECTIONS
from natss.contract.resources import (
    BackoffPolicy,
    Defaults,
    DeliveryPolicy,
    Order,
    Start,
    StartKind,
)
from natss.process.kinds import ListenAddress
from natss.process.logs import LogFormat, LogLevel
from natss.process.settings import Option
from tests.support.repository import ROOT

drawn = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The same values each time, however busy the machine."""

OPTIONS = [option for section in SECTIONS for option in section.options]
CHANNELS = ("--channels", "channels.yaml")


def load(*argv: str, **environ: str) -> DispatcherSettings:
    return DispatcherSettings.load([*CHANNELS, *argv], environ)


def mistake(*argv: str, **environ: str) -> str:
    with pytest.raises(SettingsError) as error:
        load(*argv, **environ)
    assert "\n" not in str(error.value)
    return str(error.value)


def leaves(value: object, path: str = "") -> Iterator[str]:
    """Yield the path of every field of nested settings that is not settings itself."""
    if isinstance(value, Proxies):  # of variables that have no flags
        return
    if not is_dataclass(value) or isinstance(value, Start | DeniedNetworks):
        yield path
        return
    for field in fields(value):
        yield from leaves(getattr(value, field.name), f"{path}.{field.name}".lstrip("."))


def test_there_is_an_option_for_every_field_and_a_field_for_every_option() -> None:
    assert {option.field for option in OPTIONS} == set(leaves(DispatcherSettings()))


def test_no_flag_and_no_variable_is_there_twice() -> None:
    flags = [option.flag for option in OPTIONS]
    variables = [variable for option in OPTIONS for variable in option.variables]
    assert len(set(flags)) == len(flags)
    assert len(set(variables)) == len(variables)


def test_what_go_named_is_named_so() -> None:
    names = {option.field: list(option.variables) for option in OPTIONS}
    assert names["nats.servers"] == ["DEFAULT_NATSS_URL"]
    assert names["nats.cluster_id"] == ["DEFAULT_CLUSTER_ID"]
    assert names["source.system_namespace"] == ["SYSTEM_NAMESPACE"]
    assert "ACK_WAIT_MINUTES" in names["delivery.policy.ack_wait"]
    assert names["delivery.policy.max_inflight"] == ["MAX_INFLIGHT"]


def test_defaults() -> None:
    settings = load()
    assert settings.source.channels == (Path("channels.yaml"),)
    assert settings == DispatcherSettings(source=settings.source)
    assert settings.nats.servers == ("nats://nats-streaming.natss.svc.cluster.local:4222",)
    assert settings.listen == ListenAddress("", 8080)
    assert settings.admin_listen == ListenAddress("", 8081)
    assert settings.defaults == Defaults(max_subscribers=1000)


OTHER_VALUES: dict[str, tuple[str, object]] = {
    "source.channels": ("a.yaml", (Path("channels.yaml"), Path("a.yaml"))),
    "source.kubernetes": ("off", False),
    "source.state_dir": ("/var/state", Path("/var/state")),
    "source.channel_epochs": ("off", False),
    "source.cluster_domain": ("example.org", "example.org"),
    "source.system_namespace": ("kyma", "kyma"),
    "nats.servers": ("nats://a:1,tls://b:2,c:3", ("nats://a:1", "tls://b:2", "nats://c:3")),
    "nats.cluster_id": ("kyma-nats-streaming", "kyma-nats-streaming"),
    "nats.client_id": ("other_client-1", "other_client-1"),
    "nats.tls_hostname": ("nats.example.org", "nats.example.org"),
    "nats.connect_timeout": ("500ms", 0.5),
    "listen": ("127.0.0.1:0", ListenAddress("127.0.0.1", 0)),
    "admin_listen": ("[::1]:9000", ListenAddress("::1", 9000)),
    "ingress.max_connections": ("5", 5),
    "ingress.max_connections_per_address": ("7", 7),
    "ingress.max_header_bytes": ("8Ki", 8192),
    "ingress.max_body_bytes": ("65536", 65536),
    "ingress.max_buffered_bytes": ("1Gi", 1024**3),
    "ingress.max_pipelined": ("1", 1),
    "ingress.header_timeout": ("PT5S", 5),
    "ingress.body_timeout": ("5", 5),
    "ingress.keepalive_timeout": ("2m", 120),
    "ingress.answer_timeout": ("0.5", 0.5),
    "ingress.drain_timeout": ("0s", 0),
    "delivery.policy.ack_wait": ("2m", 120),
    "delivery.policy.max_inflight": ("1024", 1024),
    "delivery.policy.timeout": ("5s", 5),
    "delivery.policy.retry": ("0", 0),
    "delivery.policy.backoff_delay": ("PT1S", 1),
    "delivery.policy.backoff_policy": ("linear", BackoffPolicy.LINEAR),
    "delivery.policy.max_redeliveries": ("3", 3),
    "delivery.policy.dead_letter_uri": (
        "sink:8080/in",
        "http://sink.knative-eventing.svc.cluster.local:8080/in",
    ),
    "delivery.policy.start": ("1h ago", Start(StartKind.AGO, 3600)),
    "delivery.policy.order": ("channel", Order.CHANNEL),
    "delivery.removal_grace": ("0", 0),
    "delivery.stuck_after": ("5m", 300),
    "delivery.max_subscribers": ("5000", 5000),
    "delivery.max_buffered_bytes": ("16MiB", 16 * 1024**2),
    "egress.max_connections_per_origin": ("1", 1),
    "egress.max_connections": ("2", 2),
    "egress.max_idle_per_origin": ("0", 0),
    "egress.idle_timeout": ("1s", 1),
    "egress.max_age": ("1h", 3600),
    "egress.connect_timeout": ("1s", 1),
    "egress.denied_networks": ("::1", DeniedNetworks.parse("::1")),
    "egress.max_response_bytes": ("0", 0),
    "egress.max_response_header_bytes": ("1Ki", 1024),
    "log.format": ("json", LogFormat.JSON),
    "log.level": ("DEBUG", LogLevel.DEBUG),
}
FILES = {option.field for option in OPTIONS if option.kind.metavar == "FILE"}


def test_every_setting_is_tried_below() -> None:
    assert {option.field for option in OPTIONS} == set(OTHER_VALUES) | FILES | {"nats.user"}


@pytest.mark.parametrize(
    "option", [o for o in OPTIONS if o.field in OTHER_VALUES], ids=lambda o: o.flag
)
def test_by_flag_and_by_variable(option: Option) -> None:
    text, value = OTHER_VALUES[option.field]
    assert attrgetter(option.field)(load(option.flag, text)) == value
    assert attrgetter(option.field)(load(f"{option.flag}={text}")) == value
    if not option.repeatable:
        variable = next(iter(option.variables))
        assert attrgetter(option.field)(load(**{variable: text})) == value


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (("--natss-user=me", "--natss-password-file"), "nats.password_file"),
        (("--natss-token-file",), "nats.token_file"),
        (("--natss-credentials-file",), "nats.credentials_file"),
        (("--natss-nkey-seed-file",), "nats.nkey_seed_file"),
        (("--natss-tls-ca-file",), "nats.tls_ca_file"),
        (("--egress-tls-ca-file",), "delivery.tls_ca_file"),
    ],
)
def test_files(tmp_path: Path, flags: tuple[str, ...], field: str) -> None:
    file = tmp_path / "file"
    file.write_text("something")
    assert attrgetter(field)(load(*flags, str(file))) == file


def test_a_flag_wins_over_its_variable() -> None:
    assert load("--cluster-id", "flag", DEFAULT_CLUSTER_ID="variable").nats.cluster_id == "flag"


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(DEFAULT_CLUSTER_ID="", MAX_INFLIGHT=" ") == load()


def test_paths_in_the_variable_stand_with_colons_between() -> None:
    settings = DispatcherSettings.load([], {"CHANNELS": "/etc/a:/etc/b.yaml:"})
    assert settings.source.channels == (Path("/etc/a"), Path("/etc/b.yaml"))


def test_minutes_of_the_go_program() -> None:
    assert load(ACK_WAIT_MINUTES="2").delivery.policy.ack_wait == 120
    assert mistake(ACK_WAIT_MINUTES="1m").startswith("ACK_WAIT_MINUTES: the text '1m' cannot be")
    assert mistake(ACK_WAIT_MINUTES="1", ACK_WAIT="60s") == (
        "ACK_WAIT and ACK_WAIT_MINUTES mean the same; set one of them"
    )


def test_the_cluster_domain_is_in_every_default() -> None:
    settings = load("--cluster-domain", "x.org", "--dead-letter-uri", "sink", SYSTEM_NAMESPACE="ns")
    assert settings.nats.servers == ("nats://nats-streaming.natss.svc.x.org:4222",)
    assert settings.defaults.cluster_domain == "x.org"
    assert settings.defaults.policy.dead_letter_uri == "http://sink.ns.svc.x.org/"


def test_the_timeout_gives_way_to_a_short_ack_wait_unless_it_was_set() -> None:
    assert load("--ack-wait", "5s").delivery.policy.timeout == 2.5
    assert mistake("--ack-wait", "5s", "--timeout", "5s") == (
        "--timeout: must be shorter than the ack wait (5s)"
    )
    assert "DELIVERY_TIMEOUT: must be shorter" in mistake(DELIVERY_TIMEOUT="60s")


def test_redeliveries_may_be_set_for_channels_that_have_a_sink_of_their_own() -> None:
    assert load("--max-redeliveries", "3").defaults.policy == DeliveryPolicy(max_redeliveries=3)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("--max-connections", "many"), "--max-connections: the text 'many' cannot be used: it m"),
        (("--max-connections", "0"), "must be a whole number from 1"),
        (("--max-connections", "-1"), "--max-connections"),
        (("--max-connections",), "argument --max-connections: expected one argument; see --help"),
        (("--header-timeout", "soon"), "it must be a duration such as PT30S, 30s or 30 (seconds)"),
        (("--header-timeout", "0"), "it must be from 1ms to 24h"),
        (("--header-timeout", "P1M"), "a minute is PT1M"),
        (("--max-header-bytes", "64K"), "must be a size in bytes, as 65536, 64Ki, 8Mi or 1Gi"),
        (("--max-header-bytes", "10"), "must be at least 1Ki"),
        (("--max-body-bytes", "200Mi"), "must fit into 3/4 of --max-buffered-bytes"),
        (("--listen", "8080"), "must be HOST:PORT, as :8080, 127.0.0.1:8080 or [::1]:8080"),
        (("--listen", ":99999"), "must be HOST:PORT"),
        (("--listen", "::1:8080"), "must be HOST:PORT"),
        (("--log-format", "xml"), "must be auto or json or console"),
        (("--log-level", "loud"), "must be debug or info or warning or error"),
        (("--cluster-domain", "Cluster.Local"), "must be a DNS name"),
        (("--system-namespace", "a.b"), "must be the name of a namespace"),
        (("--cluster-id", "a b"), "must be valid (invalid cluster id 'a b')"),
        (("--client-id", "a.b"), "only ASCII letters, digits, '-' and '_'"),
        (("--retry", "often"), "--retry: the text 'often' cannot be used: it must be a whole numb"),
        (("--retry", "-1"), "--retry"),
        (("--ack-wait", "1.5s"), "must be whole seconds"),
        (("--start", "1h"), 'did you mean "1h ago"?'),
        (("--order", "strict"), "must be none or channel"),
        (("--dead-letter-uri", "ftp://a.b"), "must begin with http:// or https://"),
        (("--natss-tls-ca-file", "/nowhere"), "must be a readable file (no such file or directory"),
        (("--natss-url", "http://a"), "its value cannot be used: it must be nats://[USER:PASSWORD@"),
        (("--natss-url", ","), "must name a server"),
        (("--natss-url", "nats://"), "must be nats://[USER:PASSWORD@]HOST:PORT"),
        (("--natss-user", "me"), "--natss-user and --natss-password-file need each other"),
        (("--max-conections", "5"), 'unknown flag --max-conections (did you mean "--max-conn'),
        (("--natss",), "unknown flag --natss"),
        (("channels.yaml",), "unexpected argument 'channels.yaml'; see --help"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_line(argv: tuple[str, ...], text: str) -> None:
    assert text in mistake(*argv)


def test_channels_are_required() -> None:
    with pytest.raises(SettingsError, match="--channels: say which file or folder"):
        DispatcherSettings.load([], {})


def test_in_a_pod_the_channels_are_those_of_the_cluster() -> None:
    pod = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    assert DispatcherSettings.load([], pod).source.kubernetes
    assert not DispatcherSettings.load(["--channels", "a.yaml"], pod).source.kubernetes
    assert DispatcherSettings.load(["--kubernetes", "on"], {}).source.kubernetes
    with pytest.raises(SettingsError, match="--channels"):
        DispatcherSettings.load(["--kubernetes", "off"], pod)


def test_channels_are_in_files_or_in_the_cluster() -> None:
    with pytest.raises(SettingsError, match="CHANNELS and --kubernetes: the channels can be in o"):
        DispatcherSettings.load(["--kubernetes", "on"], {"CHANNELS": "a.yaml"})


def test_epochs_are_for_the_channels_of_a_cluster() -> None:
    assert not DispatcherSettings.load(["--kubernetes", "on"], {}).source.channel_epochs
    flags = ["--kubernetes", "on", "--channel-epochs", "on"]
    assert DispatcherSettings.load(flags, {}).source.channel_epochs
    told = mistake(CHANNEL_EPOCHS="on")
    assert told.startswith("CHANNEL_EPOCHS: is for the Channels of a cluster")


def test_one_way_to_log_in(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    assert mistake("--natss-token-file", str(file), NATSS_CREDENTIALS_FILE=str(file)) == (
        "--natss-token-file and NATSS_CREDENTIALS_FILE: only one way to log in to NATS can be used"
    )
    told = mistake("--natss-token-file", str(file), DEFAULT_NATSS_URL="nats://secret@h")
    assert told.startswith("--natss-token-file and DEFAULT_NATSS_URL: only one way")
    assert "need each other" in mistake("--natss-tls-cert-file", str(file))


LISTS = [
    "{0},{1}",
    "{0}, {1}",
    " {0} , {1} ",
    "{0},\n{1}\n",
    "{0}\t,\t{1}",
    "{0},{1},",
    ",{0},,{1}",
    "{0}, {1}, ",
]
"""As people write them, and as YAML folds them."""


@pytest.mark.parametrize("written", LISTS)
def test_blanks_around_the_parts_of_a_list_do_not_matter(written: str) -> None:
    servers = written.format("nats://a:4222", "b:4223")
    networks = written.format("10.0.0.0/8", "::1")
    for loaded in (
        load("--natss-url", servers, "--egress-deny", networks),
        load(DEFAULT_NATSS_URL=servers, EGRESS_DENY=networks),
    ):
        assert loaded.nats.servers == ("nats://a:4222", "nats://b:4223")
        assert str(loaded.egress.denied_networks) == "10.0.0.0/8,::1"
    paths = written.replace(",", ":").format("/etc/a", "/etc/b.yaml")
    sources = DispatcherSettings.load([], {"CHANNELS": paths}).source.channels
    assert sources == (Path("/etc/a"), Path("/etc/b.yaml"))


@pytest.mark.parametrize("flag", ["--natss-url", "--egress-deny"])
@pytest.mark.parametrize("value", [",", " , ", "nats://a:4222 nats://b:4222", "10.0.0.0/8 ::1"])
def test_what_is_no_list_is_told(flag: str, value: str) -> None:
    told = mistake(flag, value)
    assert flag in told
    assert "must" in told


SECRETS = [
    "nats://user:s3cret@h:4222",
    "nats://s3cret@h:4222",
    "user:s3cret@h:4222",
    "nats://a:1,nats://user:s3cret@b:2",
    "nats://user:s3cret/@h:4222",
]
BAD_SECRETS = [
    "nats://user:s3cret@h:port",
    "http://user:s3cret@h",
    "nats://user:s3 cret@h",
    "nats://user:s3'cret@h",
    "nats://a:4222, nats://user:s3, cret@h",
    "nats://user:s3cret@",
    "user:s3cret",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_password_in_the_url_is_never_shown(url: str) -> None:
    with contextlib.suppress(SettingsError):  # an unescaped slash
        settings = load("--natss-url", url)
        assert "s3cret" in "".join(settings.nats.servers)
        for shown in (repr(settings), str(settings), settings.nats.shown_servers):
            assert "s3cret" not in shown


@pytest.mark.parametrize("url", BAD_SECRETS)
def test_a_password_in_a_wrong_url_is_never_shown(url: str) -> None:
    assert "cret" not in mistake("--natss-url", url)
    assert "cret" not in mistake(DEFAULT_NATSS_URL=url)


def test_a_secret_after_an_unknown_flag_is_not_shown() -> None:
    assert "s3cret" not in mistake("--natss-password=s3cret")
    assert "s3cret" not in mistake("--natss-password", "s3cret")


def test_the_password_of_a_dead_letter_sink_is_not_shown() -> None:
    assert "s3cret" not in mistake("--dead-letter-uri", "ftp://me:s3cret@sink.x/")


@drawn
@given(st.sampled_from(OPTIONS), st.text(st.characters(exclude_characters="\0")))
def test_any_text_is_a_value_or_a_mistake(option: Option, text: str) -> None:
    with contextlib.suppress(SettingsError):
        load(f"{option.flag}={text}")
    for variable in option.variables:
        with contextlib.suppress(SettingsError):
            load(**{variable: text})


class TestHelp:
    @pytest.fixture
    def text(self) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
            DispatcherSettings.load(["--help"], {})
        assert ended.value.code == 0
        return out.getvalue()

    def test_it_fits_a_terminal(self, text: str) -> None:
        assert max(map(len, text.splitlines())) <= 80

    def test_it_has_every_section_flag_variable_and_default(self, text: str) -> None:
        for section in SECTIONS:
            assert f"\n{section.title}:\n" in text
            for option in section.options:
                assert f"\n  {option.flag} {option.kind.metavar}" in text
                assert f"[{' or '.join(option.variables)}" in text
        assert "[MAX_CONNECTIONS, default 10000]" in text
        assert "[ACK_WAIT or ACK_WAIT_MINUTES, default 1m]" in text

    def test_a_password_in_the_environment_is_not_in_it(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
            DispatcherSettings.load(["--help"], {"DEFAULT_NATSS_URL": "nats://me:s3cret@h"})
        assert "s3cret" not in out.getvalue()


def run(*argv: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    script = "import os, sys; from dispatcher.settings.settings import DispatcherSettings;"
    script += "DispatcherSettings.load_or_exit(sys.argv[1:], os.environ)"
    return subprocess.run(
        [sys.executable, "-c", script, *argv],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_mistake_ends_the_process_with_status_2_and_one_line() -> None:
    ended = run("--channels=x", MAX_CONNECTIONS="x")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "natss-dispatcher: MAX_CONNECTIONS: the text 'x' cannot be used:"
        " it must be a whole number from 1 to 2147483647\n"
    )


def test_the_version_is_printed() -> None:
    ended = run("--version")
    assert ended.returncode == 0
    assert ended.stdout.startswith("natss-dispatcher 0.")


class TestDocument:
    text = (ROOT / "docs" / "settings.md").read_text()

    def test_its_tables_are_those_of_the_code(self) -> None:
        assert reference() in self.text, (
            "docs/settings.md: replace the tables by what"
            " python -c 'from dispatcher.settings.settings import reference; print(reference())'"
            " prints"
        )

    def test_it_names_no_variable_that_does_not_exist(self) -> None:
        variables = {variable for option in OPTIONS for variable in option.variables}
        named = set(re.findall(r"`([A-Z][A-Z_]{3,})`", self.text))
        assert named - variables <= {"HOST:PORT", "CONNECT", *proxies.VARIABLES}


def test_settings_cannot_be_changed() -> None:
    settings: Any = load()
    with pytest.raises(AttributeError):
        settings.nats.cluster_id = "x"
