"""Commands that browsers copy: what is sent is what the real curl sends."""

from __future__ import annotations

import asyncio
import os
import queue
import shlex
import socket
import subprocess
import sys
import threading
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cli.test_curl_words import OWN, sent_by
from tests.servers.process import find_program

from wherry.cli.argument_values import UsageProblem
from wherry.cli.from_curl import follows_redirects, words_of_curl

# As Chrome and Firefox copy them.
COPIED = [
    r"""curl 'URL/p?a=1&b=%20' \
  -H 'accept: */*' \
  -H 'accept-language: de,en;q=0.9' \
  -b 'sid=1; theme=dark' \
  -H 'sec-ch-ua: "Chromium";v="130"' \
  --data-raw $'{"text":"it\'s\u00e4 \\u0021\n"}' \
  --compressed""",
    """curl 'URL/' --compressed -X PATCH -H 'User-Agent: M/5' -H 'TE: trailers' --data-binary '{}'""",
    """curl "URL/x" -X OPTIONS -H "Origin: http://a.test" --insecure""",
    r"""curl --location 'URL/v1/items' --header 'Content-Type: application/json' --data '{
    "name": "a\"b"
}'""",
    "curl -sSL -A me -e http://r.test URL/",
    "curl URL/up -F name=value -F n=2",
    "curl -I URL/",
    "curl --url URL/ --get -d q=1",
    "curl URL/a -q -#",
    "curl URL/a -d x -H 'Content-Type:'",
    "curl URL/a -H 'Authorization: Bearer x' -u a:b",
    "curl URL/ -u ann:p:w --basic",
    "curl URL/ --oauth2-bearer token",
]


@pytest.mark.parametrize("text", COPIED)
async def test_what_a_browser_copied_sends_the_same(run, raw_server, tmp_path, text):
    find_program("curl")

    async def by_curl(url):
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", text.replace("URL", url) + " -s", cwd=tmp_path,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await process.communicate()

    theirs, _ = await sent_by(by_curl, raw_server)
    ours, done = await sent_by(
        lambda url: asyncio.to_thread(run, "curl", text.replace("URL", url)), raw_server
    )
    assert done.status == 0, done.err
    (line, fields, body), (our_line, our_fields, our_body) = theirs[0], ours[0]
    assert our_line == line
    if "multipart" not in fields.get("content-type", ""):
        assert our_body == body
        assert our_fields.get("content-type") == fields.get("content-type")
    for name in fields.keys() - OWN - {"content-length", "connection"}:
        assert our_fields[name] == fields[name]


def test_redirects_are_followed_where_curl_follows_them(run, wherry_server):
    url = wherry_server.url("/redirect/1")
    assert run("curl", f"curl -i {url}").out.startswith(b"HTTP/1.1 302")
    assert run("curl", f"curl {url}").out == b""
    assert b'"url"' in run("curl", f"curl -L {url}").out
    # The words may come as a shell has split them.
    assert b'"url"' in run("curl", "curl", "-L", url).out
    assert follows_redirects(["-sSL"])
    assert not follows_redirects(["-sS"])


@pytest.mark.parametrize("words", [["wget x"], [""], ["curl"], ["curl 'x"], ["fetch('http://x')"]])
def test_what_is_no_curl_command_is_refused(run, words):
    done = run("curl", *words)
    assert (done.status, done.out, done.err.count("\n")) == (1, b"", 1)


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"))))
def test_words_that_a_shell_would_quote_are_read_back(words):
    # A URL that comes first loses the backslashes before its brackets.
    text = shlex.join(["curl", "-s", *words, "x"])
    assert words_of_curl([text]) == ["-s", *words, "x"]


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.text(st.characters(exclude_characters="\0", codec="utf-8", exclude_categories=["Cs"])))
def test_c_quoted_words_are_what_bash_makes_of_them(text):
    escapes = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    quoted = "".join(escapes.get(letter, letter) for letter in text)
    quoted = quoted.replace("\u00e4", "\\u00e4")
    command = f"curl -s $'{quoted}'"
    told = subprocess.run(
        ["bash", "-c", f"printf %s {command.removeprefix('curl -s ')}"], check=True,
        capture_output=True, env={"LC_ALL": "C.UTF-8"}, timeout=30,
    ).stdout.decode()  # fmt: skip
    assert words_of_curl([command]) == ["-s", told]


def test_a_line_that_ends_in_the_middle_is_told():
    with pytest.raises(UsageProblem, match="cannot be read"):
        words_of_curl(["curl $'x"])


PROGRAMS = [
    ["URL/anything"],
    ["-X", "DELETE", "URL/anything", "-H", "X-A: 1", "-u", "ann:secret"],
    ["URL/anything", "a=1", "n:=2", "q==x"],
    ["--no-redirects", "-m", "5", "URL/redirect/1"],
    ["-F", "a=1", "URL/anything", "-A", "me"],
    ["--digest", "-u", "user:pass", "URL/digest-auth/auth/user/pass", "--retry", "1"],
    ["-X", "PROPFIND", "URL/anything", "-H", "X: 1", "-H", "X: 2"],
]


