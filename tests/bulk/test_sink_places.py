"""Places that fsspec knows: the same promises, with a store's put in place of a link."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from moto.server import ThreadedMotoServer
from tests.bulk.sinks import json_lines, page, write

from wherry.bulk import Jsonl, parse_sink
from wherry.bulk.sinks.destination import Remote

KINDS = ("files", "jsonl", "parquet", "warc")


@pytest.fixture(autouse=True)
def aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where shards of stores are written aside."""
    folder = tmp_path / "aside"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def memory() -> Iterator[str]:
    yield f"memory://{uuid4().hex}"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """The storage options of an S3 server on loopback."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "key": "a",
        "secret": "b",
        "client_kwargs": {"endpoint_url": f"http://{host}:{port}", "region_name": "eu-west-1"},
    }
    fs = fsspec.filesystem("s3", **options)
    fs.mkdir("hold")
    yield options
    server.stop()


def files_at(url: str, **options: Any) -> dict[str, bytes]:
    fs, root = fsspec.core.url_to_fs(url, **options)
    fs.invalidate_cache()
    return {name.removeprefix(root).lstrip("/"): fs.cat_file(name) for name in fs.find(root)}


def bodies(kind: str, files: dict[str, bytes]) -> list[bytes]:
    if kind == "files":
        return [
            files[row["file"]]
            for name, data in files.items()
            if name.startswith("_index/")
            for row in json_lines(data)
        ]
    (data,) = files.values()
    data = gzip.decompress(data) if kind == "warc" else data
    return [body for body in (b"first body", b"second body") if body in data]


async def check(kind: str, url: str, aside: Path, **options: Any) -> None:
    told = {"storage_options": options} if options else {}
    pages = [page("http://a.test/1", b"first body"), page("http://a.test/2", b"second body")]
    sink = parse_sink(f"{kind}:{url}", **told)
    await sink.open("run.1")
    for each in pages:
        await sink.add(each)
    shards = await sink.prepare()
    assert not await sink.present(shards)
    assert not files_at(url, **options)
    # What is aside nobody else can read.
    (folder,) = aside.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    await sink.publish(shards)
    await sink.publish(shards)
    assert await sink.present(shards) == {shards[0].name}
    await sink.close()
    assert not list(aside.iterdir())
    before = files_at(url, **options)
    assert bodies(kind, before) == [b"first body", b"second body"]
    # Another shard of that name replaces nothing.
    sink = parse_sink(f"{kind}:{url}", **told)
    await sink.open("run.1")
    await sink.add(page(body=b"another body"))
    with pytest.raises(FileExistsError, match="is there already"):
        await sink.publish(await sink.prepare())
    await sink.close()
    assert files_at(url, **options) == before
    # A start that died leaves nothing aside, nor anything that nobody knows of.
    dead = parse_sink(f"{kind}:{url}", **told)
    await dead.open("run.2")
    await dead.add(page())
    died = await dead.prepare()
    if kind == "files":
        where = dead._where  # type: ignore[attr-defined]
        (row,) = json_lines((Path(died[0].temporary) / "index.jsonl").read_bytes())
        where.publish(f"{died[0].temporary}/0", row["file"], row["bytes"])
        assert files_at(url, **options) != before
    sink = parse_sink(f"{kind}:{url}", **told)
    await sink.open("run.3")
    assert await sink.present([*shards, *died]) == {shards[0].name}
    await sink.discard()
    assert len(list(aside.iterdir())) == 1
    await sink.close()
    assert not list(aside.iterdir())
    assert files_at(url, **options) == before


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_without_atomic_puts(kind: str, memory: str, aside: Path) -> None:
    await check(kind, f"{memory}/pages/", aside)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_object_store(kind: str, s3: dict[str, Any], aside: Path) -> None:
    await check(kind, f"s3://hold/{kind}", aside, **s3)


async def test_an_object_appears_at_once(
    s3: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """One put of all, under its final name: no parts, no copy."""
    with caplog.at_level("INFO", "werkzeug"):
        await write(Jsonl("s3://hold/once", storage_options=s3), [page()])
    asked = [line.split('"')[1] for line in caplog.messages if '"PUT ' in line or '"POST ' in line]
    assert asked == ["PUT /hold/once/run.1-00000.jsonl HTTP/1.1"]


async def test_elsewhere_it_is_moved(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[str] = []
    real = MemoryFileSystem.put_file

    def noted(self: Any, source: str, target: str, **more: Any) -> Any:
        put.append(target)
        return real(self, source, target, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", noted)
    await write(Jsonl(f"{memory}/a", storage_options={}), [page()])
    assert [name.rpartition("/")[2] for name in put] == [".run.1-00000.jsonl.part"]
    assert list(files_at(f"{memory}/a")) == ["run.1-00000.jsonl"]


async def test_a_store_that_does_not_answer_is_an_error_and_no_answer(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what was committed would be fetched again."""
    sink = Jsonl(memory)
    await sink.open("run.1")
    await sink.add(page())
    shards = await sink.prepare()

    def down(*_: Any, **__: Any) -> None:
        raise ConnectionError("nobody answers")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "info", down)
        with pytest.raises(ConnectionError):
            await sink.present(shards)
        with pytest.raises(ConnectionError):
            await sink.publish(shards)
    await sink.publish(shards)  # it is back, and nothing is lost
    assert await sink.present(shards)
    await sink.close()


async def test_a_url_of_a_folder_of_this_machine_is_a_folder(tmp_path: Path) -> None:
    await write(Jsonl(f"file://{tmp_path}/pages"), [page()])
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["run.1-00000.jsonl"]


async def test_folders_of_others_are_left_alone(memory: str, aside: Path) -> None:
    """The folder for temporary files is everybody's."""
    elsewhere = aside.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.part").touch()
    (aside / "wherry-run.1-abcdefgh").symlink_to(elsewhere)
    (aside / "wherry-run.x.1-abcdefgh").mkdir()
    sink = Jsonl(memory)
    await sink.open("run.2")
    await sink.discard()
    await sink.close()
    assert (elsewhere / "x.part").exists()
    assert len(list(aside.iterdir())) == 2


def test_a_place_says_when_it_is_not_open() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        Remote("memory://a", {}).aside("x")
