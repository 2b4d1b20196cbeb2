"""The rules of RFC 9111 as tables: values in, values out."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

from wherry.middlewares import cache_policy as policy
from wherry.middlewares.cache_fields import (
    FOREVER,
    StoredResponse,
    date,
    directives,
    fields_of,
    one_date,
    seconds,
)
from wherry.middlewares.cache_key import (
    NOBODY,
    Asker,
    cache_key,
    invalidated,
    languages,
    select,
    variant_of,
)
from wherry.middlewares.cache_policy import Verdict
from wherry.middlewares.cache_ranges import (
    Part,
    Wanted,
    answer,
    combined,
    is_plain_part,
    is_same_for_range,
    is_strong,
    is_unmodified,
    missing_range,
    part_of,
    wanted_range,
)

DATE = formatdate(1000, usegmt=True)


def fields(**headers: str | list[str]) -> CIMultiDict[str]:
    found: CIMultiDict[str] = CIMultiDict()
    for name, values in headers.items():
        for value in [values] if isinstance(values, str) else values:
            found.add(name.replace("_", "-"), value)
    return found


def kept(
    body: bytes = b"0123456789", status: int = 200, **headers: str | list[str]
) -> StoredResponse:
    """A response that was asked for at 1000, and came half a second later."""
    raw = tuple((name.encode(), value.encode()) for name, value in fields(**headers).items())
    return StoredResponse(status, "OK", raw, body, 1000.0, 1000.5)


def asking(control: str) -> CIMultiDict[str]:
    return fields(Cache_Control=control) if control else fields()


# --- reading fields -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("10", 10.0),
        ("2147483647", FOREVER - 1.0),
        ("2147483648", float(FOREVER)),
        ("2147483649", float(FOREVER)),
        ("9" * 400, float(FOREVER)),
        ("", None),
        ("-1", None),
        ("1.0", None),
        ("\u0661", None),
        ("\u00b2", None),
        (None, None),
    ],
)
def test_seconds(value: str | None, expected: float | None) -> None:
    """RFC 9111 1.2.2"""
    assert seconds(value) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["max-age=1, Public"], {"max-age": "1", "public": None}),
        (["a=1", "a=2, b"], {"a": "1", "b": None}),
        (['a="1, b=2"'], {"a": "1, b=2"}),
        (["@max-age=1"], {"max-age": "1"}),
        (["a=;b=2;"], {"a": "", "b": "2"}),
        (['a="1";b=2, @ , c'], {"a": "1", "b": "2", "c": None}),
        ([""], {}),
    ],
)
def test_directives(values: list[str], expected: dict[str, str | None]) -> None:
    assert directives(fields(Cache_Control=values)) == expected
    # RFC 9111 5.4: Pragma counts where there is no Cache-Control at all.
    assert directives(fields(Cache_Control=values, Pragma="no-cache")) == expected


@pytest.mark.parametrize(
    ("pragma", "expected"),
    [("no-cache", {"no-cache": None}), ("x, NO-CACHE", {"no-cache": None}), ("foo", {})],
)
def test_pragma(pragma: str, expected: dict[str, str | None]) -> None:
    assert directives(fields(Pragma=pragma)) == expected
    assert directives(fields()) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thu, 01 Jan 1970 00:16:40 GMT", 1000.0),
        ("Thursday, 01-Jan-70 00:16:40 GMT", 1000.0),
        ("Thu Jan  1 00:16:40 1970", 1000.0),
        ("Thu Jan 01 00:16:40 1970", 1000.0),
        ("Wed, 09 Dec 2015 13:14:15 GMT", 1449666855.0),
        ("Wednesday, 09-Dec-15 13:14:15 GMT", 1449666855.0),
        ("Wed Dec  9 13:14:15 2015", 1449666855.0),
        ("Monday, 31-Dec-68 23:59:59 GMT", 3124223999.0),
        ("Wednesday, 01-Jan-69 00:00:00 GMT", -31536000.0),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228799.0),
        ("Sun, 29 Feb 2032 10:00:00 GMT", 1961661600.0),
        ("Mon, 29 Feb 2033 10:00:00 GMT", None),
        ("Thu, 01 Jan 1970 24:16:40 GMT", None),
        ("Thu, 01 Jan 0000 00:16:40 GMT", None),
        ("Thu, 1 Jan 1970 00:16:40 GMT", None),
        (" Thu, 01 Jan 1970 00:16:40 GMT", None),
        ("Thu, 01 Jan 1970 00:16:40 GMT\n", None),
        ("", None),
        (None, None),
    ],
)
def test_date(text: str | None, expected: float | None) -> None:
    """RFC 9110 5.6.7"""
    assert date(text) == expected


@pytest.mark.parametrize(
    "name", ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
)
def test_every_month(name: str) -> None:
    months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    number = months.index(name) + 1
    first = date(f"Mon, 01 {name.title()} 2024 00:00:00 GMT")
    assert first is not None
    assert formatdate(first, usegmt=True)[5:] == f"01 {name.title()} 2024 00:00:00 GMT"
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"):
        assert date(f"{day}, 01-{name}-24 00:00:00 GMT") == first
        assert date(f"{day[:3]} {name}  1 00:00:00 2024") == first
        assert date(f"{day[:3]}, 01 {name} 2024 00:00:00 GMT") == first
    assert number


def test_one_date_is_one() -> None:
    assert one_date(fields(Date=DATE), "Date") == 1000.0
    assert one_date(fields(Date=[DATE, DATE]), "Date") is None
    assert one_date(fields(), "Date") is None


def test_fields_are_read_whatever_bytes_they_have() -> None:
    assert fields_of(((b"A", b"\xff"), (b"a", "\u00e9".encode()))).getall("a") == [
        "\udcff",
        "\u00e9",
    ]


def test_the_size_of_a_response() -> None:
    assert kept(b"12345", A="bc").size == 5 + 1 + 2 + 64 + 512
    assert kept(b"", A="b", C="d").size == 2 * (2 + 64) + 512


# --- what may be kept -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {}, True),
        ("HEAD", {}, False),
        ("POST", {}, False),
        ("GET", {"If_Match": '"e"'}, False),
        ("GET", {"If_Unmodified_Since": DATE}, False),
        (
            "GET",
            {"If_None_Match": '"e"', "If_Modified_Since": DATE, "Range": "x", "If_Range": "x"},
            True,
        ),
        ("GET", {"Cache_Control": "no-store"}, False),
        ("GET", {"Upgrade": "x"}, False),
    ],
)
def test_what_a_cache_may_answer(method: str, headers: Any, expected: bool) -> None:
    assert policy.is_for_cache(method, fields(**headers)) is expected


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])
def test_statuses_that_are_kept_without_being_told(status: int) -> None:
    """RFC 9110 15.1"""
    for told in ({"ETag": '"e"'}, {"Last_Modified": DATE}):
        assert policy.may_store(fields(), status, fields(**told), heuristic=False)
    must = fields(Cache_Control="must-understand, no-store, max-age=1")
    assert policy.may_store(fields(), status, must, heuristic=False)
    assert not policy.may_store(fields(), status, fields(), heuristic=True)


@pytest.mark.parametrize(
    "status", [201, 202, 206, 302, 303, 304, 307, 400, 401, 403, 500, 502, 503, 504, 599]
)
def test_statuses_that_are_not(status: int) -> None:
    assert not policy.may_store(fields(), status, fields(ETag='"e"'), heuristic=False)
    must = fields(Cache_Control="must-understand, no-store, max-age=1")
    assert not policy.may_store(fields(), status, must, heuristic=False)
    for word in ("public", "private"):
        told = policy.may_store(
            fields(), status, fields(ETag='"e"', Cache_Control=word), heuristic=False
        )
        assert told is (status not in {206, 304})


@pytest.mark.parametrize(
    ("status", "response", "request_", "stored"),
    [
        (100, {"Cache_Control": "max-age=1"}, {}, False),
        (199, {"Cache_Control": "max-age=1"}, {}, False),
        (200, {"Cache_Control": "max-age=1"}, {}, True),
        (500, {"Cache_Control": "max-age=1"}, {}, True),
        (500, {"Expires": "0"}, {}, True),
        (304, {"Cache_Control": "max-age=1"}, {}, False),
        (200, {"Cache_Control": "no-store, max-age=1"}, {}, False),
        (200, {"Cache_Control": "max-age=1"}, {"Cache_Control": "no-store"}, False),
        (200, {"Cache_Control": "max-age=1", "Vary": "a, *"}, {}, False),
        (200, {"Cache_Control": "max-age=1", "Content_Type": "Text/Event-Stream; x"}, {}, False),
        (200, {"Cache_Control": "max-age=1", "Content_Type": "text/event"}, {}, True),
        (206, {"Cache_Control": "max-age=1", "Content_Range": "bytes 0-1/2"}, {"Range": "x"}, True),
        (206, {"ETag": '"e"', "Content_Range": "bytes 0-1/2"}, {"Range": "x"}, True),
        (206, {"Cache_Control": "max-age=1", "Content_Range": "bytes 0-1/2"}, {}, False),
        (206, {"Cache_Control": "max-age=1"}, {"Range": "x"}, False),
    ],
)
def test_what_may_be_stored(status: int, response: Any, request_: Any, stored: bool) -> None:
    """RFC 9111 3"""
    assert (
        policy.may_store(fields(**request_), status, fields(**response), heuristic=False) is stored
    )


@pytest.mark.parametrize(
    ("asked", "shared"),
    [
        ({}, True),
        ({"Cache_Control": "no-cache"}, False),
        ({"Cache_Control": "max-age=1"}, False),
        ({"Cache_Control": "only-if-cached"}, False),
        ({"Cache_Control": "min-fresh=1"}, True),
        ({"If_None_Match": "x"}, False),
        ({"If_Modified_Since": "x"}, False),
        ({"If_Range": "x"}, False),
        ({"Range": "x"}, False),
    ],
)
def test_whose_answer_another_may_use(asked: Any, shared: bool) -> None:
    """RFC 9111 4"""
    assert policy.may_be_shared(None, fields(**asked), heuristic=False) is shared
    fresh = kept(Cache_Control="max-age=1")
    assert policy.may_be_shared(fresh, fields(**asked), heuristic=False) is shared


@pytest.mark.parametrize(
    ("told", "heuristic", "shared"),
    [
        ({"Cache_Control": "max-age=0"}, False, False),
        ({"Cache_Control": "max-age=1"}, False, True),
        ({"Cache_Control": "max-age=100, no-cache"}, False, False),
        ({"Last_Modified": formatdate(0, usegmt=True)}, True, True),
        ({"Last_Modified": formatdate(0, usegmt=True)}, False, False),
    ],
)
def test_what_is_kept_says_whether_its_successor_may_be_shared(
    told: Any, heuristic: bool, shared: bool
) -> None:
    assert policy.may_be_shared(kept(**told), fields(), heuristic=heuristic) is shared


def test_conditions_of_the_programs_own() -> None:
    for names, conditional in (
        ([], False),
        (["If-None-Match"], True),
        (["If-Modified-Since"], True),
        (["If-None-Match", "If-Modified-Since"], True),
        (["If-Match", "If-Range", "Range"], False),
    ):
        assert policy.is_conditional(CIMultiDict((name, "x") for name in names)) is conditional


# --- what is kept of the fields -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Content-Length",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Set-Cookie",
        "X-Wherry-Age",
        "X-Wherry-Undone",
    ],
)
def test_fields_of_one_exchange_are_not_kept(name: str) -> None:
    """RFC 9111 3.1"""
    for spelt in (name, name.lower(), name.upper()):
        assert policy.kept_headers(((b"A", b"b"), (spelt.encode(), b"1"))) == ((b"A", b"b"),)


def test_fields_that_are_named_are_not_kept() -> None:
    """RFC 9110 7.6.1, RFC 9111 5.2.2.4"""
    raw = (
        (b"Connection", b"close,  X-Hop"),
        (b"Connection", b"x-other"),
        (b"x-hop", b"1"),
        (b"X-OTHER", b"1"),
        (b"Cache-Control", b'no-cache="X-One, x-two", max-age=1'),
        (b"x-one", b"1"),
        (b"X-Two", b"1"),
        (b"A", b"b"),
    )
    assert policy.kept_headers(raw) == (raw[4], (b"A", b"b"))


def test_set_cookie_is_kept_where_it_is_asked_for() -> None:
    raw = ((b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"))
    assert policy.kept_headers(raw, set_cookie=True) == raw
    assert policy.kept_headers(raw) == ()
    named = (*raw, (b"Cache-Control", b'no-cache="set-cookie"'))
    assert policy.kept_headers(named, set_cookie=True) == named[2:]


@pytest.mark.parametrize(
    ("codings", "undone"),
    [
        (["gzip"], True),
        (["deflate, gzip"], True),
        (["deflate", "gzip"], True),
        (["own"], False),
        (["own", "gzip"], False),
        (["identity"], False),
        ([], False),
    ],
)
def test_content_codings_that_were_undone_are_kept_aside(codings: list[str], undone: bool) -> None:
    headers = fields(Content_Encoding=codings)
    assert policy.is_undone(headers) is undone
    raw = tuple((b"Content-Encoding", coding.encode()) for coding in codings)
    name = b"X-Wherry-Undone" if undone else b"Content-Encoding"
    found = policy.kept_headers((*raw, (b"A", b"b")))
    assert found == (*((name, value) for _, value in raw), (b"A", b"b"))
    stored = kept()._replace(headers=found)
    assert policy.is_kept_decoded(stored) is undone
    served = dict(policy.served_headers(stored, 5.9, "hit"))
    assert served[b"Cache-Status"] == (b"wherry; hit; detail=decoded" if undone else b"wherry; hit")
    assert served[b"Age"] == b"5"
    assert served[b"Content-Length"] == b"10"
    assert b"X-Wherry-Undone" not in served
    assert (b"Content-Encoding" in served) is bool(codings and not undone)


def test_there_is_one_detail() -> None:
    """RFC 9211 2.8"""
    stored = kept(X_Wherry_Undone="gzip")
    served = dict(policy.served_headers(stored, 0, "hit; detail=error"))
    assert served[b"Cache-Status"] == b"wherry; hit; detail=error"


def test_the_age_at_arrival_is_kept_aside() -> None:
    found = policy.kept_headers(((b"Age", b"50"), (b"AGE", b"60")))
    assert found == ((b"X-Wherry-Age", b"50"), (b"X-Wherry-Age", b"60"))
    stored = kept()._replace(headers=found)
    assert dict(policy.served_headers(stored, 60, "hit"))[b"Age"] == b"60"
    assert b"X-Wherry-Age" not in dict(policy.served_headers(stored, 60, "hit"))
    assert dict(policy.served_headers(stored, 60, "hit"))[b"Cache-Status"] == b"wherry; hit"


def test_what_a_304_changes() -> None:
    """RFC 9111 3.2"""
    old = kept(
        A="1", B="1", c="1", X_Wherry_Age="9", Content_Encoding="own", X_Wherry_Undone="gzip"
    )
    news = (
        (b"b", b"2"),
        (b"C", b"3"),
        (b"Content-Length", b"0"),
        (b"Content-Encoding", b"another"),
        (b"Content-Range", b"bytes 0-1/2"),
    )
    found = policy.freshened(old, news, 2000.0, 2001.0)
    assert found.headers == (
        (b"A", b"1"),
        (b"Content-Encoding", b"own"),
        (b"X-Wherry-Undone", b"gzip"),
        (b"b", b"2"),
        (b"C", b"3"),
    )
    assert (found.asked_at, found.came_at, found.body) == (2000.0, 2001.0, old.body)
    coded = policy.freshened(kept(), ((b"Content-Encoding", b"gzip"),), 2000.0, 2001.0)
    assert coded.headers == ()
    aged = policy.freshened(old, ((b"Age", b"7"),), 2000.0, 2001.0)
    assert dict(aged.headers)[b"X-Wherry-Age"] == b"7"


# --- how fresh it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "heuristic", "fresh"),
    [
        ({"Cache_Control": "max-age=100"}, False, 100),
        ({"Cache_Control": "max-age=x"}, False, 0),
        ({"Cache_Control": "max-age"}, False, 0),
        ({"Cache_Control": "s-maxage=100"}, False, 0),
        ({"Cache_Control": "max-age=10", "Expires": formatdate(5000, usegmt=True)}, False, 10),
        ({"Expires": formatdate(1060, usegmt=True), "Date": DATE}, False, 60),
        ({"Expires": formatdate(1060, usegmt=True)}, False, 59.5),
        ({"Expires": formatdate(1060, usegmt=True), "Date": "x"}, False, 59.5),
        ({"Expires": formatdate(900, usegmt=True), "Date": DATE}, False, 0),
        ({"Expires": "0", "Date": DATE, "Last_Modified": formatdate(0, usegmt=True)}, True, 0),
        ({"Expires": [formatdate(1060, usegmt=True)] * 2, "Date": DATE}, False, 0),
        ({"Last_Modified": formatdate(0, usegmt=True), "Date": DATE}, True, 100),
        ({"Last_Modified": formatdate(0, usegmt=True), "Date": DATE}, False, 0),
        ({"Last_Modified": formatdate(2000, usegmt=True), "Date": DATE}, True, 0),
        ({"Last_Modified": formatdate(-1e8, usegmt=True), "Date": DATE}, True, 7 * 24 * 3600),
        ({"Last_Modified": "x", "Date": DATE}, True, 0),
        ({}, True, 0),
    ],
)
def test_how_long_it_is_fresh(headers: Any, heuristic: bool, fresh: float) -> None:
    """RFC 9111 4.2.1, 4.2.2"""
    stored = kept(**headers)
    assert policy.lifetime(stored, stored.fields(), heuristic=heuristic) == fresh


@pytest.mark.parametrize(
    ("status", "control", "fresh"), [(599, "public", 100), (599, "private", 0), (404, "x", 100)]
)
def test_for_which_statuses_it_is_guessed(status: int, control: str, fresh: float) -> None:
    stored = kept(
        status=status, Cache_Control=control, Date=DATE, Last_Modified=formatdate(0, usegmt=True)
    )
    assert policy.lifetime(stored, stored.fields(), heuristic=True) == fresh


@pytest.mark.parametrize(
    ("headers", "now", "old"),
    [
        ({}, 1000.5, 0.5),
        ({}, 1010.5, 10.5),
        ({}, 900.0, 0.5),
        ({"Date": DATE}, 1010.5, 10.5),
        ({"Date": formatdate(900, usegmt=True)}, 1010.5, 110.5),
        ({"Date": formatdate(2000, usegmt=True)}, 1010.5, 10.5),
        ({"Date": "x"}, 1010.5, 10.5),
        ({"X_Wherry_Age": "50"}, 1010.5, 60.5),
        ({"X_Wherry_Age": " 50 , 7"}, 1010.5, 60.5),
        ({"X_Wherry_Age": "x, 50"}, 1010.5, 10.5),
        ({"X_Wherry_Age": ["50", "7"]}, 1010.5, 60.5),
        ({"X_Wherry_Age": "50", "Date": formatdate(900, usegmt=True)}, 1010.5, 110.5),
    ],
)
def test_how_old_it_is(headers: Any, now: float, old: float) -> None:
    """RFC 9111 4.2.3"""
    stored = kept(**headers)
    assert policy.age(stored, stored.fields(), now) == pytest.approx(old)


def test_a_clock_that_goes_back_makes_nothing_younger() -> None:
    stored = kept()._replace(asked_at=1100.0)
    assert policy.age(stored, stored.fields(), 1000.5) == 0.0


@pytest.mark.parametrize(
    ("told", "asked", "now", "verdict"),
    [
        ("max-age=60", "", 1030, Verdict.FRESH),
        ("max-age=60", "", 1059.9, Verdict.FRESH),
        ("max-age=60", "", 1060, Verdict.VALIDATE),
        ("max-age=60", "max-age=30", 1030, Verdict.FRESH),
        ("max-age=60", "max-age=30", 1030.1, Verdict.VALIDATE),
        ("max-age=60", "max-age=x", 1000.5, Verdict.VALIDATE),
        ("max-age=60", "max-stale", 9999, Verdict.FRESH),
        ("max-age=60", "max-stale=40", 1100, Verdict.FRESH),
        ("max-age=60", "max-stale=40", 1100.1, Verdict.VALIDATE),
        ("max-age=60", "max-stale=x", 1060.1, Verdict.VALIDATE),
        ("max-age=60", "max-stale=0", 1060, Verdict.FRESH),
        ("max-age=60, must-revalidate", "max-stale", 9999, Verdict.VALIDATE),
        ("max-age=60, no-cache", "", 1030, Verdict.VALIDATE),
        ("max-age=60", "no-cache", 1030, Verdict.VALIDATE),
        ('max-age=60, no-cache="set-cookie"', "", 1030, Verdict.FRESH),
        ("max-age=60, stale-while-revalidate=60", "", 1060, Verdict.STALE_WHILE_REVALIDATE),
        ("max-age=60, stale-while-revalidate=60", "", 1119.9, Verdict.STALE_WHILE_REVALIDATE),
        ("max-age=60, stale-while-revalidate=60", "", 1120, Verdict.VALIDATE),
        ("max-age=60, stale-while-revalidate=x", "", 1060, Verdict.VALIDATE),
        ("max-age=60, stale-while-revalidate=60, must-revalidate", "", 1070, Verdict.VALIDATE),
        ("max-age=60, stale-while-revalidate=60", "max-age=65", 1070, Verdict.VALIDATE),
        ("max-age=60, stale-while-revalidate=60", "max-stale=20", 1070, Verdict.FRESH),
        (
            "max-age=60, stale-while-revalidate=60",
            "max-stale=5",
            1070,
            Verdict.STALE_WHILE_REVALIDATE,
        ),
        ("max-age=60", "min-fresh=40", 1030, Verdict.VALIDATE),
        ("max-age=60", "min-fresh=30", 1030, Verdict.VALIDATE),
        ("max-age=60", "min-fresh=29", 1030, Verdict.FRESH),
        ("max-age=60", "min-fresh=x", 1030, Verdict.FRESH),
        ("max-age=60, stale-while-revalidate=60", "min-fresh=1", 1070, Verdict.VALIDATE),
        ("max-age=60, stale-while-revalidate=60", "min-fresh=40", 1030, Verdict.VALIDATE),
    ],
)
def test_what_to_do_with_it(told: str, asked: str, now: float, verdict: Verdict) -> None:
    """RFC 9111 4.2, 5.2, RFC 5861 3"""
    stored = kept(Cache_Control=told)._replace(asked_at=1000.0, came_at=1000.0)
    assert policy.judge(stored, asking(asked), now) == (verdict, pytest.approx(now - 1000.0))


def test_a_guess_counts_only_where_it_is_wanted() -> None:
    stored = kept(Last_Modified=formatdate(0, usegmt=True), Date=DATE)
    assert policy.judge(stored, fields(), 1010)[0] is Verdict.VALIDATE
    assert policy.judge(stored, fields(), 1010, heuristic=True)[0] is Verdict.FRESH


@pytest.mark.parametrize(
    ("told", "asked", "now", "served"),
    [
        ("max-age=60, stale-if-error=60", "", 1119.9, True),
        ("max-age=60, stale-if-error=60", "", 1120, False),
        ("max-age=60, stale-if-error=x", "", 1060.5, False),
        ("max-age=60", "stale-if-error=60", 1119.9, True),
        ("max-age=60", "stale-if-error=60", 1120, False),
        ("max-age=60", "", 1061, False),
        ("max-age=60, stale-if-error=10", "stale-if-error=60", 1100, True),
        ("max-age=60, stale-if-error=60, must-revalidate", "", 1061, False),
        ("max-age=60, stale-if-error=60, no-cache", "", 1061, False),
        ("max-age=60, stale-if-error=60", "no-cache", 1061, False),
        ("max-age=60, must-revalidate", "stale-if-error=60", 1061, False),
    ],
)
def test_what_is_served_when_the_origin_fails(
    told: str, asked: str, now: float, served: bool
) -> None:
    """RFC 5861 4"""
    stored = kept(Cache_Control=told)._replace(asked_at=1000.0, came_at=1000.0)
    assert policy.may_serve_on_error(stored, asking(asked), now) is served


def test_a_guess_counts_when_the_origin_fails() -> None:
    stored = kept(
        Cache_Control="stale-if-error=10", Last_Modified=formatdate(0, usegmt=True), Date=DATE
    )
    assert not policy.may_serve_on_error(stored, fields(), 1050)
    assert policy.may_serve_on_error(stored, fields(), 1050, heuristic=True)


def test_what_asks_whether_it_is_good() -> None:
    """RFC 9111 4.3.1"""
    assert policy.conditions(kept()) == {}
    assert policy.conditions(kept(ETag='"e"')) == {"If-None-Match": '"e"'}
    assert policy.conditions(kept(Last_Modified=DATE)) == {"If-Modified-Since": DATE}
    both = kept(ETag='"e"', Last_Modified=DATE)
    assert policy.conditions(both) == {"If-None-Match": '"e"', "If-Modified-Since": DATE}


@pytest.mark.parametrize(
    ("own", "told", "about"),
    [
        ('"e"', None, True),
        ('"e"', '"e"', True),
        ('"e"', 'W/"e"', True),
        ('W/"e"', '"e"', True),
        ('"e"', '"f"', False),
        (None, '"f"', False),
        (None, None, True),
    ],
)
def test_whom_a_304_speaks_of(own: str | None, told: str | None, about: bool) -> None:
    """RFC 9111 4.3.4"""
    stored = kept() if own is None else kept(ETag=own)
    assert policy.is_about(stored, fields() if told is None else fields(ETag=told)) is about


# --- by what it is found --------------------------------------------------------------------------


def test_a_variant_names_what_the_server_varies_on() -> None:
    """RFC 9111 4.1"""
    found = variant_of(fields(A="1"), fields(Vary=["A, b", " ,C"], Cache_Control="max-age=1"))
    assert found is not None
    assert [name for name, _ in found] == ["a", "b", "c"]
    assert dict(found)["b"] == dict(found)["c"] == "" != dict(found)["a"]
    assert len(dict(found)["a"]) == 32
    for star in ("*", "a, *", ["a", " * "]):
        assert variant_of(fields(), fields(Vary=star)) is None


def stored_for(
    asked: CIMultiDict[str], told: CIMultiDict[str], asker: Asker = NOBODY, **more: Any
) -> StoredResponse:
    variant = variant_of(asked, told, asker, **more)
    assert variant is not None
    raw = tuple((name.encode(), value.encode()) for name, value in told.items())
    return StoredResponse(200, "OK", raw, b"", 1000.0, 1000.5, variant)


FRESH = "max-age=1"


@pytest.mark.parametrize(
    ("told", "one", "other", "found"),
    [
        ({}, {}, {}, True),
        ({}, {"A": "1"}, {"A": "2"}, True),
        ({"Vary": "A"}, {"A": "1"}, {"A": "2"}, False),
        ({"Vary": "A"}, {"A": "1"}, {}, False),
        ({"Vary": "A"}, {}, {"A": "1"}, False),
        ({"Vary": "A"}, {"A": "1,2"}, {"A": ["1", " 2 "]}, True),
        ({"Vary": "A"}, {"A": "1,2"}, {"A": "2,1"}, False),
        ({}, {"Authorization": "a"}, {"Authorization": "a"}, True),
        ({}, {"Authorization": "a"}, {}, False),
        ({}, {}, {"Authorization": "a"}, False),
        ({}, {"X-Api-Key": "a"}, {"X-Api-Key": "a", "X-Auth-Token": "b"}, False),
        ({}, {"Cookie": "a"}, {"Cookie": "b"}, True),
        ({"Cache-Control": "private"}, {"Cookie": "a"}, {"Cookie": "b"}, False),
        ({"Cache-Control": "private"}, {"Cookie": "a"}, {"Cookie": "a"}, True),
        ({"Cache-Control": "private"}, {}, {"Cookie": "a"}, False),
        ({"Cache-Control": "private, public"}, {"Cookie": "a"}, {}, False),
    ],
)
def test_who_finds_it(told: Any, one: Any, other: Any, found: bool) -> None:
    kept_one = stored_for(
        fields(**one),
        fields(**{"Cache_Control": [FRESH], **told})
        if "Cache-Control" not in told
        else fields(Cache_Control=[told["Cache-Control"], FRESH]),
    )
    assert (select([kept_one], fields(**other)) is kept_one) is found


@pytest.mark.parametrize(
    ("told", "shared"),
    [
        ({"Cache_Control": "public"}, True),
        ({"Cache_Control": "max-age=0"}, True),
        ({"Cache_Control": "s-maxage=1"}, True),
        ({"Expires": "x"}, True),
        ({"Cache_Control": "no-cache"}, False),
        ({"ETag": '"e"'}, False),
    ],
)
def test_whose_cookies_count(told: Any, shared: bool) -> None:
    kept_one = stored_for(fields(Cookie="a"), fields(**told))
    assert (select([kept_one], fields(Cookie="b")) is kept_one) is shared


def test_the_newest_of_several_is_found() -> None:
    old = stored_for(fields(), fields(Cache_Control=FRESH))
    new = old._replace(came_at=2000.0)
    assert select([old, new], fields()) is new
    assert select([new, old], fields()) is new
    assert select([], fields()) is None


def test_a_way_is_found_by_itself_only() -> None:
    told = fields(Cache_Control=FRESH)
    for one in ("", "a"):
        kept_one = stored_for(fields(), told, Asker(partition=one))
        for other in ("", "a", "b"):
            assert (select([kept_one], fields(), Asker(partition=other)) is kept_one) is (
                one == other
            )


def test_what_an_owner_has_is_for_its_session() -> None:
    told = fields(Cache_Control=FRESH)
    mine = stored_for(fields(), told, Asker(session="a"), owned=True)
    free = stored_for(fields(), told, Asker(session="a"))
    assert select([mine], fields(), Asker(session="a")) is mine
    assert select([mine], fields(), Asker(session="b")) is None
    assert select([free], fields(), Asker(session="b")) is free
    assert select([free], fields(), Asker(session="b", is_known_inside=True)) is None
    assert select([mine], fields(), Asker(session="a", is_known_inside=True)) is mine


def test_further_fields_say_who_asks() -> None:
    asker = Asker(credentials=frozenset({"x-ward"}))
    kept_one = stored_for(fields(X_Ward="a"), fields(Cache_Control=FRESH), asker)
    assert select([kept_one], fields(X_Ward="a"), asker) is kept_one
    assert select([kept_one], fields(X_Ward="b"), asker) is None
    assert select([kept_one], fields(), asker) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("de, EN ;q=0.5", [("de", 1.0), ("en", 0.5)]),
        ("de; Q = 0.5", [("de", 0.5)]),
        ("de;q=x", [("de", 0.0)]),
        ("de;q=", [("de", 0.0)]),
        ("de;q=7", [("de", 1.0)]),
        ("de;q=-1", [("de", 0.0)]),
        ("de;q=nan", [("de", 0.0)]),
        ("de;x=0.5", [("de", 1.0)]),
        (" ,", []),
        (";q=1", []),
    ],
)
def test_languages(value: str, expected: list[tuple[str, float]]) -> None:
    assert languages(fields(Accept_Language=value)) == expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("de, en", "EN,de", True), ("de;q=0.5", "de;q=.50", True), ("de, en", "de", False)],
)
def test_languages_are_compared_by_what_they_mean(one: str, other: str, same: bool) -> None:
    kept_one = stored_for(
        fields(Accept_Language=one), fields(Cache_Control=FRESH, Vary="accept-language")
    )
    assert (select([kept_one], fields(Accept_Language=other)) is kept_one) is same
    # Of other fields case and order count.
    plain = stored_for(fields(A=one), fields(Cache_Control=FRESH, Vary="a"))
    assert select([plain], fields(A=other)) is None


def test_what_is_in_the_best_language_is_found() -> None:
    told = fields(Cache_Control=FRESH, Vary="Accept-Language, A", Content_Language=" DE ")
    kept_one = stored_for(fields(Accept_Language="de, en", A="1"), told)
    for wanted, found in (
        ("de", True),
        ("fr;q=0.9, de", True),
        ("fr, de", True),
        ("fr, de;q=0.9", False),
        ("de;q=0", False),
        ("", False),
    ):
        assert (select([kept_one], fields(Accept_Language=wanted, A="1")) is kept_one) is found
        assert select([kept_one], fields(Accept_Language=wanted, A="2")) is None
    assert select([kept_one], fields(A="1")) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_safe_methods_make_nothing_invalid(method: str) -> None:
    """RFC 9111 4.4"""
    assert invalidated(method, URL("http://h/"), 200, {}) == []


@pytest.mark.parametrize(
    ("status", "hits"), [(199, False), (200, True), (399, True), (400, False), (500, False)]
)
def test_only_success_makes_invalid(status: int, hits: bool) -> None:
    assert invalidated("POST", URL("http://h/"), status, {}) == (["http://h/"] if hits else [])


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({"Location": "/b"}, ["http://h/b"]),
        ({"Content-Location": "HTTP://H:80/c#x"}, ["http://h/c"]),
        ({"Location": "/b", "Content-Location": "c"}, ["http://h/b", "http://h/c"]),
        ({"Location": "http://other/"}, []),
        ({"Location": "https://h/"}, []),
        ({"Location": "http://h:81/"}, []),
        ({"Location": "http://[bad"}, []),
        ({"Location": "https://[::1]:43@/"}, []),
        ({"Location": "mailto:x"}, []),
    ],
)
def test_what_an_answer_names_is_invalid_too(headers: dict[str, str], more: list[str]) -> None:
    """RFC 9111 4.4: of the same origin only."""
    assert invalidated("POST", URL("http://h/a"), 201, headers) == ["http://h/a", *more]


def test_a_key_in_full() -> None:
    url = URL("HTTPS://u:p@H.Example:8443/a%2fb%7e?q=%7E&r=%c3#f", encoded=True)
    assert cache_key(url) == "https://h.example:8443/a%2Fb~?q=~&r=%C3"
    assert cache_key(URL("http://[::1]:81")) == "http://[::1]:81/"
    for character in "AZaz09-._~":
        assert (
            cache_key(URL(f"http://h/%{ord(character):02x}", encoded=True))
            == f"http://h/{character}"
        )
    for character in "!/:@[`{":
        key = cache_key(URL(f"http://h/%{ord(character):02x}", encoded=True))
        assert key == f"http://h/%{ord(character):02X}"


def test_a_scheme_has_no_case() -> None:
    url = URL.build(scheme="HTTP", host="h", port=80, path="/a")
    assert cache_key(url) == "http://h/a"
    assert cache_key(URL("https://h:443/a")) == "https://h/a"
    assert invalidated("POST", url, 200, {"Location": "http://h/b"}) == ["http://h/a", "http://h/b"]
    assert invalidated("POST", URL("http://h/a"), 200, {"Location": "HTTP://H/b"}) == [
        "http://h/a",
        "http://h/b",
    ]


# --- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("bytes 0-4/10", Part(0, 4, 10)),
        (" BYTES 5-5/6 ", Part(5, 5, 6)),
        ("bytes 5-9/*", Part(5, 9, None)),
        ("bytes 0-10/10", None),
        ("bytes 5-4/10", None),
        ("bytes */10", None),
        ("bytes 0-4", None),
        ("bytes 0-4/10, x", None),
        ("bytes \u0660-4/10", None),
        ("bytes 0-" + "9" * 19 + "/*", None),
        ("bytes 0-" + "9" * 18 + "/*", Part(0, 10**18 - 1, None)),
    ],
)
def test_part_of(value: str, part: Part | None) -> None:
    """RFC 9110 14.4"""
    assert part_of(fields(Content_Range=value)) == part
    assert is_plain_part(fields(Content_Range=value)) is (part is not None)
    assert not is_plain_part(fields(Content_Range=value, Content_Encoding="x"))


def test_there_is_one_content_range() -> None:
    assert part_of(fields()) is None
    assert part_of(fields(Content_Range=["bytes 0-4/10"] * 2)) is None
    assert str(Part(0, 4, 10)) == "bytes 0-4/10"
    assert str(Part(0, 4, None)) == "bytes 0-4/*"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("bytes=0-4", Wanted(0, 4)),
        (" Bytes=\t0-4 ", Wanted(0, 4)),
        ("bytes=4-4", Wanted(4, 4)),
        ("bytes=4-", Wanted(4)),
        ("bytes=-4", Wanted(suffix=4)),
        ("bytes=-0", Wanted(suffix=0)),
        ("bytes=-", None),
        ("bytes=4-3", None),
        ("bytes=0-1,2-3", None),
        ("lines=0-1", None),
        ("bytes=" + "9" * 19 + "-", None),
    ],
)
def test_wanted_range(value: str, wanted: Wanted | None) -> None:
    """RFC 9110 14.1.2"""
    assert wanted_range(fields(Range=value)) == wanted
    assert wanted_range(fields(Range=[value, value])) is None
    assert wanted_range(fields()) is None


@pytest.mark.parametrize(
    ("stored", "asked", "unmodified"),
    [
        (kept(ETag='"a"'), {"If_None_Match": '"a"'}, True),
        (kept(ETag='W/"a"'), {"If_None_Match": '"a"'}, True),
        (kept(ETag='"a"'), {"If_None_Match": 'W/"a"'}, True),
        (kept(ETag='"a"'), {"If_None_Match": ['"b"', '"a"']}, True),
        (kept(ETag='"a"'), {"If_None_Match": '"b", "a"'}, True),
        (kept(ETag='"a"'), {"If_None_Match": " * "}, True),
        (kept(), {"If_None_Match": "*"}, True),
        (kept(), {"If_None_Match": '""'}, False),
        (kept(ETag='"a"'), {"If_None_Match": '"b"'}, False),
        (kept(ETag="a"), {"If_None_Match": "a"}, False),
        (kept(ETag='"a"', status=206), {"If_None_Match": '"a"'}, True),
        (kept(ETag='"a"', status=404), {"If_None_Match": '"a"'}, False),
        (
            kept(ETag='"a"', Last_Modified=DATE),
            {"If_None_Match": '"b"', "If_Modified_Since": DATE},
            False,
        ),
        (kept(Last_Modified=DATE), {"If_Modified_Since": DATE}, True),
        (kept(Last_Modified=DATE), {"If_Modified_Since": formatdate(999, usegmt=True)}, False),
        (kept(Last_Modified=DATE), {"If_Modified_Since": "x"}, False),
        (kept(Date=DATE), {"If_Modified_Since": DATE}, True),
        (kept(Date=DATE), {"If_Modified_Since": formatdate(999, usegmt=True)}, False),
        (kept(), {"If_Modified_Since": DATE}, False),
        (kept(), {"If_Modified_Since": formatdate(1001, usegmt=True)}, True),
        (kept(), {}, False),
    ],
)
def test_is_unmodified(stored: StoredResponse, asked: Any, unmodified: bool) -> None:
    """RFC 9111 4.3.2"""
    assert is_unmodified(stored, fields(**asked)) is unmodified


def test_a_304_says_what_identifies_it() -> None:
    """RFC 9110 15.4.5"""
    kept_names = [
        "Cache-Control",
        "Content-Location",
        "Date",
        "ETag",
        "Expires",
        "Last-Modified",
        "Vary",
        "Set-Cookie",
    ]
    told = {name.replace("-", "_"): '"e"' for name in [*kept_names, "X-Other", "Content-Type"]}
    stored = kept(**told, X_Wherry_Age="5", X_Wherry_Undone="gzip")
    found = answer(stored, fields(If_None_Match='"e"'), decoded=False)
    assert found is not None
    assert (found.status, found.reason, found.body) == (304, "Not Modified", b"")
    assert [name.decode() for name, _ in found.headers] == [
        *kept_names,
        "X-Wherry-Age",
        "X-Wherry-Undone",
    ]


@pytest.mark.parametrize(
    ("named", "same"),
    [
        ('"a"', True),
        ('W/"a"', False),
        ('"b"', False),
        (DATE, True),
        (formatdate(1001, usegmt=True), False),
        ("x", False),
        ("a", False),
    ],
)
def test_is_same_for_range(named: str, same: bool) -> None:
    """RFC 9110 13.1.5"""
    assert is_same_for_range(kept(ETag='"a"', Last_Modified=DATE), fields(If_Range=named)) is same
    assert is_same_for_range(kept(), fields())
    assert not is_same_for_range(kept(), fields(If_Range="x"))
    assert not is_same_for_range(kept(ETag='W/"a"'), fields(If_Range='W/"a"'))


def test_strong_tags() -> None:
    assert [is_strong(tag) for tag in ('"a"', '""', 'W/"a"', '"a', "a", "", '"a"b')] == [
        True,
        True,
        *[False] * 5,
    ]


def part(body: bytes, first: int, total: str = "10", **headers: str) -> StoredResponse:
    last = first + len(body) - 1
    told = {"ETag": '"e"', **headers}
    return kept(body, 206, **told, Content_Range=f"bytes {first}-{last}/{total}")


@pytest.mark.parametrize(
    ("stored", "wanted", "expected"),
    [
        (kept(), "bytes=0-0", (b"0", "bytes 0-0/10")),
        (kept(), "bytes=0-9", (b"0123456789", "bytes 0-9/10")),
        (kept(), "bytes=9-10", (b"9", "bytes 9-9/10")),
        (kept(), "bytes=10-", None),
        (kept(), "bytes=-1", (b"9", "bytes 9-9/10")),
        (kept(), "bytes=-10", (b"0123456789", "bytes 0-9/10")),
        (kept(), "bytes=-11", (b"0123456789", "bytes 0-9/10")),
        (kept(), "bytes=-0", None),
        (kept(b""), "bytes=0-", None),
        (kept(b""), "bytes=-1", None),
        (part(b"3456", 3), "bytes=3-6", (b"3456", "bytes 3-6/10")),
        (part(b"3456", 3), "bytes=4-5", (b"45", "bytes 4-5/10")),
        (part(b"3456", 3), "bytes=2-5", None),
        (part(b"3456", 3), "bytes=2-6", None),
        (kept(), "bytes=0-1,2-3", None),
        (part(b"3456", 3), "bytes=4-7", None),
        (part(b"3456", 3), "bytes=4-", None),
        (part(b"3456", 3), "bytes=-1", None),
        (part(b"6789", 6), "bytes=7-", (b"789", "bytes 7-9/10")),
        (part(b"6789", 6), "bytes=7-99", (b"789", "bytes 7-9/10")),
        (part(b"6789", 6), "bytes=-4", (b"6789", "bytes 6-9/10")),
        (part(b"6789", 6), "bytes=-5", None),
        (part(b"6789", 6, "*"), "bytes=7-8", (b"78", "bytes 7-8/*")),
        (part(b"6789", 6, "*"), "bytes=7-99", None),
        (part(b"6789", 6, "*"), "bytes=7-", None),
        (part(b"6789", 6, "*"), "bytes=-1", None),
        (kept(status=206), "bytes=0-1", None),
    ],
)
def test_what_is_cut(stored: StoredResponse, wanted: str, expected: Any) -> None:
    found = answer(stored, fields(Range=wanted), decoded=False)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.status, found.reason) == (206, "Partial Content")
        assert (found.body, found.fields().getall("Content-Range")) == (expected[0], [expected[1]])
    assert answer(stored, fields(Range=wanted), decoded=True) is None


def test_what_is_answered_without_a_range() -> None:
    whole, piece, missing = kept(), part(b"01", 0), kept(status=404)
    assert answer(whole, fields(), decoded=True) is whole
    assert answer(piece, fields(), decoded=False) is None
    assert answer(missing, fields(Range="bytes=0-1"), decoded=False) is missing
    other = fields(Range="bytes=0-1", If_Range='"other"')
    assert answer(whole, other, decoded=True) is whole
    assert answer(piece, other, decoded=False) is None


@pytest.mark.parametrize(
    ("stored", "most", "asked"),
    [
        (part(b"0123", 0), 10, {"Range": "bytes=4-", "If-Range": '"e"'}),
        (part(b"0123", 0, ETag='W/"e"'), 10, {"Range": "bytes=4-"}),
        (part(b"0123", 0), 9, None),
        (part(b"123", 1), 10, None),
        (part(b"0123", 0, "*"), 10, None),
        (part(b"0123", 0, "4"), 10, None),
        (part(b"0123", 0, "5"), 10, {"Range": "bytes=4-", "If-Range": '"e"'}),
        (part(b"0123", 0)._replace(body=b"012"), 10, None),
        (part(b"123", 1)._replace(body=b"0123"), 10, None),
        (part(b"0123", 0)._replace(status=200), 10, None),
        (kept(status=206), 10, None),
    ],
)
def test_what_is_missing(stored: StoredResponse, most: int, asked: Any) -> None:
    assert missing_range(stored, most) == asked


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (part(b"0123", 0), part(b"456789", 4), (200, b"0123456789", None)),
        (part(b"456789", 4), part(b"0123", 0), (200, b"0123456789", None)),
        (part(b"0123", 0), part(b"2345", 2), (206, b"012345", "bytes 0-5/10")),
        (part(b"2345", 2), part(b"0123", 0), (206, b"012345", "bytes 0-5/10")),
        (part(b"0123", 0), part(b"12", 1), (206, b"0123", "bytes 0-3/10")),
        (part(b"12", 1), part(b"0123", 0), (206, b"0123", "bytes 0-3/10")),
        (part(b"23", 2), part(b"456789", 4), (206, b"23456789", "bytes 2-9/10")),
        (part(b"0123", 0, "*"), part(b"45", 4), (206, b"012345", "bytes 0-5/10")),
        (part(b"0123", 0), part(b"45", 4, "*"), (206, b"012345", "bytes 0-5/10")),
        (part(b"0123", 0, "*"), part(b"45", 4, "*"), (206, b"012345", "bytes 0-5/*")),
        (kept(ETag='"e"'), part(b"45", 4), (200, b"0123456789", None)),
        (part(b"0123", 0), part(b"56", 5), None),
        (part(b"0123", 0), part(b"5", 5), None),
        (part(b"5", 5), part(b"0123", 0), None),
        (part(b"56", 5), part(b"0123", 0), None),
        (part(b"0123", 0), part(b"X4", 3), None),
        (part(b"0123", 0), part(b"45", 4, "11"), None),
        (kept(ETag='"e"'), part(b"45", 4, "11"), None),
        (part(b"0123", 0), part(b"45", 4, ETag='"f"'), None),
        (part(b"0123", 0, ETag='W/"e"'), part(b"45", 4, ETag='W/"e"'), None),
        (part(b"0123", 0, ETag=""), part(b"45", 4, ETag=""), None),
        (part(b"0123", 0)._replace(body=b"012"), part(b"45", 4), None),
        (part(b"0123", 0)._replace(body=b"01234"), part(b"45", 4), None),
        (part(b"0123", 0), part(b"45", 4)._replace(body=b"456"), None),
        (kept(status=206, ETag='"e"'), part(b"45", 4), None),
        (part(b"0123", 0), kept(status=206, ETag='"e"'), None),
    ],
)
def test_what_goes_together(old: StoredResponse, new: StoredResponse, expected: Any) -> None:
    """RFC 9111 3.4, RFC 9110 15.3.7.3"""
    old = old._replace(variant=(("v", "1"),))
    new = new._replace(asked_at=2000.0, came_at=2001.0)
    found = combined(old, new, ((b"A", b"1"), (b"content-range", b"x")), 10)
    if expected is None:
        assert found is None
        return
    assert found is not None
    told = found.fields()
    assert (found.status, found.body, told.get("Content-Range")) == expected
    assert found.reason == ("OK" if found.status == 200 else "Partial Content")
    assert (told["A"], found.variant) == ("1", (("v", "1"),))
    assert (found.asked_at, found.came_at) == (2000.0, 2001.0)
    assert combined(old, new, (), len(found.body)) is not None
    assert combined(old, new, (), len(found.body) - 1) is None


def test_bytes_that_are_no_text_tell_two_askers_apart() -> None:
    """Fields are read as UTF-8, and what is none survives as surrogates (PEP 383)."""
    came = CIMultiDict({"Cache-Control": "private, max-age=9"})
    variants = {
        variant_of(CIMultiDict({"Cookie": value}), came) for value in ("a\udcff", "a\udcfe", "a")
    }
    assert len(variants) == 3
