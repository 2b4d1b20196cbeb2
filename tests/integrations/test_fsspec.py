"""The fsspec file system beside fsspec's own, on real servers; and what it does beyond that."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import fsspec.asyn
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.callbacks import Callback
from fsspec.exceptions import FSTimeoutError
from fsspec.implementations.http import HTTPFileSystem as OwnFileSystem
from fsspec.registry import _registry
from tests.servers.http_servers import Caddy
from tests.servers.nginx import Nginx

from wherry import ClientPayloadError, ClientResponseError, ClientTimeout, TCPConnector
from wherry.integrations import fsspec as ours
from wherry.integrations.fsspec import HTTPFileSystem
from wherry.integrations.html_index_page import links_below

ROOT = Path(__file__).parents[2]
DATA = bytes(range(256)) * 400
INDEX = b'<a href="\xe4+AGE-">x</a>'


@pytest.fixture(scope="module", autouse=True)
def tree(nginx: Nginx) -> None:
    """What is listed: files, folders, and names that need quoting."""
    top = nginx.files / "tree"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "data.bin").write_bytes(DATA)
    (top / "empty.txt").touch()
    (top / "a b&ä.txt").write_text("odd", "utf-8")
    (top / "sub" / "one.csv").write_text("n\n1\n")
    (top / "sub" / "two.csv").write_text("n\n2\n")
    (top / "sub" / "deep" / "three.csv").write_text("n\n3\n")
    table = pa.table({"n": range(10_000), "text": [f"row {n}" for n in range(10_000)]})
    pq.write_table(table, top / "table.parquet", row_group_size=1000)


@pytest.fixture
def fs() -> HTTPFileSystem:
    return HTTPFileSystem(skip_instance_cache=True)


@pytest.fixture
def top(nginx: Nginx) -> str:
    return f"http://127.0.0.1:{nginx.port}/listed/tree"


# --- beside fsspec's own --------------------------------------------------------------------------


def read_here_and_there(fs: Any, top: str) -> list[Any]:
    with fs.open(f"{top}/data.bin", block_size=1000) as file:
        found = [file.read(3), file.seek(50_000), file.read(5), file.tell(), file.size]
        found += [file.seek(-2, 2), file.read(), file.read(1)]
    return found


def read_stream(fs: Any, top: str) -> list[Any]:
    with fs.open(f"{top}/data.bin", block_size=0) as file:
        return [file.read(300), len(file.read())]


def read_lines(fs: Any, top: str) -> list[str]:
    with fs.open(f"{top}/sub/one.csv", "rt") as file:
        return list(file)


def walked(fs: Any, top: str) -> list[Any]:
    return [(path, sorted(dirs), sorted(files)) for path, dirs, files in fs.walk(f"{top}/")]


def facts(fs: Any, top: str) -> list[Any]:
    info = fs.info(f"{top}/data.bin")
    return [
        info[key] for key in ("name", "size", "type", "mimetype", "url", "ETag", "Last-Modified")
    ]


SAME = {
    "ls": lambda fs, top: fs.ls(f"{top}/", detail=False),
    "ls without a slash": lambda fs, top: fs.ls(top, detail=False),
    "ls of a folder below": lambda fs, top: sorted(fs.ls(f"{top}/sub/"), key=lambda row: row["name"]),
    "ls of nothing": lambda fs, top: fs.ls(f"{top}/none/"),
    "ls of a file": lambda fs, top: fs.ls(f"{top}/data.bin"),
    "find": lambda fs, top: fs.find(f"{top}/"),
    "find to a depth": lambda fs, top: fs.find(f"{top}/", maxdepth=1),
    "walk": walked,
    "glob": lambda fs, top: fs.glob(f"{top}/*.bin"),
    "glob of folders": lambda fs, top: fs.glob(f"{top}/*"),
    "glob below": lambda fs, top: fs.glob(f"{top}/sub/*.csv"),
    "glob of one of": lambda fs, top: fs.glob(f"{top}/sub/[ot]*.csv"),
    "glob of all": lambda fs, top: fs.glob(f"{top}/**"),
    "glob of all csv": lambda fs, top: fs.glob(f"{top}/**/*.csv"),
    "glob to a depth": lambda fs, top: fs.glob(f"{top}/**", maxdepth=1),
    "glob with details": lambda fs, top: sorted(fs.glob(f"{top}/*", detail=True)),
    "glob of a file": lambda fs, top: fs.glob(f"{top}/data.bin"),
    "glob of a query": lambda fs, top: fs.glob(f"{top}/data.bin?a=1"),
    "glob of nothing": lambda fs, top: fs.glob(f"{top}/none.bin"),
    "glob of no depth": lambda fs, top: fs.glob(f"{top}/**", maxdepth=0),
    "exists": lambda fs, top: [fs.exists(f"{top}/{name}") for name in ("data.bin", "none", "", "sub/")],
    "exists where nobody is": lambda fs, top: fs.exists("http://127.0.0.1:1/x"),
    "isfile": lambda fs, top: [fs.isfile(f"{top}/{name}") for name in ("data.bin", "none", "")],
    "isdir": lambda fs, top: [fs.isdir(f"{top}/{name}") for name in ("data.bin", "none", "", "sub/")],
    "info": facts,
    "info of nothing": lambda fs, top: fs.info(f"{top}/none"),
    "size": lambda fs, top: [fs.size(f"{top}/{name}") for name in ("data.bin", "empty.txt")],
    "cat": lambda fs, top: fs.cat(f"{top}/data.bin"),
    "cat of many": lambda fs, top: fs.cat([f"{top}/sub/one.csv", f"{top}/sub/two.csv"]),
    "cat of an odd name": lambda fs, top: fs.cat(f"{top}/a b&ä.txt"),
    "cat of nothing": lambda fs, top: fs.cat(f"{top}/none"),
    "a range": lambda fs, top: fs.cat_file(f"{top}/data.bin", 10, 20),
    "a range to the end": lambda fs, top: fs.cat_file(f"{top}/data.bin", 102_390),
    "a range from the end": lambda fs, top: fs.cat_file(f"{top}/data.bin", -7),
    "a range before the end": lambda fs, top: fs.cat_file(f"{top}/data.bin", -7, -3),
    "a range up to": lambda fs, top: fs.cat_file(f"{top}/data.bin", None, 5),
    "no range": lambda fs, top: fs.cat_file(f"{top}/data.bin", 5, 5),
    "ranges": lambda fs, top: fs.cat_ranges([f"{top}/data.bin"] * 3, [0, 100, 5000], [10, 110, 5010]),
    "head and tail": lambda fs, top: [fs.head(f"{top}/data.bin", 9), fs.tail(f"{top}/data.bin", 9)],
    "random access": read_here_and_there,
    "a stream": read_stream,
    "lines": read_lines,
    "an empty file": lambda fs, top: fs.open(f"{top}/empty.txt").read(),
    "open of nothing": lambda fs, top: fs.open(f"{top}/none"),
    "open for writing": lambda fs, top: fs.open(f"{top}/new", "wb"),
    "a parent": lambda fs, top: fs._parent(f"{top}/sub/one.csv") == f"{top}/sub",
    "du": lambda fs, top: fs.du(f"{top}/sub/"),
}  # fmt: skip


def outcome(do: Any, fs: Any, top: str) -> Any:
    try:
        return do(fs, top)
    except Exception as exc:  # which one is what is compared
        return type(exc)


@pytest.mark.parametrize("what", list(SAME))
def test_it_gives_what_the_own_one_gives(what: str, top: str, fs: HTTPFileSystem) -> None:
    own = OwnFileSystem(skip_instance_cache=True)
    expected = outcome(SAME[what], own, top)
    assert outcome(SAME[what], fs, top) == expected
    fsspec.asyn.sync(own.loop, own._session.close) if own._session else None


@pytest.mark.parametrize("cache", ["bytes", "readahead", "blockcache", "all", "none", "background"])
def test_each_cache_reads_the_same(cache: str, top: str, fs: HTTPFileSystem) -> None:
    with fs.open(f"{top}/data.bin", block_size=1024, cache_type=cache) as file:
        for start, length in ((0, 10), (99_000, 2000), (3, 1), (50_000, 10_000), (102_395, 99)):
            file.seek(start)
            assert file.read(length) == DATA[start : start + length]


def test_a_glob_with_a_slash_finds_folders(top: str, fs: HTTPFileSystem) -> None:
    """Where fsspec's own finds nothing."""
    assert fs.glob(f"{top}/*/") == [f"{top}/sub/"]


