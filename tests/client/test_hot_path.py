"""The way of a usual request: what it costs, and that its short cuts give what the long way
gives.
"""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.servers.raw import RawServer, read_request, response
from websockets.asyncio.server import serve
from yarl import URL

import wherry
from wherry.body.payload.memory import BytesPayload
from wherry.client.response import begin
from wherry.client.sending import attempt
from wherry.client.sending.request_builder import RequestBuilder
from wherry.protocol.heads import RequestHead
from wherry.protocol.http1.head_writing import encode_head

Start = Callable[..., Awaitable[RawServer]]

OURS = str(Path(wherry.__file__).parent)
# Functions of ours that are called for one GET and the JSON of its answer, on a kept connection.
# A number to bring down; whoever raises it says why in the commit.
CALLS_A_REQUEST = 43
# The same where URL and answer are new each time, and with `params=` and `headers=` as well.
CALLS_UNLIKE = 43
# Before 3.12 a comprehension is a call.
CALLS_UNLIKE_OPTIONS = 47 if sys.version_info >= (3, 12) else 48
# The same for three redirects and the answer behind them.
CALLS_REDIRECTS = 163
# Blocks of memory that an answer holds which is read and kept, as Python's allocator counts them,
# its URL, its fields and its body among them.
BLOCKS_A_RESPONSE = 34
# The same for a message that goes over a WebSocket and comes back; a coroutine counts again each
# time it goes on.
CALLS_A_MESSAGE = 8


async def calls_in_each(one: Callable[[], Awaitable[None]]) -> tuple[float, str]:
    """How many functions of ours `one` calls, on an average, and which."""
    for _ in range(5):
        await one()
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            name = frame.f_code.co_filename
            if name.startswith(OURS):
                calls[f"{name.rpartition('/')[2]}:{frame.f_code.co_name}"] += 1

    rounds = 20
    gc.collect()  # what other tests have left is not to end in between
    sys.setprofile(count)
    try:
        for _ in range(rounds):
            await one()
    finally:
        sys.setprofile(None)
    return calls.total() / rounds, "\n".join(
        f"{n / rounds:5.1f} {name}" for name, n in calls.most_common()
    )


async def test_calls_a_request(raw_server: Start) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                response(
                    b'{"ok": true}', fields="Content-Type: application/json\r\nServer: raw\r\n"
                )
            )

    server = await raw_server(script)
    async with wherry.ClientSession() as session:

        async def one() -> None:
            async with session.get(server.url + "/") as reply:
                assert await reply.json() == {"ok": True}

        calls, which = await calls_in_each(one)
        assert calls <= CALLS_A_REQUEST, which


async def test_calls_a_websocket_message() -> None:
    async def echo(peer: Any) -> None:
        async for message in peer:
            await peer.send(message)

    async with (
        serve(echo, "127.0.0.1", 0, compression=None) as server,
        wherry.ClientSession() as session,
    ):
        port = server.sockets[0].getsockname()[1]
        async with session.ws_connect(f"ws://127.0.0.1:{port}/") as websocket:

            async def binary() -> None:
                await websocket.send_bytes(b"x" * 256)
                assert len(await websocket.receive_bytes()) == 256

            async def text() -> None:
                await websocket.send_str("x" * 256)
                assert len(await websocket.receive_str()) == 256

            for one in (binary, text):
                calls, which = await calls_in_each(one)
                assert calls <= CALLS_A_MESSAGE, which


async def test_calls_an_unlike_request(raw_server: Start) -> None:
    """A new URL each time, fields and arguments of its own, and an answer whose head never came
    before: what programs do, and benchmarks seldom.
    """
    numbers = itertools.count()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            number = next(numbers)
            fields = "".join(
                f"{name}: {number}\r\n"
                for name in ("X-Request-Id", "ETag", "X-Rate", "Date", "Via")
            )
            writer.write(
                response(b'{"ok": true}', fields=f"Content-Type: application/json\r\n{fields}")
            )

    server = await raw_server(script)
    async with wherry.ClientSession() as session:

        async def url_only() -> None:
            async with session.get(f"{server.url}/a/{next(numbers)}?b={next(numbers)}") as reply:
                assert await reply.json() == {"ok": True}

        async def with_options() -> None:
            async with session.get(
                f"{server.url}/a/{next(numbers)}",
                params={"page": next(numbers), "q": "some text"},
                headers={"Authorization": f"Bearer {next(numbers)}", "X-Request-Id": "r"},
            ) as reply:
                assert await reply.json() == {"ok": True}

        for one, most in ((url_only, CALLS_UNLIKE), (with_options, CALLS_UNLIKE_OPTIONS)):
            calls, which = await calls_in_each(one)
            assert calls <= most, which


