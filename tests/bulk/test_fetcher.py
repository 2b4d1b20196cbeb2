"""`Fetcher` on real sockets: what comes out, and what the servers see."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import re
import ssl
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from email.utils import formatdate

import pytest
import trustme
from tests.bulk.site import answer, connected, is_robots
from yarl import URL

import wherry
from wherry.bulk import Breaker, Fetcher, HostDown, Memory, links_of
from wherry.bulk.fetcher import _ARGUMENTS
from wherry.bulk.hooks import Hooks
from wherry.bulk.report import Report

QUICK = {"backoff": 0.001}


async def fetch(urls, into=None, **options):
    async with Fetcher(**{**connected(), **QUICK, **options}) as fetcher:
        results = [result async for result in fetcher.fetch(urls, into)]
        return {result.url: result for result in results}, fetcher.report


# --- what comes out -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rests", "is dead"])
async def test_a_run_ends_though_more_hosts_than_are_known_must_be_left_alone(site, kind):
    names = [f"h{number}.{'test' if kind == 'rests' else 'none'}" for number in range(12)]
    for name in names:
        site.scripts[f"{name}/"] = answer(b"", "429 Slowly", "Retry-After: 99999999")
    urls = [site.url("/", name) for name in names] + [site.url(f"/{n}") for n in range(3)]
    results, _ = await fetch(
        urls, max_hosts=5, retries=0, breaker=Breaker(after=1, trips=1, dead_for=1e6)
    )
    assert sorted(results) == sorted(urls)
    assert [url for url in urls if results[url].ok] == urls[-3:]


async def test_links_to_hosts_that_rest_do_not_hold_up_the_input(site):
    links = "".join(f"<a href='{site.url('/rest', f'h{n}.test')}'>" for n in range(12))
    site.scripts["/0"] = answer(links.encode(), "200 OK", "Content-Type: text/html")
    site.scripts["/rest"] = answer(b"", "429 Slowly", "Retry-After: 301")
    results, _ = await fetch(
        [site.url(f"/{n}") for n in range(8)], follow=links_of, max_hosts=10, retries=0
    )
    assert len(results) == 20
    assert sum(result.ok for result in results.values()) == 8


async def test_robots_txt_is_asked_for_once_whatever_names_urls_have(site):
    site.scripts["/robots.txt"] = answer(b"User-agent: *\nDisallow: /no")
    urls = [site.url("/x").replace("//", f"//{number}:secret@") for number in range(5)]
    urls.append(site.url("/no").replace("//", "//me@"))
    results, _ = await fetch(urls, robots=True)
    assert site.paths().count("/robots.txt") == 1
    assert not any(b"uthorization" in each.head for each in site.asked if "robots" in each.path)
    assert [url for url, result in results.items() if not result.ok] == urls[-1:]


@pytest.mark.parametrize("robots", [False, True])
async def test_ssl_of_the_session_holds_for_the_input_alone(site, robots):
    """Whoever checks no certificate of a host that is named checks those of all others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("a.test", "b.test").configure_cert(context)
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=context)
    site.port = server.sockets[0].getsockname()[1]
    own = [site.url(path).replace("http:", "https:") for path in ("/", "/redirect", "/own")]
    other = site.url("/other", "b.test").replace("http:", "https:")
    site.scripts["a.test/"] = answer(
        f"<a href='/own'><a href='{other}'>".encode(), "200 OK", "Content-Type: text/html"
    )
    site.scripts["a.test/redirect"] = answer(b"", "302 Found", f"Location: {other}?redirect")
    site.scripts["/robots.txt"] = answer(b"User-agent: *\nAllow: /")
    results, _ = await fetch(
        own[:2], session_options={"ssl": False}, follow=links_of, robots=robots, retries=0
    )
    server.close()
    await server.wait_closed()
    assert {url for url, result in results.items() if result.ok} == {own[0], own[2]}
    assert set(results) == {*own, other}
    for url in (own[1], other):
        error = results[url].error
        refused = error.__cause__ if robots else error
        assert isinstance(refused, wherry.ClientConnectorCertificateError), error
    assert {each.host for each in site.asked} == {"a.test"}
    assert site.paths().count("/robots.txt") == robots


async def test_pages_that_are_not_taken_are_bounded_by_their_bytes(site, monkeypatch):
    monkeypatch.setattr("wherry.bulk.run._MOST_OUT_BYTES", 1)
    urls = [site.url(f"/{n}", f"h{n}.test") for n in range(40)]
    taken = 0
    async with Fetcher(**connected(), in_flight=2) as fetcher:
        async for result in fetcher.fetch(urls):
            assert result.ok
            taken += 1
            for _ in range(15):
                await asyncio.sleep(0.0001)  # the others may go on, as far as they are let
            # Two were under way when the first of them came.
            assert len(fetcher._runs[0]._out) <= 2
    assert taken == 40


