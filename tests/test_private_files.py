"""Files that may hold secrets are nobody else's to read, from their first byte on."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest

import wherry
from wherry.connect.tls import contexts
from wherry.middlewares.cache_storage import SQLiteCacheStorage
from wherry.private_files import make_private, open_private, write_private
from wherry.testing import Cassette


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _open_umask():
    """The worst that a system may say."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def modes(monkeypatch):
    """The modes that files are made with."""
    seen, real = [], os.open

    def noting(path, flags, mode=0o777, **options):
        if flags & os.O_CREAT:
            seen.append(mode)
        return real(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", noting)
    return seen


def test_a_file_is_written_whole_or_not_at_all(tmp_path, modes, monkeypatch):
    path = tmp_path / ("x" * 250)
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (path.read_bytes(), mode(path), modes[-1]) == (b"new", 0o600, 0o600)
    monkeypatch.setattr(type(path), "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        write_private(path, b"newer")
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_is_no_file_is_written_to_as_it_is(tmp_path):
    reader, writer = os.pipe()
    write_private(f"/dev/fd/{writer}", b"abc")
    os.close(writer)
    assert os.read(reader, 10) == b"abc"
    os.close(reader)
    os.close(open_private("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_file_that_is_filled_by_and_by(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a long text of before")
    path.chmod(0o644)
    with os.fdopen(open_private(path), "w") as file:
        assert mode(path) == 0o600
        file.write("new")
    assert path.read_bytes() == b"new"
    path.chmod(0o664)
    make_private(path)
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)
    make_private("/dev/null")
    assert mode(Path("/dev/null")) == 0o666


async def test_an_sqlite_cache_that_others_could_read(tmp_path):
    path = tmp_path / "cache.db"
    path.touch()
    path.chmod(0o644)
    storage = SQLiteCacheStorage(path)
    assert await storage.load("x") == []
    files = {each.name: mode(each) for each in tmp_path.iterdir()}
    assert files == dict.fromkeys(files, 0o600)
    await storage.close()


async def test_the_sqlite_cache(tmp_path):
    path = tmp_path / "cache.db"
    storage = SQLiteCacheStorage(path)
    assert await storage.load("x") == []
    files = {each.name: mode(each) for each in tmp_path.iterdir()}
    assert files == dict.fromkeys(files, 0o600)
    assert "cache.db" in files
    await storage.close()
    memory = SQLiteCacheStorage(":memory:")
    await memory.load("x")
    await memory.close()
    assert not os.path.exists(":memory:")


async def test_a_cassette(tmp_path, raw_server, modes):
    server = await raw_server([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"])
    path = tmp_path / "tapes" / "one.json"
    with Cassette(path):
        async with wherry.ClientSession() as session, session.get(server.url) as response:
            await response.read()
    assert mode(path) == 0o600
    assert json.loads(path.read_text())["exchanges"]


def test_cookies(tmp_path, modes):
    async def save():
        jar = wherry.CookieJar()
        jar.update_cookies({"a": "b"})
        jar.save(tmp_path / "cookies")

    asyncio.run(save())
    assert mode(tmp_path / "cookies") == 0o600
    assert set(modes) == {0o600}


def test_the_log_of_tls_keys(tmp_path, monkeypatch):
    path = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    context = contexts.make_context(verified=True)
    assert context.keylog_filename == str(path)
    assert mode(path) == 0o600
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "none" / "keys"))
    with pytest.raises(OSError, match="none"):
        contexts.make_context(verified=True)
