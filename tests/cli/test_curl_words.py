"""curl's words: what is sent is compared with what the real curl sends."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys

import pytest
from tests.cli.conftest import _environ
from tests.servers.process import find_program
from tests.servers.raw import read_request, response
from yarl import URL

from wherry.cli.curl_options import INSTEAD, NO_EFFECT, in_one_list, upload_url

# What programs send of their own, and what differs by right.
OWN = {"user-agent", "accept", "accept-encoding", "host", "content-type", "expect"}


async def sent_by(run_it, raw_server, answer=None):
    """(method and target, fields, body) of the requests that a program sends."""
    seen = []

    async def script(reader, writer):
        head, _, body = (await read_request(reader)).partition(b"\r\n\r\n")
        lines = head.decode("latin-1").rstrip().split("\r\n")
        fields = {line.split(":")[0].lower(): line.split(":", 1)[1].strip() for line in lines[1:]}
        seen.append((lines[0], fields, body))
        writer.write(answer or response(b"body", fields="Connection: close\r\n"))

    server = await raw_server(script)
    done = await run_it(server.url)
    return seen, done


@pytest.fixture
def curl(tmp_path):
    program = find_program("curl")

    async def start(words):
        process = await asyncio.create_subprocess_exec(
            program, "-s", *words, cwd=tmp_path,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode, out

    return start


SAME = [
    "-d a=1 --data-raw @x --data-urlencode 'q=\u00e4 b&c' -d z",
    "--data-urlencode =a=b --data-urlencode 'a b' --data-urlencode name@file",
    "--data-binary @file",
    "-G -d a=1 --data-urlencode 'q=a b'",
    "-G -d a=1 -H 'X: 1'",
    "-A me/1 -e http://r.test/ -b 'a=b; c=d'",
    "--user-agent me --referer r --cookie a=b",
    "-T file",
    "--upload-file file -X POST",
    "-I",
    "--head",
    "-u ann:secret -L -N --compressed --http1.1",
    "-4 -m 20 --connect-timeout 10",
    "-X PATCH --data-raw '{}' -H 'Content-Type: application/json'",
    "-S --json '{}'",
    "--fail-with-body -i",
    "-F a=b --no-progress-meter",
    "-H X-A: -H 'X-B;' -H 'X-C: 1' -H Accept:",
    "-b jar.txt",
    "-r 0-9",
    "--range 5-",
    "--max-redirs 3 --retry 2",
    "-d @lines",
    "--form-string a=@b",
    "--resolve name.test:1:127.0.0.1",
]


@pytest.mark.parametrize("words", SAME)
async def test_the_same_words_send_the_same(run, curl, raw_server, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"of a file & more")
    (tmp_path / "lines").write_bytes(b"of\r\nlines\n")
    (tmp_path / "jar.txt").write_bytes(b"127.0.0.1\tFALSE\t/\tFALSE\t0\tname\tvalue\n")
    split = shlex.split(words)

    async def by_curl(url):
        return await curl([*split, url + "/p/"])

    async def by_us(url):
        done = await asyncio.to_thread(run, *split, url + "/p/")
        return done.status, done.out

    theirs, their_end = await sent_by(by_curl, raw_server)
    ours, our_end = await sent_by(by_us, raw_server)
    assert len(theirs) == len(ours) == 1
    (line, fields, body), (our_line, our_fields, our_body) = theirs[0], ours[0]
    assert our_line == line
    multipart = "multipart" in fields.get("content-type", "")
    if not multipart:  # whose boundaries are drawn by chance
        assert our_body == body
        assert our_fields.get("content-length") == fields.get("content-length")
    for name in fields.keys() - OWN - {"content-length", "connection"}:
        assert our_fields[name] == fields[name]
    for name in ("user-agent", "content-type"):
        if name == "user-agent" and fields[name].startswith("curl/"):
            continue
        if not multipart and "-T" not in words and "--upload" not in words:
            assert our_fields.get(name) == fields.get(name)
    assert our_end == their_end


@pytest.mark.parametrize("name", ["--include", "-I"])
def test_heads_come_on_standard_output_with_those_of_redirects(run, wherry_server, name):
    done = run(name, "-L", wherry_server.url("/redirect/1"))
    heads = done.out.decode().split("\r\n\r\n")
    assert heads[0].startswith("HTTP/1.1 302")
    assert heads[1].startswith("HTTP/1.1 200")
    assert bool(heads[2]) == (name == "--include")


def test_files_get_the_urls_name_and_directories_are_made(
    run, wherry_server, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run("-O", wherry_server.url("/bytes/50")).status == 0
    assert (tmp_path / "50").stat().st_size == 50
    assert run("-OJ", wherry_server.url("/bytes/50")).status == 0
    assert (tmp_path / "50-2").stat().st_size == 50
    place = tmp_path / "a/b/c"
    assert run("-o", place, wherry_server.url("/bytes/5")).status == 1
    assert run("--create-dirs", "-o", place, wherry_server.url("/bytes/5")).status == 0
    assert place.stat().st_size == 5
    done = run("-O", "-o", place, wherry_server.url("/bytes/5"))
    assert done.err == "wherry: give one of --output and --remote-name\n"


async def test_a_refusal_with_its_body(run, raw_server):
    answer = response(b"why", status="404 No", fields="Connection: close\r\n")
    for words, out in ((["--fail-with-body"], b"why"), (["-f"], b""), (["-sf"], b"")):

        async def ask(url, words=words):
            return await asyncio.to_thread(run, *words, url)

        _, done = await sent_by(ask, raw_server, answer)
        assert (done.status, done.out) == (1, out)
        assert ("answered 404" in done.err) == ("-sf" not in words)


def test_silence_may_leave_out_errors(run):
    url = "http://127.0.0.1:1/"
    assert run("-s", url) == (1, b"", "")
    assert "Cannot connect" in run("-sS", url).err


async def test_a_unix_socket(run, tmp_path):
    async def script(reader, writer):
        await read_request(reader)
        writer.write(response(b"by a socket", fields="Connection: close\r\n"))
        await writer.drain()
        writer.close()

    place = tmp_path / "s"
    async with await asyncio.start_unix_server(script, place):
        done = await asyncio.to_thread(run, "--unix-socket", place, "http://any.test/")
    assert (done.status, done.out, done.err) == (0, b"by a socket", "")


def test_addresses_of_one_kind(run, wherry_server):
    url = wherry_server.url("/bytes/1").replace("127.0.0.1", "localhost")
    assert run("-4", url).status == 0
    assert run("-46", url).status == 0
    assert run("-6", url).status == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-I", "-d", "a"], "--head asks for the head only"),
        (["-b", "/nonexistent"], "/nonexistent: No such file"),
        (["-T", "/nonexistent"], "cannot read /nonexistent"),
        (["-T", "x", "-d", "a"], "give one of --upload-file"),
        (["--key", "x"], "--key goes with --cert"),
        (["--cert", "/nonexistent"], "cannot use the certificate /nonexistent"),
    ],
)
def test_what_cannot_be_meant_is_one_line(run, words, told):
    done = run(*words, "http://127.0.0.1:1/")
    assert done.status == 1
    assert told in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("word", sorted(INSTEAD))
def test_what_is_not_taken_says_what_to_use(run, word):
    assert run(word, "x", "http://127.0.0.1:1/") == (
        1, b"", f"wherry: No such option {word}: {INSTEAD[word]}\n"
    )  # fmt: skip


def test_no_word_is_taken_and_refused(run):
    assert not {word for words in NO_EFFECT for word in words} & INSTEAD.keys()


def test_kinds_of_data_keep_their_order():
    assert in_one_list(["-d", "a", "--data-raw=@b", "--data-urlencode", "c", "u"]) == [
        "-d", "a", "--data", "\0raw\0@b", "--data", "\0urlencode\0c", "u"
    ]  # fmt: skip
    assert in_one_list(["--data-raw"]) == ["--data-raw"]
    assert in_one_list(["--", "--data-raw", "x"]) == ["--", "--data-raw", "x"]


def test_an_upload_into_a_directory_has_the_files_name():
    assert upload_url(URL("http://a.test/d/"), "x/y z") == URL("http://a.test/d/y%20z")
    assert upload_url(URL("http://a.test/d"), "x/y") == URL("http://a.test/d")
    assert upload_url(URL("http://a.test/d/"), "-") == URL("http://a.test/d/")


def test_http3_alone_goes_by_no_tcp(run, wherry_tls_server):
    done = run("--http3-only", "--timeout", "0.5", "-k", wherry_tls_server.url("/bytes/5"))
    assert (done.status, done.out) == (1, b"")
    words = shlex.split(run("--http3-only", "--curl", "https://e.test/").out.decode())
    assert "--http3-only" in words


@pytest.mark.parametrize("option", ["-x", "--proxy"])
def test_a_proxy_needs_no_scheme(run, option):
    done = run(option, "127.0.0.1:1", "http://e.test/")
    assert done.status == 1
    assert "127.0.0.1:1" in done.err


async def test_what_comes_is_written_at_once(raw_server, tmp_path):
    """A pipe gets the first bytes while the rest has not been sent."""
    seen = asyncio.Event()

    async def script(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nfirst")
        await seen.wait()
        writer.write(b" last")

    server = await raw_server(script)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wherry.cli", "-N", server.url,
        stdout=asyncio.subprocess.PIPE, env=_environ(),
    )  # fmt: skip
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readexactly(5), 30) == b"first"
    seen.set()
    assert await process.stdout.read() == b" last"
    assert await process.wait() == 0


def test_what_w_prints_where_there_is_no_answer(run):
    words = ["-w", "%{http_code} %{exitcode} %{time_connect} %{content_type}%%\\n", "-s"]
    done = run(*words, "http://127.0.0.1:1/")
    assert (done.status, done.out, done.err) == (1, b"000 1 0.000000 %\n", "")
    told = json.loads(run("-s", "-w", "%{json}", "http://127.0.0.1:1/x").out)
    assert (told["http_code"], told["url"]) == ("000", "http://127.0.0.1:1/x")
    assert "Cannot connect" in told["errormsg"]
