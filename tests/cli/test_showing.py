"""What a person sees of a response: on a terminal, and where parts of it are asked for."""

from __future__ import annotations

import asyncio
import json
import re
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.raw import read_request

from wherry.cli.pretty_print import _indented_json, describe_picture
from wherry.cli.show import TextWriter

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (640).to_bytes(4) + (480).to_bytes(4) + b"\0" * 9


@pytest.fixture
def answering(raw_server):
    """``await answering(head, body)``: a server that gives one answer, whatever is asked."""

    async def start(body, kind=None, status="200 OK", more=""):
        async def script(reader, writer):
            await read_request(reader)
            kind_line = f"Content-Type: {kind}\r\n" if kind else ""
            head = f"HTTP/1.1 {status}\r\n{kind_line}{more}Content-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)

        return (await raw_server(script)).url

    return start


async def shown(run_on_terminal, *words):
    status, seen = await asyncio.to_thread(run_on_terminal, *words)
    return status, COLOUR.sub("", seen).replace("\r\n", "\n"), seen


async def test_the_status_is_always_told_on_a_terminal(run_on_terminal, answering):
    url = await answering(b"hello", "text/plain", "404 Not Found")
    status, seen, _ = await shown(run_on_terminal, url)
    assert (status, seen) == (0, "HTTP/1.1 404 Not Found\nhello\n")


async def test_an_empty_answer_says_so(run_on_terminal, answering):
    status, seen, _ = await shown(run_on_terminal, await answering(b"", None, "404 Not Found"))
    assert (status, seen) == (0, "HTTP/1.1 404 Not Found\n* the body is empty\n")


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/json", b'{"b":1,"a":[]}', '{\n  "b": 1,\n  "a": []\n}\n'),
        ("application/vnd.api+json", b"[1]", "[\n  1\n]\n"),
        (
            "application/xml",
            b"<a><b x='1'>text</b><c/></a>",
            '<?xml version="1.0" ?>\n<a>\n  <b x="1">text</b>\n  <c/>\n</a>\n',
        ),
        (
            "image/svg+xml",
            b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
            '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>\n',
        ),
        ("text/xml", b"<a><b></a>", "<a><b></a>\n"),
        ("application/x-www-form-urlencoded", b"a=1&b=two+words%21", "a = 1\nb = two words!\n"),
        ("text/event-stream", b"event: x\ndata: 1\n\n", "event: x\ndata: 1\n\n"),
        ("text/plain", b"\x1b[31mred\r\n", "\ufffd[31mred\n"),
        ("application/json", b'{"a": "\xc2\x9b31m"}', '{\n  "a": "\ufffd31m"\n}\n'),
    ],
)
async def test_a_body_is_shown_as_a_person_reads_it(
    run_on_terminal, answering, kind, body, expected
):
    url = await answering(body, kind)
    status, seen, _ = await shown(run_on_terminal, url)
    assert (status, seen) == (0, "HTTP/1.1 200 OK\n" + expected)


async def test_a_problem_document_is_told_in_one_line_too(run_on_terminal, answering):
    body = json.dumps({"title": "Out of credit", "detail": "30 are left"}).encode()
    url = await answering(body, "application/problem+json", "403 Forbidden")
    _, seen, _ = await shown(run_on_terminal, url)
    assert seen.endswith("* Out of credit: 30 are left\n")
    assert '  "title": "Out of credit"' in seen


async def test_a_picture_is_named_and_kept_from_the_terminal(run_on_terminal, answering):
    status, seen, _ = await shown(run_on_terminal, await answering(PNG, "image/png"))
    assert status == 1
    assert f"the body is a PNG picture of 640 x 480 ({len(PNG)} bytes): save it" in seen
    assert "IHDR" not in seen


def test_what_only_begins_as_a_picture_is_none():
    assert describe_picture(PNG[:20]) is None
    assert describe_picture(b"GIF89a\x01\x00\x02\x00") == "a GIF picture of 1 x 2 (10 bytes)"
    assert describe_picture(b"RIFF0000WEBPxx") == "a WebP picture (14 bytes)"
    assert describe_picture(b"") is None


async def test_colours_can_be_had_and_left(run, answering, run_on_terminal):
    import asyncio

    async def out(*words, env=None):
        url = await answering(b'{"a":1}', "application/json")
        return (await asyncio.to_thread(run, *words, url, env=env)).out.decode()

    assert await out() == '{"a":1}'
    assert await out("--pretty", "format") == '{\n  "a": 1\n}\n'
    assert COLOUR.search(await out("--pretty", "all"))
    assert COLOUR.sub("", await out("--pretty", "colors")).strip() == '{"a":1}'
    assert not re.search(
        r"\x1b\[[0-9;]*3[0-7]m", await out("--pretty", "all", env={"NO_COLOR": "1"})
    )


async def test_parts_are_written_as_they_are_asked_for(run, answering):
    import asyncio

    async def out(*words):
        url = await answering(b"body", "text/plain")
        return (await asyncio.to_thread(run, *words, url)).out

    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n"
    assert await out("--headers") == head
    assert await out("--body") == b"body"
    assert await out("--print=hb") == head + b"body"
    sent = await out("--print=HB", "-d", "a=1")
    assert sent.startswith(b"POST / HTTP/1.1\r\nHost: 127.0.0.1:")
    assert sent.endswith(b"\r\n\r\na=1\n\n")
    assert await out("-X", "HEAD") == head
    assert await out("-I") == head


