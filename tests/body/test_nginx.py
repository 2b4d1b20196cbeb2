"""Bodies from nginx: gzip in chunks as it makes it, ranges and validators as it has them."""

from __future__ import annotations

import hashlib
import json
import os
import random

import pytest
from yarl import URL

import wherry

TEXT = b"".join(b"line %d of a text that can be compressed\n" % n for n in range(50000))
DATA = random.Random(1).randbytes(3000000)


@pytest.fixture
def served(nginx):
    (nginx.files / "text.txt").write_bytes(TEXT)
    (nginx.files / "data.bin").write_bytes(DATA)
    return URL(f"http://127.0.0.1:{nginx.port}/files/")


async def test_gzip_in_chunks(session, served):
    async with session.get(served / "text.txt") as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert await response.read() == TEXT
        assert response.content.total_raw_bytes < len(TEXT) == response.content.total_bytes
    async with session.get(served / "text.txt") as response:
        assert [line async for line in response.content] == TEXT.splitlines(keepends=True)
    async with session.get(served / "text.txt") as response:
        pieces = [piece async for piece in response.content.iter_chunks()]
        assert b"".join(piece for piece, _ in pieces) == TEXT
        assert any(ended for _, ended in pieces)


@pytest.mark.parametrize("size", [1000, 65536, 10**7])
async def test_pieces(session, served, size):
    async with session.get(served / "data.bin") as response:
        pieces = [piece async for piece in response.content.iter_chunked(size)]
    assert b"".join(pieces) == DATA
    assert max(map(len, pieces)) <= size


async def test_a_download_is_resumed(session, served, nginx, tmp_path):
    path = tmp_path / "data.bin"
    stat = (nginx.files / "data.bin").stat()
    tag = f'"{int(stat.st_mtime):x}-{stat.st_size:x}"'
    path.with_name("data.bin.part").write_bytes(DATA[:1234567])
    path.with_name("data.bin.part.json").write_text(json.dumps({"validator": tag}))
    result = await session.download(
        served / "data.bin", path, resume=True, digest="sha256:" + hashlib.sha256(DATA).hexdigest()
    )
    assert result == wherry.DownloadResult(path, len(DATA), 1234567)
    assert path.read_bytes() == DATA
    assert os.listdir(tmp_path) == ["data.bin"]


async def test_a_part_of_another_file_is_not_gone_on_with(session, served, tmp_path):
    path = tmp_path / "data.bin"
    path.with_name("data.bin.part").write_bytes(b"of old")
    path.with_name("data.bin.part.json").write_text(json.dumps({"validator": '"of-old"'}))
    result = await session.download(served / "data.bin", path, resume=True)
    assert result.resumed_from == 0
    assert path.read_bytes() == DATA


async def test_a_part_that_has_it_all_is_the_file(session, served, nginx, tmp_path):
    path = tmp_path / "data.bin"
    stat = (nginx.files / "data.bin").stat()
    path.with_name("data.bin.part").write_bytes(DATA)
    tag = f'"{int(stat.st_mtime):x}-{stat.st_size:x}"'
    path.with_name("data.bin.part.json").write_text(json.dumps({"validator": tag}))
    result = await session.download(served / "data.bin", path, resume=True)
    assert result == wherry.DownloadResult(path, len(DATA), len(DATA))
    assert path.read_bytes() == DATA


async def test_a_body_that_nginx_refuses_is_answered(session, served, tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(bytes(5000000))
    with path.open("rb") as file:
        async with session.put(served / "data.bin", data=file) as response:
            assert response.status == 405
            await response.read()
