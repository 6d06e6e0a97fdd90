"""URIs of subscribers: completed as Knative did, refused with a reason, shown without secrets."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natss.contract.uris import complete_uri, redact, redact_value

drawn = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The same values each time, however busy the machine."""


@pytest.mark.parametrize(
    ("written", "complete"),
    [
        ("http://host.ns:8080/path?x=1", "http://host.ns:8080/path?x=1"),
        ("http://host", "http://host"),
        ("https://host.ns/", "https://host.ns/"),
        ("HTTP://Host.ns/", "HTTP://Host.ns/"),
        ("http://user:p%40ss@host.ns/in", "http://user:p%40ss@host.ns/in"),
        ("http://[::1]:8080/in", "http://[::1]:8080/in"),
        ("orders", "http://orders.shop.svc.cluster.local/"),
        ("orders:8080", "http://orders.shop.svc.cluster.local:8080/"),
        ("orders:8080/in?x=1", "http://orders.shop.svc.cluster.local:8080/in?x=1"),
        ("orders/in", "http://orders.shop.svc.cluster.local/in"),
        ("orders?x=a/b", "http://orders.shop.svc.cluster.local?x=a/b"),
        ("user:secret@orders/in", "http://user:secret@orders.shop.svc.cluster.local/in"),
        ("orders.other", "http://orders.other/"),
        ("orders.other:8080/in", "http://orders.other:8080/in"),
        ("127.0.0.1:9000/in", "http://127.0.0.1:9000/in"),
        ("[::1]:9000/in", "http://[::1]:9000/in"),
        ("localhost:9000/in", "http://localhost:9000/in"),
        ("  orders  ", "http://orders.shop.svc.cluster.local/"),
    ],
)
def test_is_completed(written: str, complete: str) -> None:
    assert complete_uri(written, "shop", "cluster.local") == complete


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "must not be empty"),
        ("   ", "must not be empty"),
        ("http://", "must have a host"),
        ("http:///path", "must have a host"),
        (":8080", "must have a host"),
        ("/path", "must have a host"),
        ("ftp://host/", "must begin with http:// or https://, not ftp://"),
        ("nats://host/", "not nats://"),
        ("http://host:99999/", "must be a URI such as"),
        ("http://host:0/", "port from 1"),
        ("http://host:port/", "must be a URI such as"),
        ("http://ho st/", "encode them"),
        ("http://host/\r\nX: y", "encode them"),
        ("http://host/caf\u00e9", "encode them"),
        ("http://-host/", "valid host name"),
        ("http://a..b/", "valid host name"),
        ("http://a,b/", "valid host name"),
        ("http://[::1/", "must be a URI such as"),
        ("http://[::1]8080/", "must be a URI such as"),
        ("http://orders[::1]/", "must be a URI such as"),
        ('http://user:"secret@orders/', "must be a URI such as"),
        ("http://orders:000080/", "must be a URI such as"),
        ("http://orders:80:80/", "must be a URI such as"),
        ("http://[fe80::1%eth0]/", "valid host name or IP address"),
        ("http://" + "a" * 64 + "/", "valid host name"),
        ("http://host/" + "a" * 9000, "longer than"),
    ],
)
def test_is_refused_with_a_reason(written: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refusal:
        complete_uri(written, "shop", "cluster.local")
    assert says in str(refusal.value)


@drawn
@given(st.text())
def test_any_text_is_completed_or_refused(text: str) -> None:
    try:
        uri = complete_uri(text, "shop", "cluster.local")
    except ValueError:
        return
    assert uri.lower().startswith(("http://", "https://"))
    assert complete_uri(uri, "shop", "cluster.local") == uri


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("nats://user:secret@host:4222", "nats://***@host:4222"),
        ("nats://token@host", "nats://***@host"),
        ("nats://u:p@ss@host", "nats://***@host"),
        ("nats://u:p/ss@host", "nats://***@host"),
        ("nats://u:s1@a:1,nats://u:s2@b:2", "nats://***@a:1,nats://***@b:2"),
        (
            "no way to http://u:s@h/ nor https://v:t@i/",
            "no way to http://***@h/ nor https://***@i/",
        ),
        ("http://host/path", "http://host/path"),
        ("me@example.com", "me@example.com"),
        ("", ""),
        ("http://host/in?token=abc", "http://host/in?***"),
        ("http://user:s@host?token=abc", "http://***@host?***"),
        ("'http://h/?t=abc'; must be", "'http://h/?***'; must be"),
        ("from http://h/?t=abc to https://i/?t=def !", "from http://h/?*** to https://i/?*** !"),
        ("http://h/?to=http://u:s@i/&t=abc", "http://***"),
        ("http://h/?to=http://i/&t=abc", "http://h/?***"),
        ("http://h/?t=abc@def", "http://***"),
        ("http://h/?t=abc\x1b[0m", "http://h/?***\x1b[0m"),
        ("who? me", "who? me"),
        ("http://'u:s@h/ and 'http://h/'", "http://***@h/ and 'http://h/'"),
        ("['http://u:s'@h/', 'x@y']", "['http://***@h/', 'x@y']"),
    ],
)
def test_neither_userinfo_nor_query_is_shown(text: str, redacted: str) -> None:
    assert redact(text) == redacted
    assert redact(redacted) == redacted


@pytest.mark.parametrize("query", ["abc", 'a"bc', "a\\bc", 'a\\"bc"', "a'bc", "abc\n"])
def test_json_stays_json(query: str) -> None:
    line = redact(json.dumps({"url": f"http://host/?{query}", "port": 1}))
    assert json.loads(line)["port"] == 1


@pytest.mark.parametrize(
    ("value", "redacted"),
    [
        ("http://host/in", "http://host/in"),
        ("http://user:s@host:99999/?token=abc", "http://***@host:99999/?***"),
        ("http://host/?token='a\"b<c d", "http://host/?***"),
        ("user:s@host:99999/?token=abc", "***@host:99999/?***"),
        ("host:99999?token=abc", "host:99999?***"),
        ("host?token=abc@def", "***"),
    ],
)
def test_a_value_is_redacted_to_its_end(value: str, redacted: str) -> None:
    assert redact_value(value) == redacted
    assert redact_value(redacted) == redacted


@drawn
@given(st.text(st.characters(exclude_characters=" \"'<>\t\r\n", exclude_categories=("Z", "C"))))
def test_no_password_survives(password: str) -> None:
    shown = redact(f"nats://user:{password}@host")
    assert shown == ("nats://***" if "?" in password else "nats://***@host") or "://" in password