@pytest.mark.parametrize("words", PROGRAMS)
def test_the_python_program_says_the_same(run, wherry_server, words, tmp_path):
    words = [word.replace("URL", wherry_server.url("")) for word in words]
    done = run(*words, "--python")
    assert done.status == 0, done.err
    file = tmp_path / "program.py"
    file.write_bytes(done.out)
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(file)], check=False, capture_output=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr.decode()
    asked = run(*words).out.decode()
    status, _, body = ended.stdout.decode().partition(" ")
    assert status in {"200", "302", "405"}
    for name in ('"data"', '"form"', '"json"', '"method"', '"args"'):
        lines = [line for line in asked.splitlines() if name in line]
        assert [line for line in body.splitlines() if name in line] == lines


def test_a_curl_command_can_be_had_as_python(run):
    done = run("curl", "--python", "curl http://a.test/ -H 'X: 1' -d a=1")
    assert done.status == 0, done.err
    assert b"session.post(" in done.out
    assert b"http://a.test/" in done.out


def test_what_has_no_place_in_a_program_is_told(run):
    done = run("--python", "--unix-socket", "/s", "http://a.test/")
    assert (done.status, done.err) == (
        1,
        "wherry: --python knows no --resolve and no --unix-socket\n",
    )


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from([None, "PUT", "PATCH", "DELETE"]),
    fields=st.dictionaries(
        st.from_regex(r"X-[A-Za-z0-9]{1,8}", fullmatch=True),
        st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(str.strip),
        max_size=3,
    ),
    body=st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    query=st.text(st.sampled_from("ab&=%+ \u00e4"), max_size=10),
)
def test_a_command_comes_back_from_curl_s_words(run, method, fields, body, query):
    """What --curl prints is read back as the same request."""
    words = ["http://e.test/p?q=" + query.replace("%", "%25")]
    if method is not None:
        words += ["-X", method]
    if body is not None:
        words += ["--data-raw", body]
    for name, value in fields.items():
        words += ["-H", f"{name}: {value}" if value else f"{name};"]
    printed = run("--curl", *words)
    assert printed.status == 0, printed.err
    told = words_of_curl([printed.out.decode()])
    again = run("--curl", *told)
    assert again.out == printed.out
    programs = [run("--python", *each).out for each in (words, told)]
    assert programs[0] == programs[1]


