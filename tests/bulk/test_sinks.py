"""What all sinks that write shards promise: nothing is visible before it is whole, nothing is
replaced, and nothing stays open or aside.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType
from tests.bulk.killed_writer import visible
from tests.bulk.sinks import json_lines, page, write

from wherry.bulk import Files, Jsonl, Parquet, Warc, parse_sink
from wherry.bulk.sinks.base import shard_of
from wherry.bulk.sinks.destination import stem_of
from wherry.bulk.sinks.rolling import BytesWriter, RollingSink

ROOT = Path(__file__).parents[2]
KINDS = {"files": Files, "jsonl": Jsonl, "parquet": Parquet, "warc": Warc}
each_kind = pytest.mark.parametrize("kind", list(KINDS))


def urls_in(kind: str, folder: Path, shard: str) -> list[str]:
    """The URLs of a published shard, which is read whole."""
    path = folder / shard
    if kind == "parquet":
        return pq.read_table(path).column("url").to_pylist()
    if kind == "warc":
        records = ArchiveIterator(
            io.BytesIO(path.read_bytes()), record_types=WarcRecordType.response, parse_http=False
        )
        return [
            record.headers["WARC-Target-URI"] for record in records if record.verify_block_digest()
        ]
    rows = json_lines(path.read_bytes())
    if kind == "files":
        assert all((folder / row["file"]).stat().st_size == row["bytes"] for row in rows)
    return [row["url"] for row in rows]


@each_kind
async def test_pages_are_visible_once_they_are_published(kind: str, tmp_path: Path) -> None:
    sink = parse_sink(f"{kind}:{tmp_path}/not/there/yet")
    folder = tmp_path / "not/there/yet"
    await sink.open("run.1")
    assert await sink.prepare() == []
    urls = [f"http://a.test/{number}" for number in range(7)]
    places = [await sink.add(page(url, b"x" * number * 20_000)) for number, url in enumerate(urls)]
    assert not visible(folder)
    shards = await sink.prepare()
    assert [shard.count for shard in shards] == [7]
    assert {shard_of(place) for place in places} == {shards[0].name}
    assert not visible(folder)
    assert not await sink.present(shards)
    assert await sink.prepare() == shards  # not published yet
    await sink.publish(shards)
    await sink.publish(shards)
    assert await sink.present(shards) == {shards[0].name}
    assert await sink.prepare() == []
    assert urls_in(kind, folder, shards[0].name) == urls
    await sink.add(page())
    await sink.close()
    await sink.close()
    assert urls_in(kind, folder, shards[0].name) == urls
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@each_kind
async def test_shards_end_when_they_have_their_size(kind: str, tmp_path: Path) -> None:
    sink = parse_sink(f"{kind}:{tmp_path}", roll=100_000)
    await sink.open("run.1")
    places = []
    for number in range(10):
        places.append(await sink.add(page(f"http://a.test/{number}", os.urandom(40_000))))
        # A file of JSON has them as base64.
        assert sink.full == (number >= (1 if kind == "jsonl" else 2))
    shards = await sink.prepare()
    assert [shard.count for shard in shards] == ([2] * 5 if kind == "jsonl" else [3, 3, 3, 1])
    assert [shard.name for shard in shards] == sorted({shard_of(place) for place in places})
    await sink.publish(shards)
    assert not sink.full
    await sink.close()
    found = [url for shard in shards for url in urls_in(kind, tmp_path, shard.name)]
    assert found == [f"http://a.test/{number}" for number in range(10)]


@each_kind
async def test_two_runs_in_one_folder_replace_nothing(kind: str, tmp_path: Path) -> None:
    sinks = [parse_sink(f"{kind}:{tmp_path}") for _ in range(2)]
    for number, sink in enumerate(sinks):
        await sink.open(f"run{number}.1")
        await sink.add(page())
    for sink in sinks:
        await sink.discard()
        await sink.add(page())
        await sink.publish(await sink.prepare())
        await sink.close()
    size = len(visible(tmp_path))
    assert size == (4 if kind == "files" else 2)
    # One that has the name of another's shard fails, and leaves that as it is.
    before = visible(tmp_path)
    sink = parse_sink(f"{kind}:{tmp_path}")
    await sink.open("run0.1")
    await sink.add(page(body=b"other"))
    await sink.discard()
    await sink.add(page(body=b"other"))
    shards = await sink.prepare()
    assert await sink.present(shards) == {shards[0].name}
    with pytest.raises(FileExistsError):
        await sink.publish(shards)
    await sink.close()
    assert visible(tmp_path) == before


@each_kind
async def test_what_dead_starts_left_is_found_and_removed(kind: str, tmp_path: Path) -> None:
    dead, other = (parse_sink(f"{kind}:{tmp_path}") for _ in range(2))
    await dead.open("run.1")
    await other.open("run.x.1")
    await other.add(page())
    others = await other.prepare()
    shown = []
    for _ in range(2):
        await dead.add(page())
        shown = await dead.prepare()
        if not visible(tmp_path):
            await dead.publish(shown)
            published = shown
    await dead.add(page())
    # It is killed here.  The next start has the same stem and another number.
    sink = parse_sink(f"{kind}:{tmp_path}")
    await sink.open("run.2")
    assert await sink.present([*published, *shown]) == {published[0].name}
    before = visible(tmp_path)
    await sink.discard()
    assert visible(tmp_path) == before
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}
    assert left == {others[0].temporary}
    await sink.close()
    await other.publish(others)
    await other.close()
    assert len(visible(tmp_path)) == 2 * len(before)
    await dead.close()


@each_kind
def test_a_kill_at_any_moment_leaves_nothing_half_and_nothing_lost(
    kind: str, tmp_path: Path
) -> None:
    """A fork for each start: as cheap as kills can be."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bulk.killed_writer", kind, str(tmp_path), "12"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    published, seen = told["published"], told["seen"]
    assert len(published) == len(set(published))
    assert len(published) > 12  # they were not all killed before their first shard
    urls: list[str] = []
    for name in published:
        urls += urls_in(kind, tmp_path, name)
    assert len(urls) == len(set(urls)) == 5 * len(published)
    now = visible(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    if kind == "files":
        files = {
            row["file"] for name in published for row in json_lines((tmp_path / name).read_bytes())
        }
        assert set(now) == files | set(published)
    else:
        assert set(now) == set(published)
        # What was visible at a kill was whole: it never changed.
        assert all(found.items() <= now.items() for found in seen)


async def test_a_cancelled_add_waits_for_its_thread_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, may_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    real = BytesWriter.write

    def slow(self: BytesWriter) -> None:
        assert threading.current_thread() is not threading.main_thread()
        loop.call_soon_threadsafe(inside.set)
        assert may_go.wait(30)
        real(self)

    monkeypatch.setattr(BytesWriter, "write", slow)
    sink = Jsonl(tmp_path)
    await sink.open("run.1")
    adding = asyncio.create_task(sink.add(page(body=b"x" * 2_000_000)))
    await inside.wait()
    adding.cancel()
    await asyncio.sleep(0)
    assert not adding.done()
    may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await adding
    opened = {Path(each.path).parent for each in psutil.Process().open_files()}
    assert tmp_path in opened
    await sink.close()
    opened = {Path(each.path).parent for each in psutil.Process().open_files()}
    assert tmp_path not in opened
    assert not list(tmp_path.iterdir())
    assert not [each for each in threading.enumerate() if each.name.startswith("wherry-sink")]


@each_kind
async def test_a_disk_that_fails_is_told_and_nothing_is_shown(kind: str, tmp_path: Path) -> None:
    sink = parse_sink(f"{kind}:{tmp_path / 'out'}")
    await sink.open("run.1")
    (tmp_path / "out").rmdir()
    await sink.add(page())
    with pytest.raises(FileNotFoundError):
        await sink.prepare()
    for _ in range(2):
        with pytest.raises(OSError, match=r"could not write before: .*No such file"):
            await sink.add(page())
    with pytest.raises(OSError, match="could not write before"):
        await sink.prepare()
    (tmp_path / "out").mkdir()
    await sink.discard()
    await sink.add(page())
    await sink.publish(await sink.prepare())
    await sink.close()
    assert visible(tmp_path / "out")


async def test_a_place_where_nothing_can_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sink = Jsonl(tmp_path / "file" / "folder")
    with pytest.raises(OSError, match="file"):
        await sink.open("run.1")
    await sink.close()
    with pytest.raises(RuntimeError, match="not open"):
        await sink.add(page())
    with pytest.raises(ValueError, match="cannot be part of a file's"):
        await Jsonl(tmp_path).open("../run.1")
    sink = Jsonl(tmp_path)
    await sink.open("run.1")
    with pytest.raises(RuntimeError, match="open already"):
        await sink.open("run.1")
    await sink.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("wherry-sink")]


