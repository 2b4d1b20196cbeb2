"""httpie's words: what is sent is compared with what the real httpie sends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.test_curl_words import OWN, sent_by
from tests.servers.process import find_program
from yarl import URL

from wherry.cli.argument_values import UsageProblem, parse_url
from wherry.cli.request_items import Items, parse_words, split_item


@pytest.fixture
def httpie(tmp_path):
    program = find_program("http")

    async def start(words):
        process = await asyncio.create_subprocess_exec(
            program, "--ignore-stdin", *words, cwd=tmp_path,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await process.communicate()

    return start


SAME = [
    "GET URL q==x q==y 'two==a b'",
    "URL name=value 'n:=1' 'list:=[1, \"two\", null]' who=\u00e4",
    "URL a=1 a=2 'X-A: 1'",
    "PUT URL X-A:1 X-B:2",
    "PATCH URL text=@file raw:=@file.json q==1",
    "URL 'a\\=b=c' 'd\\:e=f'",
    "DELETE URL",
    "HEAD URL",
    "URL 'a[b]=c' 'a[d][e]:=1' 'l[]=1' 'l[]:=2' 'm[2]=x' plain=y",
    "URL '[]=1' '[]:=2' '[3][x]=y'",
    "URL 'a\\[b\\]=c'",
    "URL 'Empty;' X-A:v:w",
    "POST URL Accept:text/plain n:=-1.5",
]


@pytest.mark.parametrize("words", SAME)
async def test_the_same_items_send_the_same(run, httpie, raw_server, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("of a file")
    (tmp_path / "file.json").write_text('{"of": ["a file"]}')

    def told(url):
        return [url + "/p/" if word == "URL" else word for word in shlex.split(words)]

    theirs, _ = await sent_by(lambda url: httpie(told(url)), raw_server)
    ours, done = await sent_by(lambda url: asyncio.to_thread(run, *told(url)), raw_server)
    assert done.status == 0, done.err
    assert [line for line, _, _ in ours] == [line for line, _, _ in theirs]
    (_, their_fields, their_body), (_, our_fields, our_body) = theirs[0], ours[0]
    said = OWN - {"content-type", "accept"} | {"connection"}
    if not our_body:
        said |= {"content-type", "accept"}  # httpie says what it takes, whoever asks for what
    for fields in (their_fields, our_fields):
        for name in said:
            fields.pop(name, None)
    assert our_fields == their_fields
    assert our_body == their_body


async def test_forms_and_files_are_sent_as_httpie_does(
    run, httpie, raw_server, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("of a file")

    async def both(ours, theirs):
        by_httpie, _ = await sent_by(
            lambda url: httpie([*theirs[:1], url, *theirs[1:]]), raw_server
        )
        by_us, done = await sent_by(
            lambda url: asyncio.to_thread(run, *ours[:1], url, *ours[1:]), raw_server
        )
        assert done.status == 0, done.err
        return by_us[0], by_httpie[0]

    form = ["POST", "a=1", "b=\u00e4 &", "n:=2"]
    ours, theirs = await both([*form, "--as-form"], [*form, "--form"])
    assert ours[2] == theirs[2] == b"a=1&b=%C3%A4+%26&n=2"
    assert ours[1]["content-type"] == theirs[1]["content-type"]

    upload = ["POST", "a=1", "f@a.txt", "g@a.txt;type=text/css"]
    ours, theirs = await both(upload, [*upload, "--form"])
    parts = []
    for _, fields, body in (ours, theirs):
        boundary = fields["content-type"].partition("boundary=")[2].strip('"').encode()
        parts.append(body.replace(boundary, b"BOUNDARY"))
    for text in (b'name="f"; filename="a.txt"', b"Content-Type: text/css", b"text/plain"):
        assert all(text in body for body in parts)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([":1/", "strange"], "is no item"),
        ([":1/", "http://other.test/"], "one URL at a time"),
        ([":1/", "n:={"], "behind := there is JSON"),
        ([":1/", "n:={", "x=1"], "behind := there is JSON"),
        ([":1/", "a=@/nonexistent"], "cannot read /nonexistent"),
        ([":1/", "@/nonexistent", "a=1"], "no other field goes with it"),
        ([":1/", "a=1", "-d", "b"], "give items, or one of --data"),
        (["POST", ":1/", "-X", "PUT"], "give one of POST and --request PUT"),
        ([":1/", "a=1", "a[b]=2"], "another field has made this place something else"),
        ([":1/", "a[]=1", "a[b]=2"], "another field has made this place something else"),
        ([":1/", "a[99999]=1"], "at most 10000 places"),
        ([":1/", "--as-form", "a:=[1]"], "a form has no objects"),
        ([":1/", ":x"], "a field needs a name"),
        ([":1/", "--digest"], "--digest goes with --user"),
        ([":1/", "--bearer", "t", "-u", "a:b"], "give one of --user and --bearer"),
        ([":1/", "--print", "hx"], "letters of HBhbm, not 'x'"),
        ([":1/", "--headers", "--body"], "give one of --print"),
    ],
)
def test_what_cannot_be_meant_is_one_line(run, words, told):
    done = run(*words)
    assert (done.status, done.out) == (1, b"")
    assert told in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":8000/path", "http://localhost:8000/path"),
        (":8000", "http://localhost:8000"),
        (":", "http://localhost"),
        (":/path?q=1", "http://localhost/path?q=1"),
        (":8000?q=1", "http://localhost:8000?q=1"),
    ],
)
def test_a_port_alone_is_this_machine_s(text, expected):
    assert parse_url(text) == URL(expected)


@pytest.mark.parametrize("text", ["://x", ":x/", "::1/", ":80:80/"])
def test_what_is_almost_a_port_is_no_url(text):
    with pytest.raises(UsageProblem):
        parse_url(text)


@given(st.text(min_size=1), st.text())
def test_a_name_with_escaped_separators_is_found_again(name, value):
    escaped = "".join("\\" + letter if letter in ":=@;\\" else letter for letter in name)
    assert split_item(f"{escaped}={value}")[0] == name


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=12), max_size=5))
def test_any_words_are_items_or_a_clear_error(words):
    with contextlib.suppress(UsageProblem):
        method, url, items = parse_words(words)
        assert isinstance(items, Items)
        assert url
        assert method is None or method.isupper()


def test_standard_input_is_the_body_of_a_method_that_sends_one(run_process, wherry_server):
    url = wherry_server.url("/anything")
    done = run_process("PUT", url, input=b'{"a": 1}')
    assert json.loads(done.out)["data"] == '{"a": 1}'
    assert json.loads(run_process("PUT", url, "--ignore-stdin", input=b"no").out)["data"] == ""
    # A script's input is not eaten by requests that nobody meant to have a body.
    assert json.loads(run_process(url, input=b"no").out)["data"] == ""
    assert json.loads(run_process("-X", "PUT", url, input=b"no").out)["data"] == ""
    assert json.loads(run_process("PUT", url, "a=1", input=b"no").out)["json"] == {"a": "1"}


@pytest.mark.parametrize("words", [["a:=@deep"], ["--json", "@deep"]])
def test_json_that_is_too_deep_is_told_in_one_line(run, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").write_text("[" * 200_000)
    done = run("http://127.0.0.1:1/", *words)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "it is nested too deeply" in done.err


async def test_a_sessions_fields_go_to_no_other_host(run, raw_server, tmp_path, monkeypatch):
    """Neither those that were kept nor those that are new, whichever redirect leads away."""
    from tests.servers.raw import read_request, response

    monkeypatch.chdir(tmp_path)
    seen = []

    async def other(reader, writer):
        seen.append((await read_request(reader)).decode())
        writer.write(response(b"there"))

    there = (await raw_server(other)).url

    async def first(reader, writer):
        head = (await read_request(reader)).decode()
        seen.append(head)
        place = there if "/away" in head else ""
        status = "302 Found" if place else "200 OK"
        writer.write(
            response(b"", status=status, fields=f"Location: {place}/\r\nConnection: close\r\n")
        )

    here = (await raw_server(first)).url
    words = ["--session", "./work", "-u", "ann:secret", here, "X-Key:hidden", "Accept:a/b"]
    assert (await asyncio.to_thread(run, *words)).status == 0
    done = await asyncio.to_thread(run, "--session", "./work", f"{here}/away", "X-New:hidden")
    assert (done.status, done.out) == (0, b"there"), done.err
    _, sent, led = seen
    assert "X-Key: hidden" in sent
    assert "X-New: hidden" in sent
    assert "Authorization" in sent
    assert "hidden" not in led
    assert "Authorization" not in led
    assert "a/b" in led
