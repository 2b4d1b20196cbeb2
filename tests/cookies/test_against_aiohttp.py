"""Where aiohttp's jar and the RFC agree, ours gives what aiohttp's gives."""

import asyncio

import aiohttp
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from wherry.cookies import CookieJar, parse_set_cookie

# Paths without a last slash and without "same name, other domain": there aiohttp's jar keeps one of
# the two.
_HOSTS = ["example.com", "www.example.com", "a.www.example.com", "example.org"]
_PATHS = ["/", "/a", "/a/b", "/ab"]
_URLS = st.builds(
    lambda host, path: URL(f"https://{host}{path}"),
    st.sampled_from(_HOSTS),
    st.sampled_from(_PATHS),
)
_VALUES = st.text(alphabet="abc012-_.~", min_size=1, max_size=5)
_FIELDS = st.builds(
    "{}={}{}{}{}{}".format,
    st.sampled_from(["a", "b", "c", "x[1]"]),
    _VALUES,
    st.sampled_from(
        [
            "",
            *(f"; Domain={host}" for host in _HOSTS),
            "; Domain=.example.com",
            "; Domain=example.com.",
        ]
    ),
    st.sampled_from(["", *(f"; Path={path}" for path in _PATHS), "; Path=bad"]),
    st.sampled_from(["", "; Secure", "; HttpOnly", "; SameSite=Lax"]),
    st.sampled_from(
        [
            "",
            "; Max-Age=0",
            "; Max-Age=-1",
            "; Max-Age=1000",
            "; Max-Age=x",
            # Not 00:00:00: aiohttp's jar takes second 0 for no date.
            "; Expires=Thu, 01 Jan 1970 00:00:01 GMT",
            "; Expires=Fri, 01-Jan-27 10:00:00 GMT",
            "; Expires=bad",
        ]
    ),
)


def _state(jar: object) -> set[tuple[str, str, str, str, bool]]:
    return {(m.key, m.value, m["domain"], m["path"], bool(m["secure"])) for m in jar}  # type: ignore[attr-defined]


@settings(max_examples=150)
@given(st.lists(st.tuples(_FIELDS, _URLS), max_size=12), _URLS, st.sampled_from(["https", "http"]))
def test_the_same_responses_leave_the_same_cookies(
    fields: list[tuple[str, URL]], asked: URL, scheme: str
) -> None:
    async def compare() -> None:
        theirs = aiohttp.CookieJar()
        ours = CookieJar()
        kinds: dict[tuple[str, str, str], bool] = {}
        for field, url in fields:
            # aiohttp's jar holds one cookie for a name, domain and path; the RFC keeps host-only
            # and Domain apart.
            (morsel,) = parse_set_cookie([field]).values()
            if morsel["domain"].endswith("."):
                continue  # aiohttp's jar takes it for no Domain; nobody has that name (5.1.3)
            domain = morsel["domain"].strip(".")
            path = (
                morsel["path"]
                if morsel["path"].startswith("/")
                else url.path.rpartition("/")[0] or "/"
            )
            key = (domain or str(url.host), path, morsel.key)
            if kinds.setdefault(key, bool(domain)) != bool(domain):
                continue
            theirs.update_cookies_from_headers([field], url)
            ours.store([field], url)
        assert _state(ours) == _state(theirs)
        assert len(ours) == len(theirs)
        url = asked.with_scheme(scheme)
        mine = {name: m.value for name, m in ours.filter_cookies(url).items()}
        assert mine == {name: m.value for name, m in theirs.filter_cookies(url).items()}

    asyncio.run(compare())


@given(
    st.dictionaries(
        st.sampled_from("abc"), st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126))
    )
)
def test_a_programs_values_are_sent_alike(cookies: dict[str, str]) -> None:
    async def compare() -> None:
        url = URL("http://example.com/")
        for quote in (True, False):
            theirs = aiohttp.CookieJar(quote_cookie=quote)
            ours = CookieJar(quote_cookie=quote)
            for jar in (theirs, ours):
                jar.update_cookies(cookies, url)
            sent = {
                name: (m.value, m.coded_value) for name, m in theirs.filter_cookies(url).items()
            }
            assert {
                name: (m.value, m.coded_value) for name, m in ours.filter_cookies(url).items()
            } == sent

    asyncio.run(compare())
