"""The jar by the rules of RFC 6265bis: what it takes, and what it sends where, in which order."""

import pickle
from collections.abc import Iterator
from http.cookies import BaseCookie, CookieError, Morsel, SimpleCookie
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from wherry.cookies import AbstractCookieJar, CookieJar, DummyCookieJar, match, parse_set_cookie

HTTPS = URL("https://www.example.com/a/b")
HTTP = URL("http://www.example.com/a/b")
NOWHERE = URL()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still: its only item is the time."""
    now = [1_800_000_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def line(jar: AbstractCookieJar, url: str) -> str:
    return jar.cookie_header(URL(url))


# --- taking and sending ---------------------------------------------------------------------------


def test_a_host_only_cookie_goes_to_its_host_alone() -> None:
    jar = CookieJar()
    jar.store(["a=1; Path=/"], HTTP)
    assert line(jar, "http://www.example.com/x") == "a=1"
    assert line(jar, "http://example.com/") == ""
    assert line(jar, "http://sub.www.example.com/") == ""


def test_a_domain_cookie_goes_to_the_hosts_under_it() -> None:
    jar = CookieJar()
    jar.store(["a=1; Domain=.Example.COM; Path=/"], HTTP)
    assert line(jar, "http://example.com/") == "a=1"
    assert line(jar, "http://x.y.example.com/") == "a=1"
    assert line(jar, "http://badexample.com/") == ""


@pytest.mark.parametrize(
    "domain",
    ["other.com", "sub.www.example.com", "com", "ww.example.com", "exämple.com", "www.example.co"],
)
def test_a_domain_that_does_not_cover_the_host_is_refused(domain: str) -> None:
    jar = CookieJar()
    jar.store([f"a=1; Domain={domain}"], HTTP)
    assert len(jar) == 0


def test_public_suffixes_are_refused_but_for_the_host_itself() -> None:
    jar = CookieJar()
    jar.store(["a=1; Domain=co.uk; Path=/"], URL("http://shop.co.uk/"))
    jar.store(["a=1; Domain=github.io; Path=/"], URL("http://me.github.io/"))
    assert len(jar) == 0
    jar.store(["a=1; Domain=github.io; Path=/"], URL("http://github.io/"))
    assert line(jar, "http://github.io/") == "a=1"
    assert line(jar, "http://me.github.io/") == ""


def test_without_the_list_single_labels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "_PublicSuffixList", None)
    match.is_public_suffix.cache_clear()
    try:
        jar = CookieJar()
        jar.store(["a=1; Domain=uk", "b=1; Domain=co.uk"], URL("http://shop.co.uk/"))
        assert [m.key for m in jar] == ["b"]
    finally:
        match.is_public_suffix.cache_clear()


@pytest.mark.parametrize(
    "domain", ["example.com.", "example.com..", "www.example.com.", "www.example.com .", ".com."]
)
def test_a_domain_with_a_dot_behind_is_no_host_that_answers(domain: str) -> None:
    """http-state's DOMAIN0014 to 0018; RFC 6265bis 5.1.3."""
    jar = CookieJar()
    jar.store([f"a=1; Domain={domain}; Path=/", "b=2; Domain=.example.com; Path=/"], HTTP)
    assert line(jar, "http://www.example.com/") == "b=2"


def test_a_dot_behind_a_programs_own_domain_counts_as_absent() -> None:
    jar = CookieJar()
    cookie = SimpleCookie("a=1; Domain=example.com.; Path=/")
    jar.update_cookies(cookie, HTTP)
    assert line(jar, "http://www.example.com/") == "a=1"
    assert line(jar, "http://example.com/") == ""


def test_a_host_with_a_dot_behind_sets_cookies_for_itself() -> None:
    jar = CookieJar()
    jar.store(["a=1; Domain=www.example.com.; Path=/"], URL("http://www.example.com./"))
    assert line(jar, "http://www.example.com./") == "a=1"
    assert line(jar, "http://www.example.com/") == ""


