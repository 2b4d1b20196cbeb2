"""What `wherry fetch` reads as a list, how it names files, and how it spares servers; with wget and
aria2c beside it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import time
from email.utils import formatdate
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.process import find_program
from tests.servers.raw import read_request, response
from yarl import URL

import wherry
from wherry.bulk.robots import heeded_delay
from wherry.cli.argument_values import UsageProblem, parse_rate
from wherry.cli.fetch.file_names import filled, safe_path
from wherry.cli.fetch.politeness import RateLimit
from wherry.cli.fetch.url_lists import is_wanted, parse_checksum, read_list

BODY = b"what it is" * 100
SHA256 = hashlib.sha256(BODY).hexdigest()
METALINK = """<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink">
  <file name="{name}">
    <hash type="sha-256">{digest}</hash>
    <url priority="2">{second}</url>
    <url priority="1">{first}</url>
  </file>
</metalink>
"""


@pytest.fixture
async def pages(raw_server):
    """A server of ``/file``, ``/other`` and robots.txt; `asked` has the heads that it got."""

    class Pages:
        def __init__(self):
            self.asked = []
            self.changed = "Thu, 01 Jan 2015 00:00:00 GMT"
            self.robots = b"User-agent: *\nDisallow: /private\n"

        def targets(self):
            return [head.split()[1] for head in self.asked]

    served = Pages()

    async def script(reader, writer):
        while True:
            head = (await read_request(reader)).decode()
            if not head:
                return
            served.asked.append(head)
            target = head.split()[1]
            if target == "/robots.txt":
                writer.write(response(served.robots))
            elif target.startswith("/missing"):
                writer.write(response(b"", status="404 Not Found"))
            elif "if-modified-since" in head.lower():
                writer.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
            else:
                writer.write(response(BODY, fields=f"Last-Modified: {served.changed}\r\n"))

    served.url = (await raw_server(script)).url
    return served


async def fetch(run, *words, **more):
    return await asyncio.to_thread(run, "fetch", *words, **more)


# --- lists ----------------------------------------------------------------------------------------


def places(content, **more):
    return [(job.url, job.file, job.checksum) for job in read_list((), content, **more)]


def test_a_list_of_json_lines():
    lines = [
        {"url": "http://a.test/x"},
        {"url": "a.test/y", "file": "sub/why", "checksum": "sha256=AB12", "other": 1},
    ]
    content = "\n\n".join(map(json.dumps, lines)).encode()
    assert places(content) == [
        ("http://a.test/x", "x", None),
        ("http://a.test/y", "sub/why", "sha256:ab12"),
    ]


def test_a_list_of_csv():
    content = b'name,URL,checksum\nx,http://a.test/x,\n"y, z",http://a.test/y,md5=ff\n,,\n'
    assert places(content, name="list.CSV") == [
        ("http://a.test/x", "x", None),
        ("http://a.test/y", "y", "md5:ff"),
    ]


def test_a_list_of_metalink():
    content = METALINK.format(
        name="../up/file", digest=SHA256, first="http://a.test/1", second="http://b.test/2"
    ).encode()
    (job,) = read_list((), content)
    assert (job.url, job.file, job.checksum) == ("http://a.test/1", "up/file", f"sha256:{SHA256}")
    assert job.mirrors == ["http://b.test/2"]


def test_a_priority_that_is_no_number_comes_last():
    content = METALINK.replace('priority="2"', 'priority="x"').format(
        name="file", digest=SHA256, first="http://a.test/1", second="http://b.test/2"
    )
    (job,) = read_list((), content.encode())
    assert (job.url, job.mirrors) == ("http://a.test/1", ["http://b.test/2"])


@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        (b'{"url": 1}', "", "line 1 of the list: it has no url"),
        (b'{"url": "http://a/"}\n{"url"', "", "line 2 of the list: it is no JSON"),
        (b'{"url": "http://a/"}\n[]', "", "line 2 of the list: a line is an object"),
        (b'{"url": "http://a/", "checksum": "x"}', "", "line 1 of the list: a checksum"),
        (b"link\nhttp://a/", "a.csv", "a heading with a column url"),
        (b"url\ngopher://a/", "a.csv", "line 2 of the list: 'gopher"),
        (b"<metalink>", "", "neither text nor metalink"),
        (b'<!DOCTYPE a [<!ENTITY b "b">]><metalink/>', "", "no DTD"),
        (b'<m xmlns="urn:ietf:params:xml:ns:metalink"><file name="x"/></m>', "", "has no url"),
        (
            b'{"url": "http://a/"}\n{"url": ' + b"[" * 200_000,
            "",
            "line 2 of the list: it is no JSON",
        ),
        (b"url\nhttp://a/" + b"x" * 200_000, "a.csv", "line 2 of the list: field larger"),
    ],
)
def test_what_is_wrong_in_a_list_is_told(content, name, told):
    with pytest.raises(UsageProblem, match=told):
        read_list((), content, name=name)


@given(st.binary(max_size=200), st.sampled_from(["", "list.csv"]))
def test_any_list_gives_downloads_or_a_clear_error(content, name):
    try:
        jobs = read_list((), content, name=name)
    except UsageProblem:
        return
    for job in jobs:
        assert not {".", "..", ""} & set(job.file.split("/"))


@given(st.text(max_size=60))
def test_a_place_is_below_the_directory(text):
    parts = PurePosixPath(safe_path(text)).parts
    assert parts
    assert not {"/", "..", "."} & set(parts)
    assert not any("\\" in part or "\0" in part or ":" in part for part in parts)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{host}/{path}/{name}", "a.test/x/y/z.tar.gz"),
        ("{number:03}-{stem}{suffix}", "007-z.tar.gz"),
        ("{path}/../../{name}", "x/y/z.tar.gz"),
        ("/{port}/{scheme}/{query}", "80/http/q=1"),
    ],
)
def test_files_are_named_by_a_template(template, expected):
    assert filled(template, URL("http://a.test/x/y/z.tar.gz?q=1"), 7) == expected


@pytest.mark.parametrize("template", ["{nobody}", "{", "{0}", "{host.x}", "{number:z}"])
def test_a_template_s_unknown_words_are_told(template):
    with pytest.raises(UsageProblem, match="--output-template"):
        filled(template, URL("http://a.test/x"), 1)


@pytest.mark.parametrize(
    ("accept", "reject", "left"),
    [
        (["jpg,png"], [], ["a.jpg", "b.PNG"]),
        ([], ["*.t*"], ["a.jpg", "b.PNG"]),
        (["*.t?z"], [], ["c.tgz"]),
        (["jpg", "txt"], ["a*"], ["d.txt"]),
    ],
)
def test_names_are_taken_and_left(accept, reject, left):
    names = ["a.jpg", "b.PNG", "c.tgz", "d.txt"]
    kept = [name for name in names if is_wanted(URL(f"http://a/{name}"), accept, reject)]
    assert kept == left


def test_a_list_of_which_nothing_is_left_is_told(run):
    done = run("fetch", "--accept", "jpg", "http://a.test/b.png")
    assert (done.status, done.err.count("\n")) == (1, 1)


# --- what is fetched ------------------------------------------------------------------------------


async def test_a_checksum_is_checked(run, pages, tmp_path):
    url = f"{pages.url}/file"
    done = await fetch(run, "-o", tmp_path / "a", "--checksum", f"sha256={SHA256}", url)
    assert (done.status, (tmp_path / "a/file").read_bytes()) == (0, BODY)
    done = await fetch(run, "-o", tmp_path / "b", "--checksum", f"sha256={'0' * 64}", url)
    assert done.status == 1
    assert not (tmp_path / "b/file").exists()
    done = await fetch(run, "-o", tmp_path, "--checksum", "sha256=ff", url, url)
    assert "--checksum goes with one URL" in done.err


@pytest.fixture
def far_from_greenwich(monkeypatch):
    """This process lives eight hours behind UTC."""
    monkeypatch.setenv("TZ", "XYZ8")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Thu, 01 Jan 2015 00:00:00 GMT", 1420070400),
        ("Thursday, 01-Jan-15 00:00:00 GMT", 1420070400),
        ("Thu Jan  1 00:00:00 2015", 1420070400),  # asctime's, which means UTC as well
        ("Thu, 01 Jan 2015 25:00:00 GMT", None),
        ("once upon a time", None),
    ],
)
async def test_a_file_gets_the_time_of_each_form_of_date(pages, run, tmp_path, said, kept):
    """RFC 9110 5.6.7."""
    pages.changed = said
    done = await fetch(run, "--timestamping", "-o", tmp_path, f"{pages.url}/file")
    assert done.status == 0
    changed = (tmp_path / "file").stat().st_mtime
    assert changed == kept if kept is not None else time.time() - changed < 3600


async def test_a_metalink_is_fetched_as_aria2c_does(run, pages, tmp_path):
    program = find_program("aria2c")
    list_file = tmp_path / "list.meta4"
    missing, there = f"{pages.url}/missing", f"{pages.url}/file"
    for digest, whole in ((SHA256, True), ("0" * 64, False)):
        list_file.write_text(
            METALINK.format(name="named", digest=digest, first=missing, second=there)
        )
        ours, theirs = tmp_path / f"ours-{whole}", tmp_path / f"theirs-{whole}"
        done = await fetch(run, "-i", list_file, "-o", ours, "--retries", 0)
        aria2c = await asyncio.create_subprocess_exec(
            program, "-q", "--max-tries=1", "-d", theirs, "-M", list_file,
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await aria2c.communicate()
        assert (done.status == 0) is (aria2c.returncode == 0) is whole
        assert (ours / "named").exists() is whole
        if whole:
            assert (ours / "named").read_bytes() == (theirs / "named").read_bytes() == BODY


async def test_times_are_kept_and_heeded_as_wget_does(run, pages, tmp_path):
    program = find_program("wget")
    url = f"{pages.url}/file"

    async def by_wget(folder):
        process = await asyncio.create_subprocess_exec(
            program, "-q", "-N", "-P", folder, url, env={**os.environ, "no_proxy": "*"}
        )
        return await process.wait()

    async def by_us(folder):
        return (await fetch(run, "--timestamping", "-o", folder, url)).status

    times = {}
    for name, command in (("wget", by_wget), ("ours", by_us)):
        file = tmp_path / name / "file"
        for _ in range(2):
            assert await command(tmp_path / name) == 0
        times[name] = file.stat().st_mtime
        assert file.read_bytes() == BODY
    assert times["ours"] == times["wget"] == 1420070400
    dates = [
        line for head in pages.asked for line in head.splitlines() if line.startswith("If-Mod")
    ]
    assert dates == ["If-Modified-Since: " + formatdate(1420070400, usegmt=True)] * 2


async def test_the_status_tells_partial_from_whole(run, pages, tmp_path):
    def urls(*names):
        return [f"{pages.url}/{name}" for name in names]

    assert (await fetch(run, "-o", tmp_path / "1", *urls("a", "b"))).status == 0
    assert (await fetch(run, "-o", tmp_path / "2", *urls("a", "missing"))).status == 2
    assert (await fetch(run, "-o", tmp_path / "3", *urls("missing1", "missing2"))).status == 1


# --- politeness -----------------------------------------------------------------------------------


async def test_robots_txt_is_heeded_and_asked_for_once(run, pages, tmp_path):
    urls = [f"{pages.url}/{name}" for name in ("a", "private/b", "c", "private")]
    done = await fetch(run, "--robots", "-o", tmp_path, *urls)
    assert done.status == 2
    assert "robots.txt forbids it" in done.out.decode()
    assert sorted(pages.targets()) == ["/a", "/c", "/robots.txt"]


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", False),
        (b"", False),
        (response(b"User-agent: wherry\nDisallow:\n\nUser-agent: *\nDisallow: /"), True),
        (response(b"User-agent: me\nDisallow: /\n"), True),
        (response(b"\xff\xfe junk"), True),
    ],
)
async def test_who_has_no_rules_forbids_nothing_and_who_cannot_be_asked_all(
    run, raw_server, tmp_path, answer, allowed
):
    async def script(reader, writer):
        target = (await read_request(reader)).split()[1]
        writer.write(answer if target == b"/robots.txt" else response(BODY))
        await writer.drain()
        writer.close()

    server = await raw_server(script)
    done = await fetch(run, "--robots", "-o", tmp_path, "--retries", 0, f"{server.url}/a")
    assert (done.status == 0) is allowed, done


async def test_the_group_of_the_user_agent_counts(run, pages, tmp_path):
    pages.robots = b"User-agent: me\nDisallow: /\n"
    words = ["--robots", "-o", tmp_path, f"{pages.url}/a"]
    assert (await fetch(run, "-A", "me/1.0", *words)).status == 1
    assert (await fetch(run, *words)).status == 0


def test_a_rate_is_kept_by_counting():
    now = 0.0
    limit = RateLimit(1000, lambda: now)
    assert limit.after(500) == pytest.approx(0.5)
    assert limit.after(500) == pytest.approx(1.0)
    now = 10.0
    assert limit.after(100) == pytest.approx(0.1)  # what was not used is no credit


@pytest.mark.parametrize(
    ("text", "rate"), [("500", 500), ("1k", 1024), ("2.5M", 2621440), ("1G", 1024**3)]
)
def test_rates_are_read(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "k", "0", "-1", "1T", "0.1", "1 k"])
def test_what_is_no_rate_is_told(text):
    with pytest.raises(UsageProblem, match="a rate is written"):
        parse_rate(text)


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"connections": 3}])
async def test_a_download_waits_for_its_pace(wherry_server, tmp_path, options):
    taken = []

    async def pace(size):
        taken.append(size)
        await asyncio.sleep(0)

    async with wherry.ClientSession() as session:
        url = wherry_server.url("/bytes/3000000")
        result = await session.download(url, tmp_path / "file", pace=pace, **options)
        assert sum(taken) == result.size == 3_000_000
        taken.clear()
        async with session.get(url) as reply:
            await reply.download(tmp_path / "again", pace=pace)
        assert sum(taken) == 3_000_000


@pytest.mark.parametrize("text", ["sha256=AB", "SHA-256:ab", " sha256=ab "])
def test_checksums_are_read(text):
    assert parse_checksum(text) == "sha256:ab"


def test_a_rate_may_be_given(run, wherry_server, tmp_path):
    url = wherry_server.url("/bytes/1000")
    assert run("fetch", "--limit-rate", "10M", "-o", tmp_path, url).status == 0
    assert len(run("--limit-rate", "10M", url).out) == 1000
    assert run("--limit-rate", "10M", "-o", tmp_path / "x", url).status == 0
    assert run("--limit-rate", "x", url).err.startswith("wherry: a rate is written")


async def test_a_crowded_host_holds_up_nobody(run, raw_server, tmp_path):
    """The slow host's downloads are first in the list, and its one place is taken all the time."""
    asked = []
    go_on = asyncio.Event()

    async def script(reader, writer):
        host = (await read_request(reader)).decode().partition("Host: ")[2].split()[0]
        asked.append(host)
        if host.startswith("localhost"):
            if asked.count(host) == 1 and len(asked) < 4:
                await go_on.wait()
        elif sum(not each.startswith("localhost") for each in asked) == 3:
            go_on.set()
        writer.write(response(b"x", fields="Connection: close\r\n"))

    server = await raw_server(script)
    slow = server.url.replace("127.0.0.1", "localhost")
    urls = [f"{slow}/{n}" for n in range(4)] + [f"{server.url}/{n}" for n in range(3)]
    done = await fetch(run, "-n", 2, "--per-host", 1, "-o", tmp_path, *urls)
    assert done.status == 0, done
    assert len(asked) == 7


def test_the_tools_are_there():
    """What the tests above compare with: its version is told where one of them fails."""
    for name in ("wget", "aria2c", "http", "curl"):
        subprocess.run([find_program(name), "--version"], check=True, capture_output=True)


@pytest.mark.parametrize("asked", [None, 0.0, -1.0, float("nan")])
def test_a_crawl_delay_that_is_none_delays_nothing(asked):
    assert heeded_delay(asked) == 0


@pytest.mark.parametrize("asked", [60.0, 1e9, float("inf")])
def test_no_server_delays_downloads_for_good(asked):
    assert heeded_delay(asked) == 60


async def test_a_file_that_is_not_there_is_not_as_new_as_the_servers(run, raw_server, tmp_path):
    async def script(reader, writer):
        while head := await read_request(reader):
            if b"/liar" in head:
                writer.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
            else:
                writer.write(response(BODY))

    url = (await raw_server(script)).url
    words = ["--timestamping", "-n", "1", "-o", tmp_path, f"{url}/liar", f"{url}/file"]
    done = await fetch(run, *words)
    assert (done.status, "304" in done.out.decode()) == (2, True)
    assert (tmp_path / "file").read_bytes() == BODY