@each_kind
async def test_others_may_read_files_if_the_umask_lets_them(kind: str, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        await write(parse_sink(f"{kind}:{tmp_path}/open"), [page()])
        os.umask(0o077)
        await write(parse_sink(f"{kind}:{tmp_path}/shut"), [page()])
    finally:
        os.umask(before)
    for folder, mode in (("open", 0o644), ("shut", 0o600)):
        names = visible(tmp_path / folder)
        assert {(tmp_path / folder / name).stat().st_mode & 0o777 for name in names} == {mode}


@each_kind
async def test_without_links_files_are_moved(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr("os.link", no_links)
    _, shards = await write(parse_sink(f"{kind}:{tmp_path}"), [page(), page("http://b.test/")])
    assert len(urls_in(kind, tmp_path, shards[0].name)) == 2
    sink = parse_sink(f"{kind}:{tmp_path}")
    await sink.open("run.1")
    await sink.add(page())
    with pytest.raises(FileExistsError):
        await sink.publish(await sink.prepare())
    await sink.close()


async def test_what_a_hook_gave_must_be_json_and_costs_one_page(tmp_path: Path) -> None:
    for kind in KINDS:
        sink = parse_sink(f"{kind}:{tmp_path / kind}")
        await sink.open("run.1")
        with pytest.raises(
            TypeError, match=r"what on_response gave for http://a\.test/ is no JSON"
        ):
            await sink.add(page("http://me:mine@a.test/", extracted={1, 2}))
        assert await sink.prepare() == []
        await sink.add(page("http://a.test/2", extracted={"title": "A\ud800B", "n": [1, None]}))
        shards = await sink.prepare()
        await sink.publish(shards)
        await sink.close()
        assert urls_in(kind, tmp_path / kind, shards[0].name) == ["http://a.test/2"]


@each_kind
async def test_no_password_is_written_or_shown(kind: str, tmp_path: Path) -> None:
    sink = parse_sink(f"{kind}:{tmp_path}")
    asked = [("Authorization", "Basic hushhush"), ("Cookie", "a=hushhush"), ("Accept", "text/html")]
    made = page("http://me:hushhush@a.test/", asked=asked)
    await write(sink, [made])
    assert "a.test" in str(visible(tmp_path)) or kind != "files"
    for name in visible(tmp_path):
        data = (tmp_path / name).read_bytes()
        data = gzip.decompress(data) if kind == "warc" else data
        assert b"hushhush" not in data
    assert "hushhush" not in repr(parse_sink(f"{kind}:s3://me:hushhush@bucket/"))


def test_sinks_cross_processes_before_they_are_open(tmp_path: Path) -> None:
    for kind, of_kind in KINDS.items():
        sink = pickle.loads(pickle.dumps(parse_sink(f"{kind}:{tmp_path}", roll=5)))
        assert type(sink) is of_kind
        assert (sink.place, sink.roll) == (str(tmp_path), 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "out/",
            "'out/' is no sink: say KIND:PLACE, and the kinds are files, jsonl, parquet, warc",
        ),
        ("json:out/", "did you mean jsonl:out/?"),
        ("WARC:", "did you mean warc:FOLDER/?"),
        ("parquet:", "'parquet:' has no place: say parquet:FOLDER/ or parquet:s3://bucket/folder"),
    ],
)
def test_what_names_no_sink_is_told_with_what_does(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"sink|place") as caught:
        parse_sink(text)
    assert message in str(caught.value)


