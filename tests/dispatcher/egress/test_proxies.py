"""Which targets go by which proxy: the rules of Go's httpproxy."""

import pytest

from dispatcher.egress.proxies import InvalidProxy, Proxies
from dispatcher.egress.target import Target
from dispatcher.settings.settings import DispatcherSettings, SettingsError

PROXY = "http://proxy.example:3128"


def proxies(no_proxy: str = "", **variables: str) -> Proxies:
    given = variables or {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}
    return Proxies.of_environment({**given, "NO_PROXY": no_proxy})


def is_direct(url: str, no_proxy: str = "") -> bool:
    return proxies(no_proxy).proxy_of(Target.parse(url)) is None


@pytest.mark.parametrize(
    ("variables", "http", "https"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": PROXY}, PROXY, None),
        ({"HTTPS_PROXY": PROXY}, None, PROXY),
        ({"http_proxy": PROXY, "https_proxy": "other:1"}, PROXY, "http://other:1"),
        ({"HTTP_PROXY": PROXY, "http_proxy": "http://other:1"}, PROXY, None),
        ({"HTTP_PROXY": "", "http_proxy": PROXY}, PROXY, None),
        ({"ALL_PROXY": PROXY}, None, None),
        ({"HTTP_PROXY": "10.0.0.1:8080"}, "http://10.0.0.1:8080", None),
        ({"HTTP_PROXY": "http://[fd00::1]:8080/"}, "http://[fd00::1]:8080", None),
        ({"HTTP_PROXY": "HTTP://Proxy"}, "http://proxy:80", None),
    ],
)
def test_the_variables(variables: dict[str, str], http: str | None, https: str | None) -> None:
    found = Proxies.of_environment(variables)
    assert (found.http and str(found.http), found.https and str(found.https)) == (http, https)
    assert found.are_used == (http is not None or https is not None)


@pytest.mark.parametrize(
    ("no_proxy", "direct", "proxied"),
    [
        ("", "http://localhost/", "http://localhost.example/"),
        ("", "http://127.0.0.1:9000/", "http://10.0.0.1/"),
        ("", "http://127.9.9.9/", "https://orders/"),
        ("", "http://[::1]/", "http://[fd00::1]/"),
        ("example.com", "http://example.com/", "http://notexample.com/"),
        ("example.com", "https://a.Example.com:8443/", "http://example.com.org/"),
        (".example.com", "http://a.example.com/", "http://example.com/"),
        ("*.example.com", "http://a.b.example.com/", "http://example.com/"),
        ("example.com:8080", "http://example.com:8080/", "http://example.com/"),
        ("example.com:80", "http://a.example.com/", "https://a.example.com/"),
        ("EXAMPLE.com", "http://example.com./", "http://example.org/"),
        (" a.org , ,b.org", "http://b.org/", "http://c.org/"),
        ("10.0.0.1", "http://10.0.0.1:81/", "http://10.0.0.2/"),
        ("10.0.0.1:81", "http://10.0.0.1:81/", "http://10.0.0.1/"),
        ("10.0.0.0/8", "http://10.9.9.9/", "http://11.0.0.1/"),
        ("10.0.0.9/8", "http://10.1.1.1/", "http://11.0.0.1/"),
        ("10.0.0.0/8", "http://[::ffff:10.1.1.1]/", "http://10.example/"),
        ("fd00::/8", "http://[fd12::1]/", "http://[fe00::1]/"),
        ("[fd00::1]:8080", "http://[fd00::1]:8080/", "http://[fd00::1]/"),
        ("fd00::1", "http://[fd00::1]/", "http://[fd00::2]/"),
        ("svc,cluster.local", "http://a.shop.svc.cluster.local/", "http://a.example/"),
        (".svc", "http://a.shop.svc/", "http://svc/"),
    ],
)
def test_what_is_excepted(no_proxy: str, direct: str, proxied: str) -> None:
    assert is_direct(direct, no_proxy)
    assert not is_direct(proxied, no_proxy)


@pytest.mark.parametrize("no_proxy", ["*", "a.org,*", "* "])
def test_everything_is_excepted(no_proxy: str) -> None:
    assert is_direct("http://orders.example/", no_proxy)


@pytest.mark.parametrize("no_proxy", [":80", "10.0.0.0/99", ",", "*:80", "a:b:c", "[", "]:1", "/"])
def test_an_entry_that_means_nothing_excepts_nothing(no_proxy: str) -> None:
    assert not is_direct("http://orders.example/", no_proxy)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("https://proxy:3128", "HTTP_PROXY: a proxy is spoken to by http://, not https://"),
        ("socks5://me:hunter2@proxy:1", "HTTP_PROXY: a proxy is spoken to by http://, not socks5"),
        ("http://me:hunter2@:3128", "HTTP_PROXY: 'http://***@:3128' is no URL of a proxy"),
        ("proxy:port", "HTTP_PROXY: 'proxy:port' is no URL of a proxy"),
    ],
)
def test_what_is_no_proxy_is_told_at_the_start(value: str, text: str) -> None:
    with pytest.raises(InvalidProxy) as caught:
        Proxies.of_environment({"HTTP_PROXY": value})
    assert str(caught.value).startswith(text)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SettingsError, match="HTTP_PROXY"):
        DispatcherSettings.load(["--channels=x"], {"HTTP_PROXY": value})


def test_a_password_is_shown_nowhere() -> None:
    found = Proxies.of_environment({"HTTP_PROXY": "http://me:hunter2@proxy:3128"})
    assert found.http is not None
    assert found.http.authorization == b"Proxy-Authorization: Basic bWU6aHVudGVyMg==\r\n"
    routed = found.route(Target.parse("http://orders/"))
    for shown in (str(found.http), repr(found.http), repr(found), repr(routed), str(routed)):
        assert "hunter2" not in shown
        assert "bWU6" not in shown


def test_a_request_names_its_host_in_the_first_line() -> None:
    routed = proxies().route(Target.parse("http://u:p@Orders.shop/in?x=1"))
    assert routed.request_prefix == (
        b"POST http://orders.shop:80/in?x=1 HTTP/1.1\r\nHost: Orders.shop\r\n"
        b"Authorization: Basic dTpw\r\n"
    )
    by_tls = Target.parse("https://orders.shop/in")
    assert proxies().route(by_tls).request_prefix == by_tls.request_prefix, "it is in the tunnel"


def test_the_route_is_kept() -> None:
    """It is looked up for each event."""
    found = proxies()
    first, again = (found.route(Target.parse("http://orders.shop/in")) for _ in range(2))
    assert first is again
