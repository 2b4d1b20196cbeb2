"""Forms: urlencoded or multipart, names that cannot break out, and parsers of others that read
them.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import io
import tempfile
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
import python_multipart
import werkzeug.formparser
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import MultiDict
from requests_toolbelt import MultipartDecoder

import wherry
from wherry.body.multipart.writer import MultipartWriter
from wherry.body.payload.form import FormData, form_with_files
from wherry.body.payload.memory import BytesPayload, Payload

from .conftest import Sink


async def sent(body) -> bytes:
    sink = Sink()
    await body.write(sink)
    assert body.size == len(sink.data)
    return sink.data


def by_werkzeug(body, data):
    _, fields, files = werkzeug.formparser.parse_form_data(
        {
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": body.content_type,
            "CONTENT_LENGTH": str(len(data)),
            "wsgi.input": io.BytesIO(data),
        }
    )
    found = [(name, None, value.encode()) for name, values in fields.lists() for value in values]
    for name, file in files.items(multi=True):
        found.append((name, file.filename, file.read()))
        file.close()
    return found


def by_python_multipart(body, data):
    found = []
    parser = python_multipart.FormParser(
        "multipart/form-data",
        lambda field: found.append((field.field_name, None, field.value)),
        lambda file: (
            file.file_object.seek(0),
            found.append((file.field_name, file.file_name, file.file_object.read())),
        ),
        boundary=body.boundary,
    )
    parser.write(data)
    parser.finalize()
    return found


def by_email(body, data):
    message = email.message_from_bytes(
        b"Content-Type: " + body.content_type.encode() + b"\r\n\r\n" + data,
        policy=email.policy.HTTP,
    )
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


async def test_only_fields_are_urlencoded():
    form = FormData({"a": "x y", "ä": "ö&="})
    assert not form.is_multipart
    body = form()
    assert body.content_type == "application/x-www-form-urlencoded"
    assert parse_qsl(body.at_hand.decode()) == [("a", "x y"), ("ä", "ö&=")]
    assert form().at_hand == body.at_hand


def test_every_form_of_fields():
    for fields in (
        [("a", "1"), ("a", "2")],
        (("a", "1"), ("a", "2")),
        MultiDict([("a", "1"), ("a", "2")]),
    ):
        assert FormData(fields)().at_hand == b"a=1&a=2"
    assert FormData({"a": ["1", "2"]})().at_hand == b"a=1&a=2"
    assert FormData({"a": 1})().at_hand == b"a=1"
    for wrong in ("ab", ["abc"], 7):
        with pytest.raises(TypeError, match=r"Only io\.IOBase"):
            FormData(wrong)


def test_another_charset():
    body = FormData({"ä": "ö"}, charset="latin-1")()
    assert body.content_type == "application/x-www-form-urlencoded; charset=latin-1"
    assert body.at_hand == b"%E4=%F6"


async def test_a_file_makes_it_multipart(tmp_path):
    path = tmp_path / "näme.bin"
    path.write_bytes(b"\0\1\2" * 1000)
    with path.open("rb") as file:
        form = FormData({"file": file, "text": "hällo"})
        assert form.is_multipart
        body = form()
        assert body.content_type.startswith("multipart/form-data; boundary=")
        data = await sent(body)
        assert await sent(form()) == data
        assert sorted(by_werkzeug(body, data)) == [
            ("file", "n%C3%A4me.bin", path.read_bytes()),
            ("text", None, "hällo".encode()),
        ]


async def test_quoting_can_be_left_out_as_browsers_do():
    form = FormData(quote_fields=False)
    form.add_field("ä", b"1", filename="näme.txt")
    body = form()
    data = await sent(body)
    assert 'name="ä"; filename="näme.txt"'.encode() in data
    assert by_werkzeug(body, data) == [("ä", "näme.txt", b"1")]


async def test_multipart_without_a_file():
    form = FormData({"a": "b"}, default_to_multipart=True)
    assert form.is_multipart
    body = form()
    assert body.at_hand == await sent(body)
    assert by_email(body, body.at_hand) == [("a", None, b"b")]


async def test_content_type_and_filename_make_it_multipart():
    form = FormData()
    form.add_field("a", "1", content_type="application/json")
    assert form.is_multipart
    data = await sent(form())
    assert b"Content-Type: application/json\r\n" in data
    form = FormData()
    form.add_field("a", "1", filename="x.txt")
    assert form.is_multipart


async def test_a_form_may_grow_after_it_was_sent():
    form = FormData(default_to_multipart=True)
    form.add_field("a", "1")
    await sent(form())
    form.add_field("b", "2")
    body = form()
    assert by_python_multipart(body, await sent(body)) == [(b"a", None, b"1"), (b"b", None, b"2")]


def test_bytes_without_a_filename_warn():
    form = FormData()
    with pytest.warns(DeprecationWarning, match="filename"):
        form.add_field("a", b"1")
    assert form.is_multipart
    with pytest.warns(DeprecationWarning, match="content_transfer_encoding"):
        form.add_field("a", b"1", content_transfer_encoding="base64")


@pytest.mark.parametrize(
    ("what", "match"), [({"filename": 1}, "filename"), ({"content_type": 1}, "content_type")]
)
def test_wrong_types(what, match):
    with pytest.raises(TypeError, match=match):
        FormData().add_field("a", "b", **what)


def test_a_value_that_can_be_no_body():
    form = FormData(default_to_multipart=True)
    form.add_field("a", object())
    with pytest.raises(TypeError, match="Can not serialize"):
        form()


@pytest.mark.parametrize("quote_fields", [True, False])
@pytest.mark.parametrize(
    "name", ['a"; filename="evil.sh', "a\r\nX-Evil: 1", "a\r\n\r\nbody", "a\\", 'a\\"']
)
async def test_names_cannot_break_out(name, quote_fields):
    form = FormData(quote_fields=quote_fields)
    form.add_field(name, "1", filename=name)
    body = form()
    data = await sent(body)
    head = data.split(b"\r\n\r\n")[0]
    assert len(head.split(b"\r\n")) == 3
    assert b"\n" not in head.replace(b"\r\n", b"")
    told = name.replace("\r", "%0D").replace("\n", "%0A")
    # werkzeug undoes %22 by itself.
    assert by_werkzeug(body, data) == [
        (told, quote(name).replace("%22", '"') if quote_fields else told, b"1")
    ]


def test_a_content_type_cannot_break_out():
    with pytest.raises(ValueError, match="control character"):
        FormData().add_field("a", "1", content_type="text/plain\r\nX: y")


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
# A backslash before a closing quote misleads parsers that follow Python's email package.
plain_names = names.filter(lambda name: "\\" not in name)
values = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=200), st.binary(max_size=200)
)


@settings(deadline=None)
@given(fields=st.lists(st.tuples(names, values, names), min_size=1, max_size=5))
async def test_werkzeug_reads_what_was_sent(fields):
    form = FormData(quote_fields=False, default_to_multipart=True)
    expected = []
    for name, value, filename in fields:
        is_file = isinstance(value, bytes)
        form.add_field(name, value, filename=filename if is_file else None)
        expected.append((name, filename if is_file else None, value if is_file else value.encode()))
    body = form()
    found = by_werkzeug(body, await sent(body))
    # It takes %22 for a quote, as old browsers meant it.
    expected = [
        (name.replace("%22", '"'), (file or "").replace("%22", '"') or None, data)
        for name, file, data in expected
    ]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


@settings(deadline=None)
@given(fields=st.lists(st.tuples(plain_names, values), min_size=1, max_size=5))
async def test_python_multipart_reads_what_was_sent(fields):
    form = FormData(default_to_multipart=True)
    for name, value in fields:
        form.add_field(name, value, filename="x" if isinstance(value, bytes) else None)
    body = form()
    found = by_python_multipart(body, await sent(body))
    assert [(name, data or b"") for name, _, data in found] == [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in fields
    ]


@settings(deadline=None)
@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=5))
async def test_toolbelt_and_email_read_what_was_sent(parts):
    writer = MultipartWriter("mixed")
    for part in parts:
        writer.append(part)
    data = await sent(writer)
    decoded = MultipartDecoder(data, writer.content_type)
    assert [part.content for part in decoded.parts] == parts


@pytest.mark.parametrize("transfer", ["base64", "quoted-printable"])
@settings(deadline=None, max_examples=30)
@given(
    part=st.one_of(
        st.binary(max_size=300),
        st.builds(lambda b, n: b * n, st.binary(min_size=1, max_size=9), st.integers(1, 20000)),
    )
)
async def test_email_undoes_transfer_encodings(transfer, part):
    writer = MultipartWriter("mixed")
    writer.append(part, {"Content-Transfer-Encoding": transfer})
    sink = Sink()
    await writer.write(sink)
    if transfer == "base64":
        assert writer.size == len(sink.data)
    assert max(len(line) for line in sink.data.split(b"\r\n\r\n", 1)[1].split(b"\r\n")) <= 76
    message = email.message_from_bytes(
        b"Content-Type: " + writer.content_type.encode() + b"\r\n\r\n" + sink.data,
        policy=email.policy.HTTP,
    )
    (found,) = message.iter_parts()
    assert found.get_payload(decode=True) == part


@pytest.mark.parametrize(
    "value",
    [
        ("x.txt", b"abc", "text/plain"),
        ("x.txt", b"abc"),
        ("x.txt", "abc", "text/plain"),
        ("x.txt", io.BytesIO(b"abc")),
        ("x.txt", io.BytesIO(b"abc"), "text/plain", {"X-More": "1"}),
        (None, "abc"),
        [("x.txt", b"abc")],
    ],
)
def test_what_other_clients_take_for_a_file_is_not_sent_as_values(value):
    for data in (
        {"f": value},
        [("f", value)],
        MultiDict({"f": value}),
        {"f": value, "g": io.BytesIO(b"")},
    ):
        with pytest.raises(TypeError, match=r"files=.*FormData\(\)\.add_field\('f'"):
            FormData(data)()


def test_values_of_one_name_are_values_of_one_name():
    for values in (["1", "2"], ("1", "2"), ("a/b", "text/html", "text/plain"), ("x", "y", "z")):
        assert parse_qsl(FormData({"f": values})().decode()) == [("f", value) for value in values]


async def test_values_of_one_name_are_parts_of_one_name():
    body = FormData({"f": ["1", "2"]}, default_to_multipart=True)()
    assert by_werkzeug(body, await sent(body)) == [("f", None, b"1"), ("f", None, b"2")]


@pytest.mark.parametrize("multipart", [False, True])
async def test_a_field_of_none_is_left_out(multipart):
    form = FormData({"a": None, "b": "1", "c": ["2", None]}, default_to_multipart=multipart)
    form.add_field("d", None)
    body = form()
    data = await sent(body)
    if multipart:
        assert by_werkzeug(body, data) == [("b", None, b"1"), ("c", None, b"2")]
    else:
        assert data == b"b=1&c=2"


def test_a_field_that_is_a_mapping_is_refused():
    with pytest.raises(TypeError, match="mapping"):
        FormData({"a": {"b": "1"}})()


FILES = [
    (b"abc", "f", b"abc", "application/octet-stream"),
    (("x.txt", b"abc"), "x.txt", b"abc", "text/plain"),
    (("x.txt", "\N{EURO SIGN}"), "x.txt", "\N{EURO SIGN}".encode(), "text/plain"),
    (("x", b"abc", "image/png"), "x", b"abc", "image/png"),
    (("x", b"abc", "image/png", {"X-More": "1"}), "x", b"abc", "image/png"),
    (("x", b"abc", None, {"Content-Type": "image/gif"}), "x", b"abc", "image/gif"),
    (("x", bytearray(b"abc")), "x", b"abc", "application/octet-stream"),
    ((None, b"{}", "application/json"), None, b"{}", "application/json"),
    ((None, "abc"), None, b"abc", None),
]


@pytest.mark.parametrize(("given_file", "filename", "content", "kind"), FILES)
@pytest.mark.parametrize("pairs", [False, True])
async def test_files_as_other_clients_take_them(given_file, filename, content, kind, pairs):
    form = form_with_files(
        {"a": "1", "n": None}, [("f", given_file)] if pairs else {"f": given_file}
    )
    body = form()
    parts = MultipartDecoder(await sent(body), body.content_type).parts
    assert [part.content for part in parts] == [b"1", content]
    fields = parts[1].headers
    expected = 'form-data; name="f"' + ("" if filename is None else f'; filename="{filename}"')
    assert fields[b"Content-Disposition"].decode() == expected
    if kind is not None:
        assert fields[b"Content-Type"].decode().startswith(kind)
    if isinstance(given_file, tuple) and len(given_file) == 4 and "X-More" in given_file[3]:
        assert fields[b"X-More"] == b"1"


def test_their_files_are_those_of_requests():
    """The same fields, by the library whose form it is; it gives no type where it was told none."""
    import requests

    for given_file, filename, _, _ in FILES:
        request = requests.Request(
            "POST", "http://a.test/", files={"f": given_file}, data={"a": "1"}
        ).prepare()
        theirs = MultipartDecoder(request.body, request.headers["Content-Type"]).parts
        assert theirs[1].headers[b"Content-Disposition"].decode() == 'form-data; name="f"' + (
            "" if filename is None else f'; filename="{filename}"'
        )


@pytest.mark.parametrize(
    ("data", "files"),
    [
        (None, {"f": ("x",)}),
        (None, {"f": ("x", b"", "t", {}, 5)}),
        (None, {"f": ("x", ["y"])}),
        (None, [b"abc"]),
        (None, b"abc"),
        (b"abc", {"f": b""}),
        ("abc", {"f": b""}),
        (FormData(), {"f": b""}),
        (None, {"f": (5, b"")}),
        (None, {5: b""}),
    ],
)
def test_what_files_cannot_be(data, files):
    with pytest.raises(TypeError):
        form_with_files(data, files)


@pytest.mark.parametrize("where", ["form", "files", "data"])
async def test_a_named_temporary_file_is_a_file(web_server, where):
    """Its wrapper is no IOBase."""
    seen = []

    async def handler(request):
        if where == "data":
            seen.append((None, await request.read()))
        else:
            field = (await request.post())["f"]
            seen.append((field.filename, field.file.read()))
        return web.Response()

    url = await web_server(handler)
    for mode in ("w+b", "w+"):
        with tempfile.NamedTemporaryFile(mode, suffix=".txt") as file:
            file.write(b"abc" if "b" in mode else "abc")
            file.seek(0)
            given = (
                {"files": {"f": file}}
                if where == "files"
                else {"data": file if where == "data" else {"f": file}}
            )
            async with wherry.ClientSession() as session, session.post(url, **given) as response:
                assert response.status == 200
            name = None if where == "data" else file.name.rpartition("/")[2]
            assert seen.pop() == (name, b"abc")


async def test_files_go_with_fields_and_not_with_json(web_server):
    async def handler(request):
        post = await request.post()
        return web.json_response([post["a"], post["f"].filename, post["f"].content_type])

    url = await web_server(handler)
    async with wherry.ClientSession() as session:
        async with session.post(
            url, data={"a": "1"}, files={"f": ("x.txt", b"abc", "text/x-y")}
        ) as response:
            assert await response.json() == ["1", "x.txt", "text/x-y"]
        with pytest.raises(ValueError, match="files and json"):
            await session.post(url, json={}, files={"f": b""})


class ClosedLater(Payload):
    """A body whose class has nothing but an asynchronous end."""

    def __init__(self):
        super().__init__(b"abc")
        self.ended = []

    async def write(self, writer):
        await writer.write(b"abc")

    def decode(self, encoding="utf-8", errors="strict"):
        return "abc"

    async def close(self):
        self.ended.append("begun")
        await asyncio.sleep(0)
        self.ended.append("closed")


class ClosedAtOnce(ClosedLater):
    def _close(self):
        self.ended.append("closed")


@pytest.mark.parametrize("way", ["with", "read", "close", "error"])
@pytest.mark.parametrize("wrapped", [False, "part", "progress"])
async def test_a_body_that_closes_asynchronously_is_closed(web_server, way, wrapped):
    async def handler(request):
        await request.read()
        return web.Response(text="x" * 100_000)

    url = await web_server(handler)
    body = data = ClosedLater()
    if wrapped == "part":
        data = MultipartWriter("mixed")
        data.append_payload(body)
    elif wrapped == "progress":
        data = wherry.ProgressPayload(body, lambda *_: None)
    async with wherry.ClientSession() as session:
        if way == "with":
            async with session.post(url, data=data):
                assert body.ended == []
            assert body.ended == ["begun", "closed"]
        elif way == "error":
            with pytest.raises(wherry.ClientError):
                await session.post("http://127.0.0.1:1/", data=data)
            assert body.ended == ["begun", "closed"]
        else:
            response = await session.post(url, data=data)
            await response.read() if way == "read" else response.close()
    assert body.ended == ["begun", "closed"]
    await data.close()


async def test_a_body_that_never_closes_does_not_hold_the_session_up(
    web_server, caplog, monkeypatch
):
    class Stuck(ClosedLater):
        async def close(self):
            await asyncio.Event().wait()

    class Broken(ClosedLater):
        async def close(self):
            raise ZeroDivisionError

    async def handler(request):
        return web.Response(text=await request.text())

    url = await web_server(handler)
    monkeypatch.setattr("wherry.client.session.PAYLOAD_CLOSE_SECONDS", 0.01)
    async with wherry.ClientSession() as session:
        for body in (Stuck(), Broken(), ClosedAtOnce()):
            response = await session.post(url, data=body)
            assert await response.text() == "abc"
    assert body.ended == ["closed"]
    assert "could not be closed" in caplog.text


class Wrapped:
    """Something with `read` that says nothing of a mode."""

    def read(self, size: int = -1) -> bytes:
        raise AssertionError("nobody reads it")


async def pieces() -> Any:
    yield b"abc"


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    "make", [Wrapped, pieces, lambda: iter([b"abc"]), lambda: BytesPayload(b"abc")]
)
def test_what_is_read_piece_by_piece_is_not_sent_as_its_repr(
    make: Callable[[], Any], listed: bool
) -> None:
    value = make()
    form = FormData()
    form.add_field("f", [value] if listed else value)
    with pytest.raises(TypeError, match=f"'f' of a form is a {type(value).__name__}"):
        form()
