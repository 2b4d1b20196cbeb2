"""Which proxy an environment names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.connect.proxy.environment import NoProxy, environment_proxies, read_environment
from wherry.connect.proxy.proxy_argument import proxy_hops
from wherry.errors import InvalidURL


@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_each_scheme_has_its_variable_in_both_cases(scheme: str, case: object) -> None:
    """S001-125"""
    settings = read_environment({case(f"{scheme}_proxy"): "http://p:1"})  # type: ignore[operator]
    for other in ("http", "https", "ws", "wss"):
        assert settings.proxy_for(other, "a.example") == ("http://p:1" if other == scheme else None)


def test_all_proxy_serves_schemes_without_their_own() -> None:
    settings = read_environment({"ALL_PROXY": "socks5://all", "https_proxy": "http://own"})
    assert settings.proxy_for("wss", "a") == "socks5://all"
    assert settings.proxy_for("https", "a") == "http://own"


def test_the_lower_case_wins_and_an_empty_value_counts() -> None:
    assert (
        read_environment({"http_proxy": "http://a", "HTTP_PROXY": "http://b"}).proxy_for(
            "http", "h"
        )
        == "http://a"
    )
    assert (
        read_environment({"http_proxy": "", "HTTP_PROXY": "http://b"}).proxy_for("http", "h")
        is None
    )


def test_a_cgi_program_does_not_take_http_proxy_from_its_request() -> None:
    """CVE-2016-5385"""
    environ = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://evil"}
    assert read_environment(environ).proxy_for("http", "h") is None
    assert (
        read_environment({**environ, "http_proxy": "http://good"}).proxy_for("http", "h")
        == "http://good"
    )


@pytest.mark.parametrize("value", ["p:3128", "//p:3128", " http://p:3128 ", "u:w@p:3128"])
def test_a_proxy_without_a_scheme_is_an_http_proxy(value: str) -> None:
    hop = proxy_hops(read_environment({"http_proxy": value}).proxy_for("http", "h"))[0]
    assert str(hop) == "http://p:3128"


def test_what_is_no_proxy_is_refused() -> None:
    with pytest.raises(InvalidURL):
        read_environment({"http_proxy": "user:s3 cret@not a url"})
    with pytest.raises(InvalidURL):
        proxy_hops(read_environment({"http_proxy": "ftp://h"}).proxy_for("http", "h"))


NO_PROXY = [
    ("*", "anything.example", 80, True),
    ("example.com", "example.com", 80, True),
    ("example.com", "www.example.com", 80, True),
    (".example.com", "www.example.com", 80, True),
    (".example.com", "example.com", 80, True),
    ("*.example.com", "www.example.com", 80, True),
    ("example.com", "badexample.com", 80, False),
    ("example.com", "example.com.evil.net", 80, False),
    ("Example.COM.", "EXAMPLE.com", 80, True),
    ("example.com", "example.com.", 80, True),
    ("a.example, b.example", "b.example", 80, True),
    ("a.example b.example", "b.example", 80, True),
    ("example.com:8080", "example.com", 8080, True),
    ("example.com:8080", "www.example.com", 8080, True),
    ("example.com:8080", "example.com", 80, False),
    ("127.0.0.1", "127.0.0.1", 80, True),
    ("127.0.0.1:81", "127.0.0.1", 80, False),
    ("127.0.0.1:81", "127.0.0.1", 81, True),
    ("10.0.0.0/8", "10.255.1.2", 80, True),
    ("10.1.2.3/8", "10.255.1.2", 80, True),
    ("10.0.0.0/8", "11.0.0.1", 80, False),
    ("10.0.0.0/8", "10.example", 80, False),
    ("10.0.0.0/99", "10.0.0.1", 80, False),
    ("::1", "::1", 80, True),
    ("[::1]", "::1", 80, True),
    ("[::1]:443", "::1", 443, True),
    ("[::1]:443", "::1", 80, False),
    ("fd00::/8", "fd12::1", 80, True),
    ("10.0.0.0/8", "::ffff:10.0.0.1", 80, True),
    ("fe80::/10", "fe80::1%eth0", 80, True),
    ("10.0.0.0/8", "fd12::1", 80, False),
    ("0:0:0:0:0:0:0:1", "::1", 80, True),
    ("", "example.com", 80, False),
    (".", "example.com", 80, False),
    (",, ,", "example.com", 80, False),
    ("localhost", "localhost", 80, True),
]


@pytest.mark.parametrize(("text", "host", "port", "direct"), NO_PROXY)
def test_no_proxy(text: str, host: str, port: int, direct: bool) -> None:
    """S001-126: hosts, suffixes, ports, networks."""
    assert NoProxy(text).matches(host, port) is direct
    for name in ("no_proxy", "NO_PROXY"):
        settings = read_environment({"http_proxy": "http://p", name: text})
        assert (settings.proxy_for("http", host, port) is None) is direct


def test_the_port_of_the_scheme_counts_where_none_is_given() -> None:
    settings = read_environment({"all_proxy": "http://p", "no_proxy": "a:443"})
    assert settings.proxy_for("wss", "a") is None
    assert settings.proxy_for("ws", "a") == "http://p"


def test_the_process_environment_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://one")
    assert environment_proxies().proxy_for("http", "h") == "http://one"
    monkeypatch.setenv("http_proxy", "http://two")
    assert environment_proxies().proxy_for("http", "h") == "http://two"
    monkeypatch.setenv("no_proxy", "h")
    assert environment_proxies().proxy_for("http", "h") is None


@given(st.text(), st.text(), st.integers(0, 65535))
def test_any_no_proxy_gives_an_answer(text: str, host: str, port: int) -> None:
    assert NoProxy(text).matches(host, port) in {True, False}


@given(
    st.sampled_from(["http", "https", "ws", "wss", "all"]),
    st.lists(st.booleans(), min_size=10, max_size=10),
)
def test_each_variable_is_read_in_any_case_of_letters(scheme: str, capitals: list[bool]) -> None:
    """S002-06: `Http_Proxy` too."""

    def spelled(name: str) -> str:
        return "".join(
            letter.upper() if up else letter for letter, up in zip(name, capitals * 2, strict=False)
        )

    name = spelled(f"{scheme}_proxy")
    asked = "https" if scheme == "all" else scheme
    settings = read_environment({name: "http://p", spelled("no_proxy"): "here"})
    assert settings.proxy_for(asked, "h") == "http://p"
    assert settings.proxy_for(asked, "here") is None
    assert read_environment({name: "http://p", "No_Proxy": ""}).proxy_for(asked, "h") == "http://p"


@pytest.mark.parametrize(
    ("names", "winner"),
    [
        (("Http_Proxy", "HTTP_PROXY", "http_proxy"), "http_proxy"),
        (("Http_Proxy", "HTTP_PROXY"), "HTTP_PROXY"),
        (("http_Proxy", "Http_Proxy"), "Http_Proxy"),
    ],
)
def test_of_several_spellings_the_usual_one_wins(names: tuple[str, ...], winner: str) -> None:
    for order in (names, names[::-1]):
        settings = read_environment({name: f"http://p/{name}" for name in order})
        assert settings.proxy_for("http", "h") == f"http://p/{winner}"


def test_a_cgi_program_takes_the_lower_case_only() -> None:
    environ = {"REQUEST_METHOD": "GET", "Http_Proxy": "http://p", "Https_Proxy": "http://q"}
    assert read_environment(environ).proxy_for("http", "h") is None
    assert read_environment(environ).proxy_for("https", "h") == "http://q"


def test_the_process_environment_may_spell_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("Http_Proxy", "http://one")
    assert environment_proxies().proxy_for("http", "h") == "http://one"
    monkeypatch.setenv("No_Proxy", "h")
    assert environment_proxies().proxy_for("http", "h") is None
    monkeypatch.delenv("Http_Proxy")
    assert environment_proxies().proxy_for("http", "x") is None