def test_sinks_as_text() -> None:
    for text, of_kind, place in (
        ("files:dir/", Files, "dir/"),
        ("jsonl:memory://a/b", Jsonl, "memory://a/b"),
        ("parquet:s3://bucket/a", Parquet, "s3://bucket/a"),
        (r"warc:C:\out", Warc, r"C:\out"),
    ):
        sink = parse_sink(text)
        assert isinstance(sink, RollingSink)
        assert type(sink) is of_kind
        assert sink.place == place


def test_sizes_are_numbers_of_bytes() -> None:
    for roll in (0, -1, "1GB", 1.5):
        with pytest.raises(ValueError, match="roll= is a number of bytes"):
            Jsonl("out", roll=roll)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="row_group= is"):
        Parquet("out", row_group=0)
    with pytest.raises(ValueError, match="compression"):
        Parquet("out", compression="zip")


def test_stems() -> None:
    assert [stem_of(run) for run in ("a.1", "a.b.22", "a", ".1", "a.b")] == [
        "a",
        "a.b",
        "a",
        ".1",
        "a.b",
    ]


@pytest.mark.parametrize(
    ("missing", "use", "extra"),
    [
        ("pyarrow", "from wherry.bulk import Parquet", "parquet"),
        ("fastwarc", "from wherry.bulk import Warc", "warc"),
        ("fsspec", "import asyncio; from wherry.bulk import Jsonl; asyncio.run(Jsonl('s3://b').open('r.1'))", "fsspec"),
    ],
)  # fmt: skip
def test_a_missing_package_is_told_with_the_command_that_brings_it(
    missing: str, use: str, extra: str
) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\n{use}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: ")
    assert last.endswith(f"pip install 'wherry[{extra}]'")