async def test_curl_sends_what_we_printed_for_it(run, raw_server, tmp_path):
    """The other way: our request, and the real curl with the command that we print for it."""
    find_program("curl")
    requests = [
        ["-X", "PUT", "--data-raw", "it's \u00e4\n$x `y`", "-H", "X-A: '\"\\"],
        ["a=1", "n:=2", "q==a b"],
        ["-H", "Accept:", "-H", "X-E;", "-b", "a=b"],
        ["-u", "ann:s'ecret", "--head"],
    ]
    for words in requests:
        ours, done = await sent_by(
            lambda url, words=words: asyncio.to_thread(run, url + "/p", *words), raw_server
        )
        assert done.status == 0, done.err

        async def by_curl(url, words=words):
            line = (await asyncio.to_thread(run, "--curl", url + "/p", *words)).out.decode()
            process = await asyncio.create_subprocess_exec(
                "bash", "-c", line.strip() + " -s", cwd=tmp_path,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            await process.wait()

        theirs, _ = await sent_by(by_curl, raw_server)
        assert [each[0] for each in theirs] == [each[0] for each in ours]
        assert theirs[0][2] == ours[0][2]
        for name in ours[0][1].keys() - OWN - {"connection"}:
            assert theirs[0][1][name] == ours[0][1][name]


FORMS = [
    "-F a=1",
    "-F a=1;type=text/y",
    """-F 'a="x;y"'""",
    "-F f=@file.txt",
    "-F 'f=@file.txt;type=text/x;filename=other'",
    """-F 'f=@"file.txt";filename="o t;her"'""",
    "-F 'f=@file.txt;type=text/plain; charset=utf-8'",
    "-F 'f=<file.txt'",
    "-F 'f=<file.txt;type=text/z'",
]


def parts(body):
    """The parts of a form, without the boundary and the order of their fields."""
    boundary = body.partition(b"\r\n")[0]
    found = []
    for part in body.split(boundary)[1:-1]:
        head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        found.append((sorted(head.replace(b"; ", b";").split(b"\r\n")), content))
    return found


@pytest.mark.parametrize("words", FORMS)
async def test_forms_are_the_same(run, raw_server, tmp_path, monkeypatch, words):
    """By our own words, and by the command that --curl prints for them."""
    find_program("curl")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_bytes(b"content")

    async def by_curl(words):
        process = await asyncio.create_subprocess_exec(
            "curl", "-s", *words, cwd=tmp_path,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await process.communicate()

    told = shlex.split(words)
    theirs, _ = await sent_by(lambda url: by_curl([url, *told]), raw_server)
    ours, done = await sent_by(lambda url: asyncio.to_thread(run, *told, url), raw_server)
    assert done.status == 0, done.err
    assert "multipart/form-data" in ours[0][1]["content-type"]

    async def printed(url):
        line = await asyncio.to_thread(run, "--curl", *told, url)
        await by_curl(shlex.split(line.out.decode())[1:])

    again, _ = await sent_by(printed, raw_server)
    expected = [(head, content) for head, content in parts(theirs[0][2])]
    for sent in (ours, again):
        got = parts(sent[0][2])
        assert [content for _, content in got] == [content for _, content in expected]
        for (head, _), (their_head, _) in zip(got, expected, strict=True):
            # curl guesses a file's type by its suffix; a text without a type is UTF-8 here.
            if "type=" in words:
                assert head == their_head
            assert head[0] == their_head[0]


async def test_write_out_says_where_a_redirect_leads(run, raw_server):
    answer = b"HTTP/1.1 302 Found\r\nLocation: ../x?y\r\nContent-Length: 0\r\n\r\n"
    _, done = await sent_by(
        lambda url: asyncio.to_thread(
            run, f"{url}/a/b", "--no-redirects", "-w", "%{redirect_url}|%{url}"
        ),
        raw_server,
        answer,
    )
    place, _, url = done.out.decode().partition("|")
    assert place == url.replace("/a/b", "/x?y")


@pytest.mark.parametrize(
    "text", [r"curl 'URL/a?x\[0\]=\{1\}' -H 'a: b'", "curl -g 'URL/a?x[0]={1}'"]
)
async def test_brackets_are_no_patterns(run, raw_server, text):
    ours, done = await sent_by(
        lambda url: asyncio.to_thread(run, "curl", text.replace("URL", url)), raw_server
    )
    assert done.status == 0, done.err
    assert unquote(ours[0][0]) == "GET /a?x[0]={1} HTTP/1.1"


async def test_cookies_may_be_given_in_pieces(run, raw_server):
    ours, done = await sent_by(
        lambda url: asyncio.to_thread(run, "curl", f"curl {url} -b a=1 -b b=2"), raw_server
    )
    assert done.status == 0, done.err
    assert ours[0][1]["cookie"] == "a=1; b=2"


async def test_a_file_of_cookies_need_not_be_there_the_first_time(run, raw_server, tmp_path):
    file = tmp_path / "cookies.txt"
    answer = (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: id=1; Max-Age=900\r\n"
        b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    )

    async def twice(url):
        first = await asyncio.to_thread(run, url, "-b", file, "-c", file)
        return first, await asyncio.to_thread(run, url, "-b", file, "-c", file)

    seen, ended = await sent_by(twice, raw_server, answer)
    assert [done.status for done in ended] == [0, 0], ended
    assert [fields.get("cookie") for _, fields, _ in seen] == [None, "id=1"]


@pytest.mark.parametrize("words", [["-f"], ["--fail-with-body", "-o", os.devnull], ["-sf"]])
async def test_write_out_counts_for_failures_and_may_be_a_file(run, raw_server, tmp_path, words):
    (tmp_path / "format").write_text("<%{http_code}>")
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    told = ["-w", f"@{tmp_path / 'format'}", *words]
    _, done = await sent_by(lambda url: asyncio.to_thread(run, url, *told), raw_server, answer)
    assert (done.status, done.out) == (1, b"<404>")


@pytest.fixture
def heard():
    """``url, take``: a server in a thread; ``take()`` gives the last request that it got."""
    listener = socket.create_server(("127.0.0.1", 0))
    requests: queue.Queue[tuple[str, dict[str, str], bytes]] = queue.Queue()

    def serve():
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer, peer.makefile("rb") as file:
                lines = [file.readline().decode("latin-1").rstrip()]
                while line := file.readline().decode("latin-1").rstrip():
                    lines.append(line)
                fields = {
                    line.partition(":")[0].lower(): line.partition(":")[2].strip()
                    for line in lines[1:]
                }
                body = file.read(int(fields.get("content-length", 0)))
                requests.put((lines[0], fields, body))
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", lambda: requests.get(timeout=60)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from([[], ["-X", "PUT"], ["-X", "DELETE"]]),
    value=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
    body=st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40),
    path=st.text(st.sampled_from("ab/-_.~$'()\u00e4"), max_size=8),
)
def test_any_request_goes_by_the_real_curl_and_back(run, heard, method, value, body, path):
    """The real curl with what --curl prints, and we with the same command, send what we sent."""
    program = find_program("curl")
    base, take = heard
    words = [f"{base}/p{path}", *method, "-H", f"X-V: {value}"]
    if body is not None:
        words += ["--data-raw", body]
    assert run(*words).status == 0
    ours = take()
    line = run("--curl", *words).out.decode()
    subprocess.run(
        [program, "-s", *shlex.split(line)[1:]], check=True, timeout=60, stdout=subprocess.DEVNULL
    )
    theirs = take()
    assert run("curl", line).status == 0
    again = take()
    assert ours[0] == theirs[0] == again[0]
    assert ours[2] == theirs[2] == again[2]
    # curl leaves out the length of a body that is not there (RFC 9110 8.6 asks for it).
    for name, usual in (("x-v", None), ("content-type", None), ("content-length", "0")):
        assert ours[1].get(name, usual) == theirs[1].get(name, usual) == again[1].get(name, usual)
