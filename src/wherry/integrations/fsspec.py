"""An fsspec file system for http and https (extra `fsspec`).

    fs = HTTPFileSystem()                        # or, once register() was called:
    pandas.read_parquet("https://example.org/data.parquet")

It takes the arguments of fsspec's own, and gives what that gives; beyond it there are HTTP/2 and
HTTP/3, no limit on the whole of a long transfer, and files that are never put together from two
versions.  Ranges that a server ignores are cut here.  fsspec's loop, caches and globs are fsspec's
own; only wherry's public names are used.
"""

from __future__ import annotations

import asyncio
import io
import re
import secrets
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

try:
    import fsspec
    from fsspec.asyn import AbstractAsyncStreamedFile, AsyncFileSystem, sync
    from fsspec.callbacks import DEFAULT_CALLBACK
    from fsspec.spec import AbstractBufferedFile
    from fsspec.utils import DEFAULT_BLOCK_SIZE, glob_translate, isfilelike, tokenize
except ModuleNotFoundError as _exc:  # pragma: no cover
    raise ModuleNotFoundError(
        f"the file system needs {_exc.name}: pip install 'wherry[fsspec]'", name=_exc.name
    ) from _exc
from yarl import URL

from wherry import (
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ProgressPayload,
    TCPConnector,
)
from wherry.body.media_types import known_charset
from wherry.client.download.disk_thread import in_thread
from wherry.integrations.html_index_page import links_below
from wherry.protocol.content_range import ContentRange

__all__ = ("HTTPFileSystem", "register")

# Bytes of an index page that are read, and of a file in one piece.
_LONGEST_INDEX: Final = 32 << 20
_PIECE: Final = 1 << 20
# What tells one version of a file from another.
_VALIDATORS: Final = ("ETag", "Last-Modified")
_CHECKSUMS: Final = ("ETag", "Content-MD5", "Digest", "Last-Modified")
# Transfers may take as long as they like, so long as they go on.
_TIMEOUT: Final = ClientTimeout(total=None, sock_connect=30, sock_read=300)


if TYPE_CHECKING:

    class _Base:
        """fsspec has no types: without this the base of a public class is unknown to checkers."""

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

else:
    _Base = AsyncFileSystem


def register() -> None:
    """Make it fsspec's file system for http and https in this process, in place of its own."""
    for protocol in HTTPFileSystem.protocol:
        fsspec.register_implementation(protocol, HTTPFileSystem, clobber=True)


