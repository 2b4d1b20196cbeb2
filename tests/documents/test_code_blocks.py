"""The documents' own code blocks, section by section, with our names and their slips mended.

Each page here is a document's code under its own headings.  The blocks of a section run in their
order and share their names; what stands in a comment ``<!-- run: ... -->`` is run too: what the
document takes for given, and what a block must have done.  Every name of a host leads to one server
on this machine.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import datetime as dt
import hashlib
import inspect
import json
import logging
import re
import shutil
import ssl
import subprocess
import sys
import textwrap
import threading
import typing
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import certifi
import pytest
import trustme
from tests.client.conftest import Asked, Peer, Reply, reply
from tests.left_out import needs
from yarl import URL

import wherry
import wherry.resolver
from wherry.connect.dns.resolver import AsyncResolver, ResolveResult, ThreadedResolver
from wherry.connect.tls import contexts as tls

HERE = Path(__file__).parent
NAMES = (
    "example.com",
    "example.org",
    "www.python.org",
    "python.org",
    "api.github.com",
    "logapi.example",
    "httpbin.org",
)
# What a block opens and the document never closes.
OPEN = (wherry.ClientSession, wherry.BaseConnector, AsyncResolver)
_PIECE = re.compile(r"^<!-- run:(.*?)-->|^```(python|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Section(NamedTuple):
    """What is under one heading."""

    page: str
    heading: str
    pieces: list[tuple[str, str]]


def sections(page: str) -> list[Section]:
    found = []
    for part in re.split(r"^## ", (HERE / page).read_text("utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        pieces = [(match[2] or "python", match[1] or match[3]) for match in _PIECE.finditer(text)]
        if pieces:
            found.append(Section(page, heading.strip(), pieces))
    return found


# --- the server that all names lead to ------------------------------------------------------------

HEADERS = {
    "/headers-1": [
        ("Access-Control-Allow-Origin", "*"),
        ("Content-Type", "application/json"),
        ("Date", "Tue, 15 Jul 2014 16:49:51 GMT"),
        ("Server", "gunicorn/18.0"),
        ("Content-Length", "331"),
        ("Connection", "keep-alive"),
    ],
    "/headers-3": [
        ("Access-Control-Allow-Origin", "*"),
        ("Content-Type", "application/json"),
        ("Date", "Tue, 15 Jul 2014 16:49:51 GMT"),
        ("Server", "unicorn/18.0"),
        ("Content-Length", "331"),
        ("Connection", "keep-alive"),
    ],
    "/headers-2": [
        ("SERVER", "nginx"),
        ("DATE", "Sat, 09 Jan 2016 20:28:40 GMT"),
        ("CONTENT-TYPE", "text/html; charset=utf-8"),
        ("CONTENT-LENGTH", "12150"),
        ("CONNECTION", "keep-alive"),
    ],
}


def answer(asked: Asked) -> Reply:
    """Much as httpbin.org and the examples' sites do."""
    url = (
        URL(asked.target)
        if "://" in asked.target
        else URL(f"http://{asked.headers.get('Host')}{asked.target}")
    )
    typed = {"Content-Type": "application/json"}
    if url.path in HEADERS:
        fields = HEADERS[url.path]
        return reply(
            200,
            b"x" * int(next(value for name, value in fields if name.lower() == "content-length")),
            fields,
        )
    if url.path == "/cookies":
        pairs = [pair.split("=", 1) for pair in asked.headers.get("Cookie", "").split("; ") if pair]
        return reply(200, json.dumps({"cookies": dict(pairs)}), typed)
    if url.path == "/cookies/set":
        fields = [("Set-Cookie", f"{name}={value}; Path=/") for name, value in url.query.items()]
        return reply(302, headers=[*fields, ("Location", "/cookies")])
    if url.path == "/some/cookie/setting/url":
        return reply(200, headers={"Set-Cookie": "example_cookie_name=value"})
    if url.path == "/some/redirect/":
        return reply(301, headers={"Location": "/some/other/url/"})
    if url.path == "/protected" and not asked.headers.get("Authorization", "").startswith(
        "Digest "
    ):
        return reply(
            401,
            headers={
                "WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'
            },
        )
    if url.path == "/custom":
        return reply(200, '{"a": 1}', {"Content-Type": "custom/type"})
    if url.path.startswith("/status/"):
        return reply(int(url.name))
    if url.path == "/windows-1252":
        return reply(
            200,
            "Smørrebrød på café, naïve coöperation à la carte".encode("cp1252"),
            {"Content-Type": "text/plain"},
        )
    if url.host == "python.org":
        return reply(200, "<!doctype html> and so on", {"Content-Type": "text/html; charset=utf-8"})
    return reply(200, json.dumps({"headers": dict(asked.headers), "url": str(url)}), typed)