async def test_memory_of_an_unlike_request(raw_server: Start) -> None:
    """A response that is kept holds little, and one that is not leaves nothing: no table grows
    with URLs, fields or heads that never come again.
    """
    import gc

    numbers = itertools.count()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            number = next(numbers)
            fields = "".join(f"X-{name}: {number}\r\n" for name in range(10))
            writer.write(response(b'{"ok": true}', fields=f"Content-Type: text/a\r\n{fields}"))

    server = await raw_server(script)

    def blocks() -> int:
        gc.collect()
        return sys.getallocatedblocks()

    async with wherry.ClientSession() as session:

        async def one() -> wherry.ClientResponse:
            number = next(numbers)
            async with session.get(
                f"{server.url}/a/{number}?b={number}",
                params={"page": number, "q": "some text"},
                headers={"Authorization": f"Bearer {number}", "X-Request-Id": f"{number}"},
            ) as reply:
                await reply.read()
                return reply

        for _ in range(300):
            await one()
        before = blocks()
        for _ in range(500):
            await one()
        assert blocks() - before < 250
        kept = [await one() for _ in range(300)]
        assert (blocks() - before) / len(kept) <= BLOCKS_A_RESPONSE
        del kept
        assert blocks() - before < 250


@pytest.mark.parametrize("whole", [False, True])
async def test_calls_of_redirects(raw_server: Start, whole: bool) -> None:
    """A leg at the same origin costs no more than a request, whether Location is a path or a
    whole URL: no URL is parsed, and of the fields one is read.
    """

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            path = (await read_request(reader)).split()[1].decode()
            left = int(path.rpartition("/")[2])
            if left:
                there = f"/r/{left - 1}"
                there = server.url + there if whole else there
                fields = f"Location: {there}\r\nServer: raw\r\nContent-Type: text/html\r\n"
                writer.write(response(b"moved", status="302 Found", fields=fields))
            else:
                writer.write(response(b"{}", fields="Content-Type: application/json\r\n"))

    server = await raw_server(script)
    async with wherry.ClientSession() as session:

        async def one() -> None:
            async with session.get(server.url + "/r/3") as reply:
                assert await reply.json() == {}
                assert len(reply.history) == 3

        calls, which = await calls_in_each(one)
        assert calls <= CALLS_REDIRECTS + 1, which  # and one for the test's look at `history`
        async with session.get(server.url + "/r/3") as reply:
            assert [str(leg.url) for leg in (*reply.history, reply)] == [
                f"{server.url}/r/{left}" for left in (3, 2, 1, 0)
            ]