def test_folders_are_copied_and_wrapped_in_caches(
    top: str, fs: HTTPFileSystem, tmp_path: Path
) -> None:
    fs.get(f"{top}/sub/", f"{tmp_path}/copy/", recursive=True)
    copied = {path.relative_to(tmp_path / "copy").as_posix() for path in tmp_path.rglob("*.csv")}
    assert copied == {"one.csv", "two.csv", "deep/three.csv"}
    callback = Callback()
    fs.get_file(f"{top}/data.bin", str(tmp_path / "data.bin"), callback=callback)
    assert (tmp_path / "data.bin").read_bytes() == DATA
    assert (callback.size, callback.value) == (len(DATA), len(DATA))
    cached = fsspec.filesystem("filecache", fs=fs, cache_storage=str(tmp_path / "kept"))
    for _ in range(2):
        with cached.open(f"{top}/data.bin") as file:
            assert file.read() == DATA
    assert len(os.listdir(tmp_path / "kept")) == 2


def test_tables_are_read_in_pieces(top: str, nginx: Nginx, fs: HTTPFileSystem) -> None:
    with fs.open(f"{top}/table.parquet", block_size=2000, cache_type="none") as file:
        table = pq.ParquetFile(file).read_row_group(7, columns=["n"])
    assert table.column("n").to_pylist() == list(range(7000, 8000))
    whole = pq.read_table(f"{top}/table.parquet", filesystem=fs, columns=["text"])
    assert whole.num_rows == 10_000


