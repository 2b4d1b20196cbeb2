"""Bodies from nginx: gzip in chunks as it makes it, ranges and validators as it has them."""

from __future__ import annotations

import hashlib
import random

import pytest
from yarl import URL

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


@pytest.mark.parametrize("there", [1_000_000, len(DATA)])
async def test_a_download_is_resumed(session, served, tmp_path, there):
    path = tmp_path / "data.bin"

    def break_off(done: int, _total: int | None) -> None:
        if done >= there:
            raise OSError("the program has had enough")

    with pytest.raises(OSError, match="had enough"):
        await session.download(served / "data.bin", path, resume=True, progress=break_off)
    digest = "sha256:" + hashlib.sha256(DATA).hexdigest()
    result = await session.download(served / "data.bin", path, resume=True, digest=digest)
    assert result.size == len(DATA)
    assert there <= result.resumed_from
    assert path.read_bytes() == DATA


async def test_a_body_that_nginx_refuses_is_answered(session, served, tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(bytes(5000000))
    with path.open("rb") as file:
        async with session.put(served / "data.bin", data=file) as response:
            assert response.status == 405
            await response.read()