NAMES = st.one_of(
    st.sampled_from(
        ["X-A", "x-a", "Accept", "user-agent", "Authorization", "Cookie", "Host", "X-B", "Expect"]
    ),
    st.sampled_from(["Content-Type", "Content-Length", "Connection", "Proxy-Authorization"]),
    st.sampled_from(["", "X A", "X:", "X\r\nY", "\xe9", "X\ud800", 5, None, b"X"]),
)
VALUES = st.one_of(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8),
    st.sampled_from(["", "a\tb", "100-continue", "close", "a=b; c=d"]),
    st.sampled_from(
        ["a\r\nX: y", "a\nb", "a\0", "\x7f", "\xe9", "\u20ac", "\ud800", 5, None, b"x"]
    ),
)
PAIRS = st.lists(st.tuples(NAMES, VALUES), max_size=3)
OWN_FIELDS = st.one_of(st.none(), PAIRS, PAIRS.map(dict), PAIRS.map(lambda pairs: [*pairs, *pairs]))
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("set"),
            st.sampled_from(
                ["X-A", "Accept", "Authorization", "Cookie", "Host", "Proxy-Authorization"]
            ),
            st.sampled_from(["1", "a=b", "close"]),
        ),
        st.tuples(st.just("del"), st.sampled_from(["X-A", "Cookie", "Host"]), st.just("")),
        st.tuples(st.just("cookie"), st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"])),
        st.tuples(st.just("forget"), st.just(""), st.just("")),
    ),
    max_size=4,
)
BODIES = st.one_of(
    st.just({}),
    st.binary(max_size=9).map(lambda data: {"data": data}),
    st.text(st.characters(codec="utf-8"), max_size=9).map(lambda text: {"data": text}),
    st.dictionaries(st.text("abc", max_size=3), st.text("abc", max_size=3), max_size=2).map(
        lambda form: {"data": form}
    ),
    st.integers().map(lambda number: {"json": {"a": number}}),
    st.builds(lambda data: {"data": io.BytesIO(data)}, st.binary(max_size=9)),
    st.sampled_from(["a/b", "a\r\nb", "\xe9"]).map(
        lambda kind: {"data": BytesPayload(b"x", content_type=kind)}
    ),
)
ASKED = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"]),
    st.sampled_from(
        [
            *(
                "http://h.test/",
                "http://h.test/a?b=c#d",
                "http://h.test:81/\xe9",
                "http://h.test?x",
            ),
            *(
                "https://h.test/",
                "http://other.test/a%20b?c=%0A",
                "http://u:p@h.test/",
                "http://[::1]/",
            ),
        ]
    ),
    OWN_FIELDS,
    BODIES,
    st.sampled_from([None, None, wherry.BasicAuth("u", "p"), "no auth"]),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    asked=st.lists(ASKED, min_size=1, max_size=5),
    steps=STEPS,
    own_auth=st.booleans(),
    base=st.booleans(),
    proxy=st.sampled_from([None, None, "http://u:p@proxy.test:3128", "socks5://proxy.test"]),
)
def test_a_request_made_from_a_template_is_what_one_built_by_itself_is(
    asked: list[tuple[Any, ...]],
    steps: list[tuple[str, str, str]],
    own_auth: bool,
    base: bool,
    proxy: str | None,
) -> None:
    """The same bytes, or the same error; whatever was asked for before."""
    from wherry.client.options import RequestOptions
    from wherry.client.sending.redirect_rules import Leg
    from wherry.client.sending.request_builder import route_for

    def outcome(session: wherry.ClientSession, one: tuple[Any, ...], *, usual: bool) -> Any:
        method, url, own, body, auth = one
        options = RequestOptions(headers=own, auth=auth, **body)
        options.usual = usual
        target = session._builder.resolve_url(url)
        leg = Leg(method, target, options.headers, session._builder.payload(options), auth)
        try:
            prepared = session._builder.build(leg, options, None)
            request = prepared.request
            route = route_for(request, session.connector)
            head = prepared.head or request.wire_head(route)
            return (
                encode_head(head),
                route,
                [head.method, head.scheme, head.authority, head.target, head.body],
                [head.content_length, head.streamed, head.close, head.limits],
                [*head.shared.pairs, *head.fields],
                (request.url, request.original_url, request.method, request.auth, request.ssl),
                list(request.headers.items()),
                request.response_class,
            )
        except (ValueError, TypeError) as exc:
            return type(exc), str(exc)

    async def main() -> None:
        async with wherry.ClientSession(
            "http://h.test/" if base else None,
            headers={"X-Session": "1", "Accept": "text/plain"},
            auth=wherry.BasicAuth("s", "s") if own_auth else None,
            proxy=proxy,
            cookie_jar=wherry.CookieJar(unsafe=True),
        ) as session:
            for what, one in itertools.zip_longest(steps[: len(asked)], asked * 2):
                if what is not None and what[0] == "set":
                    session.headers[what[1]] = what[2]
                elif what is not None and what[0] == "del":
                    session.headers.popall(what[1], None)
                elif what is not None and what[0] == "cookie":
                    session.cookie_jar.update_cookies({what[1]: what[2]})
                elif what is not None:
                    session.cookie_jar.clear()
                assert outcome(session, one, usual=True) == outcome(session, one, usual=False)

    asyncio.run(main())