def test_verbose_shows_what_was_sent(run, wherry_server):
    done = run("-v", wherry_server.url("/post"), "a=\u00e4", "n:=1")
    assert '> {"a": "\\u00e4", "n": 1}' in done.err


def test_a_password_is_asked_for_where_there_is_somebody_to_ask(run_process, wherry_server):
    done = run_process("-u", "ann", wherry_server.url("/get"), start_new_session=True, input=b"x")
    assert done.status == 1
    assert "has no password" in done.err


def test_a_token_and_digest(run, wherry_server):
    seen = json.loads(run("--bearer", "t0ken", wherry_server.url("/headers")).out)["headers"]
    assert seen["authorization"] == "Bearer t0ken"
    url = wherry_server.url("/digest-auth/auth/user/pass")
    assert run("-f", "--digest", "-u", "user:pass", url).status == 0


class TestNamedSessions:
    """``--session work``: headers, users and cookies from one command to the next."""

    @pytest.fixture
    def command(self, run, tmp_path):
        return lambda *words: run(*words, env={"XDG_CONFIG_HOME": str(tmp_path)})

    def test_what_was_said_once_is_said_again(self, command, wherry_server, tmp_path):
        url = wherry_server.url
        name = ["--session", "work"]
        set_cookie = command(*name, url("/cookies/set?a=1"), "X-Key:k", "-u", "ann:secret")
        assert set_cookie.status == 0, set_cookie.err
        seen = json.loads(command(*name, url("/headers")).out)["headers"]
        assert (seen["cookie"], seen["x-key"]) == ("a=1", "k")
        assert seen["authorization"].startswith("Basic ")
        # What is said anew counts, and is kept.
        assert (
            json.loads(command(*name, url("/headers"), "X-Key:new").out)["headers"]["x-key"]
            == "new"
        )
        assert json.loads(command(*name, url("/headers")).out)["headers"]["x-key"] == "new"
        # Another session, and none, know nothing of it.
        for other in (["--session", "play"], []):
            seen = json.loads(command(*other, url("/headers")).out)["headers"]
            assert not {"cookie", "x-key", "authorization"} & set(seen)
        files = [path for path in tmp_path.rglob("*.json") if "work" in path.parts]
        assert len(files) == 2
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)

    def test_bodies_and_conditions_are_of_one_request(self, command, wherry_server):
        url = wherry_server.url("/anything")
        command("--session", "s", url, "a=1", "If-None-Match:x", "Range:bytes=0-1")
        seen = json.loads(command("--session", "s", url).out)
        assert seen["method"] == "GET"
        assert not {"content-type", "if-none-match", "range"} & set(seen["headers"])

    def test_a_session_goes_to_its_own_host_only(self, command, wherry_server, tmp_path):
        folder = tmp_path / "mine"
        assert command("--session", folder, wherry_server.url("/get"), "X-Key:k").status == 0
        other = wherry_server.url("/headers").replace("127.0.0.1", "localhost")
        done = command("--session", folder, other)
        assert done.status == 1
        assert "does not belong to localhost" in done.err

    @pytest.mark.parametrize("name", ["", ".", "..", "a\nb"])
    def test_a_name_is_a_name(self, command, wherry_server, name):
        done = command("--session", name, wherry_server.url("/get"))
        assert (done.status, "is no name of a session" in done.err) == (1, True)

    def test_a_broken_file_is_told(self, command, wherry_server, tmp_path):
        (tmp_path / "session.json").write_text("{")
        done = command("--session", f"{tmp_path}/", wherry_server.url("/get"))
        assert done.status == 1
        assert "cannot read the session" in done.err


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"a":1,"a":1.10}', '{\n  "a": 1,\n  "a": 1.10\n}\n'),
        ("[1e400,12345678901234567890.1230]", "[\n  1e400,\n  12345678901234567890.1230\n]\n"),
        ('{"[,":{},"e":[ ]}', '{\n  "[,": {},\n  "e": []\n}\n'),
    ],
)
async def test_json_is_shown_as_it_came(run, answering, body, expected):
    """Numbers keep their digits, and names that stand there twice do so."""
    url = await answering(body.encode(), "application/json")
    done = await asyncio.to_thread(run, "--pretty", "format", url)
    assert (done.status, done.out.decode()) == (0, expected), done.err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from([None, 1, 4]), st.booleans())
def test_any_json_is_indented_as_the_standard_library_does(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert _indented_json(text) == json.dumps(value, indent=2, ensure_ascii=False)


def test_blanks_do_not_grow_beyond_measure():
    """Deep and wide at once: a megabyte would become hundreds of them."""
    text = "[" * 500 + ",".join("1" * 100_000) + "]" * 500
    assert _indented_json(text) == text


async def test_what_is_large_has_no_colours(run_on_terminal, answering):
    """Colours cost much more than the text: what is large is shown without."""
    large = b"[" + b",".join([b"12345678"] * 50_000) + b"]"
    _, seen, coloured = await shown(run_on_terminal, await answering(large, "application/json"))
    assert seen.count("12345678") == 50_000
    assert coloured.count("\x1b[") < 10


def test_text_in_pieces_is_the_text(capsys):
    """A piece may end in the midst of a letter, or of a line's end."""
    text = "data: \u00e4\u20ac\U0001f600\r\ndata: \x1b[2J\r\n"
    writer = TextWriter()
    for byte in text.encode() + b"\xf0\x9f":
        writer.write(bytes([byte]))
    writer.end()
    expected = "data: \u00e4\u20ac\U0001f600\ndata: \ufffd[2J\n\ufffd"
    assert capsys.readouterr().out == expected