def test_cookies_equal_pythons_own() -> None:
    """As aiohttp's tests compare them: `partitioned` is Python 3.14's, and makes no difference."""
    cookies = SimpleCookie("a=b; Domain=example.com; Path=/one; Max-Age=60; Secure")
    jar = CookieJar()
    jar.update_cookies(cookies)
    (ours,) = jar
    assert ours == cookies["a"]
    assert cookies["a"] == ours
    for other in ("a=c", "b=b", "a=b; Domain=example.org; Path=/one; Max-Age=60; Secure"):
        (theirs,) = SimpleCookie(other).values()
        assert ours != theirs
        assert theirs != ours
    assert ours != "a=b"
    with pytest.raises(TypeError):
        hash(ours)


def test_paths_default_to_the_directory_of_the_request() -> None:
    jar = CookieJar()
    jar.store(
        ["a=1", "b=2; Path=x", "c=3; Path=/a/b", "d=4; Path=/"],
        URL("http://example.com/a/b?q=/x/y"),
    )
    assert line(jar, "http://example.com/a/b") == "c=3; a=1; b=2; d=4"
    assert line(jar, "http://example.com/a/") == "a=1; b=2; d=4"
    assert line(jar, "http://example.com/ab") == "d=4"


def test_longest_path_first_then_oldest_first() -> None:
    jar = CookieJar()
    jar.store(
        ["young=1; Path=/", "x=1; Path=/a/b", "y=1; Path=/a", "z=1; Path=/a/b", "young=2; Path=/"],
        HTTP,
    )
    jar.store(["old=3; Path=/; Domain=example.com"], HTTP)
    jar.store(["young=4; Path=/"], HTTP)
    assert line(jar, "http://www.example.com/a/b/c") == "x=1; z=1; y=1; young=4; old=3"


def test_one_name_with_two_paths_and_host_only_beside_domain_are_kept_apart() -> None:
    jar = CookieJar()
    jar.store(["n=path; Path=/a", "n=root; Path=/", "n=wide; Path=/; Domain=www.example.com"], HTTP)
    assert len(jar) == 3
    assert line(jar, "http://www.example.com/a") == "n=path; n=root; n=wide"
    assert line(jar, "http://sub.www.example.com/") == "n=wide"
    assert jar.filter_cookies(HTTP)["n"].value == "path"
    jar.store(["n=; Max-Age=0; Path=/"], HTTP)
    assert line(jar, "http://www.example.com/") == "n=wide"


def test_values_go_back_exactly_as_they_came() -> None:
    jar = CookieJar()
    jar.store(
        ['a="q;', 'b={"x": [1, 2]}', "c=a/b==", "naïve=ü", 'd="x y"', "e"],
        URL("http://example.com/"),
    )
    assert line(jar, "http://example.com/") == 'a="q; b={"x": [1, 2]}; c=a/b==; naïve=ü; d="x y"; e'
    plain = CookieJar(quote_cookie=False)
    plain.store(['d="x y"'], URL("http://example.com/"))
    assert line(plain, "http://example.com/") == 'd="x y"'


def test_octets_that_are_no_utf8_go_back_as_they_came() -> None:
    jar = CookieJar()
    field = b"a=\xff\xfe".decode("utf-8", "surrogateescape")
    jar.store([field], URL("http://example.com/"))
    assert line(jar, "http://example.com/").encode("utf-8", "surrogateescape") == b"a=\xff\xfe"


def test_secure_cookies_go_to_secure_origins_only() -> None:
    jar = CookieJar()
    jar.store(["s=1; Secure; Path=/", "p=2; Path=/"], HTTPS)
    assert line(jar, "https://www.example.com/") == "s=1; p=2"
    assert line(jar, "wss://www.example.com/") == "s=1; p=2"
    assert line(jar, "http://www.example.com/") == "p=2"
    assert line(jar, "ws://www.example.com/") == "p=2"


def test_an_insecure_origin_sets_no_secure_cookie() -> None:
    jar = CookieJar()
    jar.store(["s=1; Secure"], HTTP)
    assert len(jar) == 0


def test_localhost_counts_as_secure() -> None:
    jar = CookieJar()
    for url in ("http://localhost:8080/", "http://app.localhost/"):
        jar.store(["s=1; Secure"], URL(url))
        assert line(jar, url) == "s=1"
    assert line(jar, "http://notlocalhost/") == ""