@pytest.mark.parametrize("where", ["session", "request", "later"])
@pytest.mark.parametrize("proxy", ["http://proxy.test:3128", "socks5://proxy.test"])
async def test_what_is_meant_for_a_proxy_does_not_pass_it(proxy: str, where: str) -> None:
    """RFC 9110 11.7.2: at the end of a tunnel there is no proxy."""
    from wherry.client.options import NO_OPTIONS
    from wherry.client.sending.redirect_rules import Leg
    from wherry.client.sending.request_builder import route_for

    secret = {"Proxy-Authorization": "Basic c2VjcmV0"}
    async with wherry.ClientSession(
        proxy=proxy, headers=secret if where == "session" else None
    ) as session:
        for own in (None, {"Accept": "a/b"}, secret if where == "request" else {"X": "y"}):
            if where == "later" and own is not None:
                session.headers.update(secret)
            prepared = session._builder.build(
                Leg("GET", URL("https://h.test/"), own, None, None), NO_OPTIONS, None
            )
            route = route_for(prepared.request, session.connector)
            head = prepared.head or prepared.request.wire_head(route)
            assert b"c2VjcmV0" not in encode_head(head)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"params": {"a": 1}, "headers": {"X": "y", "Accept": "a/b"}},
        {"json": {"a": 1}, "timeout": 5, "auth": wherry.BasicAuth("u", "p")},
        {"data": {"a": "b"}, "headers": [("Content-Type", "a/b")]},
        {"data": b"x", "raise_for_status": True, "max_redirects": 3},
    ],
)
async def test_what_is_usual_is_made_from_a_template(
    raw_server: Start, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the test above compares the long way with itself."""
    made: list[Any] = []

    def build(*args: Any) -> Any:
        prepared = plain(*args)
        made.append(prepared.head)
        return prepared

    plain = RequestBuilder.build
    monkeypatch.setattr(RequestBuilder, "build", build)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(response(b"ok"))

    server = await raw_server(script)
    async with wherry.ClientSession(headers={"X-Session": "1"}) as session:
        session.cookie_jar.update_cookies({"a": "b"})
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            async with session.request(method, server.url, **options) as reply:
                assert reply.status == 200
        assert all(made)
        assert len(made) == 5


async def test_what_a_middleware_changes_is_sent_and_what_it_leaves_is_not_built_again(
    raw_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was prepared is kept beside the request, and dropped where that has changed."""
    heads: list[bytes] = []
    built: list[Any] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(response(b"ok"))

    async def middleware(request: wherry.ClientRequest, handler: Any) -> wherry.ClientResponse:
        if request.url.path == "/changed":
            request.headers["X-Added"] = "yes"
        return await handler(request)

    def head_for(request: Any, *args: Any) -> Any:
        built.append(request.url.path)
        return plain(request, *args)

    plain = attempt._head_for
    monkeypatch.setattr(attempt, "_head_for", head_for)
    server = await raw_server(script)
    async with wherry.ClientSession(middlewares=[middleware]) as session:
        for path in ("/left", "/changed", "/left"):
            async with session.get(server.url + path) as reply:
                assert reply.status == 200
    assert built == ["/changed"]
    assert [b"X-Added: yes" in head for head in heads] == [False, True, False]


async def test_what_is_made_with_fewer_calls_lacks_nothing(raw_server: Start) -> None:
    """Heads and responses that are not made by their `__init__` have all that it gives."""
    from wherry.client.options import NO_OPTIONS
    from wherry.client.sending.redirect_rules import Leg

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(b"ok"))

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        prepared = session._builder.build(
            Leg("GET", "http://h.test/", None, None, None), NO_OPTIONS, None
        )
        for name in RequestHead.__slots__:
            getattr(prepared.head, name)
        session._builder.resolve_url(f"{server.url}/")  # its origin is plain from now on
        made = await session.get(f"{server.url}/")
        assert "_url" not in made.__dict__  # or it was made by its `__init__`
        given = wherry.ClientResponse(
            "GET", URL(f"{server.url}/"), loop=session._loop, session=session
        )
        begin(given, made._prepared, made._head, made._exchange, made.content)
        given._moments = made._moments
        assert {name: getattr(made, name) for name in given.__dict__} == given.__dict__
        await made.read()