class Web:
    """The server in a thread of its own: a document's program may bring, and close, its own
    loop.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.plain, self.secure = Peer(answer, "http"), Peer(answer, "https")
        good = self.authority.issue_cert(*NAMES)
        yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        expired = self.authority.issue_cert("expired.badssl.com", not_after=yesterday)
        self.context = _server(good)
        bad = {"expired.badssl.com": _server(expired)}
        # The name "wrong.host.badssl.com" gets the certificate of the others.
        self.context.sni_callback = lambda sock, name, _: setattr(
            sock, "context", bad.get(name, self.context)
        )
        self.fingerprint = hashlib.sha256(
            ssl.PEM_cert_to_DER_cert(good.cert_chain_pems[0].bytes().decode())
        ).digest()
        for name, blob in {
            "ca-bundle.crt": self.authority.cert_pem,
            "crt.pem": good.cert_chain_pems[0],
            "client/public/device.pem": good.cert_chain_pems[0],
            "client/private/device.key": good.private_key_pem,
        }.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(blob.bytes())

    @contextlib.contextmanager
    def served(self) -> Iterator[Web]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), loop).result()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _start(self) -> None:
        self.servers = []
        for peer, context in ((self.plain, None), (self.secure, self.context)):
            self.servers.append(await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=context))
            peer.port = self.servers[-1].sockets[0].getsockname()[1]
        local = await asyncio.start_unix_server(self.plain.serve, self.directory / "socket")
        self.servers.append(local)

    async def _stop(self) -> None:
        for server in self.servers:
            server.close()
        tasks = {*self.plain.tasks, *self.secure.tasks}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.sleep(0)

    @property
    def asked(self) -> list[Asked]:
        return self.plain.asked


def _server(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    made = Web(tmp_path)

    async def resolve(self: Any, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        here = made.secure.port if port == 443 else made.plain.port
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=here, family=2, proto=0, flags=0)
        ]

    for kind in (ThreadedResolver, AsyncResolver):
        monkeypatch.setattr(kind, "resolve", resolve)
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "REQUEST_METHOD", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    # The documents say `import aiohttp`; they mean us.
    monkeypatch.setitem(sys.modules, "aiohttp", wherry)
    monkeypatch.setitem(sys.modules, "aiohttp.resolver", wherry.resolver)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca-bundle.crt"))
    monkeypatch.setattr(tls, "_contexts", {})
    with made.served():
        yield made


# --- running a section ----------------------------------------------------------------------------


def shell(line: str, directory: Path) -> None:
    program = line.split(maxsplit=1)[0]
    assert shutil.which(program), f"{program} is not installed"
    subprocess.run(["bash", "-ec", line], cwd=directory, check=True, timeout=200)


async def in_a_program(section: Section, names: dict[str, Any], web: Web) -> None:
    """Every block inside one coroutine, where there is a loop and a `session`."""
    held: dict[int, Any] = {}
    async with wherry.ClientSession() as session:
        names["session"] = session
        for kind, code in section.pieces:
            if names["session"].closed:
                names["session"] = session  # the block before had one of its own
            if kind == "bash":
                await asyncio.to_thread(shell, code, web.directory)
                continue
            result = eval(compiled(section, code, web), names)
            if inspect.iscoroutine(result):
                await result
            held |= {id(value): value for value in names.values() if isinstance(value, OPEN)}
        for value in held.values():
            await value.close()


def compiled(section: Section, code: str, web: Web) -> Any:
    code = textwrap.dedent(code).strip().replace("/path/to/", f"{web.directory}/")
    return compile(
        code, f"{section.page}: {section.heading}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )


def run_section(section: Section, web: Web, names: dict[str, Any]) -> None:
    if any("chardetng_py" in code for _, code in section.pieces):
        needs("chardetng_py")
    names |= {name: getattr(wherry, name) for name in wherry.__all__}
    names |= {
        "aiohttp": wherry,
        "__name__": "__main__",
        "web": web,
        "pytest": pytest,
        "certifi": certifi,
    }
    names |= {"asyncio": asyncio, "ssl": ssl, "zlib": zlib, "json": json, "URL": URL, "Path": Path}
    names |= {
        "Optional": typing.Optional,
        "Dict": typing.Dict,  # noqa: UP006
        "log": logging.getLogger("documents"),
    }
    if not any(
        "run_until_complete" in code or "asyncio.run(" in code for _, code in section.pieces
    ):
        asyncio.run(in_a_program(section, names, web))
        return
    # A whole program, which runs its own loop.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        for _, code in section.pieces:
            exec(compiled(section, code, web), names)
    finally:
        loop.close()
        asyncio.set_event_loop(None)


def named(section: Section) -> str:
    return section.heading


def check(
    section: Section, web: Web, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_section(
        section, web, {"monkeypatch": monkeypatch, "printed": lambda: capsys.readouterr().out}
    )


@pytest.mark.parametrize("section", sections("advanced.md"), ids=named)
def test_advanced_client_usage(section, web, monkeypatch, capsys):
    """S001-147"""
    check(section, web, monkeypatch, capsys)


@pytest.mark.parametrize("section", sections("advanced_3_4.md"), ids=named)
def test_advanced_client_usage_of_3_4(section, web, monkeypatch, capsys):
    """S002-07"""
    check(section, web, monkeypatch, capsys)


@pytest.mark.parametrize("section", sections("tutorial.md"), ids=named)
@pytest.mark.filterwarnings("ignore:verify_ssl is deprecated:DeprecationWarning")
def test_the_tutorial(section, web, monkeypatch, capsys):
    """S003-40"""
    check(section, web, monkeypatch, capsys)


def test_a_block_that_is_wrong_fails(web, monkeypatch, capsys):
    wrong = Section(
        "none",
        "none",
        [("python", "r = await session.get('http://example.com/')\nassert r.status == 404")],
    )
    with pytest.raises(AssertionError):
        check(wrong, web, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("page", "blocks"), [("advanced.md", 60), ("advanced_3_4.md", 43), ("tutorial.md", 19)]
)
def test_no_block_is_lost(page, blocks):
    """What a slip in a fence or a comment would take out of the pages is missed."""
    text = (HERE / page).read_text("utf-8")
    pieces = [piece for section in sections(page) for piece in section.pieces]
    assert len(pieces) == text.count("<!-- run:") + blocks
    assert text.count("\n```") == 2 * blocks
