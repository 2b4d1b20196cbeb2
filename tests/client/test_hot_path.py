"""The way of a usual request: what it costs, and that its short cuts give what the long way
gives.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.servers.raw import RawServer, read_request, response
from websockets.asyncio.server import serve

import wherry
from wherry.protocol.http1.encoding import encode_head

Start = Callable[..., Awaitable[RawServer]]

OURS = str(Path(wherry.__file__).parent)
# Functions of ours that are called for one GET and the JSON of its answer, on a kept connection.
# A number to bring down; whoever raises it says why in the commit.
CALLS_A_REQUEST = 43
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


def _head_bytes(
    session: wherry.ClientSession, url: str, own: dict[str, str], query: dict[str, str]
) -> tuple[bytes, bytes]:
    """The head of a plain GET by the short way, and by the long one."""
    from wherry.client.options import RequestOptions
    from wherry.client.sending.redirect_rules import Hop

    options = RequestOptions(headers=own, params=query)
    ready = session._ready_request(url, options)
    assert ready is not None
    assert ready._ready is not None
    route, head = ready._ready
    hop = Hop("GET", session._resolve_url(url).extend_query(query), own, None, None)
    fresh = session._make_request(hop, options, traces=None)
    fresh.headers  # noqa: B018  from here on the dictionary is what is sent, as it is under a middleware
    return encode_head(head), encode_head(fresh.wire_head(route))


NAMES = st.sampled_from(
    ["X-A", "x-a", "Accept", "User-Agent", "Authorization", "Cookie", "Host", "X-B"]
)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), NAMES, VALUES),
        st.tuples(st.just("del"), NAMES, st.just("")),
        st.tuples(st.just("cookie"), st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"])),
        st.tuples(st.just("forget"), st.just(""), st.just("")),
    ),
    max_size=8,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=STEPS, fields=st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=3)
)
def test_a_ready_request_is_what_a_fresh_one_would_be(
    steps: list[tuple[str, str, str]], fields: list[dict[str, str]]
) -> None:
    async def main() -> None:
        async with wherry.ClientSession(cookie_jar=wherry.CookieJar(unsafe=True)) as session:
            for what, name, value in steps:
                if what == "set":
                    session.headers[name] = value
                elif what == "del":
                    session.headers.popall(name, None)
                elif what == "cookie":
                    session.cookie_jar.update_cookies({name: value})
                else:
                    session.cookie_jar.clear()
                urls = ("http://127.0.0.1:1/a?b=c", "http://h.test/")
                for url, own, query in itertools.product(urls, [{}, *fields], [{}, *fields]):
                    short, long = _head_bytes(session, url, own, query)
                    assert sorted(short.split(b"\r\n")) == sorted(long.split(b"\r\n"))
                    assert short.split(b"\r\n")[:2] == long.split(b"\r\n")[:2]

    asyncio.run(main())


BODIES = st.one_of(
    st.none(),
    st.binary(max_size=9).map(lambda data: {"data": data}),
    st.text(max_size=9).map(lambda text: {"data": text}),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), min_size=1, max_size=2).map(
        lambda form: {"data": form}
    ),
    st.integers().map(lambda number: {"json": {"a": number}}),
)
OWN_FIELDS = st.dictionaries(
    NAMES | st.sampled_from(["Content-Type", "Content-Length"]), VALUES, max_size=2
)
ALIKE = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.sampled_from(
        ["http://h.test/", "http://h.test/a?b=c#d", "http://h.test:81/é", "http://other.test/"]
    ),
    OWN_FIELDS,
    BODIES,
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=st.lists(ALIKE, min_size=2, max_size=8), steps=STEPS)
def test_a_request_made_like_another_is_what_a_fresh_one_would_be(
    asked: list[tuple[str, str, dict[str, str], dict[str, Any] | None]],
    steps: list[tuple[str, str, str]],
) -> None:
    """Each is asked for twice; the second time there is another of its kind, with other things for
    path and body.
    """
    from wherry.client.options import RequestOptions
    from wherry.client.sending.redirect_rules import Hop

    def both(
        session: wherry.ClientSession,
        method: str,
        url: str,
        own: dict[str, str],
        body: dict[str, Any],
    ) -> None:
        options = RequestOptions(headers=own, **body)
        payload, target = session._payload(options), session._resolve_url(url)
        hop = Hop(method, target, own, session._payload(options), None)
        try:
            fresh = session._make_request(hop, options, traces=None)
            expected = fresh.wire_head(session._route_for(fresh))
        except ValueError:
            with pytest.raises(ValueError):
                session._request_of_kind(method, target, options, payload)
            return
        alike = session._request_of_kind(method, target, options, payload)
        assert alike is not None
        assert alike._ready is not None
        assert alike._ready[0] == session._route_for(fresh)
        head = alike._ready[1]
        for name in (
            "method",
            "scheme",
            "authority",
            "target",
            "body",
            "content_length",
            "streamed",
            "close",
            "limits",
        ):
            assert getattr(head, name) == getattr(expected, name), name
        assert [*head.shared.pairs, *head.fields] == [*expected.shared.pairs, *expected.fields]
        assert encode_head(head) == encode_head(expected)
        assert (alike.url, alike.original_url) == (fresh.url, fresh.original_url)
        assert alike.headers == fresh.headers

    async def main() -> None:
        async with wherry.ClientSession(headers={"X-Session": "1"}) as session:
            for (what, name, value), (method, url, own, body) in itertools.zip_longest(
                steps[: len(asked)], asked * 2, fillvalue=("", "", "")
            ):
                if what == "set" and name != "Host":
                    session.headers[name] = value
                elif what == "cookie":
                    session.cookie_jar.update_cookies({name: value})
                both(session, method, url, own, body or {})

    asyncio.run(main())


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
