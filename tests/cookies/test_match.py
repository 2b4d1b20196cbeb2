"""Domain, path and prefix rules as tables (RFC 6265bis 5.1.3, 5.1.4, 4.1.3)."""

import importlib.util
import sys

import pytest
from yarl import URL

from wherry.cookies import match
from wherry.cookies.storage_rules import LONGEST_NAME, Offered, admitted


@pytest.mark.parametrize(
    ("host", "domain", "expected"),
    [
        ("example.com", "example.com", True),
        ("www.example.com", "example.com", True),
        ("a.b.example.com", "example.com", True),
        ("wwwexample.com", "example.com", False),
        ("example.com", "www.example.com", False),
        ("example.com.evil.org", "example.com", False),
        ("1.2.3.4", "1.2.3.4", True),
        ("1.2.3.4", "3.4", False),
        ("1.2.3.4", "4", False),
        ("::1", "1", False),
        ("example.com", "", False),
        ("example.com.", "", False),
    ],
)
def test_domain_match(host: str, domain: str, expected: bool) -> None:
    assert match.domain_match(host, domain) is expected


@pytest.mark.parametrize(
    ("request_path", "path", "expected"),
    [
        ("/", "/", True),
        ("/a", "/", True),
        ("/a", "/a", True),
        ("/a/", "/a", True),
        ("/a/b", "/a", True),
        ("/a/b", "/a/", True),
        ("/ab", "/a", False),
        ("/a", "/a/", False),
        ("/", "/a", False),
    ],
)
def test_path_match(request_path: str, path: str, expected: bool) -> None:
    assert match.path_match(request_path, path) is expected


@pytest.mark.parametrize(
    ("request_path", "expected"),
    [
        ("", "/"),
        ("x", "/"),
        ("abc", "/"),
        ("a/b", "/"),
        ("/", "/"),
        ("/a", "/"),
        ("/a/", "/a"),
        ("/a/b", "/a"),
        ("/a/b/", "/a/b"),
    ],
)
def test_default_path(request_path: str, expected: str) -> None:
    assert match.default_path(request_path) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("example.com", False),
        ("1.2.3.4.example", False),
        ("host1", False),
        ("1.2.3", False),
        ("", False),
    ],
)
def test_is_ip_address(host: str, expected: bool) -> None:
    assert match.is_ip_address(host) is expected


def test_parents_of_a_host_nearest_first_and_none_of_an_address() -> None:
    assert list(match.parents("a.b.example.com")) == ["b.example.com", "example.com", "com"]
    assert list(match.parents("a..b.test")) == [".b.test", "b.test", "test"]
    assert list(match.parents("localhost")) == []
    assert list(match.parents("127.0.0.1")) == []


@pytest.mark.parametrize(
    ("name", "secure", "host_only", "path", "expected"),
    [
        ("__Host-a", True, True, "/", True),
        ("__host-a", True, True, "/", True),
        ("__Host-a", False, True, "/", False),
        ("__Host-a", True, False, "/", False),
        ("__Host-a", True, True, "/x", False),
        ("__Host-a", True, True, None, False),
        ("__Secure-a", True, False, "/x", True),
        ("__SECURE-a", False, True, "/", False),
        ("__Sec", False, False, None, True),
        ("plain", False, False, None, True),
    ],
)
def test_prefixes_keep_their_promise(
    name: str, secure: bool, host_only: bool, path: str | None, expected: bool
) -> None:
    assert match.prefix_allows(name, "v", secure=secure, host_only=host_only, path=path) is expected


def test_a_value_without_a_name_cannot_pose_as_a_prefixed_cookie() -> None:
    assert not match.prefix_allows("", "__Host-a=1", secure=True, host_only=True, path="/")
    assert not match.prefix_allows("", "__secure-a", secure=True, host_only=True, path="/")


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("com", True),
        ("co.uk", True),
        ("github.io", True),
        ("localhost", True),
        ("example.co.uk", False),
    ],
)
def test_public_suffixes(domain: str, expected: bool) -> None:
    assert match.is_public_suffix(domain) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("a.localhost", True), ("a.b.localhost", True), ("alocalhost", False),
     ("localhost.test", False), ("", False)],
)  # fmt: skip
def test_is_localhost(host: str, expected: bool) -> None:
    assert match.is_localhost(host) is expected


@pytest.mark.parametrize("host", ["fe80::a", "::", "fe80::a%eth0", "1.2.3.4"])
def test_addresses_are_known_whatever_they_end_with(host: str) -> None:
    assert match.is_ip_address(host) is True


def test_without_the_list_only_single_labels_are_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "_PublicSuffixList", None)
    match.is_public_suffix.cache_clear()
    try:
        assert match.is_public_suffix("com") is True
        assert match.is_public_suffix("co.uk") is False
    finally:
        match.is_public_suffix.cache_clear()


def test_without_the_extra_the_module_loads_and_knows_single_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "publicsuffixlist", None)
    assert match.__file__ is not None
    spec = importlib.util.spec_from_file_location("match_without_the_list", match.__file__)
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert fresh.is_public_suffix("com")
    assert not fresh.is_public_suffix("co.uk")


def test_the_list_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class List:
        def __init__(self) -> None:
            read.append(1)

        def is_public(self, domain: str) -> bool:
            return domain == "co.uk"

    monkeypatch.setattr(match, "_list", None)
    monkeypatch.setattr(match, "_PublicSuffixList", List)
    match.is_public_suffix.cache_clear()
    try:
        assert match.is_public_suffix("co.uk")
        assert not match.is_public_suffix("x.co.uk")
    finally:
        match.is_public_suffix.cache_clear()
    assert len(read) == 1


def test_a_zone_is_passed_over_and_names_that_are_too_long_are_not_remembered() -> None:
    assert match.is_ip_address("fe80::1%a%b")
    assert match.is_ip_address("::1%" + "a" * 251)
    known = match._is_ip_address.cache_info().currsize
    assert not match.is_ip_address("::1%" + "a" * 252)
    assert match._is_ip_address.cache_info().currsize == known


def offered(domain: str, *, received: bool) -> Offered:
    return Offered("a", "b", "b", "b", {"domain": domain}, received)


def test_a_program_may_set_for_whom_a_server_may_not() -> None:
    """A public suffix, and any domain while no host is named."""
    url = URL("http://x.com/")
    assert admitted(offered("com", received=True), url, "x.com", 0.0) is None
    own = admitted(offered("com", received=False), url, "x.com", 0.0)
    assert own is not None
    assert (own.domain, own.host_only) == ("com", False)
    for received in (True, False):
        anywhere = admitted(offered("a.test", received=received), URL(), "", 0.0)
        assert anywhere is not None
        assert anywhere.domain == "a.test"
    assert "'b'" not in repr(offered("com", received=True))
    assert "a=" in repr(offered("com", received=True))


@pytest.mark.parametrize(("length", "kept"), [(LONGEST_NAME, True), (LONGEST_NAME + 1, False)])
def test_a_domain_is_no_longer_than_a_name_may_be(length: int, kept: bool) -> None:
    domain = ("a" * 62 + ".") * 10
    domain = domain[: length - 4] + ".abc"
    cookie = admitted(offered(domain, received=False), URL(f"http://{domain}/"), domain, 0.0)
    assert (cookie is not None) is kept