def test_treat_as_secure_origin() -> None:
    for given_origin in (
        "http://dev.example.com:8080/x",
        URL("http://dev.example.com:8080"),
        ["http://dev.example.com:8080"],
    ):
        jar = CookieJar(treat_as_secure_origin=given_origin)
        assert jar.treat_as_secure_origin == {URL("http://dev.example.com:8080")}
        jar.store(["s=1; Secure; Path=/"], URL("http://dev.example.com:8080/"))
        assert line(jar, "http://dev.example.com:8080/y") == "s=1"
        assert line(jar, "http://dev.example.com/y") == ""


@pytest.mark.parametrize("domain", ["", "; Domain=example.com"])
def test_an_insecure_origin_leaves_secure_cookies_alone(domain: str) -> None:
    jar = CookieJar()
    jar.store([f"s=1; Secure; Path=/{domain}"], HTTPS)
    jar.store(["s=evil; Path=/"], HTTP)
    jar.store(["s=evil; Path=/a"], HTTP)
    jar.store(["s=evil; Path=/; Max-Age=0"], HTTP)
    assert line(jar, "https://www.example.com/a") == "s=1"
    jar.store(["other=2; Path=/"], HTTP)
    jar.store(["s=elsewhere; Path=/"], URL("http://example.org/"))
    assert len(jar) == 3


def test_prefixes() -> None:
    jar = CookieJar()
    jar.store(
        ["__Host-a=1; Secure; Path=/", "__Secure-b=2; Secure; Domain=example.com; Path=/"], HTTPS
    )
    assert len(jar) == 2
    jar.clear()
    jar.store(
        [
            "__Host-a=1; Secure; Path=/; Domain=example.com",
            "__Host-a=1; Secure",
            "__Secure-b=2",
            "__host-c",
        ],
        HTTPS,
    )
    jar.store(["__Host-a=1; Path=/", "__Secure-b=2; Path=/"], HTTP)
    assert len(jar) == 0


def test_same_site_and_http_only_are_kept() -> None:
    jar = CookieJar()
    jar.store(["a=1; SameSite=Lax; HttpOnly; Partitioned; Secure"], HTTPS)
    (morsel,) = jar
    assert morsel["samesite"] == "Lax"
    assert morsel["httponly"] is True
    assert morsel["partitioned"] is True


# --- time -----------------------------------------------------------------------------------------


def test_cookies_end_when_they_say(clock: list[float]) -> None:
    jar = CookieJar()
    jar.store(["a=1; Max-Age=10; Path=/", "b=2; Max-Age=20; Path=/", "c=3; Path=/"], HTTP)
    assert line(jar, "http://www.example.com/") == "a=1; b=2; c=3"
    clock[0] += 9.9
    assert line(jar, "http://www.example.com/") == "a=1; b=2; c=3"
    clock[0] += 0.1
    assert line(jar, "http://www.example.com/") == "b=2; c=3"
    clock[0] += 10
    assert len(jar) == 1
    assert [m.key for m in jar] == ["c"]


def test_a_cookie_set_again_takes_the_new_end(clock: list[float]) -> None:
    jar = CookieJar()
    for fields in (["a=1; Max-Age=10"], ["a=1; Max-Age=100"]):
        jar.store(fields, HTTP)
    clock[0] += 50
    assert len(jar) == 1
    jar.store(["a=1; Max-Age=5"], HTTP)
    clock[0] += 6
    assert len(jar) == 0
    jar.store(["a=1; Max-Age=5"], HTTP)
    jar.store(["a=1"], HTTP)
    clock[0] += 10**9
    assert len(jar) == 1


