"""Every Python block of the README and of docs/ runs as a reader pastes it, on the embedded server;
the site builds without a warning.

Each block is a module of its own: nothing is there that it does not import or make.  What it runs
by itself runs; else its coroutine functions are called that take nothing, or a `session`.  A comment
before a block says what else is done with it: ``<!-- compile only: why -->``, or
``<!-- pytest -->`` for a file of tests.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import dis
import enum
import importlib
import inspect
import json
import logging
import re
import runpy
import socket
import socketserver
import threading
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from scripts import reference
from yarl import URL

import wherry
from wherry.connect.tls import contexts as tls
from wherry.testing import LocalServer
from wherry.testing.app import app, routes

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "decisions"),
]
_BLOCK = re.compile(
    r"^(?:<!-- (compile only|pytest)[^>]*-->\n+)?```python[^\n]*\n(.*?)^```",
    re.MULTILINE | re.DOTALL,
)
# Blocks that cannot run.  A number to keep small.
MAX_COMPILED_ONLY = 6


class Block(NamedTuple):
    mark: str | None
    code: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1)
        for found in _BLOCK.finditer(text)
    ]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def with_code() -> list[Path]:
    return [page for page in PAGES if blocks_of(page)]


# --- where the examples lead ----------------------------------------------------------------------


async def anything(scope: Any, receive: Any, send: Any) -> None:
    """The embedded application; a path that it does not know is one that tells what it got."""
    if scope["type"] == "http":
        path = scope["path"]
        if path == "/token":
            return await token(send)
        if path == "/chat":
            return await chat(send)
        if path.startswith("/pages/"):
            query = scope["query_string"]
            if path.endswith("numbered"):
                items = {b"page=1": b"[1, 2]", b"page=2": b"[3]"}.get(query, b"[]")
                return await as_json(items, send)
            return await page(path, b"cursor=" in query or b"page=" in query, send)
        if not any(pattern.fullmatch(path) for _, pattern, *_ in routes._rows):
            scope = {**scope, "path": "/anything"}
    elif scope["type"] == "websocket":
        scope = {**scope, "path": "/ws/echo"}
    await app(scope, receive, send)
    return None


async def page(path: str, last: bool, send: Any) -> None:
    """One of the two pages of a list, which say in one of two ways where the other is."""
    if path.endswith("by-link"):
        more = [] if last else [(b"link", b'<?page=2>; rel="next"')]
        return await as_json(b"[3]" if last else b"[1, 2]", send, more)
    return await as_json(
        b'{"data": [3]}' if last else b'{"data": [1, 2], "meta": {"next": "x"}}', send
    )


async def token(send: Any) -> None:
    await as_json(b'{"access_token": "t", "token_type": "Bearer", "expires_in": 3600}', send)


async def chat(send: Any) -> None:
    """What an API of language models streams: deltas, and a last event that is no JSON."""
    fields = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    deltas = [{"role": "assistant"}, {"content": "one "}, {"content": "two "}, {"content": "three"}]
    events = [json.dumps({"choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
    for data in (*events, "[DONE]"):
        body = f"data: {data}\n\n".encode()
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def as_json(body: bytes, send: Any, more: Any = ()) -> None:
    fields = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *more,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Proxy(socketserver.BaseRequestHandler):
    """An HTTP and SOCKS5 proxy for one request a connection; it takes any password."""

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.request.recv(size - len(data)) or b"\0"
        return data

    def handle(self) -> None:
        first = self.read(1)
        target, early = self.socks() if first == b"\5" else self.http(first)
        with socket.create_connection(target) as onward:
            onward.sendall(early)
            threading.Thread(target=pump, args=(onward, self.request), daemon=True).start()
            pump(self.request, onward)

    def socks(self) -> tuple[tuple[str, int], bytes]:
        methods = self.read(self.read(1)[0])
        if 2 in methods:
            self.request.sendall(b"\5\2")
            self.read(self.read(2)[1])
            self.read(self.read(1)[0])
            self.request.sendall(b"\1\0")
        else:
            self.request.sendall(b"\5\0")
        kind = self.read(4)[3]
        host = (
            socket.inet_ntoa(self.read(4))
            if kind == 1
            else self.read(self.read(1)[0] if kind == 3 else 16).decode()
        )
        port = int.from_bytes(self.read(2), "big")
        self.request.sendall(b"\5\0\0\1" + bytes(6))
        return (host, port), b""

    def http(self, head: bytes) -> tuple[tuple[str, int], bytes]:
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        method, where, _ = head.split(b" ", 2)
        if method == b"CONNECT":
            self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            host, _, port = where.decode().rpartition(":")
            return (host, int(port)), b""
        url = URL(where.decode())
        return (url.host or "", url.port or 80), head.replace(where, url.raw_path_qs.encode(), 1)


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, int]]:
    """The ports of what the examples talk to."""
    socketserver.ThreadingTCPServer.daemon_threads = True
    with (
        LocalServer(anything) as plain,
        LocalServer(anything, tls=True) as secure,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as proxy,
    ):
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield {
            "plain": plain.port,
            "secure": secure.port,
            "proxy": proxy.server_address[1],
            "pem": secure,
        }  # type: ignore[dict-item]
        proxy.shutdown()


@pytest.fixture
def world(places: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A directory with the files that the examples name, and trust in the embedded authority."""
    monkeypatch.chdir(tmp_path)
    Path("ca.pem").write_bytes(places["pem"].authority_pem)
    Path("report.pdf").write_bytes(b"%PDF-1.7\n" * 100)
    Path("urls.txt").write_text("https://example.org/get\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setattr(tls, "_contexts", {})
    # A page may show how logging is set up; that must end with it.
    loggers = [logging.getLogger(name) for name in (None, "wherry")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield places
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


def led(code: str, places: Any) -> str:
    """The code with its hosts on this machine: example.org, secure.example.org and the proxies."""
    code = re.sub(r"(127\.0\.0\.1|localhost):8080", rf"\1:{places['plain']}", code)
    code = re.sub(r"[\w-]*proxy\d?\.example\.org:\d+", f"127.0.0.1:{places['proxy']}", code)
    code = re.sub(r"https://secure\.example\.org", f"https://localhost:{places['secure']}", code)
    code = re.sub(r"wss?://[\w.-]*example\.(?:org|com)", f"ws://localhost:{places['plain']}", code)
    return re.sub(
        r"https?://[\w.-]*example\.(?:org|com)", f"http://localhost:{places['plain']}", code
    )


def compiled(page: Path, code: str, line: int) -> types.CodeType:
    return compile("\n" * (line - 1) + code, str(page), "exec", dont_inherit=True)


def global_names(code: types.CodeType) -> set[str]:
    """Names that a module's functions look for outside of themselves."""
    found = {
        step.argval
        for step in dis.get_instructions(code)
        if step.opname in {"LOAD_GLOBAL", "LOAD_NAME"}
    }
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return found.union(*map(global_names, inner))


async def call_what_is_left(names: dict[str, Any], functions: list[str]) -> None:
    """Call the coroutine functions of a block that nothing in it calls."""
    for function in (names[name] for name in functions):
        wants = list(inspect.signature(function).parameters)
        if wants == ["session"]:
            async with wherry.ClientSession() as session:
                await function(session)
        elif not wants:
            await function()


def run_as_pasted(page: Path, code: str, line: int) -> None:
    tree = ast.parse(code)
    names: dict[str, Any] = {"__name__": "__main__"}
    module = compiled(page, code, line)
    exec(module, names)
    unknown = global_names(module) - names.keys() - set(dir(builtins)) - {"__annotations__"}
    assert not unknown, f"{page.name}, line {line}: {unknown} are neither imported nor made"
    if not any("asyncio.run(" in ast.unparse(node) for node in tree.body if type(node) is ast.Expr):
        called = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        functions = [
            node.name
            for node in tree.body
            if isinstance(node, ast.AsyncFunctionDef) and node.name not in called
        ]
        asyncio.run(call_what_is_left(names, functions))


@pytest.mark.parametrize("page", with_code(), ids=name_of)
def test_the_code_of_a_page_runs(page: Path, world: Any) -> None:
    for mark, code, line in blocks_of(page):
        if mark is None:
            run_as_pasted(page, led(code, world), line)
        elif mark == "compile only":
            compiled(page, code, line)


TESTS = [(page, block) for page in PAGES for block in blocks_of(page) if block.mark == "pytest"]


@pytest.mark.parametrize(
    ("page", "block"), TESTS, ids=lambda value: name_of(value) if isinstance(value, Path) else ""
)
def test_the_tests_of_a_page_pass(
    page: Path, block: Block, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(block.code)
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    pytester.plugins = ["pytest_wherry"]  # an installed wherry brings it along by itself
    done = pytester.runpytest_subprocess("-q")
    assert done.ret == 0, (done.outlines, done.errlines)


def test_few_blocks_are_only_compiled() -> None:
    skipped = [block for page in PAGES for block in blocks_of(page) if block.mark == "compile only"]
    assert len(skipped) <= MAX_COMPILED_ONLY


def test_every_page_is_in_the_navigation() -> None:
    site = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name in site, f"docs/{name} is not under nav in mkdocs.yml"


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        name for page in PAGES for name in re.findall(r"`make ([\w-]+)", page.read_text("utf-8"))
    }
    assert named <= targets


@pytest.mark.timeout(700)
def test_the_site_builds(tmp_path: Path) -> None:
    """Links, navigation and the reference of the API: a warning is an error."""
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# Wherry makes these, and programs do not.
MADE_FOR_YOU = {
    "wherry.ClientRequest", "wherry.ClientResponse", "wherry.ClientWebSocketResponse",
    "wherry.testing.MockRoute", "wherry.testing.MockWebSocket",
    "wherry.sync.Response", "wherry.sync.WebSocket",
}  # fmt: skip


def pages_of_the_reference() -> list[str]:
    pages = sorted((ROOT / "docs" / "reference").glob("*.md"))
    return [reference.expanded(page.read_text("utf-8")) for page in pages]


def entries() -> list[str]:
    """What the pages of the reference have an entry for."""
    return [
        name
        for text in pages_of_the_reference()
        for name in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)
    ]


def test_the_reference_has_every_public_name_once() -> None:
    found = entries()
    assert sorted(found) == sorted(set(found))
    in_words = {
        f"wherry.{name}"
        for text in pages_of_the_reference()
        for name in re.findall(r"`(\w+)`", text)
    }
    public = {f"wherry.{name}" for name in wherry.__all__} - {"wherry.__version__"}
    assert public - set(found) - in_words == set()
    for package in ("rest", "testing", "sync", "bulk"):
        module = importlib.import_module(f"wherry.{package}")
        assert {f"wherry.{package}.{name}" for name in module.__all__} <= set(found)


def texts_of(found: type | None, function: Any) -> str:
    """The docstrings of a class and its bases, or of a method there and in its bases."""
    if found is None:
        return inspect.getdoc(function) or ""
    bases = [base for base in found.__mro__ if base.__module__.startswith("wherry")]
    if function is not found:
        bases = [base.__dict__.get(function.__name__) for base in bases]
    return "\n".join(inspect.getdoc(each) or "" for each in bases if each is not None)


def is_described(text: str, argument: str) -> bool:
    """Whether a docstring has the argument in its list or in its sentence, or says where it is."""
    listed = rf"^ +(?:[\w*]+, )*\*{{0,2}}{argument}(?:, \w+)*:(?: |$)"
    return bool(
        re.search(listed, text, re.MULTILINE)
        or f"`{argument}`" in text
        or re.search(r"(?:[Ss]ee|[Aa]s for|[Aa]s) `", text)
    )


def undescribed(name: str, found: Any) -> set[str]:
    """Arguments of a public name, and of its methods, that its docstring does not describe."""
    functions, last = {name: found}, name.rpartition(".")[2]
    if inspect.isclass(found):
        made_for_you = name in MADE_FOR_YOU or (last.startswith("Trace") and last != "TraceConfig")
        if made_for_you or issubclass(found, wherry.errors.ClientError | enum.Enum):
            functions = {}
        functions |= {
            f"{name}.{key}": value
            for key, value in vars(found).items()
            if inspect.isfunction(value)
            and value.__module__.startswith("wherry")
            and not value.__module__.startswith("wherry.bulk.sinks")  # a `Fetcher` calls them
            and not hidden(key)
        }
    missing: set[str] = set()
    for path, function in functions.items():
        try:
            arguments = inspect.signature(function).parameters
        except ValueError:
            continue
        text = texts_of(found if inspect.isclass(found) else None, function)
        missing |= {
            f"{path}({argument})"
            for argument in arguments
            if argument not in {"self", "cls", "args", "kwargs", "loop", "unknown"}
            and not argument.startswith("_")
            and not is_described(text, argument)
        }
    return missing


def hidden(name: str) -> bool:
    """Whether the reference leaves a member out."""
    site = (ROOT / "mkdocs.yml").read_text("utf-8")
    return any(re.search(rule, name) for rule in re.findall(r'^ +- "!(.+)"$', site, re.MULTILINE))


def test_the_reference_describes_every_argument() -> None:
    missing: set[str] = set()
    for name in entries():
        package, _, last = name.rpartition(".")
        found = getattr(importlib.import_module(package), last)
        if callable(found) and getattr(found, "__module__", "").startswith("wherry"):
            missing |= undescribed(name, found)
    assert missing == set()


def test_links_in_the_root_lead_somewhere() -> None:
    """mkdocs looks at the links of docs/ only."""
    for page in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (ROOT / target).exists(), f"{page.name}: {target}"


def test_the_architecture_is_true_of_the_files() -> None:
    """The paths that it names exist, and its map names the modules of each room."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    for path in re.findall(r"`((?:\w+/)+\w+\.py)`", text):
        assert (ROOT / path).exists() or (ROOT / "src" / "wherry" / path).exists(), path
    plan = text.partition("```\nsrc/wherry/")[2].partition("```")[0]
    words = set(re.findall(r"\w+", plan))
    stems = re.findall(r"(\w+)\*", plan)
    for room in ("protocol", "connect", "client", "middlewares", "cookies", "auth", "body"):
        for path in (ROOT / "src" / "wherry" / room).glob("[a-z]*.py"):
            known = path.stem in words or "_" + path.stem.partition("_")[2] in words
            assert known or path.stem.startswith(tuple(stems)), (
                f"{room}/{path.name} is not on the map of ARCHITECTURE.md"
            )


def test_figures_find_their_places(tmp_path: Path) -> None:
    """What `make bench` writes goes into the pages, the second time too."""
    figures = runpy.run_path(str(ROOT / "scripts" / "figures.py"))
    for directory in ("benchmarks", "docs"):
        (tmp_path / directory).mkdir()
    for name in ("README.md", "docs/performance.md"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    (tmp_path / "benchmarks" / "results.md").write_text(
        "# Benchmarks\n\n`make bench` on a machine.\n\n"
        "| scenario (asyncio / uvloop) | unit | floor | wherry | aiohttp | httpx |\n|---|---|---|---|---|---|\n"
        "| small | us | 12 / 10 | 19 / 17 | 90 / - | 300 / 200 |\n"
        "| listeners | us | - / - | 35 / 33 | - / - | - / - |\n"
        "| 500 tasks | p50/p99 ms, us CPU | - / - | 9/11, 20 / 8/10, 18 | 7/800, 70 / 6/700, 60 | - / - |\n\n"
        "| times wherry | wherry | aiohttp |\n|---|---|---|\n| small | 1.00 / 1.00 | 4.70 / - |\n"
    )
    for _ in range(2):
        figures["main"](tmp_path)
    readme = (tmp_path / "README.md").read_text("utf-8")
    assert readme.count("| small | us | 19 / 17 | 90 / - | 300 / 200 |") == 1
    assert "| 500 tasks | p50/p99 ms | 9/11 / 8/10 | 7/800 / 6/700 | - / - |" in readme
    assert "times wherry" not in readme
    assert "listeners" not in readme
    assert (tmp_path / "docs" / "performance.md").read_text("utf-8").count("times wherry") == 1
    assert "(p99, ms)" in (tmp_path / "docs" / "benchmarks.svg").read_text("utf-8")
    for name, count in (("benchmarks.svg", 7), ("figures.svg", 4)):
        assert (tmp_path / "docs" / name).read_text("utf-8").count("<rect") == count


def test_extras_that_are_named_exist() -> None:
    known = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
            "optional-dependencies"
        ]
    )
    for page in PAGES:
        text = page.read_text("utf-8")
        named = {
            extra
            for extras in re.findall(r"wherry\[([\w,]+)\]", text)
            for extra in extras.split(",")
        }
        assert named | set(re.findall(r"[Ee]xtra `(\w+)`", text)) <= known, page.name
