"""What the public HTTP cache tests look at, told in our own words over our own server.

Each case is a chain of exchanges: what is asked, what the server would answer, and whether it is asked at all.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any, NamedTuple

import pytest
from tests.client.conftest import Asked, Peer, Reply, reply

import wherry
from wherry.middlewares.cache import CacheMiddleware

# The same in every process that collects these tests, since dates stand among their parameters, and
# whenever they run: a slow machine comes here many minutes after the module was read.
NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache's clock starts at NOW with each test."""
    began = time.time()

    class Clock:
        time = staticmethod(lambda: NOW + time.time() - began)

    monkeypatch.setattr("wherry.middlewares.cache.time", Clock)


def at(ahead: float) -> str:
    """A date so many seconds from now, as IMF-fixdate."""
    return formatdate(NOW + ahead, usegmt=True)


def other_form(ahead: float, form: str) -> str:
    return time.strftime(form, time.gmtime(NOW + ahead))


class Origin:
    """Answers with the next of `replies` each time, and counts."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        return self.replies[min(len(self.asked), len(self.replies)) - 1]


class Got(NamedTuple):
    status: int
    body: str
    headers: Any


@pytest.fixture
async def cache() -> AsyncIterator[CacheMiddleware]:
    async with CacheMiddleware(heuristic=True) as made:
        yield made


async def get(client: wherry.ClientSession, url: str, method: str = "GET", **headers: str) -> Got:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.request(method, url, headers=fields, allow_redirects=False) as response:
        return Got(response.status, await response.text(), response.headers.copy())


async def times_asked(
    peer: Any, session: Any, cache: CacheMiddleware, *replies: Reply, times: int = 2
) -> int:
    """How often the server is asked for `times` equal requests."""
    origin = Origin(*replies)
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    for _ in range(times):
        await get(client, server.url())
    return len(origin.asked)


# --- Age ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ages", "asked"),
    [
        (["7200, 0"], 2),
        (["0, 7200"], 1),
        (["7200", "0"], 2),
        (["0", "7200"], 1),
        (["0,0"], 1),
        ([" 7200 , 0"], 2),
        (["abc"], 1),
        (["-7200"], 1),
        (["7200.0"], 1),
        (["2147483648"], 2),
        (["99999999999999999999999"], 2),
        ([", 7200"], 1),
        ([""], 1),
    ],
)
async def test_of_several_ages_the_first_counts(
    peer: Any, session: Any, cache: CacheMiddleware, ages: list[str], asked: int
) -> None:
    """RFC 9111 5.1"""
    fields = [("Date", at(0)), ("Cache-Control", "max-age=3600"), *(("Age", age) for age in ages)]
    assert await times_asked(peer, session, cache, reply(200, "x", fields)) == asked


# --- Expires --------------------------------------------------------------------------------------------------

LATER = 3600 * 24


@pytest.mark.parametrize(
    "expires",
    [
        at(LATER),
        other_form(LATER, "%A, %d-%b-%y %H:%M:%S GMT"),
        other_form(LATER, "%a %b ")
        + other_form(LATER, "%d").lstrip("0").rjust(2)
        + other_form(LATER, " %H:%M:%S %Y"),
        at(LATER).replace("GMT", "gmt"),
        at(LATER).upper(),
        at(LATER).lower(),
    ],
)
async def test_the_three_forms_of_a_date_say_when_it_ends(
    peer: Any, session: Any, cache: CacheMiddleware, expires: str
) -> None:
    """RFC 9110 5.6.7"""
    answer = reply(200, "x", {"Date": at(0), "Expires": expires})
    assert await times_asked(peer, session, cache, answer) == 1


INVALID = [
    "0",
    "-1",
    "",
    "never",
    at(LATER).replace("GMT", "UTC"),
    at(LATER).replace("GMT", "AEST"),
    at(LATER).replace("GMT", "+0000"),
    at(LATER).replace(" GMT", ""),
    other_form(LATER, "%a, %d %b %y %H:%M:%S GMT"),
    at(LATER).replace(",", ""),
    at(LATER).replace(" ", "  "),
    other_form(LATER, "%a, %d-%b-%Y %H:%M:%S GMT"),
    at(LATER).replace(":", "."),
    other_form(LATER, "%a, %d %b %Y 9:%M:%S GMT"),
    other_form(LATER, "%a, 1 %b %Y %H:%M:%S GMT"),
    other_form(LATER, "%d %b %Y %H:%M:%S GMT"),
    at(LATER) + "x",
    at(LATER).replace(at(LATER)[17:19], "25"),
    "Fri, 31 Feb 2200 10:00:00 GMT",
    "Fri, 01 Foo 2200 10:00:00 GMT",
    "Fri, 0\u0661 Feb 2200 10:00:00 GMT",
    other_form(LATER, "%A, %d-%b-%Y %H:%M:%S GMT"),
    other_form(LATER, "%a, %d-%b-%y %H:%M:%S GMT"),
]


@pytest.mark.parametrize("expires", INVALID)
async def test_an_expires_that_is_no_date_means_expired(
    peer: Any, session: Any, cache: CacheMiddleware, expires: str
) -> None:
    """RFC 9111 5.3"""
    answer = reply(200, "x", {"Date": at(0), "Expires": expires, "Last-Modified": at(-1e7)})
    assert await times_asked(peer, session, cache, answer) == 2


async def test_several_lines_of_expires_mean_expired(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    fields = [("Date", at(0)), ("Expires", at(LATER)), ("Expires", at(LATER))]
    assert await times_asked(peer, session, cache, reply(200, "x", fields)) == 2


async def test_max_age_counts_before_an_invalid_expires(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    answer = reply(200, "x", {"Date": at(0), "Expires": "0", "Cache-Control": "max-age=100"})
    assert await times_asked(peer, session, cache, answer) == 1


# --- what may be kept -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "control", "asked"),
    [
        (200, None, 1),
        (203, None, 1),
        (404, None, 1),
        (410, None, 1),
        (501, None, 1),
        (599, "public", 1),
        (201, "public", 1),
        (599, None, 2),
        (201, None, 2),
        (403, None, 2),
        (503, None, 2),
        (599, "private", 2),
    ],
)
async def test_how_long_is_guessed_for_statuses_that_allow_it(
    peer: Any, session: Any, cache: CacheMiddleware, status: int, control: str | None, asked: int
) -> None:
    """RFC 9111 4.2.2"""
    fields = {"Date": at(0), "Last-Modified": at(-LATER)}
    if control is not None:
        fields["Cache-Control"] = control
    assert await times_asked(peer, session, cache, reply(status, "x", fields)) == asked


@pytest.mark.parametrize(
    ("status", "control", "asked"),
    [
        (200, "max-age=3600, no-store, must-understand", 1),
        (200, "must-understand, no-store, max-age=3600", 1),
        (200, "max-age=3600, no-store", 2),
        (599, "max-age=3600, no-store, must-understand", 2),
        (599, "max-age=3600, must-understand", 2),
    ],
)
async def test_must_understand_lifts_no_store(
    peer: Any, session: Any, cache: CacheMiddleware, status: int, control: str, asked: int
) -> None:
    """RFC 9111 5.2.2.3"""
    assert (
        await times_asked(peer, session, cache, reply(status, "x", {"Cache-Control": control}))
        == asked
    )


async def test_a_coding_that_nobody_here_undoes_is_kept_with_its_content(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    """RFC 9111 3.1"""
    origin = Origin(
        reply(200, "raw", {"Content-Encoding": "x-own, gzip", "Cache-Control": "max-age=60"})
    )
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    for _ in range(2):
        got = await get(client, server.url())
        assert (got.body, got.headers["Content-Encoding"]) == ("raw", "x-own, gzip")
    assert len(origin.asked) == 1
    assert "detail" not in got.headers["Cache-Status"]


async def test_content_that_was_decoded_says_so(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    origin = Origin(
        reply(
            200,
            gzip.compress(b"plain"),
            {"Content-Encoding": "gzip", "Cache-Control": "max-age=60"},
        )
    )
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    got = await get(client, server.url())
    assert got.body == "plain"
    assert got.headers["Cache-Status"] == "wherry; hit; detail=decoded"
    assert not any(name.lower().startswith("x-wherry") for name in got.headers)
    # A range is one of the coded bytes, which are gone.
    await get(client, server.url(), Range="bytes=0-1")
    assert len(origin.asked) == 2


@pytest.mark.parametrize("keep", [True, False])
async def test_set_cookie_is_kept_for_who_asks(peer: Any, session: Any, keep: bool) -> None:
    fields = [("Cache-Control", "max-age=60"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    server: Peer = await peer(Origin(reply(200, "x", fields)))
    async with CacheMiddleware(keep_set_cookie=keep) as cache:
        client = session(middlewares=(cache,), cookie_jar=wherry.DummyCookieJar())
        await get(client, server.url())
        got = await get(client, server.url())
    assert got.headers.getall("Set-Cookie", []) == (["a=1", "b=2"] if keep else [])


# --- Vary -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "one", "other", "asked"),
    [
        (None, "en, de", "de, en", 1),
        (None, "en, de", "eN, De", 1),
        (None, "en, de", " en ,   de", 1),
        (None, "en;q=0.5, de", "de;q=1.0, en; Q=0.50", 1),
        (None, "en, de;q=0.5", "de, en;q=0.5", 2),
        (None, "en, de", "en", 2),
        ("de", "en, de", "fr;q=0.5, de;q=1.0", 1),
        ("de", "en, de", "DE", 1),
        ("de", "en, de", "fr, de;q=0.5", 2),
        ("de", "en, de", "de;q=0", 2),
        ("de", "en, de", "fr", 2),
    ],
)
async def test_languages_are_compared_by_what_they_mean(
    peer: Any,
    session: Any,
    cache: CacheMiddleware,
    language: str | None,
    one: str,
    other: str,
    asked: int,
) -> None:
    """RFC 9111 4.1, RFC 9110 12.5.4"""
    fields = {"Cache-Control": "max-age=60", "Vary": "Accept-Language"}
    if language is not None:
        fields["Content-Language"] = language
    origin = Origin(reply(200, "x", fields))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url(), Accept_Language=one)
    await get(client, server.url(), Accept_Language=other)
    assert len(origin.asked) == asked


# --- POST -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "asked"),
    [
        ({"Content-Location": "/x", "Cache-Control": "max-age=60"}, 200, 1),
        ({"Content-Location": "", "Expires": at(LATER)}, 200, 1),
        ({"Content-Location": "/y", "Cache-Control": "max-age=60"}, 200, 2),
        ({"Content-Location": "http://elsewhere.test/x", "Cache-Control": "max-age=60"}, 200, 2),
        ({"Content-Location": "http://[bad", "Cache-Control": "max-age=60"}, 200, 2),
        ({"Cache-Control": "max-age=60"}, 200, 2),
        ({"Content-Location": "/x", "ETag": '"e"'}, 200, 2),
        ({"Content-Location": "/x", "Cache-Control": "no-store, max-age=60"}, 200, 2),
        ({"Content-Location": "/x", "Cache-Control": "max-age=60"}, 201, 2),
    ],
)
async def test_a_posts_answer_serves_later_gets_where_it_says_so(
    peer: Any, session: Any, cache: CacheMiddleware, fields: dict[str, str], status: int, asked: int
) -> None:
    """RFC 9110 9.3.3"""
    origin = Origin(
        reply(status, "posted", fields), reply(200, "got", {"Cache-Control": "max-age=60"})
    )
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    async with client.post(server.url("/x"), data=b"1") as response:
        assert await response.text() == "posted"
    assert (await get(client, server.url("/x"))).body == ("posted" if asked == 1 else "got")
    assert len(origin.asked) == asked
    # A later POST makes it invalid, as it would any other.
    async with client.post(server.url("/x"), data=b"2"):
        pass
    assert (await get(client, server.url("/x"))).body == "got"


async def test_put_is_not_post(peer: Any, session: Any, cache: CacheMiddleware) -> None:
    origin = Origin(reply(200, "x", {"Content-Location": "/x", "Cache-Control": "max-age=60"}))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    async with client.put(server.url("/x"), data=b"1"):
        pass
    await get(client, server.url("/x"))
    assert len(origin.asked) == 2


# --- the program's own conditions -----------------------------------------------------------------------------

PAGE = {
    "Date": at(0),
    "Cache-Control": "max-age=1000",
    "ETag": '"abc"',
    "Last-Modified": at(-3000),
    "X-Other": "1",
}


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"If-None-Match": '"abc"'}, 304),
        ({"If-None-Match": 'W/"abc"'}, 304),
        ({"If-None-Match": '"x", "abc", "y"'}, 304),
        ({"If-None-Match": '"x","y",W/"abc"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-None-Match": "abc"}, 200),
        ({"If-None-Match": '"abc'}, 200),
        ({"If-None-Match": '"abc"', "If-Modified-Since": at(-10000)}, 304),
        ({"If-None-Match": '"other"', "If-Modified-Since": at(0)}, 200),
        ({"If-Modified-Since": at(-3000)}, 304),
        ({"If-Modified-Since": at(-2000)}, 304),
        ({"If-Modified-Since": at(-3001)}, 200),
        ({"If-Modified-Since": other_form(-3000, "%A, %d-%b-%y %H:%M:%S GMT")}, 304),
        ({"If-Modified-Since": "yesterday"}, 200),
    ],
)
async def test_a_condition_of_the_programs_is_judged_by_what_is_fresh(
    peer: Any, session: Any, cache: CacheMiddleware, condition: dict[str, str], status: int
) -> None:
    """RFC 9111 4.3.2"""
    origin = Origin(reply(200, "page", PAGE))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    async with client.get(server.url(), headers=condition) as response:
        assert response.status == status
        assert await response.text() == ("" if status == 304 else "page")
        # RFC 9110 15.4.5: what identifies the response, and no more.
        assert response.headers["ETag"] == '"abc"'
        assert {"Age", "Cache-Status", "Date", "Cache-Control"} <= {
            name.title() for name in response.headers
        }
        assert ("X-Other" in response.headers) is (status == 200)
    assert len(origin.asked) == 1


async def test_without_a_last_modified_the_date_is_compared(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    origin = Origin(reply(200, "page", {"Date": at(0), "Cache-Control": "max-age=1000"}))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    assert (await get(client, server.url(), If_Modified_Since=at(0))).status == 304
    assert (await get(client, server.url(), If_Modified_Since=at(-1))).status == 200
    assert len(origin.asked) == 1


async def test_a_condition_on_what_is_stale_goes_to_the_origin_and_freshens_what_is_kept(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    origin = Origin(
        reply(200, "page", {"ETag": '"abc"', "Cache-Control": "max-age=0"}),
        reply(304, "", {"ETag": '"abc"', "Cache-Control": "max-age=100"}),
    )
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    got = await get(client, server.url(), If_None_Match='"abc"')
    assert (got.status, got.body) == (304, "")
    assert (await get(client, server.url())).body == "page"
    assert len(origin.asked) == 2


async def test_a_304_to_the_programs_own_condition_says_nothing_of_another_page(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    origin = Origin(
        reply(200, "old", {"ETag": '"old"', "Cache-Control": "max-age=0"}),
        reply(304, "", {"ETag": '"mine"', "Cache-Control": "max-age=100"}),
        reply(200, "new", {"ETag": '"mine"', "Cache-Control": "max-age=100"}),
    )
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    assert (await get(client, server.url(), If_None_Match='"mine"')).status == 304
    assert (await get(client, server.url())).body == "new"


async def test_a_status_that_is_no_success_ignores_conditions(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    """RFC 9110 13.2.1"""
    origin = Origin(reply(404, "gone", {"ETag": '"abc"', "Cache-Control": "max-age=60"}))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    assert (await get(client, server.url(), If_None_Match='"abc"')).status == 404
    assert (await get(client, server.url(), Range="bytes=0-1")).body == "gone"
    assert len(origin.asked) == 1


# --- parts ----------------------------------------------------------------------------------------------------

DIGITS = "0123456789A"


@pytest.mark.parametrize(
    ("wanted", "body", "told"),
    [
        ("bytes=0-1", "01", "bytes 0-1/11"),
        ("bytes=1-", "123456789A", "bytes 1-10/11"),
        ("bytes=-1", "A", "bytes 10-10/11"),
        ("bytes=-500", DIGITS, "bytes 0-10/11"),
        ("bytes=9-500", "9A", "bytes 9-10/11"),
        ("BYTES=3-3", "3", "bytes 3-3/11"),
        ("bytes= 0-0 ", "0", "bytes 0-0/11"),
    ],
)
async def test_a_range_is_cut_from_what_is_kept(
    peer: Any, session: Any, cache: CacheMiddleware, wanted: str, body: str, told: str
) -> None:
    """RFC 9111 3.3, RFC 9110 14.1.2"""
    origin = Origin(reply(200, DIGITS, {"Cache-Control": "max-age=60", "X-A": "1"}))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    got = await get(client, server.url(), Range=wanted)
    assert (got.status, got.body, got.headers["Content-Range"]) == (206, body, told)
    assert (got.headers["X-A"], got.headers["Content-Length"]) == ("1", str(len(body)))
    assert len(origin.asked) == 1


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=0-1,3-4",
        "bytes=11-",
        "bytes=-0",
        "bytes=3-2",
        "bytes=-",
        "lines=0-1",
        "bytes=a-b",
        "bytes=\u0661-2",
    ],
)
async def test_other_ranges_are_the_origins_to_answer(
    peer: Any, session: Any, cache: CacheMiddleware, wanted: str
) -> None:
    origin = Origin(reply(200, DIGITS, {"Cache-Control": "max-age=60"}), reply(416, "no"))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    assert (await get(client, server.url(), Range=wanted)).body == "no"
    assert origin.asked[1].headers["Range"].encode() == wanted.encode()
    assert (await get(client, server.url())).body == DIGITS
    assert len(origin.asked) == 2


@pytest.mark.parametrize(
    ("named", "status"),
    [
        ('"abc"', 206),
        ('W/"abc"', 200),
        ('"other"', 200),
        (at(-3000), 206),
        (at(-2999), 200),
        ("nonsense", 200),
    ],
)
async def test_if_range_decides_between_the_part_and_all_of_it(
    peer: Any, session: Any, cache: CacheMiddleware, named: str, status: int
) -> None:
    """RFC 9110 13.1.5"""
    origin = Origin(reply(200, DIGITS, PAGE))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    got = await get(client, server.url(), Range="bytes=0-1", If_Range=named)
    assert (got.status, got.body) == (status, "01" if status == 206 else DIGITS)
    assert len(origin.asked) == 1


def part(body: str, first: int, total: int | str = 10, tag: str = '"e"', **more: str) -> Reply:
    fields = {
        "Cache-Control": "max-age=60",
        "ETag": tag,
        "Content-Range": f"bytes {first}-{first + len(body) - 1}/{total}",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return reply(206, body, fields)


@pytest.mark.parametrize(
    ("wanted", "body"),
    [
        ("bytes=5-9", "56789"),
        ("bytes=5-", "56789"),
        ("bytes=-5", "56789"),
        ("bytes=6-8", "678"),
        ("bytes=6-", "6789"),
        ("bytes=-1", "9"),
        ("bytes=9-20", "9"),
    ],
)
async def test_a_part_is_kept_and_serves_ranges_within(
    peer: Any, session: Any, cache: CacheMiddleware, wanted: str, body: str
) -> None:
    """RFC 9111 3.3"""
    origin = Origin(part("56789", 5))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    assert (await get(client, server.url(), Range="bytes=5-9")).body == "56789"
    got = await get(client, server.url(), Range=wanted)
    assert (got.status, got.body) == (206, body)
    assert len(origin.asked) == 1


@pytest.mark.parametrize("wanted", ["bytes=4-8", "bytes=0-", "bytes=-6", "bytes=0-1"])
async def test_ranges_beyond_a_part_go_to_the_origin(
    peer: Any, session: Any, cache: CacheMiddleware, wanted: str
) -> None:
    origin = Origin(part("56789", 5), reply(416, "no"))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url(), Range="bytes=5-9")
    assert (await get(client, server.url(), Range=wanted)).body == "no"


@pytest.mark.parametrize(
    "answer",
    [
        reply(206, "01234", {"Cache-Control": "max-age=60"}),
        reply(206, "01234", {"Cache-Control": "max-age=60", "Content-Range": "bytes 4-0/10"}),
        reply(206, "01234", {"Cache-Control": "max-age=60", "Content-Range": "bytes 0-10/10"}),
        reply(206, "01234", {"Cache-Control": "max-age=60", "Content-Range": "lines 0-4/10"}),
        reply(
            206,
            "01234",
            [("Cache-Control", "max-age=60"), *[("Content-Range", "bytes 0-4/10")] * 2],
        ),
        reply(
            206,
            "01234",
            {
                "Cache-Control": "max-age=60",
                "Content-Range": "bytes 0-4/10",
                "Content-Encoding": "x",
            },
        ),
        reply(206, "01234", {"Cache-Control": "no-store", "Content-Range": "bytes 0-4/10"}),
    ],
)
async def test_parts_that_make_no_sense_are_not_kept(
    peer: Any, session: Any, cache: CacheMiddleware, answer: Reply
) -> None:
    origin = Origin(answer)
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    for _ in range(2):
        assert (await get(client, server.url(), Range="bytes=0-4")).body == "01234"
    assert len(origin.asked) == 2


async def test_a_part_that_nobody_asked_for_is_not_kept(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    assert await times_asked(peer, session, cache, part("01234", 0)) == 2


async def test_a_part_is_completed_and_then_serves_all(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    """RFC 9111 3.4: fields of the newer answer count, others stay."""
    origin = Origin(part("01234", 0, X_A="1", X_B="old"), part("56789", 5, X_B="new"))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url(), Range="bytes=0-4")
    for status in ("wherry; fwd=partial; fwd-status=206; stored", "wherry; hit"):
        got = await get(client, server.url())
        assert (got.status, got.body) == (200, "0123456789")
        assert (got.headers["X-A"], got.headers["X-B"]) == ("1", "new")
        assert "Content-Range" not in got.headers
        assert got.headers["Cache-Status"] == status
    assert len(origin.asked) == 2
    assert (origin.asked[1].headers["Range"], origin.asked[1].headers["If-Range"]) == (
        "bytes=5-",
        '"e"',
    )


@pytest.mark.parametrize(
    "rest",
    [
        part("56789", 5, tag='"other"'),
        part("56789", 5, tag='W/"e"'),
        part("6789", 6),
        part("X56789", 4),
        part("56789X", 5, 11),
        reply(206, "5678", {"ETag": '"e"', "Content-Range": "bytes 5-9/10"}),
        reply(206, "56789", {"ETag": '"e"'}),
        reply(416, "no"),
    ],
)
async def test_what_does_not_go_together_is_asked_for_whole(
    peer: Any, session: Any, cache: CacheMiddleware, rest: Reply
) -> None:
    origin = Origin(part("01234", 0), rest, reply(200, "whole", {"Cache-Control": "max-age=60"}))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url(), Range="bytes=0-4")
    for _ in range(2):
        got = await get(client, server.url())
        assert (got.status, got.body) == (200, "whole")
    assert len(origin.asked) == 3
    assert "Range" not in origin.asked[2].headers
    assert "If-Range" not in origin.asked[2].headers


async def test_an_origin_that_answers_with_all_of_it_is_taken_at_its_word(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    origin = Origin(part("01234", 0), reply(200, "changed", {"Cache-Control": "max-age=60"}))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url(), Range="bytes=0-4")
    assert [(await get(client, server.url())).body for _ in range(2)] == ["changed"] * 2
    assert len(origin.asked) == 2


@pytest.mark.parametrize("tag", ['W/"e"', None])
async def test_without_a_strong_validator_nothing_is_joined(
    peer: Any, session: Any, cache: CacheMiddleware, tag: str | None
) -> None:
    """RFC 9110 15.3.7.3"""
    one, two = part("01234", 0), part("56789", 5)
    for answer in (one, two):
        at_tag = [pair[0] for pair in answer[1]].index("ETag")
        answer[1][at_tag : at_tag + 1] = [] if tag is None else [("ETag", tag)]
    origin = Origin(one, two, reply(200, "whole", {"Cache-Control": "max-age=60"}))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url(), Range="bytes=0-4")
    assert (await get(client, server.url())).body == "whole"
    assert "If-Range" not in origin.asked[1].headers


async def test_parts_that_touch_become_one(peer: Any, session: Any, cache: CacheMiddleware) -> None:
    origin = Origin(part("456", 4), part("23", 2), part("6789", 6), reply(416, "no"))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    for wanted, body in (
        ("bytes=4-6", "456"),
        ("bytes=2-3", "23"),
        ("bytes=6-9", "6789"),
        ("bytes=2-9", "23456789"),
    ):
        assert (await get(client, server.url(), Range=wanted)).body == body
    assert len(origin.asked) == 3


async def test_a_part_far_from_the_kept_one_takes_its_place(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    origin = Origin(part("01", 0), part("89", 8), part("01", 0))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    for wanted in ("bytes=0-1", "bytes=8-9", "bytes=8-9", "bytes=0-1"):
        await get(client, server.url(), Range=wanted)
    assert len(origin.asked) == 3


async def test_a_206_to_a_validated_range_combines_with_what_is_kept(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    """RFC 9111 3.4, 4.3.3"""
    stale = reply(
        200, "0123456789", {"Cache-Control": "max-age=0", "ETag": '"e"', "X-A": "1", "X-B": "old"}
    )
    origin = Origin(stale, part("23", 2, X_B="new"))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    got = await get(client, server.url(), Range="bytes=2-3")
    assert (got.status, got.body, got.headers["X-A"], got.headers["X-B"]) == (206, "23", "1", "new")
    assert origin.asked[1].headers["If-None-Match"] == '"e"'
    whole = await get(client, server.url())
    assert (whole.status, whole.body, whole.headers["X-A"], whole.headers["X-B"]) == (
        200,
        "0123456789",
        "1",
        "new",
    )
    assert len(origin.asked) == 2


async def test_a_206_of_something_else_takes_the_place_of_what_is_kept(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    stale = reply(200, "0123456789", {"Cache-Control": "max-age=0", "ETag": '"e"'})
    origin = Origin(
        stale, part("XY", 2, tag='"f"'), reply(200, "abXY", {"Cache-Control": "max-age=60"})
    )
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    assert (await get(client, server.url(), Range="bytes=2-3")).body == "XY"
    assert (await get(client, server.url())).body == "abXY"


async def test_a_304_to_a_validated_range_serves_the_range(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    stale = reply(200, "0123456789", {"Cache-Control": "max-age=0", "ETag": '"e"'})
    origin = Origin(stale, reply(304, "", {"ETag": '"e"', "Cache-Control": "max-age=60"}))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    got = await get(client, server.url(), Range="bytes=2-3")
    assert (got.status, got.body) == (206, "23")
    assert (await get(client, server.url())).body == "0123456789"
    assert len(origin.asked) == 2


async def test_only_if_cached_finds_no_part_for_a_whole(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    """RFC 9111 5.2.1.7"""
    origin = Origin(part("01234", 0))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url(), Range="bytes=0-4")
    assert (await get(client, server.url(), Cache_Control="only-if-cached")).status == 504
    assert (
        await get(client, server.url(), Cache_Control="only-if-cached", Range="bytes=1-2")
    ).body == "12"
    assert len(origin.asked) == 1


@pytest.mark.parametrize("control", ["max-age=1, must-revalidate", "max-age=1, no-cache"])
async def test_what_must_be_asked_about_is_an_error_where_nobody_answers(
    peer: Any, session: Any, cache: CacheMiddleware, control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9111 5.2.2.2: an error, and never what is stale."""
    ahead = [0.0]

    class Clock:
        time = staticmethod(lambda: time.time() + ahead[0])

    monkeypatch.setattr("wherry.middlewares.cache.time", Clock)
    origin = Origin(reply(200, "x", {"Cache-Control": f"{control}, stale-if-error=1000"}), reply(0))
    server: Peer = await peer(origin)
    client = session(middlewares=(cache,))
    await get(client, server.url())
    ahead[0] = 10.0
    with pytest.raises(wherry.ClientConnectionError):
        await get(client, server.url())