def hrefs(page):
    return re.findall(r"href='([^']*)'", page.text())


@pytest.mark.parametrize("follow", [links_of, hrefs])
async def test_a_link_that_is_no_url_costs_neither_its_page_nor_the_run(site, follow):
    links = ["http://[::1]:43@/", "http://[::1", "http://a:b:c/", "http://h:99999999999/", "/fine"]
    body = "".join(f"<a href='{link}'>" for link in links).encode()
    site.scripts["/"] = answer(body, "200 OK", "Content-Type: text/html")
    results, _ = await fetch([site.url("/")], follow=follow)
    assert {url: result.error for url, result in results.items()} == {
        site.url("/"): None,
        site.url("/fine"): None,
    }


async def test_every_url_has_its_page(site):
    urls = [site.url(f"/{number}", f"h{number % 7}.test") for number in range(100)]
    results, report = await fetch(urls)
    assert sorted(results) == sorted(urls)
    for url, result in results.items():
        assert result.ok
        assert result.status == 200
        assert result.attempts == 1
        page = result.page
        assert page.text() == f"this is /{url.rpartition('/')[2]}"
        assert result.bytes == len(page.body)
        assert page.url == page.final_url == url
        assert page.ip == "127.0.0.1"
        assert page.http_version == "1.1"
        assert page.request_method == "GET"
        assert page.request_headers["Host"] == url.split("/")[2]
        assert dict(page.raw_headers)[b"Content-Length"] == b"%d" % len(page.body)
        assert page.elapsed > 0
    assert report.pages == report.requests == report.read == 100
    assert report.statuses == {200: 100}
    assert report.queued == report.active == 0


async def test_an_asynchronous_input_is_read_as_it_comes(site):
    first_is_back = asyncio.Event()

    async def urls():
        yield site.url("/1")
        await first_is_back.wait()
        yield URL(site.url("/2"))

    async with Fetcher(**connected()) as fetcher:
        async for result in fetcher.fetch(urls()):
            assert result.ok
            first_is_back.set()
    assert site.paths() == ["/1", "/2"]


async def test_a_proxy_hides_the_address(site):
    results, _ = await fetch(
        ["http://a.test/x"], session_options={"proxy": site.url("/", "p.test")}
    )
    (result,) = results.values()
    assert result.ok
    assert result.page.ip is None
    assert site.paths() == ["http://a.test/x"]


async def test_an_empty_input_ends(site):
    assert (await fetch([]))[0] == {}
    assert (await fetch([], Memory()))[0] == {}


async def test_what_is_no_url_fails_and_the_others_go_on(site):
    results, report = await fetch(
        [
            "ftp://a.test/",
            "nonsense",
            "http://[::1",
            "http:///x",
            "http://a.test:99999/",
            site.url(),
        ]
    )
    assert [url for url, result in results.items() if result.ok] == [site.url()]
    assert report.errors == {"InvalidURL": 5}


async def test_an_input_of_mistakes_alone_does_not_pile_up(site):
    given = 0

    def urls():
        nonlocal given
        for given in range(20_000):
            yield f"nonsense {given}"

    async with Fetcher() as fetcher:
        results = fetcher.fetch(urls())
        await anext(results)
        assert given < 1000
        await results.aclose()


async def test_one_url_in_several_forms_is_fetched_once(site):
    host = f"A.TEST:{site.port}"
    forms = [
        site.url("/a"),
        f"HTTP://{host}/a",
        site.url("/a#top"),
        site.url("/b/../a"),
        site.url("/a"),
    ]
    results, report = await fetch(forms)
    assert list(results) == [site.url("/a")]
    assert site.paths() == ["/a"]
    assert report.known == 4
    results, report = await fetch(forms, unique=False)
    assert site.paths() == ["/a"] * 6


async def test_pages_with_the_same_body_are_kept_once_where_that_is_asked_for(site):
    site.scripts = {"/1": answer(b"same"), "/2": answer(b"same"), "/3": answer(b"other")}
    sink = Memory()
    urls = [site.url(f"/{number}") for number in (1, 2, 3)]
    results, report = await fetch(urls, sink, unique_bodies=True)
    assert sorted(page.body for page in sink.pages) == [b"other", b"same"]
    assert sorted(result.duplicate for result in results.values()) == [False, False, True]
    assert [result.place is None for result in results.values() if result.duplicate] == [True]
    assert report.duplicates == 1


