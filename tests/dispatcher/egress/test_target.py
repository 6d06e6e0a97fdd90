"""Target.parse: which URLs events can be sent to, and how a request to them begins."""

import pytest

from dispatcher.egress.target import InvalidTarget, Target


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("http://orders", "http://orders:80", b"POST / HTTP/1.1\r\nHost: orders\r\n"),
        ("http://orders/", "http://orders:80", b"POST / HTTP/1.1\r\nHost: orders\r\n"),
        (
            "http://orders.shop.svc.cluster.local:8080/v1/events?a=1&b=%20/#top",
            "http://orders.shop.svc.cluster.local:8080",
            b"POST /v1/events?a=1&b=%20/ HTTP/1.1\r\nHost: orders.shop.svc.cluster.local:8080\r\n",
        ),
        ("HTTP://Orders:80/A", "http://orders:80", b"POST /A HTTP/1.1\r\nHost: Orders:80\r\n"),
        ("https://orders", "https://orders:443", b"POST / HTTP/1.1\r\nHost: orders\r\n"),
        ("http://orders?x=y", "http://orders:80", b"POST /?x=y HTTP/1.1\r\nHost: orders\r\n"),
        ("http://orders:/a", "http://orders:80", b"POST /a HTTP/1.1\r\nHost: orders\r\n"),
        ("http://10.0.0.1:81", "http://10.0.0.1:81", b"POST / HTTP/1.1\r\nHost: 10.0.0.1:81\r\n"),
        (
            "http://[FD00::1]:81/",
            "http://[fd00::1]:81",
            b"POST / HTTP/1.1\r\nHost: [FD00::1]:81\r\n",
        ),
        ("https://[::1]", "https://[::1]:443", b"POST / HTTP/1.1\r\nHost: [::1]\r\n"),
        ("http://a_b-c.d./x@y", "http://a_b-c.d.:80", b"POST /x@y HTTP/1.1\r\nHost: a_b-c.d.\r\n"),
        (
            "http://h/{id}|\\^`<>\"'",  # kept as written, as Go does
            "http://h:80",
            b"POST /{id}|\\^`<>\"' HTTP/1.1\r\nHost: h\r\n",
        ),
    ],
)
def test_url_becomes_origin_and_request_line(url: str, origin: str, prefix: bytes) -> None:
    target = Target.parse(url)
    assert target.origin == origin
    assert target.request_prefix == prefix


def test_address_to_connect_to() -> None:
    target = Target.parse("https://[::1]:8443/")
    assert (target.host, target.port, target.tls) == ("::1", 8443, True)
    target = Target.parse("http://Orders/")
    assert (target.host, target.port, target.tls) == ("orders", 80, False)


@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [
        ("user:secret", b"dXNlcjpzZWNyZXQ="),
        ("user", b"dXNlcjo="),
        (":secret", b"OnNlY3JldA=="),
        ("us%40er:se%3Acret:x", b"dXNAZXI6c2U6Y3JldDp4"),
        ("a@b:secret", b"YUBiOnNlY3JldA=="),
    ],
)
def test_userinfo_becomes_basic_authorization(userinfo: str, credentials: bytes) -> None:
    target = Target.parse(f"http://{userinfo}@orders:81/in")
    assert target.request_prefix == (
        b"POST /in HTTP/1.1\r\nHost: orders:81\r\nAuthorization: Basic " + credentials + b"\r\n"
    )
    assert target.origin == "http://orders:81"


def test_userinfo_is_not_shown() -> None:
    target = Target.parse("https://user:secret@orders/in?a=b")
    assert str(target) == "https://***@orders/in?a=b"
    assert repr(target) == "Target('https://***@orders/in?a=b')"


def test_empty_userinfo_is_none() -> None:
    assert b"Authorization" not in Target.parse("http://@orders/").request_prefix


def test_targets_are_values() -> None:
    url = "http://user:secret@orders/in"
    assert Target.parse(url) == Target.parse(url)
    assert hash(Target.parse(url)) == hash(Target.parse(url))
    assert Target.parse(url) != Target.parse("http://user:other@orders/in")
    assert Target.parse(url).origin == Target.parse("http://orders/other").origin


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must begin with http:// or https://"),
        ("orders", "must begin with http:// or https://"),
        ("orders.shop.svc.cluster.local:8080/in", "must begin with http:// or https://"),
        ("//orders/", "must begin with http:// or https://"),
        ("http:/orders/", "must begin with http:// or https://"),
        ("ftp://orders/", "scheme ftp is not supported"),
        ("http://", "has no host"),
        ("http:///in", "has no host"),
        ("http://:80/", "has no host"),
        ("http://user:secret@/", "has no host"),
        ("http://orders:0/", "port must be a number from 1 to 65535"),
        ("http://orders:65536/", "port must be"),
        ("http://orders:+80/", "port must be"),
        ("http://orders:http/", "port must be"),
        ("http://orders:" + "9" * 5000, "port must be"),
        ("http://orders:80:80/", "needs brackets"),
        ("http://fd00::1/", "needs brackets"),
        ("http://[fd00::1/", "must look like [fd00::1]"),
        ("http://[fd00::1]80/", "must look like"),
        ("http://[fe80::1%25eth0]/", "must look like"),
        ("http://[orders]/", "must look like"),
        ("http://or%20ders/", "no valid host name"),
        ("http://-orders/", "no valid host name"),
        ("http://orders..shop/", "no valid host name"),
        ("http://.orders/", "no valid host name"),
        ("http://" + "a" * 64, "no valid host name"),
        ("http://" + "a." * 127 + "a", "no valid host name"),
        ("http://orders\\in/", "no valid host name"),
        ("http://orders/in put", "character ' ' is not allowed"),
        (" http://orders/", "character ' ' is not allowed"),
        ("http://orders/\r\nHost: x", "character '\\r' is not allowed"),
        ("http://orders/\0", "character '\\x00' is not allowed"),
        ("http://orders/\x7f", "character '\\x7f' is not allowed"),
        ("http://bücher/", "character '\\xfc' is not allowed"),
        ("http://orders/ü", "percent-encode it"),
    ],
)
def test_what_is_wrong_is_said(url: str, reason: str) -> None:
    with pytest.raises(InvalidTarget) as caught:
        Target.parse(url)
    text = str(caught.value)
    assert reason in text
    assert "secret" not in text
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 500


@pytest.mark.parametrize(
    "url",
    [
        "user:secret@orders",
        "http:/user:secret@orders",
        "ftp://user:secret@orders",
        "http://user:secret/x@orders/\n",
        "http://user:secret#x@orders/",
        "http://user:secret?x@orders/",
        "http://user:secret@orders:x/",
        "http://user:secret@@orders:x/",
        "http://orders:x/?token=secret",
        "orders?token=secret",
    ],
)
def test_errors_show_neither_userinfo_nor_query(url: str) -> None:
    with pytest.raises(InvalidTarget) as caught:
        Target.parse(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
