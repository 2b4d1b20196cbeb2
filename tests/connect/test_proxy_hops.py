"""What may be written as `proxy=`, and the hops that it means."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from wherry.connect.proxy.proxy_argument import KINDS, proxy_hops
from wherry.connect.proxy.tunnel import HANDSHAKES, HTTP_SCHEMES
from wherry.connect.quic.through_proxy import MASQUE
from wherry.connect.route import ProxyHop
from wherry.errors import ClientError, InvalidURL


class BasicAuth(NamedTuple):
    login: str
    password: str = ""
    encoding: str = "latin1"


def test_each_kind_is_asked_in_its_own_way() -> None:
    """Nothing stands in for a handshake that was forgotten."""
    assert set(KINDS) == HTTP_SCHEMES | set(HANDSHAKES) | {MASQUE}
    assert not HTTP_SCHEMES & set(HANDSHAKES)


def test_none_is_no_hop() -> None:
    assert proxy_hops(None) == ()


@pytest.mark.parametrize(
    ("url", "hop"),
    [
        ("http://proxy.example", ProxyHop("http", "proxy.example", 80)),
        ("http://proxy.example:3128/", ProxyHop("http", "proxy.example", 3128)),
        ("HTTPS://Proxy.Example/", ProxyHop("https", "proxy.example", 443)),
        ("socks4://10.0.0.1", ProxyHop("socks4", "10.0.0.1", 1080)),
        ("socks4a://u@h:9", ProxyHop("socks4a", "h", 9, "u")),
        ("socks5://[::1]:1081", ProxyHop("socks5", "::1", 1081)),
        ("socks5h://h", ProxyHop("socks5h", "h", 1080)),
        ("http://bücher.example", ProxyHop("http", "xn--bcher-kva.example", 80)),
        # S000-07, S001-120: credentials in the URL, percent-encoded ones too
        ("http://user:pass@h", ProxyHop("http", "h", 80, "user", "pass")),
        ("http://us%65r:p%40ss%3A%2F@h", ProxyHop("http", "h", 80, "user", "p@ss:/")),
        ("socks5://us%C3%A9r:p%25@h", ProxyHop("socks5", "h", 1080, "usér", "p%")),
        ("http://user@h", ProxyHop("http", "h", 80, "user")),
        ("http://:secret@h", ProxyHop("http", "h", 80, "", "secret")),
    ],
)
def test_a_url_is_one_hop(url: str, hop: ProxyHop) -> None:
    """S000-04, S000-06, S000-07, S001-120"""
    assert proxy_hops(url) == (hop,)
    assert proxy_hops(URL(url)) == (hop,)


def test_a_pair_of_url_and_credentials_is_one_hop() -> None:
    """S000-08, S000-09: BasicAuth wins over the URL."""
    auth = BasicAuth("login", "word")
    expected = (ProxyHop("socks5", "h", 1, "login", "word"),)
    assert proxy_hops(("socks5://h:1", auth)) == expected
    assert proxy_hops(("socks5://other:one@h:1", auth)) == expected
    assert proxy_hops(["socks5://h:1", auth]) == expected
    assert proxy_hops([("socks5://h:1", auth)]) == expected


def test_proxy_auth_goes_with_a_single_proxy_and_wins_over_its_url() -> None:
    """S001-119, S000-17"""
    auth = BasicAuth("a", "b", "utf-8")
    assert proxy_hops("http://u:p@h", auth) == (
        ProxyHop("http", "h", 80, "a", "b", encoding="utf-8"),
    )
    assert proxy_hops(["socks5://h"], auth)[0].password == "b"
    with pytest.raises(ValueError, match="each hop"):
        proxy_hops(["http://h", "http://i"], auth)
    with pytest.raises(ValueError, match="must be None or BasicAuth"):
        proxy_hops("http://h", "user:password")  # type: ignore[arg-type]


URLS = [
    "http://a:1",
    ("socks5://b:2", BasicAuth("u", "p")),
    URL("https://c:3"),
    ProxyHop("socks4", "d", 4),
]
CHAIN = (
    ProxyHop("http", "a", 1),
    ProxyHop("socks5", "b", 2, "u", "p"),
    ProxyHop("https", "c", 3),
    ProxyHop("socks4", "d", 4),
)


@pytest.mark.parametrize(
    "container",
    [list, tuple, iter, lambda urls: (url for url in urls), dict.fromkeys],
    ids=["list", "tuple", "iterator", "generator", "dict"],
)
def test_any_iterable_is_a_chain_in_its_order(container: object) -> None:
    """S000-10, S000-11, S000-18"""
    given_ = container(URLS)  # type: ignore[operator]
    if isinstance(given_, dict):
        given_ = given_.keys()
    assert proxy_hops(given_) == CHAIN


@pytest.mark.parametrize("container", [set, frozenset])
def test_a_set_of_hops_is_taken_and_warned_about(container: type) -> None:
    """S000-10: a set keeps no order."""
    with pytest.warns(UserWarning, match="keeps no order"):
        hops = proxy_hops(container(URLS))
    assert set(hops) == set(CHAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert proxy_hops(container(["http://a:1"])) == CHAIN[:1]


def test_two_urls_in_a_tuple_are_a_chain_of_two() -> None:
    assert [hop.host for hop in proxy_hops(("http://a", "http://b"))] == ["a", "b"]


@pytest.mark.parametrize(
    "proxy",
    [
        *(
            "ftp://h",
            "h:8080",
            "h",
            "",
            "//h",
            "http://",
            "http:///x",
            "socks://h",
            "socks6://h",
            "http://h:0",
        ),
        *(
            "http://h:99999",
            "http://h:x",
            "http://[::1",
            ProxyHop("ftp", "h", 1),
            ["http://a", "ftp://b"],
        ),
    ],
)
def test_other_proxies_are_refused(proxy: object) -> None:
    """S000-12"""
    with pytest.raises(InvalidURL) as caught:
        proxy_hops(proxy)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ClientError)


@pytest.mark.parametrize(
    "proxy",
    [
        "ftp://user:s3cret@h",
        "http://user:s3cret@h:99999",
        "http://user:s3cret@[::1",
        URL("x://u:s3cret@h"),
    ],
)
def test_a_refusal_never_shows_the_password(proxy: object) -> None:
    with pytest.raises(InvalidURL) as caught:
        proxy_hops(proxy)
    shown: BaseException | None = caught.value
    while shown is not None:
        assert "s3cret" not in str(shown) + repr(shown)
        shown = None if shown.__suppress_context__ else shown.__cause__ or shown.__context__


@pytest.mark.parametrize(
    "proxy", [3, b"http://h", {"http": "http://h"}, [3], [b"http://h"], [["http://h", 3]]]
)
def test_other_types_are_a_type_error(proxy: object) -> None:
    with pytest.raises(TypeError):
        proxy_hops(proxy)


def test_an_empty_chain_is_refused_and_never_a_direct_connection() -> None:
    with pytest.raises(ValueError, match="empty"):
        proxy_hops([])


def test_proxy_headers_go_with_a_single_http_proxy() -> None:
    expected = (("X-A", "1"), ("X-A", "2"))
    assert proxy_hops("http://h", None, CIMultiDict(expected))[0].headers == expected
    assert proxy_hops("http://h", None, list(expected))[0].headers == expected
    assert proxy_hops("http://h", None, {"Host": "x", "X-B": " b "})[0].headers == (("X-B", "b"),)
    with pytest.raises(ValueError, match="HTTP proxy"):
        proxy_hops("socks5://h", None, {"X-A": "1"})
    with pytest.raises(ValueError, match="chain"):
        proxy_hops(["http://h", "http://i"], None, {"X-A": "1"})


@pytest.mark.parametrize(
    "field",
    [
        ("X A", "1"),
        ("", "1"),
        ("X", "a\r\nb: c"),
        ("X", "\0"),
        ("X", "\ud800"),
        ("Content-Length", "3"),
    ],
)
def test_proxy_headers_cannot_break_the_request(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="proxy_headers"):
        proxy_hops("http://h", None, [field])


def test_proxy_ssl_is_for_https_hops() -> None:
    """S001-129, S001-131"""
    assert proxy_hops("https://h", proxy_ssl=False)[0].ssl is False
    assert proxy_hops("https://h")[0].ssl is None


@pytest.mark.parametrize(
    ("url", "auth"),
    [
        ("http://h", BasicAuth("a:b", "c")),
        ("socks5://h", BasicAuth("x" * 256, "c")),
        ("socks4://h", BasicAuth("a\0b")),
    ],
)
def test_credentials_that_cannot_be_sent_are_refused_at_once(url: str, auth: BasicAuth) -> None:
    with pytest.raises(ValueError, match="user name"):
        proxy_hops(url, auth)


def test_a_hop_shows_no_credentials() -> None:
    hop = proxy_hops("http://user:s3cret@[::1]:8080")[0]
    assert str(hop) == "http://[::1]:8080"
    assert "s3cret" not in f"{hop} {hop!r} {[hop]}"


@given(st.text(min_size=1), st.text())
def test_any_credentials_survive_the_url(login: str, password: str) -> None:
    url = URL.build(scheme="socks5", host="h", port=1, user=login, password=password)
    if len(login.encode()) < 256 and len(password.encode()) < 256:
        hop = proxy_hops(str(url))[0]
        assert (hop.username, hop.password or "") == (login, password)


@given(st.text())
def test_any_text_is_a_hop_or_a_clear_refusal(text: str) -> None:
    for url in (text, "http://" + text, "socks5://u:p@" + text):
        try:
            hops = proxy_hops(url)
        except ValueError:
            continue
        assert hops[0].host
        assert 0 < hops[0].port < 65536