def test_a_time_in_the_past_deletes(clock: list[float]) -> None:
    jar = CookieJar()
    for ended in ("Max-Age=0", "Max-Age=-5", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"):
        jar.store(["a=1"], HTTP)
        assert len(jar) == 1
        jar.store([f"a=; {ended}"], HTTP)
        assert len(jar) == 0
    jar.store(["a=1", "a=x; Max-Age=nonsense; Expires=nonsense"], HTTP)
    assert len(jar) == 1


def test_nothing_that_a_server_sets_lives_longer_than_400_days(clock: list[float]) -> None:
    jar = CookieJar()
    jar.store(["a=1; Max-Age=" + "9" * 500, "b=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT"], HTTP)
    clock[0] += 400 * 86400 - 1
    assert len(jar) == 2
    clock[0] += 1
    assert len(jar) == 0


def test_renewing_without_end_keeps_memory_bounded(clock: list[float]) -> None:
    jar = CookieJar()
    for step in range(5000):
        jar.store([f"a=1; Max-Age={5000 - step}", f"b{step}=1; Max-Age=1"], HTTP)
        clock[0] += 0.5
    assert len(jar._index._due) < 200


# --- limits ---------------------------------------------------------------------------------------


def test_a_domain_holds_so_many_and_plain_cookies_go_first() -> None:
    jar = CookieJar(max_cookies_per_domain=3)
    jar.store(["s=1; Secure", "p=1", "q=1"], HTTPS)
    jar.store(["r=1"], HTTPS)
    assert sorted(m.key for m in jar) == ["q", "r", "s"]
    jar.store(["t=1; Secure", "u=1; Secure", "v=1; Secure"], HTTPS)
    assert sorted(m.key for m in jar) == ["t", "u", "v"]
    jar.store(["late=1"], HTTPS)
    assert sorted(m.key for m in jar) == ["t", "u", "v"]


def test_a_jar_holds_so_many_and_the_longest_unused_go_first() -> None:
    jar = CookieJar(max_cookies=50)
    jar.update_cookies({"own": "1"})
    for number in range(49):
        jar.store(["a=1; Path=/"], URL(f"http://h{number}.example.org/"))
    assert line(jar, "http://h0.example.org/") == "own=1; a=1"
    for number in range(49, 80):
        jar.store(["a=1; Path=/"], URL(f"http://h{number}.example.org/"))
        assert len(jar) <= 50
    assert line(jar, "http://h79.example.org/") == "own=1; a=1"
    assert line(jar, "http://h1.example.org/") == "own=1"


def test_a_request_carries_so_many_and_so_much_the_most_specific_first() -> None:
    jar = CookieJar(max_cookies_per_request=3, max_line_length=28)
    jar.store(["a=1; Path=/", "b=2; Path=/a", "c=3; Path=/a/b", "d=4; Path=/a/b"], HTTP)
    assert jar.cookie_header(HTTP) == "c=3; d=4; b=2"
    assert list(jar.filter_cookies(HTTP)) == ["c", "d", "b"]
    jar.clear()
    jar.store(["long=" + "x" * 30 + "; Path=/a/b", "c=345678; Path=/a", "a=12345678; Path=/"], HTTP)
    assert jar.cookie_header(HTTP) == "c=345678; a=12345678"


def test_a_hostile_server_fills_no_more_than_its_share() -> None:
    jar = CookieJar()
    jar.store([f"a{n}=1; Path=/" for n in range(5000)], HTTP)
    assert len(jar) == 50
    for first in range(50, 5000, 50):
        jar.store([f"a{n}=1; Path=/" for n in range(first, first + 50)], HTTP)
        assert len(jar) <= 180
    assert jar.cookie_header(HTTP).count(";") == 149


def test_a_response_sets_so_many_cookies_those_that_it_deletes_among_them() -> None:
    jar = CookieJar()
    jar.store(["old=1; Path=/"], HTTP)
    fields = ["old=; Max-Age=0; Path=/", "", *(f"a{n}=1" for n in range(49)), "late=1"]
    jar.store(fields, HTTP)
    assert sorted(morsel.key for morsel in jar) == sorted(f"a{n}" for n in range(49))
    jar.clear()
    jar.store([*(f"a{n}=1; Domain=other.test" for n in range(50)), "late=1"], HTTP)
    assert len(jar) == 0


def full_domain(*, secure: bool) -> CookieJar:
    jar = CookieJar()
    for number in range(180):
        jar.store([f"a{number}=1{'; Secure' if secure else ''}"], HTTPS)
    assert len(jar) == 180
    return jar


def test_a_full_domain_gives_up_what_was_unused_for_longest_down_to_150() -> None:
    jar = full_domain(secure=False)
    jar.store(["a0=2"], HTTPS)  # what is there is replaced, and used
    assert len(jar) == 180
    jar.store(["new=1"], HTTPS)
    names = [morsel.key for morsel in jar]
    assert len(names) == 150
    assert {"a0", "new", "a32", "a179"} <= set(names)
    assert "a31" not in names


def test_plain_cookies_alone_give_way_where_there_are_any() -> None:
    jar = full_domain(secure=True)
    jar.store(["plain=1"], HTTPS)
    assert "plain" not in {morsel.key for morsel in jar}
    assert len(jar) == 180
    jar.store(["new=1; Secure"], HTTPS)
    assert len(jar) == 150
    for number in range(30):
        jar.store([f"plain{number}=1"], HTTPS)
    jar.store(["last=1; Secure"], HTTPS)
    names = {morsel.key for morsel in jar}
    assert len(names) == 151
    assert not any(name.startswith("plain") for name in names)


def test_what_only_deletes_makes_nothing_go() -> None:
    jar = full_domain(secure=False)
    jar.store(["none=; Max-Age=0", "past=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], HTTPS)
    assert len(jar) == 180


def test_a_cookie_that_is_sent_stays_longer_than_those_of_other_paths() -> None:
    jar = CookieJar()
    jar.store(["sent=1; Path=/hit"], HTTPS)
    for number in range(179):
        jar.store([f"a{number}=1; Path=/miss"], HTTPS)
    assert jar.cookie_header(HTTPS.with_path("/hit")) == "sent=1"
    jar.store(["new=1"], HTTPS)
    names = {morsel.key for morsel in jar}
    assert "sent" in names
    assert "a0" not in names


def test_a_full_jar_gives_up_what_was_unused_for_longest_down_to_3000() -> None:
    jar = CookieJar()
    for host in range(66):
        jar.store([f"a{n}=1" for n in range(50)], URL(f"https://h{host}.test/"))
    assert len(jar) == 3_300
    jar.store(["new=1"], URL("https://new.test/"))
    assert len(jar) == 3_001
    domains = [domain for domain, _ in jar.cookies]
    assert domains == [*(f"h{host}.test" for host in range(6, 66)), "new.test"]


def test_a_jar_for_nothing_holds_nothing() -> None:
    for jar in (CookieJar(max_cookies_per_domain=0), CookieJar(max_cookies=0)):
        jar.store(["a=1", "b=1; Secure"], HTTPS)
        assert len(jar) == 0


def test_the_length_of_a_line_has_the_field_name_in_it() -> None:
    jar = CookieJar()
    jar.update_cookies({"a": "x" * (8190 - len("Cookie: a="))}, HTTPS)
    assert len(jar.cookie_header(HTTPS)) == 8182
    assert len(jar.filter_cookies(HTTPS)) == 1
    jar.update_cookies({"a": "x" * (8190 - len("Cookie: a=") + 1)}, HTTPS)
    assert jar.cookie_header(HTTPS) == ""
    assert not jar.filter_cookies(HTTPS)


def test_the_view_of_a_jar_shows_what_it_holds_at_each_look() -> None:
    jar = CookieJar()
    view = jar.cookies
    assert not view
    jar.store(["a=1; Path=/x"], HTTPS)
    host = HTTPS.host
    assert list(view) == list(view.keys()) == [(host, "/x")]
    assert len(view) == 1
    assert view[host, "/x"]["a"].value == "1"
    assert (host, "/x") in view
    assert [name for group in view.values() for name in group] == ["a"]
    assert [place for place, _ in view.items()] == [(host, "/x")]
    assert "a=1" not in repr(view)  # values are secrets
    assert isinstance(view, MappingProxyType)
    jar.clear()
    assert not view


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://[::1]/"])
def test_cookies_of_addresses_are_refused_unless_unsafe(url: str) -> None:
    """S001-60, S001-61"""
    jar = CookieJar()
    jar.store(["a=1"], URL(url))
    jar.update_cookies({"b": "2"}, URL(url))
    assert len(jar) == 0
    assert not jar.unsafe
    jar = CookieJar(unsafe=True)
    assert jar.unsafe
    jar.store(["a=1"], URL(url))
    jar.update_cookies({"b": "2"}, URL(url))
    assert line(jar, url) == "a=1; b=2"
    assert line(jar, "http://127.0.0.2/") == ""


def test_an_address_takes_no_part_of_another_address_as_domain() -> None:
    jar = CookieJar(unsafe=True)
    jar.store(["a=1; Domain=0.0.1", "b=2; Domain=127.0.0.1"], URL("http://127.0.0.1/"))
    assert line(jar, "http://127.0.0.1/") == "b=2"


# --- a program's cookies --------------------------------------------------------------------------


def test_cookies_without_a_url_go_everywhere_and_give_way_to_a_hosts_own() -> None:
    """S001-48"""
    jar = CookieJar()
    jar.update_cookies({"a": "1", "b": "x;y"})
    assert line(jar, "http://anywhere.org/deep/path") == 'a=1; b="x\\073y"'
    assert line(jar, "http://127.0.0.1/") == 'a=1; b="x\\073y"'
    jar.store(["a=theirs; Path=/"], HTTP)
    assert line(jar, "http://www.example.com/") == 'b="x\\073y"; a=theirs'
    assert line(jar, "http://anywhere.org/") == 'a=1; b="x\\073y"'


def test_every_kind_of_cookies_is_taken() -> None:
    morsel: Morsel[str] = Morsel()
    morsel.set("m", "v", "v")
    morsel["domain"] = ".example.com"
    morsel["path"] = "/"
    jar = CookieJar()
    for cookies in ({"a": "1"}, [("b", "2"), ("m", morsel)], SimpleCookie("c=3; Path=/"), {"n": 4}):
        jar.update_cookies(cookies, URL("http://www.example.com"))
    assert line(jar, "http://www.example.com") == "a=1; b=2; m=v; c=3; n=4"
    assert line(jar, "http://example.com/") == "m=v"
    morsel.set("m", "changed", "changed")
    assert line(jar, "http://example.com/") == "m=v"


def test_quote_cookie_false_sends_as_is() -> None:
    """S001-64"""
    jar = CookieJar(quote_cookie=False)
    assert jar.quote_cookie is False
    jar.update_cookies({"a": 'x "y", z'}, HTTP)
    assert jar.cookie_header(HTTP) == 'a=x "y", z'
    assert jar.filter_cookies(HTTP)["a"].coded_value == 'x "y", z'
    assert CookieJar().quote_cookie is True


def test_quoting_works_both_ways() -> None:
    """S001-62, S001-63"""
    jar = CookieJar()
    jar.update_cookies({"a": 'é,;"\\ x'}, HTTP)
    (sent,) = jar.filter_cookies(HTTP).values()
    assert sent.value == 'é,;"\\ x'
    assert jar.cookie_header(HTTP) == 'a="\\351\\054\\073\\"\\\\ x"'
    jar.store([jar.cookie_header(HTTP)], HTTP)
    (stored,) = jar
    assert stored.value == 'é,;"\\ x'


def test_a_cookie_that_would_break_the_line_is_refused() -> None:
    with pytest.raises(CookieError):
        CookieJar().update_cookies({"a;b": "1"})
    with pytest.raises(CookieError):
        CookieJar(quote_cookie=False).update_cookies({"a": "1\r\nX: y"})


def test_a_responses_cookies_can_be_put_into_another_jar() -> None:
    """S001-56"""
    cookies = parse_set_cookie(['a={"x": 1}; Path=/', "s=1; Secure; Path=/"])
    jar = CookieJar()
    jar.update_cookies(cookies, HTTP)
    assert line(jar, "https://www.example.com/") == 'a={"x": 1}'


# --- looking --------------------------------------------------------------------------------------


def test_a_str_is_deprecated_and_still_taken() -> None:
    """S002-01"""
    jar = CookieJar()
    jar.store(["my_cookie=my_value"], URL("http://httpbin.org/cookies/set"))
    with pytest.warns(DeprecationWarning, match="URL"):
        filtered = jar.filter_cookies("http://httpbin.org/cookies/x")  # type: ignore[arg-type]
    assert filtered["my_cookie"].value == "my_value"
    assert isinstance(filtered, BaseCookie)


def test_cookies_by_host_in_the_order_of_path_length() -> None:
    jar = CookieJar()
    jar.store(["a=1; Path=/", "b=1; Path=/a/b", "c=1; Path=/a/"], HTTP)
    jar.update_cookies({"s": "1"})
    assert list(jar.cookies) == [
        ("www.example.com", "/a/b"),
        ("www.example.com", "/a"),
        ("www.example.com", ""),
        ("", ""),
    ]
    assert jar.cookies["www.example.com", ""]["a"].value == "1"
    assert jar.host_only_cookies == {
        ("www.example.com", "", "a"),
        ("www.example.com", "/a/b", "b"),
        ("www.example.com", "/a", "c"),
    }
    with pytest.raises(TypeError):
        jar.cookies["x", ""] = SimpleCookie()  # type: ignore[index]


def test_clear_all_some_and_by_domain() -> None:
    jar = CookieJar()
    fields = ["a=1; Domain=example.com; Path=/", "b=2; Path=/"]
    jar.store(fields, HTTP)
    jar.store(["c=3; Path=/"], URL("http://example.org/"))
    jar.cookie_header(HTTP)
    jar.clear(lambda morsel: morsel.key == "a")
    assert line(jar, "http://www.example.com/") == "b=2"
    jar.clear_domain("example.com")
    assert line(jar, "http://www.example.com/") == ""
    assert [m["domain"] for m in jar] == ["example.org"]
    jar.clear()
    assert list(jar) == []
    assert line(jar, "http://example.org/") == ""


def test_an_empty_jar_is_falsy_and_a_jar_all_the_same() -> None:
    assert not CookieJar()
    assert len(CookieJar()) == 0
    assert CookieJar().cookie_header(HTTP) == ""
    assert not CookieJar().filter_cookies(HTTP)


# --- other jars -----------------------------------------------------------------------------------


def test_the_dummy_jar_keeps_and_sends_nothing() -> None:
    """S001-65"""
    jar = DummyCookieJar()
    jar.update_cookies({"a": "1"})
    jar.store(["a=1"], HTTP)
    jar.update_cookies_from_headers(["a=1"], HTTP)
    jar.clear()
    jar.clear_domain("x")
    assert list(jar) == []
    assert len(jar) == 0
    assert jar.cookie_header(HTTP) == ""
    assert not jar.filter_cookies(HTTP)
    assert jar.cookies == {}
    assert jar.quote_cookie is True
    assert jar.host_only_cookies == frozenset()


class ListJar(AbstractCookieJar):
    """A program's jar: it implements what is abstract, and nothing else."""

    def __init__(self) -> None:
        self.taken: list[Morsel[str]] = []

    def __iter__(self) -> Iterator[Morsel[str]]:
        return iter(self.taken)

    def __len__(self) -> int:
        return len(self.taken)

    def clear(self, predicate: object = None) -> None:
        self.taken.clear()

    def clear_domain(self, domain: str) -> None:
        self.taken.clear()

    def update_cookies(self, cookies: Any, response_url: URL = NOWHERE) -> None:
        self.taken += [morsel for _, morsel in cookies]

    def filter_cookies(self, request_url: URL) -> BaseCookie[str]:
        return SimpleCookie({m.key: m.value for m in self.taken})


def test_a_programs_jar_needs_only_what_is_abstract() -> None:
    jar = ListJar()
    jar.store(["a=1; Path=/x", "b=2"], HTTP)
    assert jar.cookie_header(HTTP) == "a=1; b=2"
    assert set(jar.cookies) == {("", "/x"), ("", "")}
    assert jar.treat_as_secure_origin == frozenset()
    jar.clear()
    assert jar.cookie_header(HTTP) == ""
    with pytest.raises(TypeError, match="abstract"):
        AbstractCookieJar()  # type: ignore[abstract]


def test_a_programs_jar_cannot_break_the_line() -> None:
    class Broken(ListJar):
        def filter_cookies(self, request_url: URL) -> BaseCookie[str]:
            morsel: Morsel[str] = Morsel()
            morsel.__setstate__({"key": "a", "value": "b", "coded_value": "b\r\nX: y"})  # type: ignore[attr-defined]
            return SimpleCookie({"a": morsel})

    with pytest.raises(CookieError):
        Broken().cookie_header(HTTP)


def test_the_lines_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.cookies.jar._MAX_LINES_KEPT", 10)
    jar = CookieJar()
    jar.store(["a=1; Path=/", "b=2; Path=/x"], URL("http://example.com/"))
    for number in range(100):
        assert line(jar, f"http://example.com/x/{number}") == "b=2; a=1"
        assert line(jar, f"http://h{number}.org/") == ""
    assert sum(1 + len(lines.by_path) for lines in jar._lines.values()) <= 11


def test_what_a_subclass_overrides_holds_for_every_request() -> None:
    class Picky(CookieJar):
        def filter_cookies(self, request_url: URL = NOWHERE) -> BaseCookie[str]:
            cookies = super().filter_cookies(request_url)
            cookies.pop("tracker", None)
            return cookies

        def update_cookies(self, cookies: Any, response_url: URL = NOWHERE) -> None:
            super().update_cookies(
                [(name, morsel) for name, morsel in cookies if name != "ad"], response_url
            )

    jar = Picky()
    jar.store(["a=b/c,d", "tracker=1", "ad=1"], HTTP)
    assert jar.cookie_header(HTTP) == "a=b/c,d"
    assert sorted(m.key for m in jar) == ["a", "tracker"]


# --- the index and the kept lines give what a scan would give -------------------------------------

_HOSTS = ["example.com", "www.example.com", "a.www.example.com", "example.org", "localhost"]
_PATHS = ["/", "/a", "/a/", "/a/b"]
_URLS = st.builds(
    lambda scheme, host, path: URL(f"{scheme}://{host}{path}"),
    st.sampled_from(["http", "https"]),
    st.sampled_from(_HOSTS),
    st.sampled_from(_PATHS),
)
_FIELDS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["a=1", "a=2", "b=1", "c=3"]),
        st.sampled_from(["", *(f"; Domain={host}" for host in _HOSTS)]),
        st.sampled_from(["", *(f"; Path={path}" for path in _PATHS)]),
        st.sampled_from(["", "; Secure"]),
        st.sampled_from(["", "", "; Max-Age=0", "; Max-Age=100"]),
    ),
)
_STEPS = st.one_of(
    st.tuples(st.just("store"), _FIELDS, _URLS), st.tuples(st.just("ask"), st.none(), _URLS)
)