def test_fsspec_finds_it_by_its_url(top: str) -> None:
    before = dict(_registry)
    try:
        ours.register()
        assert isinstance(fsspec.filesystem("https", skip_instance_cache=True), HTTPFileSystem)
        with fsspec.open(f"{top}/sub/one.csv", "rt") as file:
            assert file.read() == "n\n1\n"
        assert fsspec.open_files(f"{top}/sub/*.csv")[1].path == f"{top}/sub/two.csv"
    finally:
        _registry.clear()
        _registry.update(before)
        HTTPFileSystem.clear_instance_cache()


# --- a loop of the program's own, HTTP/2 and HTTP/3 -----------------------------------------------


async def test_on_a_loop_of_the_program(top: str) -> None:
    fs = HTTPFileSystem(asynchronous=True, skip_instance_cache=True)
    session = await fs.set_session()
    assert await fs._cat_file(f"{top}/data.bin", 1, 4) == b"\1\2\3"
    assert await fs._glob(f"{top}/sub/*.csv") == [f"{top}/sub/one.csv", f"{top}/sub/two.csv"]
    async with await fs.open_async(f"{top}/data.bin") as file:
        assert file.size == len(DATA)
        assert await file.read(4) == DATA[:4]
        assert await file.read() == DATA[4:]
    with pytest.raises(FileNotFoundError):
        await fs.open_async(f"{top}/none")
    with pytest.raises(NotImplementedError):
        await fs.open_async(f"{top}/data.bin", "wb")
    await session.close()


def test_http_2(nginx: Nginx, client_tls: ssl.SSLContext) -> None:
    fs = HTTPFileSystem(protocols=("h2",), ssl=client_tls, skip_instance_cache=True)
    url = f"https://127.0.0.1:{nginx.http2}"
    assert fs.cat_file(f"{url}/listed/tree/data.bin", 7, 9) == DATA[7:9]
    assert b"protocol HTTP/2.0" in fs.cat(f"{url}/")
    assert len(fs.find(f"{url}/listed/tree/sub/")) == 3


def test_http_3(caddy: Caddy, client_tls: ssl.SSLContext) -> None:
    fs = HTTPFileSystem(protocols=("h3",), ssl=client_tls, skip_instance_cache=True)
    assert b"HTTP/3" in fs.cat(f"https://127.0.0.1:{caddy.tls}/")


def test_options_that_exclude_each_other_are_told() -> None:
    with pytest.raises(ValueError, match="protocols= is for a connector of ours"):
        HTTPFileSystem(
            protocols=("h2",), client_kwargs={"connector": None}, skip_instance_cache=True
        )


