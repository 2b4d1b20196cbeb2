"""``wherry URL`` as a person runs it: options, output, errors."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers.process import find_program
from tests.servers.raw import read_request, response
from yarl import URL

import wherry
from wherry.cli.argument_values import UsageProblem, parse_url

JSON_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def test_a_body_is_plain_bytes_in_a_pipe(run_process, wherry_server):
    done = run_process(wherry_server.url("/bytes/100000"))
    assert (done.status, len(done.out), done.err) == (0, 100_000, "")


def test_an_output_named_dash_is_standard_output(run_process, wherry_server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_process("-o", "-", wherry_server.url("/bytes/1000"))
    assert (done.status, len(done.out), done.err) == (0, 1000, "")
    assert not list(tmp_path.iterdir())
    assert run_process("--continue", "-o", "-", wherry_server.url("/bytes/1000")).status == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has other devices")
class TestWhatIsNoFile:
    """Devices, pipes and descriptors that a user names are written to, as curl does it."""

    @pytest.mark.parametrize("path", ["/dev/null", "/dev/full"])
    def test_a_device_is_written_to_and_stays(self, run_process, wherry_server, path):
        before = os.stat(path)
        done = run_process("-o", path, wherry_server.url("/bytes/100000"))
        assert done.status == (0 if path == "/dev/null" else 1)
        assert ("No space" in done.err) is (path == "/dev/full")
        assert stat.S_ISCHR(os.stat(path).st_mode)
        assert os.stat(path).st_ino == before.st_ino
        assert not Path("/dev/.wherry-downloads").exists()

    def test_a_link_to_a_device_stays_one(self, run_process, wherry_server, tmp_path):
        link = tmp_path / "away"
        link.symlink_to("/dev/null")
        assert run_process("-o", link, wherry_server.url("/bytes/10")).status == 0
        assert os.readlink(link) == "/dev/null"

    @pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1"])
    def test_a_descriptor_is_written_to(self, run_process, wherry_server, path):
        if not os.path.exists(path):
            pytest.skip(f"no {path} here")
        done = run_process("-o", path, wherry_server.url("/bytes/100000"))
        assert (done.status, len(done.out)) == (0, 100_000)

    def test_a_pipe_gets_the_body(self, run_process, wherry_server, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
        done = run_process("-o", pipe, wherry_server.url("/bytes/100000"))
        assert (done.status, done.err) == (0, "")
        body, _ = reader.communicate(timeout=200)
        assert len(body) == 100_000
        assert stat.S_ISFIFO(os.stat(pipe).st_mode)
        assert [found.name for found in tmp_path.iterdir()] == ["pipe"]

    def test_none_can_be_gone_on_with(self, run_process, wherry_server):
        done = run_process("--continue", "-o", "/dev/null", wherry_server.url("/bytes/10"))
        assert done.status == 1
        assert "--continue needs a file" in done.err


def test_json_is_coloured_and_indented_on_a_terminal(run_on_terminal, wherry_server):
    status, seen = run_on_terminal(wherry_server.url("/json"))
    assert status == 0
    assert JSON_COLOUR.search(seen)
    status_line, _, body = JSON_COLOUR.sub("", seen).partition("\n")
    assert status_line.strip() == "HTTP/1.1 200 OK"
    assert json.loads(body)["slideshow"]["author"] == "wherry"
    assert '  "slideshow"' in JSON_COLOUR.sub("", seen)


def test_binary_bodies_do_not_reach_the_terminal(run_on_terminal, wherry_server):
    status, seen = run_on_terminal(wherry_server.url("/bytes/1000"))
    assert status == 1
    assert "the body is binary (1000 bytes): save it with -o FILE" in JSON_COLOUR.sub("", seen)


def test_what_a_terminal_shows_is_bounded(run_on_terminal, wherry_server):
    status, seen = run_on_terminal(wherry_server.url("/bytes/70000000"))
    assert status == 1
    assert "\x1b[1;31mwherry: " in seen
    assert "67108864" in JSON_COLOUR.sub("", seen)


@pytest.mark.parametrize(
    ("options", "method", "field", "expected"),
    [
        (["-d", "a=1", "-d", "b=2"], "POST", "form", {"a": "1", "b": "2"}),
        (["--data", "a=1", "-X", "put"], "PUT", "form", {"a": "1"}),
        (["--json", '{"a": [1, "é"]}'], "POST", "json", {"a": [1, "é"]}),
        (["-F", "a=1"], "POST", "form", {"a": "1"}),
        (["-X", "DELETE"], "DELETE", "data", ""),
        (["-d", "raw", "-H", "Content-Type: text/plain"], "POST", "data", "raw"),
    ],
)
def test_methods_and_bodies(run, wherry_server, options, method, field, expected):
    done = run(*options, wherry_server.url("/anything"))
    assert done.status == 0, done.err
    seen = json.loads(done.out)
    assert (seen["method"], seen[field]) == (method, expected)


def test_bodies_come_from_files_and_standard_input(run, wherry_server, tmp_path):
    file = tmp_path / "body.json"
    file.write_text('{"from": "file"}')
    assert json.loads(run("--json", f"@{file}", wherry_server.url("/post")).out)["json"] == {
        "from": "file"
    }
    assert json.loads(run("--json", "@-", wherry_server.url("/post"), stdin=b"[1]").out)[
        "json"
    ] == [1]
    seen = json.loads(run("-F", f"up=@{file}", wherry_server.url("/upload")).out)
    assert seen["files"]["up"]["filename"] == "body.json"


def test_headers_and_credentials(run, wherry_server):
    seen = json.loads(run("-H", "X-A: 1: 2", "-H", "x-b:3", wherry_server.url("/headers")).out)[
        "headers"
    ]
    assert (seen["x-a"], seen["x-b"]) == ("1: 2", "3")
    assert run("-u", "user:pass:word", wherry_server.url("/basic-auth/user/pass:word")).status == 0


def test_verbose_shows_heads_and_times_beside_the_body(run, wherry_server):
    done = run("-v", "-H", "X-A: 1", wherry_server.url("/redirect/1"))
    assert json.loads(done.out)["method"] == "GET"
    lines = done.err.splitlines()
    assert "> GET /redirect/1 HTTP/1.1" in lines
    assert "< HTTP/1.1 302" in lines
    assert "> GET /get HTTP/1.1" in lines
    assert "> X-A: 1" in lines
    assert re.match(r"\* connect [0-9.]+ ms, first byte [0-9.]+ ms, total [0-9.]+ ms$", lines[-2])
    assert lines[-1] == "* connections: opened 1, reused 1"


def test_redirects_may_be_shown_instead_of_followed(run, wherry_server):
    done = run("-v", "--no-redirects", wherry_server.url("/redirect/1"))
    assert done.status == 0
    assert "< location: /get" in done.err
    assert done.out == b""


def test_a_body_is_saved_to_a_file(run, wherry_server, tmp_path):
    file = tmp_path / "body"
    done = run("-o", file, wherry_server.url("/bytes/100000"))
    assert (done.status, done.out, done.err) == (0, b"", "")
    assert file.stat().st_size == 100_000


def test_a_download_shows_its_progress_on_a_terminal(run_on_terminal, wherry_server, tmp_path):
    status, seen = run_on_terminal("-o", tmp_path / "body", wherry_server.url("/bytes/3000000"))
    assert status == 0
    assert "body" in seen
    assert "3.0/3.0 MB" in JSON_COLOUR.sub("", seen)


async def test_a_broken_download_is_gone_on_with(run, raw_server, tmp_path):
    body = bytes(range(256)) * 6000
    file = tmp_path / "body"
    begins = []

    async def script(reader, writer):
        found = re.search(rb"\r\nRange: bytes=(\d+)-\r\n", await read_request(reader))
        if found:
            begins.append(begin := int(found[1]))
            part = f'Content-Range: bytes {begin}-{len(body) - 1}/{len(body)}\r\nETag: "a"\r\n'
            writer.write(response(body[begin:], status="206 Partial Content", fields=part))
        else:
            writer.write(response(body, fields='ETag: "a"\r\n')[:-500_000])

    server = await raw_server(script)
    first = await asyncio.to_thread(run, "-o", file, "--continue", server.url)
    assert first.status == 1
    assert not file.exists()
    second = await asyncio.to_thread(run, "-o", file, "--continue", server.url)
    assert second.status == 0, second.err
    assert begins[0] > 0
    assert file.read_bytes() == body


def test_an_error_ends_the_process_with_one_line(run_process):
    assert run_process("http://127.0.0.1:1/") == (
        1,
        b"",
        "wherry: Cannot connect to host 127.0.0.1:1 [127.0.0.1:1: Connection refused]\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["http://127.0.0.1:1/"], "Cannot connect to host 127.0.0.1:1"),
        (["ftp://example.org/"], "the scheme 'ftp' is not http or https"),
        (["http://"], "names no host"),
        (["--timeout", "0.05", "{delay}"], "0.05 seconds"),
        (["-f", "{missing}"], "answered 404"),
        (["-X", "GE T", "{get}"], "GE T"),
        (["-H", "no colon", "{get}"], "'Name: value'"),
        (["-H", "X: a\r\nb", "{get}"], "wherry: "),
        (["--json", "{{", "{get}"], "--json: Expecting"),
        (["--json", "1", "-d", "a", "{get}"], "one of --data, --json and --form"),
        (["-d", "@/nonexistent", "{get}"], "cannot read /nonexistent"),
        (["-o", "/nonexistent/file", "{get}"], "/nonexistent"),
        (["--continue", "{get}"], "--continue needs -o FILE"),
        (["--proxy", "gopher://127.0.0.1", "{get}"], "gopher"),
        (["--proxy", "http://127.0.0.1:1", "{get}"], "127.0.0.1:1"),
        (["--no-such-option", "{get}"], "No such option"),
        (["-k"], "Missing argument 'URL'"),
    ],
)
def test_an_error_is_one_line_and_status_one(run, wherry_server, words, message):
    places = {
        "get": wherry_server.url("/get"),
        "delay": wherry_server.url("/delay/5"),
        "missing": wherry_server.url("/status/404"),
    }
    done = run(*(word.format(**places) for word in words))
    assert done.status == 1
    assert done.out == b""
    assert message in done.err
    assert done.err.startswith("wherry: ")
    assert done.err.count("\n") == 1


def test_a_status_is_no_error_unless_asked(run, wherry_server):
    assert run(wherry_server.url("/status/404")).status == 0


def test_certificates_are_checked(run, wherry_tls_server, tmp_path):
    url = wherry_tls_server.url("/get")
    refused = run(url)
    assert refused.status == 1
    assert "certificate" in refused.err.lower()
    assert run("-k", url).status == 0
    authority = tmp_path / "ca.pem"
    authority.write_bytes(wherry_tls_server.authority_pem)
    assert run("--cacert", authority, url).status == 0


@pytest.mark.parametrize(("options", "version"), [([], "1.1"), (["--http2"], "2")])
def test_http2_is_offered_when_asked(run, wherry_tls_server, options, version):
    done = run("-k", "-v", *options, wherry_tls_server.url("/get"))
    assert json.loads(done.out)["http_version"] == version
    assert f"> GET /get HTTP/{version}" in done.err.splitlines()


def test_every_option_has_its_name_in_the_environment(run, wherry_server, tmp_path):
    refused = run(wherry_server.url("/get"), env={"WHERRY_PROXY": "http://127.0.0.1:1"})
    assert refused.status == 1
    assert "Cannot connect to the proxy 127.0.0.1:1" in refused.err
    env = {
        "WHERRY_HEADER": "X-A: 1 2\nX-B: 3\n",
        "WHERRY_USER": "ann:secret",
        "WHERRY_REQUEST": "PUT",
    }
    seen = json.loads(run(wherry_server.url("/anything"), env=env).out)
    assert (seen["method"], seen["headers"]["x-a"], seen["headers"]["x-b"]) == ("PUT", "1 2", "3")
    assert seen["headers"]["authorization"].startswith("Basic ")
    assert run(wherry_server.url("/redirect/1"), env={"WHERRY_NO_REDIRECTS": "1"}).out == b""
    assert (
        json.loads(run("-H", "X-A: own", wherry_server.url("/anything"), env=env).out)["headers"][
            "x-a"
        ]
        == "own"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--frob", "x"], "No such option --frob: see --help"),
        (["--xyzzy"], "No such option --xyzzy: see --help"),
        (["--http4", "x"], "No such option --http4: see --help"),
        (["--tiemout", "5", "x"], "No such option --tiemout; did you mean --timeout?"),
        (["--verb", "x"], "No such option --verb; did you mean --verbose?"),
        (["--jsn", "1", "x"], "No such option --jsn; did you mean --json?"),
        (["--retries", "1", "x"], "No such option --retries here: it is one of `wherry fetch`"),
        (["fetch", "--frob", "x"], "No such option --frob: see --help"),
        (["fetch", "--retrise", "1"], "No such option --retrise; did you mean --retries?"),
    ],
)
def test_only_what_may_have_been_meant_is_suggested(run, words, told):
    done = run(*words)
    assert done == (1, b"", f"wherry: {told}\n")


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("127.0.0.1:80/?next=http://e.test/", "http://127.0.0.1:80/?next=http://e.test/"),
        ("e.test/http://f.test/", "http://e.test/http://f.test/"),
        ("e.test?u=ftp://f.test", "http://e.test/?u=ftp://f.test"),
        ("e.test#a://b", "http://e.test/#a://b"),
        ("[::1]:80/?u=http://x", "http://[::1]:80/?u=http://x"),
        ("//e.test/a://b", "http://e.test/a://b"),
        ("HTTPS://e.test/", "https://e.test/"),
        ("localhost:8000/x", "http://localhost:8000/x"),
    ],
)
def test_a_scheme_is_at_the_beginning_only(typed, url):
    assert parse_url(typed) == URL(url)


@pytest.mark.parametrize("typed", ["gopher://x", "svn+ssh://x", "a.b-c://x", "://x"])
def test_what_has_another_scheme_is_refused(typed):
    with pytest.raises(UsageProblem):
        parse_url(typed)


def test_a_misspelt_command_is_no_host(run):
    done = run("fech", "-i", "x")
    assert done.status == 1
    assert "did you mean 'fetch'?" in done.err


def test_options_come_from_the_environment(run, wherry_server):
    done = run(wherry_server.url("/delay/5"), env={"WHERRY_TIMEOUT": "0.05"})
    assert done.status == 1
    assert "0.05 seconds" in done.err


def test_a_proxy_and_its_credentials(run, wherry_server, proxies):
    user, password = proxies.tinyproxy_auth.credentials
    url = wherry_server.url("/get")
    done = run("--proxy", proxies.tinyproxy_auth.url, "--proxy-user", f"{user}:{password}", url)
    assert done.status == 0, done.err
    refused = run("-f", "--proxy", proxies.tinyproxy_auth.url, url)
    assert refused.status == 1
    assert "407" in refused.err


def test_proxies_make_a_chain(run, wherry_server, proxies):
    before = len(proxies.tinyproxy.log)
    done = run(
        "--proxy",
        proxies.microsocks.url,
        "--proxy",
        proxies.tinyproxy.url,
        wherry_server.url("/get"),
    )
    assert done.status == 0, done.err
    assert "/get" in proxies.tinyproxy.log[before:]


def test_curl_prints_the_command_and_sends_nothing(run, wherry_server):
    before = wherry_server.requests
    done = run(
        "--curl", "-H", "X-A: it's", "--json", '{"a": 1}', "-u", "u:p", wherry_server.url("/post")
    )
    assert wherry_server.requests == before
    words = shlex.split(done.out.decode())
    assert words[0] == "curl"
    assert words[-1] == wherry_server.url("/post")
    assert words[words.index("X-A: it's") - 1 : words.index("X-A: it's") + 1] == [
        "--header",
        "X-A: it's",
    ]
    assert words[words.index("--data-raw") + 1] == '{"a": 1}'


def test_curl_asks_the_same(run, wherry_server):
    """The command that is printed makes the request that would have been made."""
    find_program("curl")
    line = run("--curl", "-d", "a=b c", "-H", "X-A: 1", wherry_server.url("/post")).out.decode()
    theirs = json.loads(subprocess.run(shlex.split(line), capture_output=True, check=True).stdout)
    ours = json.loads(run("-d", "a=b c", "-H", "X-A: 1", wherry_server.url("/post")).out)
    for name in ("method", "form", "length"):
        assert theirs[name] == ours[name]
    assert theirs["headers"]["x-a"] == ours["headers"]["x-a"]


def test_curl_finds_the_files_of_a_form(run, wherry_server, tmp_path):
    find_program("curl")
    (tmp_path / "a folder").mkdir()
    file = tmp_path / "a folder" / "odd, näme;.txt"
    file.write_text("cargo")
    words = ("-F", "a=;b", "-F", f"f=@{file}", wherry_server.url("/post"))
    line = run("--curl", *words).out.decode()
    theirs = json.loads(subprocess.run(shlex.split(line), capture_output=True, check=True).stdout)
    ours = json.loads(run(*words).out)
    assert theirs["form"] == ours["form"] == {"a": ";b"}
    assert theirs["files"] == ours["files"]
    assert "cargo" in str(ours["files"])


def test_har_records_the_exchange(run, wherry_server, tmp_path):
    file = tmp_path / "one.har"
    done = run(
        "--har", file, "-d", "a=1", wherry_server.url("/redirect-to?url=/post&status_code=307")
    )
    assert done.status == 0, done.err
    assert file.stat().st_mode & 0o777 == 0o600
    log = json.loads(file.read_text())["log"]
    first, second = log["entries"]
    assert log["version"] == "1.2"
    assert (first["response"]["status"], second["response"]["status"]) == (307, 200)
    assert first["response"]["redirectURL"] == "/post"
    assert second["request"]["postData"]["text"] == "a=1"
    assert json.loads(second["response"]["content"]["text"])["form"] == {"a": "1"}
    assert second["timings"]["wait"] > 0


def test_who_reads_may_leave(wherry_server, tmp_path):
    """A closed pipe is no traceback."""
    script = tmp_path / "run.sh"
    script.write_text('"$PYTHON" -m wherry.cli "$URL" | head -c 10 | wc -c\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    env = {**os.environ, "PYTHON": sys.executable, "URL": wherry_server.url("/bytes/50000000")}
    env["PYTHONPATH"] = str(Path(wherry.__file__).parents[1])
    done = subprocess.run(
        ["bash", str(script)], capture_output=True, text=True, timeout=200, env=env, check=True
    )
    assert done.stdout.strip() == "10"
    assert "Traceback" not in done.stderr


def test_help_has_examples(run):
    for words in (["--help"], ["get", "--help"], []):
        done = run(*words)
        assert done.status == 0
        assert b"wherry -v example.org" in done.out
    for command in ("fetch", "ws", "demo"):
        assert f"Examples:\n  wherry {command}".encode() in run(command, "--help").out
    assert b"wherry 0." in run("--version").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run, shell):
    script = run("completion", shell).out
    assert b"_WHERRY_COMPLETE" in script
    if shell == "zsh":  # which is told to complete first, in case nobody did
        assert script.index(b"compinit") < script.index(b"compdef _wherry")


def test_bash_completes(tmp_path):
    """As in ~/.bashrc; what a Tab asks for is what the shell then calls."""
    program = tmp_path / "wherry"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wherry.cli "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(wherry completion bash)" && complete -p wherry >&2 && COMP_WORDS=(wherry fetch '
        "--per) COMP_CWORD=2 && "
        '_wherry_completion wherry && printf "%s\\n" "${COMPREPLY[@]}"'
    )
    env = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(wherry.__file__).parents[1]),
    }
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=200, env=env, check=True
    )
    assert done.stdout.split() == ["--per-host"], done.stderr


@pytest.mark.parametrize(
    ("typed", "word", "offered"),
    [("", "de", "demo"), ("", "--ti", "--timeout"), ("-v", "--pr", "--proxy")],
)
def test_words_are_completed(run_process, typed, word, offered):
    words = " ".join(part for part in ("wherry", typed, word) if part)
    count = str(len(words.split()) - 1)
    done = run_process(
        env={"_WHERRY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
    )
    assert f"plain,{offered}" in done.out.decode().splitlines()


def test_the_package_runs_too():
    """``python -m wherry``, where no script is in PATH."""
    env = {**os.environ, "PYTHONPATH": str(Path(wherry.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "wherry", "--version"],
        capture_output=True,
        text=True,
        env=env,
        check=True,
    )
    assert done.stdout == f"wherry {wherry.__version__}\n"


def test_zsh_and_fish_are_answered_in_their_ways(run_process):
    """What their scripts call, and read: type, word and help on lines of their own; type, word and
    help on one.
    """
    asked = {"COMP_WORDS": "wherry fetch --per", "COMP_CWORD": "2"}
    told = run_process(env={"_WHERRY_COMPLETE": "zsh_complete", **asked}).out.decode().splitlines()
    assert told == ["plain", "--per-host", "Of these, from one host."]
    # fish tells what stands before the cursor, and the word that it is in.
    asked = {"COMP_WORDS": "wherry fetch --per", "COMP_CWORD": "--per"}
    told = run_process(env={"_WHERRY_COMPLETE": "fish_complete", **asked}).out.decode().splitlines()
    assert told == ["plain,--per-host\tOf these, from one host."]
