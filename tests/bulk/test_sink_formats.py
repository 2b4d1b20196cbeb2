"""What stands in the files: rows, tables and records hold all of a page, for other programs."""

from __future__ import annotations

import base64
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from hypothesis import given
from hypothesis import strategies as st
from tests.bulk.sinks import WHEN, json_lines, page, write
from warcio.archiveiterator import ArchiveIterator

from wherry import __version__
from wherry.bulk import Files, Jsonl, Page, Parquet, Warc
from wherry.bulk.sinks.parquet import SCHEMA
from wherry.bulk.sinks.without_secrets import json_line

PAGES = [
    page(
        "http://a.test/ä?q=1",
        "<p>ähoy €".encode(),
        fields=[(b"X-Odd", b"caf\xe9"), (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2")],
        charset="utf-8",
    ),
    page("http://a.test/old", b"\x89PNG\xff", content_type="image/png", final_url="http://b.test/new",
         status=404, reason="Nicht da", http_version="2", ip=None, extracted={"title": "Ahoy"}),
    page("http://a.test/empty", b""),
]  # fmt: skip


# --- JSON Lines -----------------------------------------------------------------------------------


async def test_a_line_is_a_page_and_a_place_is_where_it_begins(tmp_path: Path) -> None:
    places, (shard,) = await write(Jsonl(tmp_path), PAGES)
    data = (tmp_path / shard.name).read_bytes()
    rows = json_lines(data)
    for place, made, row in zip(places, PAGES, rows, strict=True):
        name, _, offset = place.partition("#")
        assert name == shard.name
        assert json.loads(data[int(offset) :].splitlines()[0]) == row
        assert (row["url"], row["final_url"]) == (made.url, made.final_url)
        assert (row["status"], row["reason"]) == (made.status, made.reason)
        body = row["body"].encode() if "body" in row else base64.b64decode(row["body_base64"])
        assert body == made.body
        assert (row["digest"], row["ip"], row["elapsed"]) == (made.digest, made.ip, 0.25)
        assert row["fetched_at"] == "2026-12-01T09:30:15.250000+00:00"
    assert rows[0]["headers"] == [
        ["Content-Type", "text/html"],
        ["X-Odd", "café"],
        ["Set-Cookie", "a=1"],
        ["set-cookie", "b=2"],
    ]
    assert "extracted" not in rows[0]
    assert rows[1]["extracted"] == {"title": "Ahoy"}
    assert [row["http_version"] for row in rows] == ["1.1", "2", "1.1"]


# Half a surrogate pair, what ends lines elsewhere, and what JSON escapes.
texts = st.text(st.sampled_from('aä\udcff\u2028\x85\r\n\0"\\'), max_size=8)


@given(
    st.recursive(
        st.none() | st.integers() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    )
)
def test_any_value_of_json_is_one_line_of_utf_8(value: Any) -> None:
    line = json_line({"extracted": value}, "http://a.test/")
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line.decode("utf-8", "strict")) == {"extracted": value}


# --- Parquet --------------------------------------------------------------------------------------


async def test_a_table_has_the_columns_that_are_documented(tmp_path: Path) -> None:
    places, (shard,) = await write(Parquet(tmp_path), PAGES)
    assert [place.partition("#")[2] for place in places] == ["0", "1", "2"]
    table = pq.read_table(tmp_path / shard.name)
    assert table.schema.equals(SCHEMA)
    first, second, third = table.to_pylist()
    assert first["body"] == PAGES[0].body
    assert first["headers"][1:] == [
        {"name": "X-Odd", "value": "café"},
        {"name": "Set-Cookie", "value": "a=1"},
        {"name": "set-cookie", "value": "b=2"},
    ]
    assert (first["fetched_at"], first["elapsed"], first["charset"]) == (WHEN, 0.25, "utf-8")
    assert (second["status"], second["reason"], second["http_version"]) == (404, "Nicht da", "2")
    assert (second["final_url"], second["ip"]) == ("http://b.test/new", None)
    assert json.loads(second["extracted"]) == {"title": "Ahoy"}
    assert third["body"] == b""
    assert third["extracted"] is None
    documented = (Parquet.__doc__ or "").split("Args:", maxsplit=1)[0]
    assert all(f"`{name}`" in documented for name in SCHEMA.names)


async def test_row_groups_bound_what_waits_and_a_folder_is_a_data_set(tmp_path: Path) -> None:
    sink = Parquet(tmp_path, row_group=100_000, compression="snappy")
    await sink.open("run.1")
    for number in range(20):
        await sink.add(page(f"http://a.test/{number}", b"x" * 30_000))
    shards = await sink.prepare()
    # One file is aside, and readers of the folder pass it over.
    await sink.publish(shards)
    await sink.add(page(body=b"x" * 200_000))
    found = pq.ParquetFile(tmp_path / shards[0].name)
    groups = [found.metadata.row_group(number) for number in range(found.num_row_groups)]
    assert [group.num_rows for group in groups] == [4] * 5
    assert groups[0].column(6).compression == "SNAPPY"
    assert pa.dataset.dataset(tmp_path).count_rows() == 20
    await sink.close()


async def test_strange_text_is_made_text(tmp_path: Path) -> None:
    strange = page("http://a.test/\udcff", reason="\udce9", fields=[(b"X", bytes(range(128, 256)))])
    await write(Parquet(tmp_path), [strange])
    (row,) = pa.dataset.dataset(tmp_path).to_table().to_pylist()
    assert (row["url"], row["reason"]) == ("http://a.test/?", "?")
    assert row["headers"][1]["value"] == bytes(range(128, 256)).decode("latin-1")


# --- WARC -----------------------------------------------------------------------------------------


async def archive(folder: Path, pages: list[Page]) -> tuple[bytes, list[str]]:
    places, (shard,) = await write(Warc(folder), pages)
    return (folder / shard.name).read_bytes(), places


async def test_both_readers_find_whole_records_with_right_digests(tmp_path: Path) -> None:
    data, _ = await archive(tmp_path, PAGES)
    kinds = ["warcinfo"] + ["response", "request"] * 2 + ["metadata"] + ["response", "request"]
    found = []
    for record in FastIterator(io.BytesIO(data), parse_http=False):
        assert record.headers.status_line == "WARC/1.1"
        assert record.verify_block_digest()
        if record.is_http:
            record.parse_http()
            assert record.verify_payload_digest()
        found.append(record.headers["WARC-Type"])
    assert found == kinds
    bodies, ids = [], {}
    for record in ArchiveIterator(io.BytesIO(data), check_digests="raise"):
        body = record.content_stream().read()
        assert record.digest_checker.passed in (
            {True} if record.rec_type != "request" else {True, None}
        )
        head = record.rec_headers
        ids[head["WARC-Record-ID"]] = record.rec_type
        if record.rec_type == "response":
            bodies.append(body)
            last = head["WARC-Record-ID"]
        elif record.rec_type != "warcinfo":
            assert head["WARC-Concurrent-To"] == last
    assert bodies == [made.body for made in PAGES]
    assert list(ids.values()) == kinds
    assert all(name.startswith("<urn:uuid:") for name in ids)


async def test_a_page_is_what_the_archive_says(tmp_path: Path) -> None:
    asked = [("Accept", "*/*"), ("Authorization", "Basic hush"), ("User-Agent", "wherry")]
    coded = [(b"Content-Encoding", b"gzip"), (b"Content-Length", b"31"), (b"X", b"caf\xe9\r\nA: b")]
    pages = [
        page("http://me:mine@a.test/x?q=1#top", b"ahoy", fields=coded, asked=asked),
        page("http://a.test/old", final_url="http://b.test:81/new", http_version="3", status=299,
             reason="", extracted=["ä", "two\nlines"]),
    ]  # fmt: skip
    data, places = await archive(tmp_path, pages)
    offset = int(places[0].partition("#")[2])
    info, response, request, *_ = map(bytes, members(data))
    assert gzip.decompress(data[offset:]).startswith(response)
    fields, about = info.split(b"\r\n\r\n", 1)
    assert b"WARC-Filename: run.1-00000.warc.gz" in fields
    assert f"software: wherry/{__version__}\r\nformat: WARC File Format 1.1\r\n".encode() in about
    fields, block = response.split(b"\r\n\r\n", 1)
    for line in (
        b"WARC-Target-URI: http://a.test/x?q=1",
        b"WARC-Date: 2026-12-01T09:30:15.000000Z",  # when it began
        b"WARC-IP-Address: 127.0.0.1",
        b"WARC-Protocol: http/1.1",
        b"Content-Type: application/http; msgtype=response",
    ):
        assert line in fields.split(b"\r\n")
    assert block == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-Archive-Orig-Content-Encoding: gzip\r\n"
        b"X-Archive-Orig-Content-Length: 31\r\nX: caf\xe9 A: b\r\nContent-Length: 4\r\n\r\n"
        b"ahoy\r\n\r\n"
    )
    assert request.split(b"\r\n\r\n", 1)[1] == (
        b"GET /x?q=1 HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nUser-Agent: wherry\r\n\r\n\r\n\r\n"
    )
    _, _, _, response, request, metadata = map(bytes, members(data))
    assert b"\r\nWARC-Protocol: h3\r\n" in response
    assert b"\r\n\r\nHTTP/1.1 299 \r\n" in response
    assert b"\r\nHost: b.test:81\r\n" in request
    assert (
        metadata.split(b"\r\n\r\n", 1)[1]
        == (
            "via: http://a.test/old\r\nhopsFromSeed: R\r\n"
            'extracted: ["ä","two\\nlines"]\r\n\r\n\r\n'
        ).encode()
    )