def test_a_session_can_be_made_by_the_program(top: str) -> None:
    made = []

    async def get_client(*, loop: Any, **options: Any) -> Any:
        from wherry import ClientSession

        made.append(options)
        return ClientSession(connector=TCPConnector(limit=1), **options)

    fs = HTTPFileSystem(
        get_client=get_client, client_kwargs={"headers": {"X-A": "1"}}, skip_instance_cache=True
    )
    assert fs.cat(f"{top}/sub/one.csv") == b"n\n1\n"
    assert made[0]["headers"] == {"X-A": "1"}
    assert made[0]["timeout"].total is None


# --- servers of all kinds -------------------------------------------------------------------------


class Server(BaseHTTPRequestHandler):
    """A server whose paths say what it does wrong."""

    protocol_version = "HTTP/1.1"
    version = 0
    received: ClassVar[dict[str, Any]] = {}
    stall = threading.Event()

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **fields: str) -> None:
        self.send_response(status)
        fields.setdefault("Content_Length", str(len(body)))
        for name, value in fields.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        if self.path == "/no-head":
            self.answer(405)
        elif self.path == "/no-size":
            self.answer(200, Content_Length="")
        elif self.path.startswith("/status/"):
            self.answer(int(self.path[8:]))
        else:
            self.do_GET()

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if self.path.startswith("/status/"):
            return self.answer(int(self.path[8:]))
        if self.path == "/cut":
            self.close_connection = True
            return self.answer(200, DATA[:900], Content_Length="1000")
        if self.path.startswith("/index/"):
            kind = f"text/html; charset={self.path[7:].strip('/')}"
            return self.answer(200, INDEX, Content_Type=kind)
        if self.path == "/stalls":
            self.stall.wait(30)
            return self.answer(200)
        if self.path in {"/no-ranges", "/refuses-ranges"} or not asked:
            more = {"Accept_Ranges": "none"} if self.path == "/refuses-ranges" else {}
            if self.path == "/changes":
                more["ETag"] = f'"{type(self).version}"'
            return self.answer(200, DATA, **more)
        first = int(asked[1])
        last = min(int(asked[2] or len(DATA)), len(DATA) - 1)
        if first >= len(DATA):
            return self.answer(416, Content_Range=f"bytes */{len(DATA)}")
        if self.path == "/other-range":
            first += 1
        more = {"Content_Range": f"bytes {first}-{last}/{len(DATA)}"}
        if self.path == "/changes":
            more["ETag"] = f'"{type(self).version}"'
        return self.answer(206, DATA[first : last + 1], **more)

    def do_PUT(self) -> None:
        size = int(self.headers["Content-Length"])
        self.received[self.path] = (self.command, self.rfile.read(size))
        self.answer(403 if self.path == "/forbidden" else 201)

    do_POST = do_PUT  # noqa: N815


@pytest.fixture(scope="module")
def odd() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        Server.stall.set()
        server.shutdown()
        thread.join()


def test_ranges_that_a_server_ignores_are_cut_here(odd: str, fs: HTTPFileSystem) -> None:
    """fsspec's own gives the whole file for a range of it."""
    url = f"{odd}/no-ranges"
    assert fs.cat_file(url, 300, 310) == DATA[300:310]
    assert fs.cat_file(url, 102_000) == DATA[102_000:]
    assert fs.cat_file(url, -5) == DATA[-5:]
    with fs.open(url, block_size=100) as file:
        assert file.read(10) == DATA[:10]
        file.seek(5000)
        with pytest.raises(ValueError, match=r"knows no ranges; open it with block_size=0"):
            file.read(10)
    with fs.open(f"{odd}/refuses-ranges", block_size=100) as stream:
        assert not stream.seekable()
        assert stream.read() == DATA
    with pytest.raises(ClientPayloadError, match="another range"):
        fs.cat_file(f"{odd}/other-range", 300, 310)
    assert fs.cat_file(f"{odd}/x", 500_000, 500_010) == b""


