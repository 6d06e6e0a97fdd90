import json
import traceback
from pathlib import Path
from typing import Any

import pytest

from natss.kube import LoginFailed, connection_info, login


@pytest.fixture(autouse=True)
def no_pod_and_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(login, "_ACCOUNT", tmp_path / "nothing")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)


def kubeconfig(folder: Path, user: dict[str, Any]) -> Path:
    path = folder / "config"
    path.parent.mkdir(parents=True, exist_ok=True)
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://api:6443"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(config))
    return path


def test_a_kubeconfig_is_found_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, {"token": "t"})))
    info = connection_info()
    assert (info.server, info.token) == ("https://api:6443", "t")


def test_a_kubeconfig_is_found_in_the_home(tmp_path: Path) -> None:
    kubeconfig(tmp_path / "home" / ".kube", {"token": "t"})
    assert connection_info().token == "t"


def test_a_token_in_a_file_is_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, {"tokenFile": "token"})))
    (tmp_path / "token").write_text("first\n")
    assert connection_info().token == "first"
    (tmp_path / "token").write_text("second\n")
    assert connection_info().token == "second"


def test_nothing_found_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LoginFailed, match="KUBECONFIG"):
        connection_info()


@pytest.mark.parametrize("text", ["", "current-context: x", "[", "current-context: x\nusers: 7"])
def test_a_broken_kubeconfig_is_said(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(LoginFailed):
        connection_info()


def test_what_stands_in_a_broken_kubeconfig_is_not_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config"
    path.write_text('users:\n- name: u\n  user: {token: "s3cret}\n')
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(LoginFailed, match=r"no YAML \(line \d") as caught:
        connection_info()
    told = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in told


def test_a_missing_kubeconfig_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    with pytest.raises(LoginFailed, match="/nowhere/config"):
        connection_info()