def members(data: bytes) -> list[bytes]:
    """What each member of a gzip file holds: each record is one."""
    import zlib

    found = []
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        found.append(unpacker.decompress(data))
        assert unpacker.eof
        data = unpacker.unused_data
    return found


async def test_warcio_itself_has_no_complaint(tmp_path: Path) -> None:
    await archive(tmp_path, PAGES)
    (path,) = tmp_path.iterdir()
    done = subprocess.run(
        [sys.executable, "-m", "warcio.cli", "check", "-v", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@given(
    st.lists(st.tuples(st.sampled_from([b"X-A", b"x-b", b"Content-Encoding", b"Transfer-Encoding"]),
                       st.binary(max_size=30)), max_size=5),
    st.text(max_size=10),
    st.binary(max_size=100),
)  # fmt: skip
def test_whatever_a_peer_says_no_reader_finds_another_record(
    fields: list[tuple[bytes, bytes]], reason: str, body: bytes
) -> None:
    from wherry.bulk.sinks.warc import _Records

    writer = _Records(Path("unused"), "run.1-00000.warc.gz")
    writer.take(page("http://a.test/", body, fields=fields, reason=reason))
    data = b"".join(writer._chunks)
    found = [record for record in members(data) if b"WARC-Type: response" in record]
    (record,) = found
    assert record.endswith(b"\r\n\r\n" + body + b"\r\n\r\n")
    kinds = [record.rec_type for record in ArchiveIterator(io.BytesIO(data))]
    assert kinds == ["warcinfo", "response", "request"]
    assert len(list(FastIterator(io.BytesIO(data), parse_http=False))) == 3


# --- files ----------------------------------------------------------------------------------------


async def test_the_index_says_which_file_came_from_where(tmp_path: Path) -> None:
    places, (shard,) = await write(Files(tmp_path), PAGES)
    rows = json_lines((tmp_path / shard.name).read_bytes())
    assert shard.name == "_index/run.1-00000.jsonl"
    assert [place.partition("#")[2] for place in places] == [row["file"] for row in rows]
    for made, row in zip(PAGES, rows, strict=True):
        assert (tmp_path / row["file"]).read_bytes() == made.body
        assert (row["url"], row["final_url"]) == (made.url, made.final_url)
        assert (row["bytes"], row["digest"]) == (len(made.body), made.digest)
    assert [row["file"].split("-")[0] for row in rows] == ["a.test/ä", "b.test/new", "a.test/empty"]
    assert rows[1]["extracted"] == {"title": "Ahoy"}


async def test_files_are_shown_a_thousand_at_a_time(tmp_path: Path) -> None:
    sink = Files(tmp_path)
    await sink.open("run.1")
    for number in range(1000):
        assert not sink.full
        await sink.add(page(f"http://a.test/{number}", b""))
    assert sink.full
    await sink.close()


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
async def test_a_shard_of_files_that_was_shown_in_part_is_taken_back(
    tmp_path: Path, moved: int
) -> None:
    """Killed while its files got their names: they are whole, but nobody knows of them."""
    dead = Files(tmp_path)
    await dead.open("run.1")
    for made in PAGES:
        await dead.add(made)
    shards = await dead.prepare()
    where = dead._where
    assert where is not None
    aside = where.path(shards[0].temporary)
    rows = json_lines((aside / "index.jsonl").read_bytes())
    for number in range(moved):
        where.publish(
            f"{shards[0].temporary}/{number}", rows[number]["file"], rows[number]["bytes"]
        )
    other = tmp_path / "a.test" / "others.html"
    other.parent.mkdir(exist_ok=True)
    other.touch()
    sink = Files(tmp_path)
    await sink.open("run.2")
    assert not await sink.present(shards)
    await sink.discard()
    await sink.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]
    await dead.close()