# What is not as it should be, of the first and last byte that are asked for and the request's number.
LIES: dict[str, Callable[[int, int, int], dict[str, Any]]] = {
    "/capped": lambda first, last, _: {"last": min(last, first + 29_999)},
    "/capped-unknown": lambda first, last, _: (
        {"last": min(last, first + 40_000), "total": "*"} | ({} if first < len(DATA) else {"status": 416})
    ),
    "/below": lambda _, last, __: {"first": 0, "last": min(99, last)},
    "/earlier": lambda first, _, __: {"first": max(first - 7, 0)},
    "/short": lambda *_: {"longer": -1},
    "/long": lambda *_: {"longer": 1},
    "/total": lambda *_: {"total": 2 * len(DATA)},
    "/digits": lambda first, last, _: {"total": "9" * 5000},
    "/total-below": lambda _, last, __: {"total": last},
    "/shrunk": lambda first, *_: {"status": 416, "total": 8192} if first >= 8192 else {},
    "/unlike": lambda first, *_: {"status": 416} if first >= 8192 else {},
    "/etag": lambda _, __, asked: {"more": {"ETag": f'"{asked}"'}},
    "/modified": lambda _, __, asked: {
        "more": {"Last-Modified": f"Mon, 01 Jan 2024 00:00:{asked % 60:02} GMT"}
    },
    "/growing": lambda _, __, asked: {"total": len(DATA) + asked},
}  # fmt: skip


