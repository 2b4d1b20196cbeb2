"""`wherry.sync`: the client for scripts, notebooks and threads."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import gc
import inspect
import json
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scripts import make_sync
from yarl import URL

import wherry
import wherry.sync
from wherry.sync import background
from wherry.testing import LocalServer

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("target", "generate"),
    [
        (make_sync.TARGET, make_sync.generate),
        (make_sync.REST_TARGET, make_sync.generate_rest),
    ],
    ids=["objects", "rest"],
)
def test_what_is_generated_is_up_to_date(target: Path, generate: Callable[[], str]) -> None:
    """Else: python scripts/make_sync.py, and format the file."""
    made = body_of(ast.parse(generate()))
    file = body_of(ast.parse(target.read_text("utf-8")))
    assert [ast.dump(node) for node in made] == [ast.dump(node) for node in file]
    assert made


def body_of(tree: ast.Module) -> list[ast.stmt]:
    """Classes and functions: imports are sorted by a formatter."""
    return [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]


@pytest.mark.parametrize("verb", ["get", "options", "head", "post", "put", "patch", "delete"])
def test_verbs(wherry_server: LocalServer, verb: str) -> None:
    url = wherry_server.url("/anything")
    with wherry.sync.Session() as session:
        for call in (getattr(wherry.sync, verb), getattr(session, verb)):
            reply = call(url, params={"a": "b"}, headers={"X-Mine": "c"}, timeout=30)
            assert reply.status == reply.status_code == 200
            assert reply.ok
            assert reply.method == verb.upper()
            assert reply.url.query_string == "a=b"
            assert reply.headers["Content-Type"] == reply.content_type
            assert reply.history == ()
            if verb != "head":
                assert reply.json()["method"] == verb.upper()
                assert reply.json()["headers"]["x-mine"] == "c"
                assert reply.text() == reply.read().decode()
        assert session.request(verb, url).status == 200


def test_arguments_and_objects_are_those_of_the_asynchronous_client() -> None:
    for ours, theirs in (
        (wherry.sync.Session, wherry.ClientSession),
        (wherry.sync.Response, wherry.ClientResponse),
        (wherry.sync.WebSocket, wherry.ClientWebSocketResponse),
        (wherry.sync.Stream, wherry.StreamReader),
    ):
        for name, member in inspect.getmembers(ours, inspect.isfunction):
            original = inspect.getattr_static(theirs, name, None)
            if name.startswith("_") or original is None:
                continue
            mine = dict(inspect.signature(member).parameters)
            mine.pop("stream", None)
            assert list(mine) == list(inspect.signature(original).parameters), name
            assert member.__doc__, name


def test_bodies_cookies_redirects_and_errors(wherry_server: LocalServer) -> None:
    with wherry.sync.Session(cookies={"a": "b"}, headers={"X-Mine": "c"}) as session:
        assert session.post(wherry_server.url("/post"), json={"a": 1}).json()["json"] == {"a": 1}
        sent = session.post(wherry_server.url("/post"), data={"a": "b"}, files={"f": b"content"})
        assert sent.json()["files"]
        assert session.get(wherry_server.url("/cookies")).json()["cookies"] == {"a": "b"}
        reply = session.get(wherry_server.url("/redirect/2"))
        assert [each.status for each in reply.history] == [302, 302]
        assert isinstance(reply.history[0], wherry.sync.Response)
        with pytest.raises(wherry.ClientResponseError):
            session.get(wherry_server.url("/status/404")).raise_for_status()
        with pytest.raises(wherry.ClientResponseError):
            session.get(wherry_server.url("/status/500"), raise_for_status=True)
        with pytest.raises(TimeoutError):
            session.get(wherry_server.url("/delay/20"), timeout=0.05)
        with pytest.raises(TypeError, match="'verify': say ssl="):
            session.get(wherry_server.url("/get"), verify=False)  # type: ignore[call-arg]
        assert session.headers["X-Mine"] == "c"
    with pytest.raises(RuntimeError, match="Session is closed"):
        session.get(wherry_server.url("/get"))
    assert session.closed
    session.close()


def test_arguments_of_a_session_are_checked_where_it_is_made() -> None:
    with pytest.raises(TypeError, match="ClientSession has no argument 'verify'"):
        wherry.sync.Session(verify=False)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="headers="):
        wherry.sync.Session(headers="X: y")  # type: ignore[arg-type]


def test_calls_without_a_session_share_connections_but_no_cookies(
    wherry_server: LocalServer,
) -> None:
    # No jar keeps cookies of an IP address.
    reply = wherry.sync.get(wherry_server.url("/cookies/set?a=b").replace("127.0.0.1", "localhost"))
    assert reply.json()["cookies"] == {"a": "b"}  # within the redirects of one call
    before = len(wherry_server.clients)
    for _ in range(5):
        url = wherry_server.url("/cookies").replace("127.0.0.1", "localhost")
        reply = wherry.sync.get(url)
        assert reply.json()["cookies"] == {}
    assert len(wherry_server.clients) <= before + 1
    assert wherry.sync.get(wherry_server.url("/cookies"), cookies={"c": "d"}).json()["cookies"] == {
        "c": "d"
    }


def test_calls_at_the_same_time_share_no_cookies(wherry_server: LocalServer) -> None:
    """Each has a session for itself, whose jar is empty when it begins."""
    base = wherry_server.url("").replace("127.0.0.1", "localhost")

    def fetch(number: int) -> dict[str, str]:
        if number % 3 == 0:
            own: dict[str, str] = wherry.sync.get(f"{base}/cookies").json()["cookies"]
            return own
        seen: dict[str, str] = wherry.sync.get(f"{base}/cookies/set?n={number}").json()["cookies"]
        return seen

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(fetch, range(60)))
    assert replies == [{} if number % 3 == 0 else {"n": str(number)} for number in range(60)]


def test_nothing_that_a_middleware_says_to_its_session_is_there_for_other_calls(
    wherry_server: LocalServer,
) -> None:
    sessions: list[wherry.ClientSession] = []
    connectors: list[Any] = []

    async def login(request: Any, handler: Any) -> Any:
        session = request.session
        sessions.append(session)
        connectors.append(session.connector)
        session.headers["Authorization"] = "Bearer alice"
        session.cookie_jar.update_cookies({"user": "alice"}, URL(base))
        return await handler(request)

    async def auth(request: Any) -> None:
        request.session.headers["Authorization"] = "Bearer alice"
        connectors.append(request.session.connector)

    base = wherry_server.url("").replace("127.0.0.1", "localhost")
    clients = wherry_server.clients
    assert wherry.sync.get(f"{base}/get").status == 200
    before = len(clients)
    for options in ({"middlewares": [login]}, {"auth": auth}):
        assert wherry.sync.get(f"{base}/get", **options).status == 200  # type: ignore[arg-type]
        with wherry.sync.get(f"{base}/bytes/200000", stream=True, **options) as response:  # type: ignore[arg-type]
            seen = wherry.sync.get(f"{base}/anything").json()["headers"]
            assert not {"authorization", "cookie"} & {name.lower() for name in seen}
            assert len(response.read()) == 200000
    assert wherry.sync.get(f"{base}/cookies").json()["cookies"] == {}
    # Not even the connection, which such code may have logged in.
    assert len(set(map(id, connectors))) == len(connectors) == 4
    assert all(session.closed for session in sessions)
    assert len(clients) == before + 4


@pytest.mark.parametrize("idle", [False, True])
def test_the_background_work_of_a_call_sets_no_cookie_for_another(idle: bool) -> None:
    """Whether another call is under way when its answer comes, or begins after it."""
    late, mine = threading.Event(), threading.Event()

    async def swr(request: Any, handler: Any) -> Any:
        async def later() -> None:
            await asyncio.to_thread(late.wait, 30)
            jar.update_cookies({"user": "alice"}, URL("http://localhost/"))
            with contextlib.suppress(RuntimeError, wherry.ClientError):
                await handler(request)
            mine.set()

        jar = request.session.cookie_jar
        tasks.append(asyncio.get_running_loop().create_task(later()))
        return await handler(request)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path, headers = scope["path"], dict(scope["headers"])
        told = [(b"location", {"/login": b"/work"}.get(path, b"/end"))]
        if path == "/login":
            told.append((b"set-cookie", b"user=bob; Path=/"))
        elif path == "/work":
            late.set()
            await asyncio.to_thread(mine.wait, 30)
        status = 302 if path in {"/login", "/work"} else 200
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": headers.get(b"cookie", b"none")})

    tasks: list[asyncio.Task[None]] = []
    with LocalServer(app) as server:
        base = server.url("").replace("127.0.0.1", "localhost")
        assert wherry.sync.get(f"{base}/alice", middlewares=[swr]).text() == "none"
        if idle:
            late.set()
            assert mine.wait(30)
            assert wherry.sync.get(f"{base}/stranger").text() == "none"
        assert wherry.sync.get(f"{base}/login").text() == "user=bob"
    (task,) = tasks
    assert task.exception() is None


def test_twelve_threads_share_no_identity(wherry_server: LocalServer) -> None:
    base = wherry_server.url("").replace("127.0.0.1", "localhost")

    def fetch(number: int) -> tuple[Any, Any]:
        async def login(request: Any, handler: Any) -> Any:
            request.session.headers["X-User"] = str(number)
            request.headers["X-User"] = str(number)
            return await handler(request)

        middlewares = [login] if number % 2 else None
        reply = wherry.sync.get(f"{base}/anything", middlewares=middlewares).json()
        redirected = wherry.sync.get(f"{base}/cookies/set?n={number}").json()
        return reply["headers"].get("x-user"), redirected["cookies"]

    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(fetch, range(96)))
    assert replies == [
        (str(number) if number % 2 else None, {"n": str(number)}) for number in range(96)
    ]


def test_a_call_that_failed_leaves_nothing_for_the_next(wherry_server: LocalServer) -> None:
    base = wherry_server.url("").replace("127.0.0.1", "localhost")
    for _ in range(3):
        with pytest.raises(wherry.ClientResponseError):
            wherry.sync.get(f"{base}/status/500", raise_for_status=True)
        with pytest.raises(TypeError):
            wherry.sync.get(f"{base}/get", timeuot=5)  # type: ignore[call-arg]
        assert wherry.sync.get(f"{base}/get").status == 200
    with wherry.sync.get(f"{base}/cookies/set?a=b", stream=True) as response:
        assert wherry.sync.get(f"{base}/cookies").json()["cookies"] == {}
        assert response.json()["cookies"] == {"a": "b"}


def test_what_a_call_says_of_its_request_is_said_of_no_other(wherry_server: LocalServer) -> None:
    """Calls share how requests to an origin are written; what each adds is its own."""
    base = wherry_server.url("").replace("127.0.0.1", "localhost")

    def seen(**options: Any) -> tuple[dict[str, str], str, str]:
        reply = wherry.sync.request(options.pop("method", "GET"), f"{base}/anything", **options)
        told = reply.json()
        names = ("authorization", "cookie", "x-mine", "user-agent")
        fields = {name.lower(): value for name, value in told["headers"].items()}
        return {name: fields[name] for name in names if name in fields}, told["data"], reply.method

    usual = seen()
    assert usual[0].keys() == {"user-agent"}
    basic = wherry.BasicAuth("alice", "secret")
    for _ in range(2):
        assert seen(auth=basic)[0]["authorization"] == basic.encode()
        assert seen(cookies={"user": "alice"})[0]["cookie"] == "user=alice"
        assert seen(headers={"X-Mine": "1", "User-Agent": "other"})[0] == {
            "x-mine": "1", "user-agent": "other",
        }  # fmt: skip
        assert seen(method="POST", data=b"body", headers={"Cookie": "a=b"})[0]["cookie"] == "a=b"
        assert seen() == usual


@pytest.mark.parametrize("seen", [False, True], ids=["alone", "seen"])
def test_cookies_of_a_call_are_for_the_origin_that_it_asks(seen: bool) -> None:
    """Its redirects may renew them, and carry them nowhere else."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        to = {"/renew": "/end", "/leave": strange.url("/end"), "/end": ""}[scope["path"]]
        told = [(b"location", to.replace("127.0.0.1", "localhost").encode())]
        if scope["path"] == "/renew":
            told.append((b"set-cookie", b"user=bob; Path=/"))
        body = dict(scope["headers"]).get(b"cookie", b"none")
        status = 302 if to else 200
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": body})

    async def middleware(request: Any, handler: Any) -> Any:
        return await handler(request)

    own: Any = {"cookies": {"user": "alice"}} | ({"middlewares": [middleware]} if seen else {})
    with LocalServer(app) as server, LocalServer(app) as strange:
        base = server.url("").replace("127.0.0.1", "localhost")
        assert wherry.sync.get(f"{base}/end", **own).text() == "user=alice"
        assert wherry.sync.get(server.url("/end"), **own).text() == "user=alice"
        assert wherry.sync.get(f"{base}/renew", **own).text() == "user=bob"
        assert wherry.sync.get(f"{base}/leave", **own).text() == "none"
    with pytest.raises(wherry.InvalidURL):
        wherry.sync.get("http://[::1]:43@/", **own)