class HTTPFileSystem(_Base):
    """Reads files that web servers have, and writes where they let one.

    `ls` lists what an index page links to.  All is as in fsspec's own, whose arguments these are.

    Args:
        protocols: The versions of HTTP to speak, as `TCPConnector` takes them: `("h2", "http/1.1")`
            or `("h3", "h2", "http/1.1")`.  None is HTTP/1.1.
        client_kwargs: Arguments of `ClientSession`: `auth`, `headers`, `connector`, `proxy`.
        get_client: A coroutine function that makes the session, of these arguments.
        block_size: Bytes that files read at once, 5 MiB; 0 gives streams, which cannot seek.
        cache_type: The cache of files: "bytes", "readahead", "blockcache", "all" or "none".
        cache_options: Arguments of that cache.
        simple_links: Whether `ls` finds URLs in a page's text too.
        same_scheme: Whether `ls` passes over links with another scheme.
        encoded: Whether URLs are percent-encoded already.
        asynchronous: Whether it is used on a loop, by its methods with an underscore.
        loop: fsspec's loop, if it should be another.
        **storage_options: Arguments of each request: `headers`, `params`, `ssl`.
    """

    protocol: tuple[str, ...] = ("http", "https")
    sep: str = "/"

    def __init__(
        self,
        simple_links: bool = True,
        block_size: int | None = None,
        same_scheme: bool = True,
        size_policy: None = None,  # fsspec's own has it, without use
        cache_type: str = "bytes",
        cache_options: Mapping[str, Any] | None = None,
        asynchronous: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        get_client: Callable[..., Awaitable[ClientSession]] | None = None,
        encoded: bool = False,
        protocols: tuple[str, ...] | None = None,
        **storage_options: Any,
    ) -> None:
        super().__init__(self, asynchronous=asynchronous, loop=loop, **storage_options)
        if protocols is not None and "connector" in (client_kwargs or {}):
            raise ValueError("protocols= is for a connector of ours; give it to yours")
        self.block_size: int = DEFAULT_BLOCK_SIZE if block_size is None else block_size
        self.simple_links = simple_links
        self.same_scheme = same_scheme
        self.cache_type = cache_type
        self.cache_options = cache_options
        self.client_kwargs: dict[str, Any] = dict(client_kwargs or {})
        self.get_client = get_client
        self.encoded = encoded
        self.protocols = protocols
        self.use_listings_cache: bool = bool(storage_options.pop("use_listings_cache", False))
        for name in ("listings_expiry_time", "max_paths", "skip_instance_cache", "batch_size"):
            storage_options.pop(name, None)
        self.kwargs: dict[str, Any] = storage_options
        self._session: ClientSession | None = None
        self._session_lock: asyncio.Lock | None = None

    # --- requests ---------------------------------------------------------------------------------

    @property
    def fsid(self) -> str:
        """The name of this file system."""
        return "http"

    def encode_url(self, url: str) -> URL:
        """The URL as it is sent."""
        return URL(url, encoded=self.encoded)

    async def set_session(self) -> ClientSession:
        """The session, which is made by the first call; on the file system's loop."""
        if self._session_lock is None:
            self._session_lock = asyncio.Lock()
        async with self._session_lock:
            if self._session is None:
                self._session = await self._new_session()
                if not self.asynchronous:
                    weakref.finalize(self, _close_session, self.loop, self._session)
        return self._session

    async def _new_session(self) -> ClientSession:
        options = {"timeout": _TIMEOUT, **self.client_kwargs}
        if self.protocols is not None:
            options["connector"] = TCPConnector(protocols=self.protocols)
        if self.get_client is not None:
            return await self.get_client(loop=self.loop, **options)
        return ClientSession(**options)

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, *, identity: bool = False, **options: Any
    ) -> AsyncIterator[ClientResponse]:
        """A request with the options of all.

        Args:
            method: GET, HEAD, PUT, POST.
            url: The URL.
            identity: Whether to ask for the bytes as they are: ranges and sizes mean nothing else.
            **options: More arguments of the request.
        """
        options = {**self.kwargs, **options}
        if identity:
            options["headers"] = {"Accept-Encoding": "identity", **(options.get("headers") or {})}
        session = await self.set_session()
        async with session.request(method, self.encode_url(url), **options) as response:
            yield response

    def _check(self, response: ClientResponse, url: str) -> None:
        """Raise what a file system raises.

        Raises:
            FileNotFoundError: There is no such file.
            PermissionError: The server does not give it to us.
            ClientResponseError: Another failure.
        """
        if response.status in {404, 410}:
            raise FileNotFoundError(url)
        if response.status in {401, 403}:
            raise PermissionError(f"{response.status} {response.reason}: {url}")
        response.raise_for_status()

    # --- names ------------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """A URL is a name only as a whole."""
        return path

    @classmethod
    def _parent(cls, path: str) -> str:
        parent = path.rstrip("/").rpartition("/")[0]
        return parent if len(parent) > len("http://") else ""

    def ukey(self, url: str) -> str:
        """A text that changes when the file does, if its server says when it changed."""
        info = self.info(url)
        facts = [str(info.get(name)) for name in (*_VALIDATORS, "size")]
        return str(tokenize(url, self.kwargs, self.protocol, *facts))

    # --- listing ----------------------------------------------------------------------------------

    async def _ls(self, url: str, detail: bool = True, **options: Any) -> Any:
        if self.use_listings_cache and url in self.dircache:
            names = self.dircache[url]
        else:
            names = await self._links(url, **options)
            if not names and url.endswith("/"):
                names = await self._links(url.rstrip("/"), **options)
            self.dircache[url] = names
        if not detail:
            return list(names)
        return [
            {"name": name, "size": None, "type": "directory" if name.endswith("/") else "file"}
            for name in names
        ]

    async def _links(self, url: str, **options: Any) -> list[str]:
        async with self._request("GET", url, **options) as response:
            self._check(response, url)
            kind = response.headers.get("Content-Type", "text/html").partition(";")[0].strip()
            if kind.lower() not in {"text/html", "application/xhtml+xml"}:
                return []
            body = await response.content.read(_LONGEST_INDEX)
            while len(body) < _LONGEST_INDEX and not response.content.at_eof():
                body += await response.content.read(_LONGEST_INDEX - len(body))
            return links_below(
                _text(body, response.charset),
                str(response.url),
                url,
                in_text=self.simple_links,
                same_scheme=self.same_scheme,
            )

    async def _exists(self, path: str, strict: bool = False, **options: Any) -> bool:
        """Whether there is something.

        Args:
            path: The URL.
            strict: Raise what is no answer, in place of False.
            **options: Arguments of the request.
        """
        try:
            async with self._request("HEAD", path, allow_redirects=True, **options) as response:
                if response.status < 400 or response.status in {404, 410}:
                    return response.status < 400
            # Not every server answers HEAD as it would GET.
            async with self._request("GET", path, **options) as response:
                if strict:
                    self._check(response, path)
                return response.status < 400
        except FileNotFoundError:
            return False
        except (ClientError, TimeoutError):
            if strict:
                raise
            return False

    async def _isfile(self, path: str, **options: Any) -> bool:
        return await self._exists(path, **options)

    async def _isdir(self, path: str) -> bool:
        """Whether it is a page with links below it: every URL is a file as well."""
        try:
            return bool(await self._ls(path))
        except (OSError, ClientError, ValueError):
            return False

    async def _glob(self, path: str, maxdepth: int | None = None, **options: Any) -> Any:
        """As fsspec does; a question mark begins a query here, and stands for itself."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        detail = options.pop("detail", False)
        magic = re.search(r"[*\[]", path)
        if magic is None:
            there = await self._exists(path, **options)
            found = {path: await self._info(path, **options)} if there else {}
            return found if detail else list(found)
        root = path[: magic.start()].rpartition("/")[0] + "/"
        depth: int | None = path.removeprefix(root).count("/") + 1
        if "**" in path:
            # Counted from where the stars are.
            behind = path[path.index("**") :].count("/") + 1
            depth = None if maxdepth is None else cast("int", depth) - behind + maxdepth
        everything = await self._find(root, maxdepth=depth, withdirs=True, detail=True, **options)
        slash = path.endswith(("/", "/**", "/*"))
        matches = re.compile(glob_translate(re.sub(r"\?", "[?]", path))).match
        found = {}
        for name, info in sorted(everything.items()):
            if matches(name.rstrip("/")) or (path.endswith("/") and matches(name)):
                folder = info.get("type") == "directory"
                found[name if slash or not folder else name.rstrip("/")] = info
        return found if detail else list(found)

    # --- what is known of a file ------------------------------------------------------------------

    async def _info(self, url: str, **options: Any) -> dict[str, Any]:
        """Its size and what else its server says; no more than a byte of it is fetched.

        Raises:
            FileNotFoundError: There is no such file.
            PermissionError: The server does not give it to us.
            ClientError: Nobody knows.
        """
        info: dict[str, Any] = {"name": url, "size": None, "type": "file"}
        options = {"allow_redirects": True, **options}
        async with self._request("HEAD", url, identity=True, **options) as response:
            if response.ok:
                info |= _facts(response)
        if info["size"] is not None:
            return info
        # Not every server answers HEAD as it would GET.
        headers = {"Range": "bytes=0-0", **(options.pop("headers", None) or {})}
        headers = {**(self.kwargs.get("headers") or {}), **headers}
        async with self._request("GET", url, identity=True, headers=headers, **options) as response:
            if response.status == 416:
                info |= _facts(response) | {"size": 0}
                return info
            self._check(response, url)
            info |= _facts(response)
            if response.status == 200:
                info["partial"] = False
        return info

    # --- reading ----------------------------------------------------------------------------------

    async def _cat_file(
        self, url: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> bytes:
        if start is None and end is None:
            async with self._request("GET", url, **options) as response:
                self._check(response, url)
                return await response.read()
        if start == end:
            return b""
        known = None
        if (start or 0) < 0 or (end is not None and end < 0):
            info = await self._info(url)
            size, known = info["size"], _Version(url, info)
            if size is None:
                return (await self._cat_file(url, **options))[start:end]
            first, last, _ = slice(start, end).indices(size)
            start, end = first, last
        data, _ = await self.fetch_range(url, start or 0, end, known=known, **options)
        return data

    async def fetch_range(
        self,
        url: str,
        start: int,
        end: int | None,
        *,
        cut: bool = True,
        known: _Version | None = None,
        **options: Any,
    ) -> tuple[bytes, tuple[str | None, ...]]:
        """The bytes from `start` to before `end`, and the version that they are of.

        A server may send less than was asked for: then it is asked for the rest.

        Args:
            url: The file.
            start: The first byte.
            end: The byte behind the last; None is the end of the file.
            cut: Whether to cut them out of a whole file, from a server that knows no ranges.
            known: What is known of the file; what answers say is compared, and noted there.
            **options: Arguments of the request.

        Raises:
            ValueError: The server sent the whole file, and it is not to be cut.
            ClientPayloadError: The server sent another range, or less than it said.
            OSError: The file is not the one that is known.
        """
        known = known or _Version(url)
        headers = {**(self.kwargs.get("headers") or {}), **(options.pop("headers", None) or {})}
        parts: list[bytes] = []
        position, whole = start, False
        while not whole and known.has_more(position, end):
            headers["Range"] = f"bytes={position}-{'' if end is None else end - 1}"
            async with self._request(
                "GET", url, identity=True, headers=headers, **options
            ) as response:
                if response.status == 416:
                    known.ends_at(response, position)
                    break
                self._check(response, url)
                whole = response.status != 206
                if whole and not cut:
                    raise ValueError(
                        f"{url}: its server knows no ranges; open it with block_size=0 to read it"
                        " as it comes"
                    )
                if whole:
                    known.compare(response, _facts(response).get("size"))
                    piece = await _part(response, position, end)
                else:
                    piece = await _ranged(response, position, end, known)
            parts.append(piece)
            position += len(piece)
        if known.size is not None and known.has_more(position, end):
            raise ClientPayloadError(f"the server sent too little of {url}: up to byte {position}")
        return b"".join(parts), tuple(known.validators.get(name) for name in _VALIDATORS)

    async def _get_file(
        self,
        rpath: str,
        lpath: Any,
        chunk_size: int = 5 * 2**20,
        callback: Any = DEFAULT_CALLBACK,
        **options: Any,
    ) -> None:
        own = not isfilelike(lpath)
        if own and Path(lpath).is_dir():  # noqa: ASYNC240
            return  # a folder of a tree that is copied: every URL is a file as well
        async with self._request("GET", rpath, **options) as response:
            self._check(response, rpath)
            callback.set_size(response.content_length)
            with _aside(Path(lpath)) if own else nullcontext(lpath) as file:
                while piece := await response.content.read(chunk_size):
                    # Not `to_thread`: it would write on into the file of whoever was cancelled.
                    await in_thread(file.write, piece)
                    callback.relative_update(len(piece))

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool | None = None,  # of writing
        cache_type: str | None = None,
        cache_options: Mapping[str, Any] | None = None,
        size: int | None = None,
        **options: Any,
    ) -> Any:
        """A file to read: with random access where the server knows ranges and the size, else a
        stream.

        Raises:
            NotImplementedError: It is to be written.
        """
        if mode != "rb":
            raise NotImplementedError("files are opened for reading; put_file and pipe_file write")
        if block_size is None:
            block_size = self.block_size
        info = {"size": size} if size else self.info(path, **options)
        if block_size and info["size"] is not None and info.get("partial", True):
            return _File(
                self,
                path,
                info,
                block_size=block_size,
                cache_type=cache_type or self.cache_type,
                cache_options=cache_options or self.cache_options,
                options=options,
            )
        return io.BufferedReader(_Stream(self, path, options), _PIECE)

    async def open_async(
        self, path: str, mode: str = "rb", size: int | None = None, **options: Any
    ) -> _AsyncStream:
        """A stream whose `read` and `close` are coroutines."""
        if mode != "rb":
            raise NotImplementedError("files are opened for reading; put_file and pipe_file write")
        if size is None:
            size = (await self._info(path, **options))["size"]
        return _AsyncStream(self, path, size, options)

    # --- writing ----------------------------------------------------------------------------------

    async def _put_file(
        self,
        lpath: Any,
        rpath: str,
        chunk_size: int = 5 * 2**20,  # sent as the connection takes it
        callback: Any = DEFAULT_CALLBACK,
        method: str = "post",
        mode: str = "overwrite",
        **options: Any,
    ) -> None:
        if mode != "overwrite":
            raise NotImplementedError("a server has no word for a file that must be new")
        if method.lower() not in {"post", "put"}:
            raise ValueError(f"method has to be 'post' or 'put', not {method!r}")

        def progress(sent: int, size: int | None) -> None:
            if size is not None:
                callback.set_size(size)
            callback.absolute_update(sent)

        own = not isfilelike(lpath)
        file = Path(lpath).open("rb") if own else lpath  # noqa: ASYNC230, SIM115
        try:
            payload = ProgressPayload(file, progress)
            async with self._request(method.upper(), rpath, data=payload, **options) as response:
                self._check(response, rpath)
        finally:
            if own:
                file.close()

    async def _pipe_file(
        self, path: str, value: bytes, mode: str = "overwrite", **options: Any
    ) -> None:
        if mode != "overwrite":
            raise NotImplementedError("a server has no word for a file that must be new")
        async with self._request("PUT", path, data=value, **options) as response:
            self._check(response, path)


@contextmanager
def _aside(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when it is whole: until then what has the name stays as it is.

    A link of that name is replaced, not followed.  A pipe or a terminal is written to as it is.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    unfinished = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with unfinished.open("xb") as file:
        try:
            yield file
            file.close()
            unfinished.replace(path)
        except BaseException:
            file.close()
            unfinished.unlink(missing_ok=True)
            raise


def _close_session(loop: asyncio.AbstractEventLoop, session: ClientSession) -> None:
    """Close the session of a file system that nobody has any more."""
    if loop.is_closed() or not loop.is_running():
        return
    try:
        running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    closing = asyncio.run_coroutine_threadsafe(session.close(), loop)
    if running is not loop:
        # At the interpreter's end nobody waits for the loop's thread.
        closing.result(5)


def _facts(response: ClientResponse) -> dict[str, Any]:
    """What an answer says of its file."""
    headers = response.headers
    facts: dict[str, Any] = {"url": str(response.url)}
    part = ContentRange.read(headers.get("Content-Range"))
    if part is not None:
        if part.total is not None:
            facts["size"] = part.total
    elif "Content-Length" in headers and headers.get("Content-Encoding", "identity") == "identity":
        facts["size"] = response.content_length
    if "Content-Type" in headers:
        facts["mimetype"] = headers["Content-Type"].partition(";")[0]
    if headers.get("Accept-Ranges") == "none":
        facts["partial"] = False
    return facts | {name: headers[name] for name in _CHECKSUMS if headers.get(name)}


def _text(page: bytes, charset: str | None) -> str:
    return page.decode(known_charset(charset) or "utf-8", "ignore")


class _Version:
    """Which version of a file its parts are of: what one answer says, the later ones must say too.

    Args:
        url: The file.
        info: What is known before the first answer.
    """

    def __init__(self, url: str, info: Mapping[str, Any] | None = None) -> None:
        info = info or {}
        self.url = url
        self.size: int | None = info.get("size")
        self.validators: dict[str, str] = {
            name: info[name] for name in _VALIDATORS if info.get(name) is not None
        }

    def has_more(self, position: int, end: int | None) -> bool:
        """Whether there may be bytes from `position` to before `end`."""
        ends = [bound for bound in (end, self.size) if bound is not None]
        return not ends or position < min(ends)

    def compare(self, response: ClientResponse, size: int | None) -> None:
        """Note what an answer says of the file.

        Raises:
            OSError: Another one said something else.
        """
        same = size is None or self.size in {None, size}
        for name in _VALIDATORS:
            now = response.headers.get(name)
            same = same and (now is None or self.validators.setdefault(name, now) == now)
        if not same:
            raise OSError(f"{self.url} has changed since it was opened")
        if size is not None:
            self.size = size

    def ends_at(self, response: ClientResponse, position: int) -> None:
        """Take the answer that there is nothing from `position` on (416).

        Raises:
            OSError: There should be.
        """
        part = ContentRange.read(response.headers.get("Content-Range")) or ContentRange()
        if any(size is not None and position < size for size in (self.size, part.total)):
            raise OSError(f"{self.url} has changed since it was opened: it ends before {position}")


async def _ranged(response: ClientResponse, first: int, end: int | None, known: _Version) -> bytes:
    """The bytes from `first` to before `end` that an answer of a range (206) has: one at least.

    Raises:
        ClientPayloadError: It is of another range, or not as long as it says.
        OSError: It is of another version.
    """
    # RFC 9110 15.3.7: it may be less than was asked for, but must say what it is.
    part = ContentRange.read(response.headers.get("Content-Range")) or ContentRange()
    sent_first, sent_last, total = part
    if sent_first is None or sent_last is None or not sent_first <= first <= sent_last:
        raise ClientPayloadError(
            f"the server sent another range than bytes {first} to {end} of {known.url}"
        )
    known.compare(response, total)
    behind = sent_last + 1
    stop = behind if end is None else min(end, behind)
    data = await _part(response, first - sent_first, stop - sent_first)
    short = len(data) < stop - first or (total is not None and total < behind)
    if short or (stop == behind and await response.content.read(1)):
        raise ClientPayloadError(
            f"the server sent another number of bytes of {known.url} than its Content-Range says"
        )
    return data


async def _part(response: ClientResponse, first: int, last: int | None) -> bytes:
    """The bytes of a body from `first` to before `last`; no more of it is read than that."""
    if first == 0 and last is None:
        return await response.read()
    parts, position = [], 0
    while last is None or position < last:
        want = _PIECE if last is None else min(_PIECE, last - position)
        piece = await response.content.read(want)
        if not piece:
            break
        if position + len(piece) > first:
            parts.append(piece[max(first - position, 0) :])
        position += len(piece)
    return b"".join(parts)


class _File(AbstractBufferedFile):
    """A file with random access, by ranges and fsspec's caches."""

    def __init__(
        self,
        fs: HTTPFileSystem,
        url: str,
        info: dict[str, Any],
        *,
        block_size: int,
        cache_type: str,
        cache_options: Mapping[str, Any] | None,
        options: dict[str, Any],
    ) -> None:
        self.details = {"name": url, "type": "file", **info}
        self.url = url
        self._options = options
        self._version = _Version(url, info)
        super().__init__(
            fs=fs,
            path=url,
            mode="rb",
            block_size=block_size,
            cache_type=cache_type,
            cache_options=dict(cache_options or {}),
            size=info["size"],
        )

    def _fetch_range(self, start: int, end: int) -> bytes:
        return cast("bytes", sync(self.fs.loop, self.async_fetch_range, start, end))

    async def async_fetch_range(self, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`.

        Raises:
            OSError: The file has changed since it was opened.
            ClientPayloadError: The server sent another range, or less than it said.
        """
        data, _ = await self.fs.fetch_range(
            self.url, start, end, cut=start == 0, known=self._version, **self._options
        )
        return cast("bytes", data)


class _Stream(io.RawIOBase):
    """A body as it comes, for files of no known size and servers without ranges."""

    def __init__(self, fs: HTTPFileSystem, url: str, options: dict[str, Any]) -> None:
        self._fs, self._url = fs, url
        self._exit: Callable[..., Coroutine[Any, Any, Any]] | None = None
        self._loop: asyncio.AbstractEventLoop = fs.loop
        self._response: ClientResponse = sync(self._loop, self._start, options)

    async def _start(self, options: dict[str, Any]) -> ClientResponse:
        context = self._fs._request("GET", self._url, **options)
        response = await context.__aenter__()
        self._exit = context.__aexit__
        try:
            self._fs._check(response, self._url)
        except BaseException:
            await self._end()
            raise
        return response

    async def _end(self) -> None:
        leave, self._exit = self._exit, None
        if leave is not None:
            await leave(None, None, None)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        view = memoryview(buffer).cast("B")
        data: bytes = sync(self._loop, self._response.content.read, len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        # Nobody waits for it: this may be the garbage collector, on the loop's own thread.
        if not self.closed and self._exit is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        super().close()


class _AsyncStream(AbstractAsyncStreamedFile):
    """A body as it comes, on a loop."""

    def __init__(
        self, fs: HTTPFileSystem, url: str, size: int | None, options: dict[str, Any]
    ) -> None:
        self.details = {"name": url, "size": size, "type": "file"}
        self._options = options
        self._context: Any = None
        self._response: ClientResponse | None = None
        super().__init__(fs=fs, path=url, mode="rb", cache_type="none", size=size or 0)
        self.size = size

    async def read(self, length: int = -1) -> bytes:
        """Read at most so many bytes, or all that are left."""
        if self._response is None:
            self._context = self.fs._request("GET", self.path, **self._options)
            self._response = await self._context.__aenter__()
            self.fs._check(self._response, self.path)
        data: bytes = await self._response.content.read(length)
        self.loc += len(data)
        return data

    async def close(self) -> None:
        """Let the connection go."""
        context, self._context, self._response = self._context, None, None
        if context is not None:
            await context.__aexit__(None, None, None)
        await super().close()