class Liar(BaseHTTPRequestHandler):
    """A server whose paths say how its ranges are not what was asked for."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[int] = 0

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()

    def do_GET(self) -> None:
        type(self).asked += 1
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"])
        assert found
        first, last = int(found[1]), min(int(found[2] or len(DATA)), len(DATA) - 1)
        lie = LIES[self.path](first, last, self.asked) if self.path in LIES else {}
        first, last = lie.get("first", first), lie.get("last", last)
        status, total = lie.get("status", 206), lie.get("total", len(DATA))
        longer, more = lie.get("longer", 0), lie.get("more", {})
        body = b"" if status == 416 else (DATA + b"\0")[first : last + 1 + longer]
        self.send_response(status)
        said = f"bytes */{total}" if status == 416 else f"bytes {first}-{last}/{total}"
        if self.path != "/multipart":
            self.send_header("Content-Range", said)
        for name, value in {"Content-Length": str(len(body)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def liar() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def read_three_parts(fs: HTTPFileSystem, url: str, cache: str, **more: Any) -> None:
    with fs.open(url, block_size=8192, cache_type=cache, **more) as file:
        file.seek(5000)
        assert file.read(3000) == DATA[5000:8000]
        file.seek(50_000)
        assert file.read(3000) == DATA[50_000:53_000]
        file.seek(0)
        assert file.read() == DATA


@pytest.mark.parametrize("cache", ["bytes", "readahead", "blockcache", "none", "all"])
@pytest.mark.parametrize("path", ["/capped", "/capped-unknown", "/earlier", "/honest"])
def test_what_a_range_lacks_is_asked_for(
    path: str, cache: str, liar: str, fs: HTTPFileSystem
) -> None:
    read_three_parts(fs, liar + path, cache)
    read_three_parts(fs, liar + path, cache, size=len(DATA))
    assert fs.cat_file(liar + path, 100, 6000) == DATA[100:6000]
    assert fs.cat_file(liar + path, 100) == DATA[100:]
    assert fs.cat_file(liar + path, -6000, -100) == DATA[-6000:-100]


@pytest.mark.parametrize("cache", ["bytes", "readahead", "blockcache", "none"])
@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/below", "another range"),
        ("/multipart", "another range"),
        ("/short", "another number of bytes"),
        ("/long", "another number of bytes"),
        ("/total", "has changed"),
        ("/total-below", "has changed"),
        ("/shrunk", "has changed"),
        ("/unlike", "has changed"),
        ("/etag", "has changed"),
        ("/modified", "has changed"),
        ("/growing", "has changed"),
    ],
)
def test_no_wrong_bytes_come_of_a_range_that_is_lied_about(
    path: str, error: str, cache: str, liar: str, fs: HTTPFileSystem
) -> None:
    with pytest.raises((OSError, ClientPayloadError), match=error):
        read_three_parts(fs, liar + path, cache)
    with pytest.raises((OSError, ClientPayloadError), match=error):
        read_three_parts(fs, liar + path, cache, size=len(DATA))


@pytest.mark.parametrize(
    "path", ["/below", "/multipart", "/short", "/long", "/total-below", "/digits"]
)
def test_no_wrong_bytes_come_of_one_range(path: str, liar: str, fs: HTTPFileSystem) -> None:
    with pytest.raises(ClientPayloadError, match="another"):
        fs.cat_file(liar + path, 9000, 9500)


def test_a_file_is_never_put_together_from_two_versions(odd: str, fs: HTTPFileSystem) -> None:
    url = f"{odd}/changes"
    key = fs.ukey(url)
    assert fs.ukey(url) == key
    with fs.open(url, block_size=100, cache_type="none") as file:
        assert file.read(10) == DATA[:10]
        Server.version += 1
        with pytest.raises(OSError, match="has changed since it was opened"):
            file.read(10)
    assert fs.ukey(url) != key


def test_sizes_that_head_does_not_tell(odd: str, fs: HTTPFileSystem) -> None:
    for path in ("/no-head", "/no-size"):
        assert fs.size(odd + path) == len(DATA)
        assert fs.exists(odd + path)
    with fs.open(f"{odd}/no-size") as file:
        assert file.read() == DATA


def test_failures_are_the_ones_of_a_file_system(odd: str, fs: HTTPFileSystem) -> None:
    for status, error in (
        (404, FileNotFoundError), (410, FileNotFoundError), (401, PermissionError),
        (403, PermissionError), (500, ClientResponseError),
    ):  # fmt: skip
        url = f"{odd}/status/{status}"
        for do in (fs.info, fs.cat, fs.open, fs.ls):
            with pytest.raises(error):
                do(url)
        assert not fs.exists(url)
    with pytest.raises(ClientResponseError):
        fs.exists(f"{odd}/status/500", strict=True)
    assert not fs.exists(f"{odd}/status/404", strict=True)
    with pytest.raises(OSError, match="Connection refused"):
        fs.info("http://127.0.0.1:1/x")
    with pytest.raises(OSError, match="Connection refused"):
        fs.exists("http://127.0.0.1:1/x", strict=True)
    slow = HTTPFileSystem(
        client_kwargs={"timeout": ClientTimeout(total=0.05)}, skip_instance_cache=True
    )
    with pytest.raises(FSTimeoutError):
        slow.cat(f"{odd}/stalls")


def test_a_file_that_is_fetched_has_its_name_when_it_is_whole(
    odd: str, fs: HTTPFileSystem, tmp_path: Path
) -> None:
    victim, link, old = (tmp_path / name for name in ("victim", "link", "old"))
    for path in (victim, old):
        path.write_text("before")
    link.symlink_to(victim)
    for path in (old, link, tmp_path / "new"):
        with pytest.raises(ClientPayloadError):
            fs.get_file(f"{odd}/cut", str(path))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "victim": "before", "link": "before", "old": "before",
    }  # fmt: skip
    for path in (old, link, tmp_path / "new"):
        fs.get_file(f"{odd}/x", str(path))
        assert path.read_bytes() == DATA
    assert victim.read_text() == "before"
    assert not link.is_symlink()
    assert len(list(tmp_path.iterdir())) == 4
    with (tmp_path / "open").open("wb") as file:
        fs.get_file(f"{odd}/x", file)
    assert (tmp_path / "open").read_bytes() == DATA
    fs.get_file(f"{odd}/x", "/dev/null")
    assert Path("/dev/null").is_char_device()


async def test_who_is_cancelled_has_the_file_to_themselves(odd: str) -> None:
    written, at_work, may_go_on = [], threading.Event(), threading.Event()

    class Slow:
        def write(self, data: bytes) -> None:
            at_work.set()
            assert may_go_on.wait(60)
            written.append(data)

        read = close = tell = write

    fs = HTTPFileSystem(asynchronous=True, skip_instance_cache=True)
    fetching = asyncio.ensure_future(fs._get_file(f"{odd}/x", Slow()))
    await asyncio.to_thread(at_work.wait, 60)
    fetching.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not fetching.done()
    may_go_on.set()
    await asyncio.wait([fetching])
    assert fetching.cancelled()
    assert len(written) == 1
    await (await fs.set_session()).close()


def test_files_are_sent(odd: str, fs: HTTPFileSystem, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(DATA)
    callback = Callback()
    fs.put_file(str(tmp_path / "up"), f"{odd}/a", callback=callback)
    assert Server.received["/a"] == ("POST", DATA)
    assert (callback.size, callback.value) == (len(DATA), len(DATA))
    with (tmp_path / "up").open("rb") as file:
        fs.put_file(file, f"{odd}/b", method="put")
    assert Server.received["/b"] == ("PUT", DATA)
    fs.pipe_file(f"{odd}/c", b"ahoy")
    assert Server.received["/c"] == ("PUT", b"ahoy")
    with pytest.raises(PermissionError):
        fs.pipe_file(f"{odd}/forbidden", b"ahoy")
    with pytest.raises(ValueError, match="'post' or 'put'"):
        fs.put_file(str(tmp_path / "up"), f"{odd}/a", method="patch")
    for write in (fs.pipe_file, fs.put_file):
        with pytest.raises(NotImplementedError):
            write(f"{odd}/d", str(tmp_path / "up"), mode="create")


def test_nothing_is_left_behind_when_the_program_ends(top: str) -> None:
    """Sessions are closed by fsspec's loop, streams that nobody closed too."""
    program = (
        "import fsspec\nfrom wherry.integrations.fsspec import register\nregister()\n"
        f"fs = fsspec.filesystem('http')\nprint(len(fs.cat('{top}/data.bin')))\n"
        f"left = fs.open('{top}/data.bin', block_size=0)\nprint(left.read(2))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-X", "dev", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.stdout == f"{len(DATA)}\nb'\\x00\\x01'\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("windows-1252", "ä+AGE-"),
        ("iso-8859-5", "ф+AGE-"),
        # No encodings of texts, or none that a server may choose: it is read as UTF-8.
        ("utf-7", "+AGE-"),
        ("unicode_escape", "+AGE-"),
        ("punycode", "+AGE-"),
        ("base64", "+AGE-"),
        ("unknown", "+AGE-"),
    ],
)
def test_an_index_is_decoded_by_encodings_of_the_web_only(
    charset: str, name: str, odd: str, fs: HTTPFileSystem
) -> None:
    url = f"{odd}/index/{charset}/"
    assert fs.ls(url, detail=False) == [url + name]