async def test_statuses_that_are_kept_are_pages(site):
    site.scripts = {"/gone": answer(b"no", "410 Gone")}
    results, _ = await fetch([site.url("/gone")])
    (result,) = results.values()
    assert result.status == 410
    assert isinstance(result.error, wherry.ClientResponseError)
    assert result.error.status == 410
    results, _ = await fetch([site.url("/gone")], keep=None)
    (result,) = results.values()
    assert result.ok
    assert result.page.body == b"no"


async def test_a_body_that_is_too_large_fails(site):
    site.scripts = {"/large": answer(b"x" * 5000)}
    results, _ = await fetch([site.url("/large"), site.url("/small")], max_body=1000, retries=0)
    assert not results[site.url("/large")].ok
    assert results[site.url("/small")].ok


async def test_who_stops_has_what_was_committed_and_no_more_is_fetched(site):
    sink = Memory(size=5)
    async with Fetcher(**connected(), in_flight=2) as fetcher:
        async for result in fetcher.fetch((site.url(f"/{n}") for n in range(10**9)), sink):
            assert result.ok
            break
    asked = len(site.asked)
    assert 5 <= len(sink.pages) <= asked < 2000
    await asyncio.sleep(0)
    assert len(site.asked) == asked


async def test_who_is_cancelled_again_while_a_run_ends_leaves_nothing_behind(site):
    class Slow(Memory):
        def __init__(self):
            super().__init__()
            self.commits, self.may_commit = asyncio.Event(), asyncio.Event()
            self.closed = False

        async def publish(self, shards):
            self.commits.set()
            await self.may_commit.wait()
            await super().publish(shards)

        async def close(self):
            self.closed = True

    sink = Slow()

    async def fetch_all():
        async with Fetcher(**connected(), commit_every=0.01) as fetcher:
            async for _ in fetcher.fetch([site.url("/1")], into=sink):
                pass

    before = asyncio.all_tasks()
    fetching = asyncio.create_task(fetch_all())
    await sink.commits.wait()
    for _ in range(3):
        fetching.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not fetching.done()
    sink.may_commit.set()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert sink.closed
    assert len(sink.pages) == 1
    assert not {task for task in asyncio.all_tasks() - before if not task.done()}


async def test_a_fetcher_is_entered_first_and_has_one_run_at_a_time(site):
    with pytest.raises(RuntimeError, match="is entered first"):
        Fetcher().fetch([])
    async with Fetcher(**connected()) as fetcher:
        results = fetcher.fetch([site.url("/1"), site.url("/2")])
        await anext(results)
        with pytest.raises(RuntimeError, match="fetching already"):
            fetcher.fetch([])
        await results.aclose()
        assert [result.url async for result in fetcher.fetch([site.url("/3")])] == [site.url("/3")]