KEYWORDS: dict[str, st.SearchStrategy[Any]] = {
    "params": st.sampled_from([None, {}, {"a": 1}, "a=b"]),
    "data": st.sampled_from([None, b"", b"x"]),
    "json": st.sampled_from([None, {}, 0, "x"]),
    "headers": st.sampled_from([None, {}, {"A": "b"}, [("A", "b")]]),
    "auth": st.sampled_from([None, wherry.BasicAuth("a")]),
    "timeout": st.sampled_from([None, 0, 5, 1.5, wherry.ClientTimeout(connect=3), "5", object()]),
    "read_bufsize": st.sampled_from([None, 0, 100, -1, 1.5, "x"]),
    "max_body_size": st.sampled_from([None, 0, 100, -1, 1.5, "x"]),
    "max_redirects": st.sampled_from([None, 0, 5]),
    "allow_redirects": st.booleans(),
    "raise_for_status": st.sampled_from([None, True, False]),
    "middlewares": st.sampled_from([None, ()]),
    "trace_request_ctx": st.sampled_from([None, {}]),
    "auto_decompress": st.sampled_from([None, True, False]),
    "cookies": st.sampled_from([None, {"a": "b"}]),
    "ssl": st.just(False),
    "nothing": st.just(1),
}


@settings(max_examples=500, deadline=None)
@given(said=st.fixed_dictionaries({}, optional=KEYWORDS))
@example({"data": b"", "json": {}, "timeout": "5", "read_bufsize": -1})
def test_usual_keywords_mean_what_all_keywords_do(said: dict[str, Any]) -> None:
    """The shorter way to the options of a request checks and keeps the same."""
    from wherry.client.options import NO_OPTIONS, USUAL_OPTIONS, RequestOptions

    names = [name for name in RequestOptions.__annotations__ if name != "usual"]

    def facts(make: Callable[[], Any]) -> Any:
        try:
            options = make()
        except (ValueError, TypeError) as exc:
            return type(exc), str(exc)
        return {name: getattr(options, name) for name in names}

    assert len(names) >= 29
    assert facts(lambda: RequestOptions.of(said)) == facts(lambda: RequestOptions(**said))
    if said and all(name in USUAL_OPTIONS for name in said):
        assert facts(lambda: NO_OPTIONS) == facts(RequestOptions)
    iterated = RequestOptions.of({"headers": iter([("A", "b")])})
    assert iterated.headers == [("A", "b")]
    assert iterated.usual


async def test_the_end_of_a_context_is_awaited_by_hand_and_by_stacks(raw_server: Start) -> None:
    """What `async with` gets there is no coroutine; everything that awaits can await it."""
    from contextlib import AsyncExitStack

    from wherry.client.response import ResponseState

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader):
            writer.write(response(b"ok"))

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        async with AsyncExitStack() as stack:
            replies = [await stack.enter_async_context(session.get(server.url)) for _ in range(3)]
            assert not any(reply._state >= ResponseState.RELEASED for reply in replies)
        assert all(reply._state >= ResponseState.RELEASED for reply in replies)
        context = session.get(server.url)
        reply = await context.__aenter__()
        ends = context.__aexit__(None, None, None)
        assert await ends is None
        assert reply._state >= ResponseState.RELEASED
        assert list(ends.__await__()) == list(ends.__await__()) == []


async def test_a_request_makes_no_cycles(raw_server: Start) -> None:
    """What a request leaves behind goes at once, without the collector."""
    import gc

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(response(b"ok"))

    server = await raw_server(script)
    async with wherry.ClientSession() as session:
        for _ in range(3):
            async with session.get(server.url) as reply:
                await reply.read()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                async with session.get(server.url) as reply:
                    await reply.read()
            del reply
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = [thing for thing in gc.garbage if type(thing).__module__.startswith("wherry")]
            assert left == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()


# The same for one WebSocket message sent and one received.
CALLS_A_MESSAGE = 9


async def test_calls_a_message() -> None:
    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async with (
        serve(echo, "127.0.0.1", 0, compression=None) as server,
        wherry.ClientSession() as session,
        session.ws_connect(
            f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
        ) as websocket,
    ):

        async def one() -> None:
            await websocket.send_bytes(b"x" * 256)
            assert len(await websocket.receive_bytes()) == 256

        calls, which = await calls_in_each(one)
        assert calls <= CALLS_A_MESSAGE, which