# --- index pages ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<a href="a.txt">a</a><A HREF=b.txt>b</A>', ["a.txt", "b.txt"]),
        ('<a href="../">up</a><a href="/">top</a><a href="..">up</a>', []),
        ('<a href="?C=N;O=D">sort</a><a href="#top">top</a><a href="">self</a>', []),
        (
            '<a href="/d/sub/">s</a><a href="//h/d/x">x</a><a href="http://h/d/y#z">y</a>',
            ["sub/", "x", "y"],
        ),
        ('<a href="http://other/d/x">x</a><a href="ftp://h/d/x">x</a><a href="/e/x">x</a>', []),
        ('<a href="a%20b&amp;c">x</a><a href="q?a=1&amp;b=2">q</a>', ["a%20b&c", "q?a=1&b=2"]),
        ("seen at http://h/d/in-text, they say", ["in-text"]),
        ('<base href="/d/sub/"><a href="x">x</a>', ["sub/x"]),
        ('<a href="https://h/d/x">x</a>', []),
        ('<a href="http://h/d/%2e%2e/x">x</a><a href="http://h/d/../x">x</a>', ["%2e%2e/x"]),
        ("<a href='x'>x", ["x"]),
        ("<!-- <a href='x'> --> <a>x</a> <a href>x</a>", []),
    ],
)
def test_what_an_index_page_lists(page: str, found: list[str]) -> None:
    assert links_below(page, "http://h/d/", "http://h/d") == [
        f"http://h/d/{name}" for name in found
    ]


def test_links_of_a_page_that_lies_elsewhere_have_the_name_that_was_asked_for() -> None:
    links = links_below('<a href="x">x</a>', "http://mirror/files/", "http://h/d/")
    assert links == ["http://h/d/x"]
    both = links_below(
        '<a href="https://h/d/x">x</a>', "http://h/d", "http://h/d", same_scheme=False
    )
    assert both == ["https://h/d/x"]
    assert links_below("http://h/d/x", "http://h/d", "http://h/d", in_text=False) == []
