"""``wherry fetch``: lists, names, retries, report."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.servers.raw import read_request, response
from yarl import URL

import wherry
from wherry.bulk.retry_rules import pause_before
from wherry.cli.argument_values import UsageProblem
from wherry.cli.fetch.file_names import file_name
from wherry.cli.fetch.url_lists import read_list


def files(directory):
    """The files, without the notes on them."""
    return [path for path in directory.iterdir() if path.is_file()]


def test_every_url_of_a_list_becomes_a_file(run, wherry_server, tmp_path):
    lines = tmp_path / "urls.txt"
    urls = [wherry_server.url(f"/bytes/{size}") for size in (10, 2000, 30_000, 2000)]
    lines.write_text("# a list\n\n" + "\n".join(urls) + "\n")
    report = tmp_path / "report.jsonl"
    done = run("fetch", "-i", lines, "-o", tmp_path / "out", "-n", "3", "--report", report)
    assert done.status == 0, done.err
    assert {path.name: path.stat().st_size for path in files(tmp_path / "out")} == {
        "10": 10,
        "2000": 2000,
        "30000": 30_000,
        "2000-2": 2000,
    }
    assert report.stat().st_mode & 0o777 == 0o600  # a URL may have a token in it
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert sorted(row["size"] for row in rows) == [10, 2000, 2000, 30_000]
    assert all(
        row["error"] is None and row["status"] == 200 and row["attempts"] == 1 for row in rows
    )
    assert "4 of 4 downloads" in done.out.decode()


def test_failures_are_retried_told_and_counted(run, wherry_server, tmp_path):
    urls = "\n".join(
        [
            wherry_server.url("/status/503"),
            wherry_server.url("/status/404"),
            wherry_server.url("/bytes/5"),
        ]
    )
    report = tmp_path / "report.jsonl"
    done = run(
        "fetch",
        "-i",
        "-",
        "-o",
        tmp_path,
        "--retries",
        "1",
        "--report",
        report,
        stdin=urls.encode(),
    )
    assert done.status == 2
    rows = {row["file"]: row for row in map(json.loads, report.read_text().splitlines())}
    assert (rows["503"]["attempts"], rows["503"]["status"]) == (2, 503)
    assert (rows["404"]["attempts"], rows["404"]["status"]) == (1, 404)
    assert rows["5"]["error"] is None
    assert "1 of 3 downloads" in done.out.decode()


@pytest.mark.parametrize(
    ("lines", "message"),
    [(b"", "no URLs"), (b"# none", "no URLs"), (b"gopher://x/", "gopher"), (b"http://", "host")],
)
def test_a_list_without_urls_is_refused(lines, message):
    with pytest.raises(UsageProblem, match=message):
        read_list((), lines)


def test_the_line_that_has_no_url_is_named():
    with pytest.raises(UsageProblem, match="line 3 of the list: 'gopher://x': the scheme"):
        read_list((), b"http://a.test/\n# no\ngopher://x")


def test_urls_may_be_named(run, wherry_server, tmp_path):
    done = run(
        "fetch", "-o", tmp_path, wherry_server.url("/bytes/5"), wherry_server.url("/bytes/6")
    )
    assert done.status == 0, done.err
    assert sorted(path.name for path in files(tmp_path)) == ["5", "6"]
    assert "there are no URLs" in run("fetch").err


HOSTILE = [
    b"[link=https://evil.test/]here[/link]",
    b"[/red] [/] [/nothing]",
    b"\\[bold]\\\\[blink]x",
    b"[red]:smile:[@click=quit]",
    b"\x1b]8;;https://evil.test/\x07x\x1b]8;;\x07".replace(b"\x1b", b"\xc2\x9b"),
    b"\xff\xfe",
    "\u202egnp.exe".encode(),
]


@pytest.mark.parametrize("reason", HOSTILE)
async def test_what_a_server_says_is_no_markup(run, raw_server, tmp_path, reason):
    """As it is, or as a sign that it cannot be shown: no link, no colour, no error."""

    async def script(reader, writer):
        await read_request(reader)
        writer.write(
            b"HTTP/1.1 404 " + reason + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )

    server = await raw_server(script)
    text = reason.decode("utf-8", "replace")
    for words in (("fetch", "-o", tmp_path), ("--fail",), ("-v", "--fail")):
        done = await asyncio.to_thread(
            run, *words, server.url + "/a[red]b", env={"FORCE_COLOR": "1"}
        )
        assert done.status == 1, done
        told = done.out.decode() + done.err
        assert "Traceback" not in told
        assert "\x1b]8" not in told
        assert "\u202e" not in told
        assert "\x9b" not in told
        shown = re.sub(r"\x1b\[[0-9;]*m", "", told)
        if text.isascii():
            assert " ".join(text.split()) in " ".join(shown.split())


BODY = bytes(range(256)) * 4000


async def test_what_broke_off_goes_on_at_the_next_run(run, raw_server, tmp_path):
    begins = []

    async def script(reader, writer):
        found = re.search(rb"\r\nRange: bytes=(\d+)-\r\n", await read_request(reader))
        if found is None:
            writer.write(response(BODY, fields='ETag: "a"\r\n')[:-300_000])
            return
        begins.append(begin := int(found[1]))
        part = f'Content-Range: bytes {begin}-{len(BODY) - 1}/{len(BODY)}\r\nETag: "a"\r\n'
        writer.write(response(BODY[begin:], status="206 Partial Content", fields=part))

    server = await raw_server(script)
    words = (
        "fetch",
        "-o",
        tmp_path,
        "--retries",
        "0",
        "--report",
        tmp_path / "report",
        server.url + "/file",
    )
    first = await asyncio.to_thread(run, *words)
    assert first.status == 1
    assert not (tmp_path / "file").exists()
    second = await asyncio.to_thread(run, *words)
    assert second.status == 0, second.err
    assert (tmp_path / "file").read_bytes() == BODY
    assert begins[0] > 0
    assert json.loads((tmp_path / "report").read_text())["resumed_from"] == begins[0]
    assert f"went on from {begins[0]}" in second.out.decode()


def test_an_interrupted_run_tells_what_it_has(wherry_server, tmp_path):
    report = tmp_path / "report"
    words = [
        "fetch",
        "-o",
        tmp_path,
        "--report",
        report,
        wherry_server.url("/bytes/5"),
        wherry_server.url("/delay/50"),
    ]
    # Who runs tests in the background of a shell has SIGINT ignored, and so has what they start.
    program = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('wherry.cli', run_name='__main__', alter_sys=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(wherry.__file__).parents[1])},
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (report.exists() and report.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)  # a file cannot be awaited
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 130
    assert "1 of 2 downloads" in out
    assert err == "* interrupted with 1 left; the same command goes on\n"


async def test_a_host_is_not_crowded(run, raw_server, tmp_path):
    """Of ten downloads at once two are from one host; each waits until its peers are there."""
    at_once, most = 0, 0
    both = asyncio.Barrier(2)

    async def script(reader, writer):
        nonlocal at_once, most
        while True:
            await read_request(reader)
            at_once += 1
            most = max(most, at_once)
            await both.wait()
            at_once -= 1
            writer.write(response(b"x"))

    server = await raw_server(script)
    urls = [f"{server.url}/{number}" for number in range(10)]
    done = await asyncio.to_thread(run, "fetch", "-o", tmp_path, "-n", 10, "--per-host", 2, *urls)
    assert done.status == 0, done.err
    assert (most, server.connections) == (2, 2)


def test_the_downloads_show_their_progress_on_a_terminal(run_on_terminal, wherry_server, tmp_path):
    urls = [wherry_server.url(f"/bytes/{size}") for size in (2_000_000, 3_000_000)]
    status, seen = run_on_terminal("fetch", "-o", tmp_path, *urls)
    assert status == 0
    assert "2 of 2" in seen


def test_a_long_table_has_only_what_went_wrong(run, wherry_server, tmp_path):
    urls = [wherry_server.url(f"/bytes/{size}") for size in range(1, 60)] + [
        wherry_server.url("/status/404")
    ]
    done = run("fetch", "-o", tmp_path, *urls)
    lines = done.out.decode().splitlines()
    assert len(lines) == 3
    assert "answered 404" in lines[1]
    assert lines[2].startswith("59 of 60 downloads")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://a.test/b/c.tar.gz", "c.tar.gz"),
        ("http://a.test/", "a.test"),
        ("http://a.test/b/", "a.test"),
        ("http://a.test/..%2f..%2fetc%2fpasswd", "_.._etc_passwd"),
        ("http://a.test/%00", "_"),
        ("http://a.test/...", "a.test"),
        ("http://a.test/" + "x" * 400, "x" * 200),
        ("http://a.test/" + "ж" * 150 + ".txt", "ж" * 98 + ".txt"),
    ],
)
def test_names_cannot_lead_out_of_the_directory(url, name):
    assert file_name(URL(url)) == name


def test_names_are_unique_whatever_the_case():
    names = [
        job.file
        for job in read_list(("a.test/x.gz", "b.test/X.gz", "c.test/x-2.gz", "d.test/x.gz"))
    ]
    assert len({name.lower() for name in names}) == 4
    assert names[:2] == ["x.gz", "X-2.gz"]


def test_pauses_grow_and_are_bounded():
    assert [pause_before(attempt, None) for attempt in (0, 1, 2)] == [0.25, 0.5, 1.0]
    assert pause_before(50, None) == 60
    assert pause_before(0, "7") == 7
    assert pause_before(0, "99999") == 60
    assert pause_before(0, "Wed, 21 Oct 2026 07:28:00 GMT") == 0.25  # past
    assert pause_before(0, "²") == 0.25
    assert pause_before(0, formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert pause_before(0, "Fri, 31 Dec 9999 23:59:59 GMT") == 60


async def test_a_second_run_fetches_nothing_again_and_leaves_the_users_files(
    run, raw_server, tmp_path
):
    seen = []

    async def script(reader, writer):
        head = await read_request(reader)
        seen.append(head)
        if b'If-None-Match: "a"' in head:
            writer.write(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n")
        else:
            writer.write(response(b"new", fields='ETag: "a"\r\nConnection: close\r\n'))

    server = await raw_server(script)
    mine = tmp_path / "mine"
    mine.write_bytes(b"my own")
    words = ("fetch", "-o", tmp_path, server.url + "/file", server.url + "/mine")
    for _ in range(2):
        done = await asyncio.to_thread(run, *words)
        assert done.status == 2
        assert "no download has made this file" in " ".join(done.out.decode().split())
        assert mine.read_bytes() == b"my own"
        assert (tmp_path / "file").read_bytes() == b"new"
    assert len(seen) == 2  # the file, and whether it is still the same
    done = await asyncio.to_thread(run, *words, "--no-continue")
    assert done.status == 0, done.err
    assert mine.read_bytes() == b"new"


async def test_a_file_beside_one_that_is_called_its_part(run, raw_server, tmp_path):
    """Names of a list cannot meet those of parts."""

    async def script(reader, writer):
        target = (await read_request(reader)).split()[1]
        writer.write(response(target * 1000, fields='ETag: "same"\r\nConnection: close\r\n'))

    server = await raw_server(script)
    names = ["x", "x.part", "x.part.json", ".x.part", ".wherry-downloads"]
    done = await asyncio.to_thread(
        run, "fetch", "-o", tmp_path, *(f"{server.url}/{n}" for n in names)
    )
    assert done.status == 0, done.err
    for name in names[:3]:
        assert (tmp_path / name).read_bytes() == f"/{name}".encode() * 1000
    assert len(files(tmp_path)) == len(names)


async def test_a_large_file_over_several_connections(run, raw_server, tmp_path):
    body = BODY * 12
    at_once = asyncio.Barrier(2)
    ranges = []

    async def script(reader, writer):
        found = re.search(rb"\r\nRange: bytes=(\d+)-(\d+)\r\n", await read_request(reader))
        begin, end = int(found[1]), min(int(found[2]) + 1, len(body))
        ranges.append((begin, end))
        if begin:
            await at_once.wait()  # each of two waits for the other
        part = f'Content-Range: bytes {begin}-{end - 1}/{len(body)}\r\nETag: "a"\r\nConnection: close\r\n'
        writer.write(response(body[begin:end], status="206 Partial Content", fields=part))

    server = await raw_server(script)
    words = ("fetch", "-o", tmp_path, "--connections", "4", server.url + "/file")
    done = await asyncio.to_thread(run, *words)
    assert done.status == 0, done.err
    assert (tmp_path / "file").read_bytes() == body
    assert min(ranges)[0] == 0
    assert len(ranges) == 3


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_list_in_each_coding(coding, end):
    """Editors begin a file with a byte order mark, and PowerShell writes UTF-16."""
    text = end.join(["http://a.test/é", "", "# no", "b.test/x", ""])
    if coding in {"utf-16-le", "utf-16-be"}:
        text = "\ufeff" + text
    jobs = read_list((), text.encode(coding))
    assert [job.url for job in jobs] == ["http://a.test/%C3%A9", "http://b.test/x"]


def test_lists_that_were_put_together_have_marks_inside():
    both = "http://a.test/\n".encode("utf-8-sig") + "http://b.test/\n".encode("utf-8-sig")
    assert [job.url for job in read_list((), both)] == [
        "http://a.test/",
        "http://b.test/",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"http://a.test/\nhttp://b.test/\xe9\n", "line 2 of the list is no utf-8"),
        (b"\xff\xfea", "list is no utf-16"),
    ],
)
def test_a_list_in_no_coding_is_told_by_its_line(run, tmp_path, content, message):
    (tmp_path / "list").write_bytes(content)
    done = run("fetch", "-i", tmp_path / "list", "-o", tmp_path)
    assert done.status == 1
    assert message in done.err


@pytest.mark.parametrize("place", ["file", "stdin"])
def test_a_list_with_a_mark_is_fetched(run, wherry_server, tmp_path, place):
    content = (wherry_server.url("/bytes/7") + "\n").encode("utf-8-sig")
    (tmp_path / "list").write_bytes(content)
    given = "-" if place == "stdin" else tmp_path / "list"
    done = run("fetch", "-i", given, "-o", tmp_path / "out", stdin=content)
    assert done.status == 0, done.err
    assert (tmp_path / "out" / "7").stat().st_size == 7


@pytest.mark.parametrize(
    "error",
    [RuntimeError("odd"), RecursionError("deep"), AssertionError("no"), KeyError("x"),
     asyncio.CancelledError(), ExceptionGroup("two", [ValueError("a")]), LookupError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_goes_wrong_with_one_the_others_are_fetched(
    run, wherry_server, tmp_path, monkeypatch, error
):
    """Also with a single worker, which must live on."""
    real = wherry.ClientSession.download

    async def download(self, url, *args, **options):
        if url.endswith("/bytes/2"):
            raise error
        return await real(self, url, *args, **options)

    monkeypatch.setattr(wherry.ClientSession, "download", download)
    urls = [wherry_server.url(f"/bytes/{size}") for size in (1, 2, 3, 4)]
    for number in (1, 3):
        place = tmp_path / str(number)
        done = run("fetch", "-o", place, "-n", number, *urls)
        assert done.status == 2, done.err
        assert sorted(path.name for path in files(place)) == ["1", "3", "4"]
        assert "3 of 4 downloads" in done.out.decode()


BAD_ANSWERS = [
    b"",
    b"\x00" * 100,
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe.test:99999/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 No\r\nRetry-After: \xb2\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 206 Part\r\nContent-Range: bytes 5-2/1\r\nContent-Length: 0\r\n\r\n",
    b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest \xff="\r\nContent-Length: 0\r\n\r\n',
]


async def test_a_bad_answer_ends_its_download_only(run, raw_server, tmp_path):
    async def script(reader, writer):
        target = (await read_request(reader)).split()[1].decode()
        if target.startswith("/bad"):
            writer.write(BAD_ANSWERS[int(target[4:])])
        else:
            writer.write(response(b"good", fields="Connection: close\r\n"))

    server = await raw_server(script)
    urls = []
    for number in range(len(BAD_ANSWERS)):
        urls += [f"{server.url}/bad{number}", f"{server.url}/good{number}"]
    done = await asyncio.to_thread(
        run, "fetch", "-o", tmp_path, "-n", 2, "--retries", 0, "--timeout", 10, *urls
    )
    assert done.status == 2
    assert "Traceback" not in done.err
    names = {path.name for path in files(tmp_path)}
    assert names >= {f"good{number}" for number in range(len(BAD_ANSWERS))}
    assert f"{len(BAD_ANSWERS)} of {2 * len(BAD_ANSWERS)} downloads" in done.out.decode()


def test_a_report_that_cannot_grow_ends_no_download(run, wherry_server, tmp_path):
    urls = [wherry_server.url(f"/bytes/{size}") for size in (1, 2, 3)]
    if not Path("/dev/full").exists():
        pytest.skip("there is no disk that is always full here")
    (tmp_path / "report").symlink_to("/dev/full")
    done = run("fetch", "-o", tmp_path / "out", "--report", "/dev/full", *urls)
    assert done.status == 1
    assert "the report ends here" in done.err
    assert len(files(tmp_path / "out")) == 3


@pytest.mark.parametrize(
    ("words", "count", "told"),
    [
        (["-n", "20"], 30, "* 4 downloads at once, not 20: --per-host 4 is below -n 20"),
        (["-n", "6", "--per-host", "2"], 30, "* 2 downloads at once, not 6"),
        (["-n", "6", "--per-host", "6"], 30, ""),
        (["-n", "20", "--per-host", "2"], 2, ""),
    ],
)
def test_who_limits_is_told(run, wherry_server, tmp_path, words, count, told):
    urls = [wherry_server.url(f"/bytes/{size}") for size in range(1, count + 1)]
    done = run("fetch", "-o", tmp_path, *words, *urls)
    assert done.status == 0
    assert done.err.startswith(told)
    assert bool(done.err) == bool(told)


@pytest.mark.parametrize(
    "fields", ["", 'ETag: W/"weak"\r\n', "Last-Modified: Mon, 30 Nov 2026 10:00:00 GMT\r\n"]
)
@pytest.mark.parametrize("connections", [1, 3])
async def test_finished_files_without_a_validator_are_known_by_their_length(
    run, raw_server, tmp_path, fields, connections
):
    """As `wget -c` does; another URL's, or one of another length, are fetched."""
    bodies = {"/a": b"x" * 50_000, "/b": b"", "/sub/a": b"y" * 50_000}
    sent = []

    async def script(reader, writer):
        target = (await read_request(reader)).split()[1].decode()
        body = bodies[target]
        writer.write(response(b"", fields=fields + "Connection: close\r\n").replace(
            b"Content-Length: 0", b"Content-Length: %d" % len(body)))  # fmt: skip
        sent.append(target)
        writer.write(body)

    server = await raw_server(script)

    async def fetch(*targets):
        words = [f"{server.url}{target}" for target in targets]
        report = tmp_path / "report"
        done = await asyncio.to_thread(
            run, "fetch", "-o", tmp_path / "out", "--connections", connections,
            "--report", report, *words,
        )  # fmt: skip
        assert done.status == 0, done.out
        rows = [json.loads(line) for line in report.read_text().splitlines()]
        return {row["file"]: row["resumed_from"] for row in rows}

    assert await fetch("/a", "/b") == {"a": 0, "b": 0}
    before = (tmp_path / "out/a").stat()
    assert await fetch("/a", "/b") == {"a": 50_000, "b": 0}
    after = (tmp_path / "out/a").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert await fetch("/sub/a") == {"a": 0}
    assert (tmp_path / "out/a").read_bytes() == bodies["/sub/a"]
    bodies["/sub/a"] += b"longer"
    assert await fetch("/sub/a") == {"a": 0}
    assert (tmp_path / "out/a").read_bytes() == bodies["/sub/a"]


@pytest.mark.parametrize("trust_length", [False, True])
async def test_a_length_is_trusted_only_where_that_is_asked(raw_server, tmp_path, trust_length):
    contents = iter([b"old", b"new"])

    async def script(reader, writer):
        await read_request(reader)
        writer.write(response(next(contents), fields="Connection: close\r\n"))

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        for _ in range(2):
            await session.download(
                server.url, tmp_path / "file", resume=True, trust_length=trust_length
            )
    assert (tmp_path / "file").read_bytes() == (b"old" if trust_length else b"new")
