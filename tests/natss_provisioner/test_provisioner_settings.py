import dataclasses
import subprocess
import sys
from operator import attrgetter
from typing import Any

import pytest

from natss.process.kinds import ListenAddress
from natss.process.logs import LogFormat, LogLevel, LogSettings
from natss.process.settings import applied
from natss_provisioner.settings import OPTIONS, ProvisionerSettings, SettingsError


def test_nothing_has_to_be_set() -> None:
    assert ProvisionerSettings.load([], {}) == ProvisionerSettings()
    assert ProvisionerSettings().place.system_namespace == "knative-eventing"


def test_every_field_can_be_set_by_flag_and_by_variable() -> None:
    fields = {field.name for field in dataclasses.fields(ProvisionerSettings)} - {"log"}
    fields |= {f"log.{field.name}" for field in dataclasses.fields(LogSettings)}
    assert {option.field for option in OPTIONS} == fields


GOOD = [
    ("cluster_domain", "k8s.example", "k8s.example"),
    ("system_namespace", "kyma-system", "kyma-system"),
    ("subscription_controller", "off", False),
    ("subscription_controller", "TRUE", True),
    ("create_provisioner", "on", True),
    ("resync", "5m", 300.0),
    ("resync", "PT1H", 3600.0),
    ("workers", "1", 1),
    ("health_listen", "127.0.0.1:0", ListenAddress("127.0.0.1", 0)),
    ("health_listen", "[::1]:8081", ListenAddress("::1", 8081)),
    ("log.level", "debug", LogLevel.DEBUG),
    ("log.format", "json", LogFormat.JSON),
]


@pytest.mark.parametrize(("field", "text", "value"), GOOD)
def test_values(field: str, text: str, value: Any) -> None:
    option = next(option for option in OPTIONS if option.field == field)
    by_flag = ProvisionerSettings.load([f"{option.flag}={text}"], {})
    (variable,) = option.variables
    assert by_flag == ProvisionerSettings.load([], {variable: text})
    assert attrgetter(field)(by_flag) == value
    assert by_flag == applied(ProvisionerSettings(), {field: value})


def test_a_flag_wins_and_an_empty_variable_is_none() -> None:
    environ = {"SYSTEM_NAMESPACE": "one", "CLUSTER_DOMAIN": " "}
    settings = ProvisionerSettings.load(["--system-namespace", "two"], environ)
    assert settings.system_namespace == "two"
    assert settings.cluster_domain == "cluster.local"


@pytest.mark.parametrize(
    ("argv", "environ", "words"),
    [
        (["--resync=1s"], {}, ["--resync", "from 10s to 24h"]),
        (["--resync=soon"], {}, ["--resync", "soon", "must"]),
        ([], {"SUBSCRIPTION_CONTROLLER": "no"}, ["SUBSCRIPTION_CONTROLLER", "on or off"]),
        ([], {"WORKERS": "0"}, ["WORKERS", "1 to 100"]),
        ([], {"SYSTEM_NAMESPACE": "A.B"}, ["SYSTEM_NAMESPACE", "namespace"]),
        (["--cluster-domain=a..b"], {}, ["DNS name"]),
        (["--health-listen=8081"], {}, ["HOST:PORT"]),
        (["--health-listen=0.0.0.0:99999"], {}, ["HOST:PORT"]),
        (["--log-level=loud"], {}, ["debug or info"]),
        (["--sytem-namespace=x"], {}, ["--sytem-namespace", '"--system-namespace"']),
        (["--workers"], {}, ["--workers"]),
        (["stray"], {}, ["stray"]),
    ],
)
def test_mistakes_are_told_in_a_line(
    argv: list[str], environ: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(SettingsError) as error:
        ProvisionerSettings.load(argv, environ)
    text = str(error.value)
    assert all(word in text for word in words), text
    assert "\n" not in text


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "natss_provisioner.main", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_help_fits_a_terminal_and_names_every_variable() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    text = " ".join(result.stdout.split())
    for option in OPTIONS:
        (variable,) = option.variables
        assert f"[{variable}, default " in text
        assert option.flag in text


def test_the_command_tells_a_mistake_without_a_traceback() -> None:
    result = run("--workers=many")
    assert result.returncode == 2
    assert result.stderr.startswith("natss-provisioner: --workers: ")
    assert len(result.stderr.splitlines()) == 1


def test_without_credentials_the_command_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    result = run()
    assert result.returncode == 2
    assert result.stderr.startswith("natss-provisioner: the credentials of Kubernetes")
    assert "/nowhere/config" in result.stderr
    assert len(result.stderr.splitlines()) == 1