@pytest.mark.parametrize(
    "options",
    [
        {"per_host": 0}, {"in_flight": 0}, {"retries": -1}, {"rate_per_host": 0},
        {"rate_per_host": float("inf")}, {"backoff": 0}, {"max_body": 0},
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Fetcher(**options)


# --- how many at once, and who comes first ---------------------------------------------------------


async def test_no_more_at_once_than_asked_for(site):
    async def slow(_):
        for _ in range(5):
            await asyncio.sleep(0)
        return answer()

    urls = [site.url(f"/{n}", f"h{n % 5}.test") for n in range(100)]
    site.scripts = dict.fromkeys([f"/{n}" for n in range(100)], slow)
    await fetch(urls, per_host=2, in_flight=6)
    assert site.most[""] <= 6
    assert max(site.most[f"h{n}.test"] for n in range(5)) <= 2
    assert site.most[""] > 2


async def test_a_host_with_many_urls_at_the_head_starves_nobody(site):
    """And those that wait are on disk, not in memory."""

    def urls():
        for number in range(3000):
            yield site.url(f"/{number}", "large.test")
        for number in range(50):
            yield site.url(f"/{number}", f"small{number}.test")

    held = asyncio.Event()

    async def when_the_small_are_done(_):
        await held.wait()
        return answer()

    for number in range(8):
        site.scripts[f"large.test/{number}"] = when_the_small_are_done
    small = 0
    spilled = 0
    async with Fetcher(**connected(), per_host=2, in_flight=10, buffer=100) as fetcher:
        async for result in fetcher.fetch(urls()):
            if "small" in result.url:
                small += 1
                if small == 50:
                    spilled = fetcher.report.spilled
                    held.set()
        assert fetcher.report.pages == 3050
    assert 2500 < spilled < 3000
    assert small == 50
    assert site.most["large.test"] == 2


async def test_the_input_is_read_no_faster_than_it_is_fetched(site):
    given = 0

    def urls():
        nonlocal given
        for given in range(10**9):
            yield site.url(f"/{given}", f"h{given % 50}.test")

    async with Fetcher(**connected(), buffer=200, in_flight=10) as fetcher:
        taken = 0
        async for _ in fetcher.fetch(urls()):
            taken += 1
            assert given < len(site.asked) + 400
            if taken == 500:
                break


async def test_a_rate_holds_for_each_host(site):
    urls = [site.url(f"/{n}", f"h{n % 2}.test") for n in range(8)]
    await fetch(urls, rate_per_host=20, per_host=4)
    for host in ("h0.test", "h1.test"):
        times = [asked.when for asked in site.asked if asked.host == host]
        # The server sees them a little later than they are sent, and not always by as much.
        assert times[-1] - times[0] > 3 * 0.05 - 0.04


# --- what goes wrong -------------------------------------------------------------------------------


def failing(times, bad, good=b"well"):
    left = [times]

    def script(_):
        left[0] -= 1
        return bad if left[0] >= 0 else answer(good)

    return script


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(site, status):
    site.scripts = {"/": failing(2, answer(b"", f"{status} Later"))}
    results, report = await fetch([site.url()])
    assert results[site.url()].ok
    assert results[site.url()].attempts == 3
    assert report.retries == 2
    site.scripts = {"/": failing(3, answer(b"", f"{status} Later"))}
    results, _ = await fetch([site.url()])
    assert results[site.url()].status == status
    assert results[site.url()].attempts == 3
    assert not results[site.url()].ok


async def test_a_connection_that_breaks_is_tried_again(site):
    site.scripts = {"/": failing(2, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")}

    original = site.reply

    async def reply(asked):
        data = await original(asked)
        if data.endswith(b"short"):
            raise ConnectionResetError
        return data

    site.reply = reply
    results, _ = await fetch([site.url()])
    assert results[site.url()].page.body == b"well"


async def test_what_cannot_pass_is_not_tried_again(site):
    site.scripts = {"/": answer(b"", "404 No")}
    results, _ = await fetch([site.url(), site.url("/x", "nobody.none")], breaker=Breaker(100))
    assert results[site.url()].attempts == 1
    # A name may be there the next time.
    assert results[site.url("/x", "nobody.none")].attempts == 3


@pytest.mark.parametrize("date", [False, True])
async def test_retry_after_holds_up_its_host_alone(site, date):
    """One that is asked to wait for a minute does; the others are done meanwhile."""
    after = formatdate(time.time() + 60, usegmt=True) if date else "60"
    site.scripts = {"busy.test/0": answer(b"", "503 Busy", f"Retry-After: {after}")}
    urls = [site.url(f"/{n}", host) for n in range(20) for host in ("busy.test", "well.test")]
    async with Fetcher(**connected(), per_host=1) as fetcher:
        results = fetcher.fetch(urls)
        done = [(await anext(results)).url for _ in range(20)]
        await results.aclose()
    assert all("well.test" in url for url in done)
    assert site.paths("busy.test") == ["/0"]


async def test_who_asks_for_too_long_a_rest_is_given_up(site):
    site.scripts = {"/0": answer(b"", "429 Slow", "Retry-After: 86400")}
    results, _ = await fetch([site.url(f"/{n}") for n in range(20)], per_host=1, max_pause=30)
    errors = {type(result.error) for result in results.values()}
    assert errors == {HostDown}
    assert site.paths() == ["/0"]


async def test_a_host_that_is_not_there_is_given_up_after_some_tries(site, unused_tcp_port):
    dead = [f"http://dead.test:{unused_tcp_port}/{n}" for n in range(300)]
    results, report = await fetch(
        [*dead, site.url()], breaker=Breaker(after=3, pause=0.01, trips=2), retries=1, per_host=2
    )
    assert results[site.url()].ok
    kinds = report.errors
    assert kinds["HostDown"] + kinds["ClientConnectorError"] == 300
    assert kinds["HostDown"] > 280
    assert report.requests < 20


async def test_retries_have_a_budget(site):
    """A host that answers nothing well is not asked three times as often for it."""
    site.scripts = dict.fromkeys([f"/{n}" for n in range(200)], answer(b"", "500 No"))
    _, report = await fetch([site.url(f"/{n}") for n in range(200)])
    assert report.failed == 200
    assert report.retries < 150


async def test_a_hook_that_fails_costs_its_page_alone(site):
    def extract(page):
        if page.url.endswith("/1"):
            raise KeyError("it is not there")
        return len(page.body)

    sink = Memory()
    results, _ = await fetch([site.url("/1"), site.url("/2")], sink, on_response=extract)
    assert isinstance(results[site.url("/1")].error, KeyError)
    assert results[site.url("/2")].extracted == len("this is /2")
    assert [page.extracted for page in sink.pages] == [len("this is /2")]


class Full(Memory):
    async def add(self, page):
        raise OSError(28, "No space left on device")


class NeverVisible(Memory):
    async def publish(self, shards):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("sink", [Full(), NeverVisible()])
async def test_a_sink_that_fails_ends_the_run(site, sink):
    with pytest.raises(OSError, match=r"No space|Input/output"):
        await fetch((site.url(f"/{n}") for n in range(10**9)), sink, commit_every=0.01)


async def test_an_input_that_fails_ends_the_run(site):
    def urls():
        yield site.url("/1")
        raise LookupError("the list ends here")

    with pytest.raises(LookupError, match="ends here"):
        await fetch(urls())


async def test_cancelling_ends_everything(site):
    begun = asyncio.Event()

    async def never(_):
        begun.set()
        await asyncio.Event().wait()

    site.scripts = {"/": never}
    before = asyncio.all_tasks()
    task = asyncio.ensure_future(fetch([site.url()]))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    left = {each for each in asyncio.all_tasks() - before if "serve" not in repr(each)}
    assert not left


# --- redirects -------------------------------------------------------------------------------------


async def test_redirects_lead_to_the_page(site):
    site.scripts = {
        "/old": answer(b"", "301 Moved", "Location: /new"),
        "/new": answer(b"", "302 Found", f"Location: {site.url('/page', 'b.test')}"),
    }
    results, report = await fetch([site.url("/old")])
    (result,) = results.values()
    assert result.attempts == 1
    assert result.page.url == site.url("/old")
    assert result.page.final_url == site.url("/page", "b.test")
    assert report.redirects == 2


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("/", wherry.TooManyRedirects),
        ("ftp://a.test/", wherry.NonHttpUrlRedirectClientError),
        ("http://", wherry.InvalidUrlRedirectClientError),
        ("http://[::1/", wherry.InvalidUrlRedirectClientError),
    ],
)
async def test_redirects_that_lead_nowhere_fail(site, location, error):
    site.scripts = {"/": answer(b"", "302 Found", f"Location: {location}")}
    results, _ = await fetch([site.url()], max_redirects=3)
    assert isinstance(results[site.url()].error, error)


async def test_a_redirect_without_a_location_is_an_answer(site):
    site.scripts = {"/": answer(b"choose", "302 Found")}
    results, _ = await fetch([site.url()], keep=None)
    assert results[site.url()].page.status == 302


async def test_redirects_keep_to_the_rate_of_where_they_lead(site):
    for number in range(5):
        target = site.url(f"/page{number}", "b.test")
        site.scripts[f"/{number}"] = answer(b"", "302 Found", f"Location: {target}")
    await fetch([site.url(f"/{n}", f"h{n}.test") for n in range(5)], rate_per_host=20, per_host=4)
    times = [asked.when for asked in site.asked if asked.host == "b.test"]
    assert len(times) == 5
    assert times[-1] - times[0] > 4 * 0.05 - 0.04


async def test_secrets_go_to_the_hosts_of_the_input_alone(site):
    site.scripts = {
        "/old": answer(b"", "302 Found", f"Location: {site.url('/new', 'evil.test')}"),
        "evil.test/new": answer(b"", "302 Found", f"Location: {site.url('/back')}"),
        "/start": answer(f"{site.url('/found', 'evil.test')} {site.url('/own')}".encode()),
    }
    await fetch(
        [site.url("/old"), site.url("/start")],
        session_options={
            "headers": {"Authorization": "Bearer secret", "X-Key": "k", "Cookie": "secret=1"},
        },
        follow=lambda page: page.text().split() if "start" in page.url else [],
        robots=True,
    )
    secret = {(each.host, each.path) for each in site.asked if b"secret" in each.head}
    assert secret == {("a.test", "/old"), ("a.test", "/start"), ("a.test", "/own")}
    assert {("evil.test", "/new"), ("evil.test", "/found"), ("a.test", "/back")} <= {
        (each.host, each.path) for each in site.asked
    }


# --- robots.txt ------------------------------------------------------------------------------------


async def test_robots_txt_is_asked_for_once_and_heeded(site):
    site.scripts = {"/robots.txt": answer(b"User-agent: *\nDisallow: /private\n")}
    urls = [site.url(path) for path in ("/a", "/private/b", "/c", "/private")]
    results, report = await fetch(urls, robots=True)
    assert [is_robots(results[url]) for url in urls] == [False, True, False, True]
    assert sorted(site.paths()) == ["/a", "/c", "/robots.txt"]
    assert site.paths()[0] == "/robots.txt"
    assert report.robots_refused == 2


async def test_the_group_of_our_name_counts(site):
    site.scripts = {"/robots.txt": answer(b"User-agent: me\nDisallow: /\n")}
    results, _ = await fetch([site.url("/1")], robots=True, user_agent="me/1.0 (+http://me.test)")
    assert is_robots(results[site.url("/1")])
    assert b"me/1.0" in site.asked[0].head
    results, _ = await fetch([site.url("/1")], robots=True)
    assert results[site.url("/1")].ok


@pytest.mark.parametrize(
    ("robots", "allowed"),
    [
        (answer(b"", "404 No"), True),
        (answer(b"Disallow", "403 No"), True),
        (answer(b"", "500 No"), False),
        (answer(b"", "503 No"), False),
        (answer(b"", "429 Slow"), False),
        (answer(b"\xef\xbb\xbfUser-agent: *\nDisallow: /"), False),
        (answer(b"\xff\xfe\x00junk"), True),
        (answer(b"#" * 600_000 + b"\nUser-agent: *\nDisallow: /"), True),
        (answer(b"User-agent: *\nDisallow: /\n" + b"#" * 600_000), False),
    ],
)
async def test_who_has_no_rules_forbids_nothing_and_who_cannot_be_asked_all(site, robots, allowed):
    """RFC 9309 2.3.1, 2.5."""
    site.scripts = {"/robots.txt": robots}
    results, _ = await fetch([site.url("/1")], robots=True)
    assert results[site.url("/1")].ok is allowed
    assert is_robots(results[site.url("/1")]) is not allowed


@pytest.mark.parametrize(("hops", "allowed"), [(5, False), (6, True), (50, True)])
async def test_robots_txt_may_be_behind_five_redirects(site, hops, allowed):
    """RFC 9309 2.3.1.2: one that is further away may be taken for one that is not there."""

    def hop(number):
        if number == hops:
            return answer(b"User-agent: *\nDisallow: /")
        return answer(b"", "302 Found", f"Location: {site.url(f'/hop{number}', 'other.test')}")

    for number in range(hops):
        site.scripts[f"/hop{number}"] = hop(number + 1)
    site.scripts["/robots.txt"] = hop(0)
    results, _ = await fetch([site.url("/1")], robots=True)
    assert results[site.url("/1")].ok is allowed


async def test_robots_txt_that_comes_at_the_second_try_counts(site):
    site.scripts = {
        "/robots.txt": failing(2, answer(b"", "503 Later"), b"User-agent: *\nDisallow: /no")
    }
    results, _ = await fetch([site.url("/yes"), site.url("/no")], robots=True)
    assert results[site.url("/yes")].ok
    assert is_robots(results[site.url("/no")])


async def test_crawl_delay_holds_between_all_requests_of_a_host(site):
    site.scripts = {"slow.test/robots.txt": answer(b"User-agent: *\nCrawl-delay: 0.1\n")}
    urls = [site.url(f"/{n}", "slow.test") for n in range(3)] + [site.url("/q", "quick.test")]
    await fetch(urls, robots=True, per_host=4)
    times = [asked.when for asked in site.asked if asked.host == "slow.test"]
    assert len(times) == 4
    assert times[-1] - times[0] > 3 * 0.1 - 0.05
    assert site.most["slow.test"] == 1


async def test_redirects_are_subject_to_the_rules_of_where_they_lead(site):
    site.scripts = {
        "/old": answer(b"", "302 Found", f"Location: {site.url('/new', 'b.test')}"),
        "b.test/robots.txt": answer(b"User-agent: *\nDisallow: /new"),
    }
    results, _ = await fetch([site.url("/old")], robots=True)
    assert is_robots(results[site.url("/old")])
    assert site.paths("b.test") == ["/robots.txt"]


async def test_a_host_that_cannot_be_asked_for_its_rules_is_given_up_as_any_other(
    site, unused_tcp_port
):
    dead = [f"http://dead.test:{unused_tcp_port}/{n}" for n in range(50)]
    results, report = await fetch(
        dead, robots=True, breaker=Breaker(after=2, pause=0.01, trips=1), retries=1
    )
    assert len(results) == 50
    assert report.errors["HostDown"] + report.errors["RobotsRefused"] == 50


# --- following links -------------------------------------------------------------------------------


def numbered_links(page):
    """Links of page n of a tree: 2n + 1 and 2n + 2, and itself."""
    number = int(page.url.rpartition("/")[2])
    return [f"/{2 * number + 1}", f"{2 * number + 2}", page.url, "mailto:a@a.test", "#top"]


async def test_links_are_followed_once_each(site):
    results, report = await fetch([site.url("/0")], follow=numbered_links, max_depth=5)
    assert sorted(int(url.rpartition("/")[2]) for url in results) == list(range(63))
    assert len(site.asked) == 63
    assert report.pages == 63


async def test_it_is_enough_after_so_many_pages(site):
    for into in (None, Memory()):
        results, _ = await fetch([site.url("/0")], into, follow=numbered_links, max_pages=40)
        assert len(results) == 40


def length_of(page):
    return os.getpid(), len(page.body)


def one_link(page):
    yield "/second"


async def test_costly_hooks_run_in_other_processes(site):
    results, _ = await fetch(
        [site.url("/first")], on_response=length_of, follow=one_link, processes=1
    )
    assert len(results) == 2
    for result in results.values():
        pid, length = result.extracted
        assert pid != os.getpid()
        assert length == result.bytes


async def test_coroutines_run_in_the_loop_and_nowhere_else(site):
    async def extract(page):
        await asyncio.sleep(0)
        return page.status

    results, _ = await fetch([site.url("/1")], on_response=extract)
    assert results[site.url("/1")].extracted == 200
    with pytest.raises(TypeError, match="runs in the event loop"):
        Fetcher(on_response=extract, processes=1)


def dies(page):
    if page.url.endswith("/bad"):
        os._exit(1)
    return "alive"


async def test_a_page_that_kills_its_process_costs_no_other(site):
    first_is_back = asyncio.Event()

    async def urls():
        yield site.url("/good")
        await first_is_back.wait()
        for name in ("bad", "1", "2", "3"):
            yield site.url(f"/{name}")

    results = {}
    async with Fetcher(**connected(), on_response=dies, processes=2) as fetcher:
        async for result in fetcher.fetch(urls()):
            results[result.url] = result
            first_is_back.set()
    failed = results.pop(site.url("/bad"))
    assert "ended its process" in str(failed.error)
    assert [result.extracted for result in results.values()] == ["alive"] * 4


async def test_a_page_is_judged_after_those_that_it_took_with_it(site):
    results, _ = await fetch([site.url("/bad"), site.url("/good")])
    pages = [results[site.url(f"/{name}")].page for name in ("bad", "good")]
    hooks = Hooks((dies, None), 1)
    # One process has both, in this order, and nothing was right before.
    first, second = await asyncio.gather(*map(hooks.call, pages), return_exceptions=True)
    await hooks.close()
    assert isinstance(first, BrokenProcessPool)
    assert second == ("alive", None)


class OfTwo(Exception):
    """Pickle writes it, and cannot read it back."""

    def __init__(self, one, two):
        super().__init__(one)


def odd_errors(page):
    if page.url.endswith("/two"):
        raise OfTwo("odd", 2)
    if page.url.endswith("/exit"):
        raise SystemExit("that was it")
    return "fine"


async def test_an_error_that_cannot_be_sent_is_told_all_the_same(site):
    urls = [site.url("/two"), site.url("/exit"), site.url("/good")]
    results, _ = await fetch(urls, on_response=odd_errors, processes=1)
    assert str(results[urls[0]].error) == "OfTwo: odd"
    assert str(results[urls[1]].error) == "SystemExit: that was it"
    assert results[urls[2]].extracted == "fine"


def always_dies(page):
    os._exit(1)


def unsendable(page):
    return lambda: page


@pytest.mark.parametrize(
    ("hook", "told"), [(always_dies, "ended the process at"), (unsendable, "cannot be sent")]
)
async def test_processes_that_do_not_work_end_the_run_and_no_page_fails(site, tmp_path, hook, told):
    urls = [site.url(f"/{n}") for n in range(3)]
    path = tmp_path / "run.sqlite"
    with pytest.raises(RuntimeError, match=told):
        await fetch(urls, Memory(), on_response=hook, processes=1, checkpoint=path)
    results, _ = await fetch(urls, Memory(), on_response=length_of, checkpoint=path)
    assert [results[url].ok for url in urls] == [True] * 3


async def test_a_function_that_no_process_can_import_is_an_error_at_once(site):
    with pytest.raises(TypeError, match=r"on_response= runs in other processes.* not a lambda"):
        await fetch([site.url("/1")], on_response=lambda page: 1, processes=1)
    with pytest.raises(TypeError, match=r"follow= runs in other processes"):
        await fetch([site.url("/1")], follow=lambda page: [], processes=1)
    assert not site.asked


UNGUARDED = """
import asyncio
import sys

from wherry.bulk import Fetcher


def length(page):
    return len(page.body)


async def main():
    async with Fetcher(on_response=length, processes=1, checkpoint=sys.argv[2]) as fetcher:
        async for result in fetcher.fetch([sys.argv[1]]):
            print(result.extracted, result.error)


"""


async def test_a_program_without_a_main_guard_is_told_so_and_loses_nothing(site, tmp_path):
    program, checkpoint = tmp_path / "program.py", tmp_path / "run.sqlite"

    async def run(end: str) -> tuple[int, str, str]:
        program.write_text(UNGUARDED + end)
        url = f"http://127.0.0.1:{site.port}/page"
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, url, checkpoint,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    status, out, err = await run("asyncio.run(main())\n")
    assert (status, out) == (1, "")
    assert 'start it under `if __name__ == "__main__":`' in err.splitlines()[-1]
    assert not site.asked
    status, out, err = await run('if __name__ == "__main__":\n    asyncio.run(main())\n')
    assert (status, err) == (0, "")
    assert out == f"{len('this is /page')} None\n"


# --- what is called wrongly ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rate", "say rate_per_host="),
        ("per_hosts", "did you mean per_host="),
        ("nothing_like_it", "Fetcher has no argument 'nothing_like_it'$"),
    ],
)
def test_an_argument_that_it_has_not_is_told(name, told):
    with pytest.raises(TypeError, match=told):
        Fetcher(**{name: 1})


