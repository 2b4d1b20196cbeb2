"""Whoever starts again loses nothing, and fetches nothing twice that was committed."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys

import pytest
from tests.bulk.kill import kill_often
from tests.bulk.site import answer, connected

from wherry.bulk import CheckpointError, Fetcher, Files, Jsonl, Memory
from wherry.bulk.backlog_on_disk import key_of
from wherry.bulk.checkpoint import Checkpoint, Outcome
from wherry.bulk.cluster.shared_folder import LocalFolder
from wherry.bulk.sinks.base import Shard


async def fetch(urls, path, into=None, most=None, **options):
    options = {**connected(), "backoff": 0.001, "in_flight": 4, "checkpoint": path, **options}
    done = []
    async with Fetcher(**options) as fetcher:
        async for result in fetcher.fetch(urls, into):
            done.append(result)
            if len(done) == most:
                break
    return done, fetcher.report


async def test_what_was_committed_is_not_fetched_again(site, tmp_path):
    urls = [site.url(f"/{n}", f"h{n % 3}.test") for n in range(60)]
    first = Memory(size=7)
    await fetch(urls, tmp_path / "run", first, most=20)
    before = {page.url for page in first.pages}
    assert 20 <= len(before) < 60
    site.asked.clear()
    second = Memory()
    _, report = await fetch(urls, tmp_path / "run", second)
    after = {page.url for page in second.pages}
    assert before | after == set(urls)
    assert not before & after
    assert len(site.asked) == len(after)
    assert report.known == len(before)
    site.asked.clear()
    assert await fetch(urls, tmp_path / "run", Memory()) != []
    assert not site.asked


async def test_nobody_else_can_read_a_checkpoint(site, tmp_path):
    path = tmp_path / "run"
    umask = os.umask(0o022)
    try:
        checkpoint = Checkpoint(path)
        try:
            checkpoint.prepared([], [Outcome("http://me:secret@a.test/")], [])
            modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
        finally:
            checkpoint.close()
        LocalFolder(tmp_path / "cluster").write("input/0", b"http://me:secret@a.test/")
    finally:
        os.umask(umask)
    assert modes.keys() >= {"run", "run-wal"}
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "cluster" / "input" / "0").stat().st_mode & 0o777 == 0o600


def test_a_checkpoint_that_others_could_read_is_made_private(tmp_path):
    path = tmp_path / "run"
    Checkpoint(path).close()
    path.chmod(0o644)
    Checkpoint(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_without_a_sink_a_page_is_done_when_the_next_is_asked_for(site, tmp_path):
    urls = [site.url(f"/{n}") for n in range(40)]
    taken, _ = await fetch(urls, tmp_path / "run", most=10)
    rest, _ = await fetch(urls, tmp_path / "run")
    assert len(rest) == 31
    assert {result.url for result in taken[:9]}.isdisjoint(result.url for result in rest)
    assert taken[9].url in {result.url for result in rest}
    assert await fetch(urls, tmp_path / "run") is not None
    assert (await fetch(urls, tmp_path / "run"))[0] == []


async def test_what_failed_is_fetched_again_where_that_is_asked_for(site, tmp_path):
    site.scripts = {"/bad": answer(b"", "500 No")}
    urls = [site.url("/good"), site.url("/bad")]
    await fetch(urls, tmp_path / "run", Memory(), retries=0)
    assert (await fetch(urls, tmp_path / "run", Memory()))[0] == []
    site.scripts = {}
    (result,), _ = await fetch(urls, tmp_path / "run", Memory(), retry_failed=True)
    assert result.url == site.url("/bad")
    assert result.ok


async def test_links_that_were_found_are_not_lost(site, tmp_path):
    """Nor those that only the part of the tree names that is done."""
    follow = {"follow": lambda page: [f"{page.url}{letter}" for letter in "ab"], "max_depth": 5}
    sink = Memory(size=3)
    await fetch([site.url("/")], tmp_path / "run", sink, most=5, **follow)
    asked = len(site.asked)
    assert asked < 63
    await fetch([site.url("/")], tmp_path / "run", sink, **follow)
    assert len({page.url for page in sink.pages}) == len(sink.pages) == 63


async def test_pages_of_earlier_starts_count(site, tmp_path):
    urls = [site.url(f"/{n}") for n in range(30)]
    sink = Memory()
    await fetch(urls, tmp_path / "run", sink, max_pages=10)
    assert len(sink.pages) == 10
    await fetch(urls, tmp_path / "run", sink, max_pages=15)
    assert len(sink.pages) == 15


async def test_a_checkpoint_is_not_gone_on_with_in_another_place(site, tmp_path):
    """What it knows as done would be missing there."""
    urls, path = [site.url("/1"), site.url("/2")], tmp_path / "run"
    await fetch(urls[:1], path, Jsonl(tmp_path / "one"))
    site.asked.clear()
    for other in (Jsonl(tmp_path / "two"), Files(tmp_path / "one"), None):
        with pytest.raises(CheckpointError, match=r"of a run into Jsonl\('.*/one'\)"):
            await fetch(urls, path, other)
    assert not site.asked
    done, _ = await fetch(urls, path, Jsonl(f"file://{tmp_path}/./one"))
    assert [result.url for result in done] == urls[1:]


async def test_a_place_at_which_nothing_was_done_may_be_left(site, tmp_path):
    path, urls = tmp_path / "run", [site.url("/1")]
    (tmp_path / "one").touch()
    with pytest.raises(OSError, match="one"):
        await fetch(urls, path, Jsonl(tmp_path / "one"))
    done, _ = await fetch(urls, path, Jsonl(tmp_path / "two"))
    assert len(done) == 1


async def test_bodies_of_earlier_starts_are_known(site, tmp_path):
    site.scripts = {f"/{n}": answer(b"same") for n in range(3)}
    sink = Memory()
    await fetch([site.url("/0")], tmp_path / "run", sink, unique_bodies=True)
    done, _ = await fetch([site.url("/1")], tmp_path / "run", sink, unique_bodies=True)
    assert done[0].duplicate
    assert len(sink.pages) == 1


async def test_two_runs_of_one_fetcher_share_the_checkpoint(site, tmp_path):
    options = {**connected(), "checkpoint": tmp_path / "run"}
    async with Fetcher(**options) as fetcher:
        assert len([r async for r in fetcher.fetch([site.url("/1")], Memory())]) == 1
        urls = [site.url("/1"), site.url("/2")]
        assert [r.url async for r in fetcher.fetch(urls, Memory())] == urls[1:]


# --- the file ---------------------------------------------------------------------------------------


def shard(name: str) -> Shard:
    return Shard(name, f".{name}", 1, 10)


@pytest.mark.parametrize("visible", [set(), {"a"}, {"a", "b"}])
async def test_what_was_prepared_is_done_if_it_is_visible(tmp_path, visible):
    checkpoint = Checkpoint(tmp_path / "run")
    checkpoint.begin()
    outcomes = [Outcome("u:1", None, "a#0"), Outcome("u:2", None, "b#0"), Outcome("u:3", "E: no")]
    checkpoint.prepared([shard("a"), shard("b")], outcomes, [("u:4", 1, True)])
    checkpoint.close()

    asked = []

    async def present(shards):
        asked.extend(each.name for each in shards)
        return visible

    checkpoint = Checkpoint(tmp_path / "run")
    checkpoint.begin()
    await checkpoint.recover(present)
    assert sorted(asked) == ["a", "b"]
    done = [checkpoint.is_done(key_of(f"u:{n}")) for n in (1, 2, 3, 4)]
    assert done == ["a" in visible, "b" in visible, True, False]
    assert checkpoint.count() == (len(visible), 1)
    assert list(checkpoint.failures()) == [("u:3", "E: no")]
    assert list(checkpoint.found()) == [("u:4", 1, True)]
    checkpoint.close()


def test_every_start_has_a_name_of_its_own(tmp_path):
    names = []
    for path in ("run", "run", "other"):
        checkpoint = Checkpoint(tmp_path / path)
        names.append(checkpoint.begin())
        checkpoint.close()
    stems = [name.partition(".")[0] for name in names]
    assert stems[0] == stems[1] != stems[2]
    assert names[0].endswith(".1")
    assert names[1].endswith(".2")


def test_a_checkpoint_is_one_process_s(tmp_path):
    checkpoint = Checkpoint(tmp_path / "run")
    checkpoint.begin()
    with pytest.raises(CheckpointError, match="another process uses it"):
        Checkpoint(tmp_path / "run")
    code = "import sys; from wherry.bulk.checkpoint import Checkpoint; Checkpoint(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "run"], capture_output=True, text=True, check=False
    )
    assert "another process uses it" in done.stderr
    checkpoint.close()
    Checkpoint(tmp_path / "run").close()


def test_what_is_no_checkpoint_is_refused_and_left_alone(tmp_path):
    (tmp_path / "text").write_text("this is a letter, and long enough to be looked at " * 50)
    with pytest.raises(CheckpointError, match="not a database"):
        Checkpoint(tmp_path / "text")
    assert (tmp_path / "text").read_text().startswith("this is a letter")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Checkpoint(tmp_path / "other")
    with pytest.raises(CheckpointError, match="No such file"):
        Checkpoint(tmp_path / "no such folder" / "run")


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    Checkpoint(tmp_path / "run").close()
    other = sqlite3.connect(tmp_path / "run")
    other.execute("UPDATE about SET value = '99' WHERE name = 'version'")
    other.commit()
    other.close()
    with pytest.raises(CheckpointError, match="another version"):
        Checkpoint(tmp_path / "run")


# --- kills ------------------------------------------------------------------------------------------


async def test_killed_at_any_moment_nothing_is_lost_and_nothing_visible_fetched_again():
    """A few kills; ``python -m tests.bulk.kill 200`` does more of them."""
    jobs = await kill_often(4, seed=7, count=40, each=2)
    assert sum(seen.kills for seen in jobs) == 4


async def test_a_disk_that_is_full_ends_the_run_and_the_next_one_goes_on(site, tmp_path):
    """SQLite's limit of pages stands for the disk's end: it fails in the same way."""
    path = tmp_path / "run.sqlite"
    urls = [site.url(f"/{number}") for number in range(400)]
    checkpoint = Checkpoint(path)
    (pages,) = checkpoint._connection.execute("PRAGMA page_count").fetchone()
    checkpoint._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(CheckpointError, match="cannot be written: database or disk is full"):
        async with Fetcher(**connected(), checkpoint=checkpoint, commit_every=0.01) as fetcher:
            async for _ in fetcher.fetch(urls, into=Jsonl(tmp_path / "pages")):
                pass
    done = len(list(rows_of(tmp_path / "pages")))
    assert 0 < done < len(urls)
    async with Fetcher(**connected(), checkpoint=path) as fetcher:
        again = [result async for result in fetcher.fetch(urls, into=Jsonl(tmp_path / "pages"))]
    assert len(again) == len(urls) - done
    found = [row["url"] for row in rows_of(tmp_path / "pages")]
    assert sorted(found) == sorted(urls)


async def test_no_room_for_what_waits_is_an_error_of_the_disk(site, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("wherry.bulk.backlog_on_disk.Overflow._write", full)
    with pytest.raises(OSError, match="no room on disk"):
        async with Fetcher(**connected(), buffer=1) as fetcher:
            async for _ in fetcher.fetch(site.url(f"/{number}") for number in range(5000)):
                pass


def rows_of(folder):
    for file in folder.glob("*.jsonl"):
        for line in file.read_text().splitlines():
            yield json.loads(line)