@given(st.lists(_STEPS, max_size=25))
def test_kept_lines_equal_fresh_ones(steps: list[tuple[str, str, URL]]) -> None:
    jar = CookieJar()
    for step, field, url in steps:
        if step == "store":
            jar.store([field], url)
            continue
        kept = jar.cookie_header(url)
        expected = [
            f"{c.name}={c.sent}"
            for c in sorted(jar._index, key=lambda c: (-len(c.path), c.created))
            if (
                url.host == c.domain
                if c.host_only
                else match.domain_match(url.host or "", c.domain)
            )
            and match.path_match(url.path, c.path)
            and (not c.secure or url.scheme == "https" or url.host == "localhost")
        ]
        assert kept == "; ".join(expected)
        names = {pair.partition("=")[0] for pair in expected}
        assert set(jar.filter_cookies(url)) == names
        assert len(jar) == len(list(jar._index))


# --- what programs do with the name that the cookies have in aiohttp's jar ------------------------


def test_the_private_view_shows_empties_and_restores_the_jar() -> None:
    jar = CookieJar(unsafe=True)
    jar.store(["a=1; Path=/"], URL("http://127.0.0.1/"))
    jar.store(["b=2; Domain=example.com; Secure"], HTTPS)
    seen = jar._cookies
    assert {place: list(group) for place, group in seen.items()} == {
        ("127.0.0.1", ""): ["a"],
        ("example.com", "/a"): ["b"],
    }
    kept = pickle.dumps(seen)
    seen.clear()
    assert len(jar) == 0
    jar._cookies = pickle.loads(kept)
    assert line(jar, "http://127.0.0.1/") == "a=1"
    assert line(jar, "https://www.example.com/a/b") == "b=2"


def test_who_fills_a_domain_pushes_out_no_cookie_of_a_host() -> None:
    jar = CookieJar(max_cookies_per_request=10)
    jar.update_cookies({"own": "1"})
    jar.store(
        [f"p{number}=v; Domain=example.com" for number in range(20)],
        URL("https://evil.example.com/"),
    )
    jar.store(["login=mine"], URL("https://app.example.com/"))
    filtered = jar.filter_cookies(URL("https://app.example.com/"))
    sent = line(jar, "https://app.example.com/").split("; ")
    assert len(filtered) == len(sent) == 10
    assert {"own=1", "login=mine"} < set(sent)
    assert sent == [f"{name}={morsel.value}" for name, morsel in filtered.items()]


def test_a_line_is_measured_in_octets() -> None:
    jar = CookieJar(max_line_length=28, quote_cookie=False)
    jar.store(["a=\u00e9\u00e9\u00e9\u00e9\u00e9", "b=\u00e9\u00e9\u00e9\u00e9", "c=1"], HTTPS)
    assert line(jar, "https://www.example.com/a/b") == "a=\u00e9\u00e9\u00e9\u00e9\u00e9; c=1"