def test_other_words_name_arguments_that_are_there():
    known = inspect.signature(Fetcher).parameters.keys()
    assert not known & _ARGUMENTS.keys()
    for said in _ARGUMENTS.values():
        assert said.startswith("into=") or set(re.findall(r"(\w+)=", said)) <= known


async def test_what_is_no_list_of_urls_and_no_sink_is_told(site):
    async with Fetcher(**connected()) as fetcher:
        for one in (site.url("/1"), URL(site.url("/1"))):
            with pytest.raises(TypeError, match="give a list of URLs"):
                fetcher.fetch(one)
        with pytest.raises(TypeError, match="give a list of URLs"):
            fetcher.fetch(7)
        with pytest.raises(TypeError, match="into= is a sink"):
            fetcher.fetch([], into=7)
        with pytest.raises(ValueError, match="did you mean jsonl:"):
            fetcher.fetch([], into="json:pages/")


async def test_a_sink_may_be_its_text(site, tmp_path):
    results, _ = await fetch([site.url("/1")], f"jsonl:{tmp_path}")
    (result,) = results.values()
    assert (tmp_path / result.place.partition("#")[0]).is_file()


# --- telling ---------------------------------------------------------------------------------------


async def test_progress_is_told_as_it_goes_and_at_the_end(site, tmp_path):
    told: list[int] = []
    path = tmp_path / "run.prom"

    def note(report: Report) -> None:
        told.append(report.pages)

    await fetch(
        [site.url(f"/{n}") for n in range(20)], Memory(),
        progress=note, progress_every=0.001, metrics=path, rate_per_host=500,
    )  # fmt: skip
    assert told[-1] == 20
    assert len(told) > 1
    text = path.read_text()
    assert "wherry_bulk_pages_total 20\n" in text
    assert 'wherry_bulk_responses_total{status="200"} 20\n' in text
    assert "# TYPE wherry_bulk_hosts gauge\n" in text
    assert [each.name for each in tmp_path.iterdir()] == ["run.prom"]


async def test_meters_show_the_report(site):
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from wherry.bulk.opentelemetry_meters import observe

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    async with Fetcher(**connected()) as fetcher:
        observe(fetcher, provider.get_meter("test"))
        async for _ in fetcher.fetch([site.url(f"/{n}") for n in range(3)]):
            pass
        (resource,) = reader.get_metrics_data().resource_metrics
        shown = {
            metric.name: metric.data.data_points[0].value
            for metric in resource.scope_metrics[0].metrics
        }
    assert shown["wherry.bulk.pages"] == 3
    assert shown["wherry.bulk.hosts"] == 1
    with contextlib.suppress(Exception):
        provider.shutdown()


async def test_a_connector_of_ones_own_stays_open(site):
    async with wherry.TCPConnector(**connected()["connector_options"]) as connector:
        async with Fetcher(connector=connector) as fetcher:
            assert [result.ok async for result in fetcher.fetch([site.url()])] == [True]
        assert not connector.closed