def test_a_session_of_a_call_can_be_changed_for_no_other(wherry_server: LocalServer) -> None:
    """A function that is given the response reaches its session, if by a private name."""
    sessions: list[Any] = []

    async def check(response: Any) -> None:
        session = response._session
        sessions.append(weakref.ref(session))
        with pytest.raises(TypeError):
            session.headers["Authorization"] = "Bearer alice"
        session.cookie_jar.update_cookies({"user": "alice"}, URL(base))
        session.trace_configs.append(wherry.TraceConfig())
        session.requote_redirect_url = False

    base = wherry_server.url("").replace("127.0.0.1", "localhost")
    with pytest.warns(DeprecationWarning, match="requote"):
        wherry.sync.get(f"{base}/get", raise_for_status=check)
    (ref,) = sessions
    assert ref() is None  # at once, without the collector
    sessions.clear()

    async def look(response: Any) -> None:
        session = response._session
        sessions.append((session.trace_configs, session.requote_redirect_url))

    fields = wherry.sync.get(f"{base}/anything", raise_for_status=look).json()["headers"]
    assert not {"authorization", "cookie"} & {name.lower() for name in fields}
    assert sessions == [([], True)]


def test_who_puts_himself_round_sessions_sees_those_of_calls(
    wherry_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instrumentation replaces `ClientSession.__init__` and adds a trace."""
    url = wherry_server.url("/get")
    wherry.sync.get(url)
    told: list[str] = []
    really = wherry.ClientSession.__init__

    async def begins(_session: Any, _context: Any, params: Any) -> None:
        told.append(params.method)

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        trace = wherry.TraceConfig()
        trace.on_request_start.append(begins)
        really(self, *args, trace_configs=[trace], **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(wherry.ClientSession, "__init__", init)
        wherry.sync.get(url)
        wherry.sync.post(url.replace("/get", "/post"), json={})
    wherry.sync.get(url)
    assert told == ["GET", "POST"]


@pytest.mark.parametrize("alone", [True, False])
def test_streams(wherry_server: LocalServer, alone: bool) -> None:
    url = wherry_server.url("/bytes/100000")
    with wherry.sync.Session() as session:
        get = wherry.sync.get if alone else session.get
        with get(url, stream=True) as reply:
            pieces = list(reply.content.iter_chunked(4096))
        assert max(map(len, pieces)) <= 4096
        assert sum(map(len, pieces)) == 100_000
        with get(wherry_server.url("/stream/3"), stream=True) as reply:
            assert len([json.loads(line) for line in reply.content]) == 3
        with get(url, stream=True) as reply:
            assert len(reply.content.readexactly(10)) == 10
        with pytest.raises(wherry.ClientConnectionError, match="before its body was read"):
            reply.read()
        with get(url, stream=True) as reply:
            assert len(reply.read()) == 100_000
        assert get(url).read() != b""


def test_downloads(wherry_server: LocalServer, tmp_path: Path) -> None:
    told: list[int] = []
    with wherry.sync.Session() as session:
        done = session.download(
            wherry_server.url("/bytes/5000"),
            tmp_path / "file",
            progress=lambda size, _total: told.append(size),
        )
        assert done.size == (tmp_path / "file").stat().st_size == told[-1] == 5000
        with session.get(wherry_server.url("/bytes/10"), stream=True) as reply:
            assert reply.download(tmp_path / "other").size == 10


def test_websockets(wherry_server: LocalServer) -> None:
    with (
        wherry.sync.Session() as session,
        session.ws_connect(wherry_server.url("/ws/echo", scheme="ws"), protocols=("a",)) as socket,
    ):
        assert socket.protocol == "a"
        socket.send_str("one")
        assert socket.receive_str() == "one"
        socket.send_bytes(b"two")
        assert socket.receive_bytes(timeout=30) == b"two"
        socket.send_json({"a": 1})
        assert socket.receive_json() == {"a": 1}
        with pytest.raises(TimeoutError):
            socket.receive(timeout=0.01)
        # One thread sends what another waits for.
        sender = threading.Timer(0.01, socket.send_str, ["late"])
        sender.start()
        assert next(iter(socket)).data == "late"
        sender.join()
        assert not socket.closed
    assert socket.closed
    assert list(socket) == []


def test_events(wherry_server: LocalServer) -> None:
    with wherry.sync.Session() as session:
        with session.events(wherry_server.url("/sse"), reconnect=None) as source:
            first = next(source)
            assert isinstance(first, wherry.ServerSentEvent)
        assert list(source) == []
        with session.get(wherry_server.url("/sse"), stream=True) as reply:
            assert next(reply.sse()) == first


@dataclass
class Echo:
    method: str


def test_rest(wherry_server: LocalServer) -> None:
    with wherry.sync.RestClient(base_url=wherry_server.url("/")) as api:
        assert api.post("/post", {"a": 1}, model=Echo) == Echo("POST")
        assert api.request("/put", "put", body={"a": 1}, model=Echo) == Echo("PUT")
        assert isinstance(api.request("/get"), wherry.sync.Response)
        reply = api.get("/get", query_param={"a": "b"})
        assert isinstance(reply, wherry.sync.Response)
        assert reply.json()["args"] == {"a": "b"}
        from wherry.rest import RestError

        with pytest.raises(RestError):
            api.get("/status/404")
        assert "/get" in list(api.pages("/", items="endpoints", model=str))


# --- threads, loops, processes --------------------------------------------------------------------


def test_many_threads_share_a_session(wherry_server: LocalServer) -> None:
    with (
        wherry.sync.Session(connector=lambda: wherry.TCPConnector(limit=4)) as session,
        ThreadPoolExecutor(16) as pool,
    ):

        def ask(number: int) -> str:
            reply = session.get(wherry_server.url("/get"), params={"n": number})
            found: str = reply.json()["args"]["n"]
            return found

        assert list(pool.map(ask, range(200))) == [str(number) for number in range(200)]
        numbers = pool.map(
            lambda n: wherry.sync.get(wherry_server.url(f"/get?n={n}")).json()["args"]["n"],
            range(100),
        )
        assert list(numbers) == [str(number) for number in range(100)]
    assert sum(thread.name == "wherry.sync" for thread in threading.enumerate()) == 1


async def test_inside_a_running_loop(wherry_server: LocalServer) -> None:
    """As in a notebook."""
    assert asyncio.get_running_loop()
    assert wherry.sync.get(wherry_server.url("/get")).status == 200
    with wherry.sync.Session() as session:
        assert session.get(wherry_server.url("/get")).status == 200


def test_a_call_on_its_own_loop_is_refused(wherry_server: LocalServer) -> None:
    async def middleware(request: wherry.ClientRequest, handler: Any) -> wherry.ClientResponse:
        with pytest.raises(RuntimeError, match="coroutine of its own event loop"):
            wherry.sync.get(wherry_server.url("/get"))
        answer: wherry.ClientResponse = await handler(request)
        return answer

    with wherry.sync.Session(middlewares=[middleware]) as session:
        assert session.get(wherry_server.url("/get")).status == 200


def test_what_a_thread_has_set_holds_in_its_calls(wherry_server: LocalServer) -> None:
    """Context variables: a trace's identity goes with the request."""
    from contextvars import ContextVar

    name: ContextVar[str] = ContextVar("name")
    seen: list[str] = []

    async def middleware(request: wherry.ClientRequest, handler: Any) -> wherry.ClientResponse:
        seen.append(name.get())
        answer: wherry.ClientResponse = await handler(request)
        return answer

    with wherry.sync.Session(middlewares=[middleware]) as session:
        name.set("mine")
        session.get(wherry_server.url("/get"))
    assert seen == ["mine"]


CHILD = """
import os, sys
import wherry.sync
url = sys.argv[1]
session = wherry.sync.Session(cookies={"a": "b"})
assert session.get(url).status == 200
parent = wherry.sync.get(url).status
child = os.fork()
if child == 0:
    ok = session.get(url).json()["cookies"] == {"a": "b"} and wherry.sync.get(url).status == 200
    session.close()
    sys.exit(not ok)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert session.get(url).json()["cookies"] == {"a": "b"}
session.close()
print("whole")
"""


def run_script(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        # A fork beside threads is what this is about; Python 3.12 and later warn of it.
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", code,
         *args],
        capture_output=True, text=True, env=environ, check=False, timeout=50,
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_of_a_fork_begins_anew(wherry_server: LocalServer) -> None:
    done = run_script(CHILD, wherry_server.url("/cookies"))
    assert (done.stdout, done.stderr, done.returncode) == ("whole\n", "", 0)


@pytest.mark.parametrize(
    "code",
    [
        "wherry.sync.get(url)",
        "wherry.sync.get(url, stream=True)",
        "kept = wherry.sync.get(url, stream=True)",
        "s = wherry.sync.Session(); s.get(url); s.close()",
        "import threading as t; t = t.Thread(target=wherry.sync.get, args=(url,)); t.start(); t.join()",
        "",
    ],
)
def test_a_script_ends_in_silence(wherry_server: LocalServer, code: str) -> None:
    done = run_script(
        f"import sys, wherry.sync\nurl = sys.argv[1]\n{code}", wherry_server.url("/bytes/10")
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_what_is_forgotten_gives_its_connection_back(wherry_server: LocalServer) -> None:
    url = wherry_server.url("/drip?duration=20&numbytes=20")
    with wherry.sync.Session(connector=lambda: wherry.TCPConnector(limit=1)) as session:
        for _ in range(3):
            reply = session.get(url, stream=True)
            assert reply.status == 200
            del reply
            gc.collect()
        assert session.get(wherry_server.url("/get"), timeout=30).status == 200


def test_a_session_that_is_forgotten_warns_and_is_closed(wherry_server: LocalServer) -> None:
    session = wherry.sync.Session()
    session.get(wherry_server.url("/get"))
    inner = session.asynchronous
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del session
        gc.collect()
    assert [str(each.message)[:16] for each in caught] == ["Unclosed session"]
    background.run(inner.close())
    assert inner.closed


def test_an_interrupt_ends_the_call(wherry_server: LocalServer) -> None:
    code = """
import signal, sys, threading, wherry, wherry.sync
# A shell that starts a job in the background has it ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Who was started in the background by a shell has inherited that interrupts are ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
async def interrupt(request, handler):
    threading.Timer(0, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)).start()
    return await handler(request)
with wherry.sync.Session(middlewares=[interrupt]) as session:
    try:
        session.get(sys.argv[1])
    except KeyboardInterrupt:
        print("interrupted")
    print(session.get(sys.argv[2], middlewares=()).status)
"""
    done = run_script(code, wherry_server.url("/delay/40"), wherry_server.url("/get"))
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\n200\n", "", 0)


def test_wherry_does_not_load_it() -> None:
    code = "import sys, wherry; assert not [m for m in sys.modules if m.startswith('wherry.sync')]"
    assert run_script(code).returncode == 0
