"""``wherry ws``: lines of standard input go out as text messages, what comes in is printed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import wherry
from wherry.cli import show
from wherry.cli.argument_values import RequestArguments
from wherry.cli.live import line_editing

_GONE_WELL = frozenset({None, 1000, 1001, 1005})
_LONGEST_LINE = 16 * 1024 * 1024


@dataclass(slots=True)
class Talk:
    """How a conversation goes.

    Args:
        wanted: Where to, and how to get there.
        protocols: The subprotocols to offer.
        messages: Send these instead of standard input.
        wait: Seconds of silence after the last message was sent, before we close.
        count: Close after so many messages have come, 0 for no such end.
        verbose: Tell how it opened and closed.
        ping: Seconds between pings, whose answers' times are told; 0 for none.
        binary: Messages go out as bytes.
        as_json: Each message that comes is a line of JSON, and so is the end.
        close: The code and the reason that we close with.
    """

    wanted: RequestArguments
    protocols: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    wait: float = 1.0
    count: int = 0
    verbose: bool = False
    ping: float = 0.0
    binary: bool = False
    as_json: bool = False
    close: tuple[int, bytes] = (1000, b"")
    sent_all: asyncio.Event = field(default_factory=asyncio.Event)
    problem: ValueError | None = None  # what could not be sent, and why


async def run_talk(talk: Talk) -> int:
    """Open the WebSocket and talk until either side closes; 1 if the peer closed with an error.

    Raises:
        ClientError: The WebSocket could not be opened, or broke off.
        ValueError: Something cannot be sent as it is; what stood before it was.
    """
    options = talk.wanted.options
    for name in ("allow_redirects", "timeout"):
        del options[name]
    async with wherry.ClientSession(trust_env=True) as session:
        async with asyncio.timeout(talk.wanted.timeout):
            socket = await session.ws_connect(
                talk.wanted.url, protocols=talk.protocols, autoping=not talk.ping, **options
            )
        async with socket:
            if talk.verbose:
                show.note(f"open, subprotocol {socket.protocol or 'none'}")
            # Who only listens waits for whatever comes.
            tasks = [] if talk.as_json else [asyncio.create_task(_send_all(socket, talk))]
            if talk.ping:
                tasks.append(asyncio.create_task(_ping_on(socket, talk.ping)))
            try:
                status = await _receive_all(socket, talk)
                if talk.problem is not None:
                    raise talk.problem
                return status
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                code, reason = talk.close
                await socket.close(code=code, message=reason)


async def _send_all(socket: wherry.ClientWebSocketResponse, talk: Talk) -> None:
    try:
        if talk.messages:
            for message in talk.messages:
                await _send(socket, message, talk)
        else:
            lines = _lines_of_input()
            while (line := await lines.get()) is not None:
                if isinstance(line, ValueError):
                    raise line
                await _send(socket, line, talk)
    except ValueError as exc:
        talk.problem = exc
    finally:
        talk.sent_all.set()


async def _send(socket: wherry.ClientWebSocketResponse, line: str, talk: Talk) -> None:
    if talk.binary:
        await socket.send_bytes(line.encode("utf-8", "surrogateescape"))
        return
    try:
        await socket.send_str(line)
    except UnicodeEncodeError as exc:
        # RFC 6455 5.6
        raise ValueError("a text message must be UTF-8; --binary sends any bytes") from exc


async def _ping_on(socket: wherry.ClientWebSocketResponse, seconds: float) -> None:
    """Send pings that carry their own time."""
    while True:
        await socket.ping(str(time.perf_counter_ns()).encode())
        await asyncio.sleep(seconds)


async def _receive(socket: wherry.ClientWebSocketResponse) -> Any:
    """The next message that is no ping and no pong; these come here only if we measure them."""
    while True:
        message = await socket.receive()
        if message.type is wherry.WSMsgType.PING:
            await socket.pong(message.data)
        elif message.type is not wherry.WSMsgType.PONG:
            return message
        elif message.data.isdigit():
            show.note(f"pong after {(time.perf_counter_ns() - int(message.data)) / 1e6:.1f} ms")


async def _receive_all(socket: wherry.ClientWebSocketResponse, talk: Talk) -> int:
    count = 0
    while True:
        message = await _next(socket, talk)
        if message is None:
            return 0
        if message.type in {wherry.WSMsgType.TEXT, wherry.WSMsgType.BINARY}:
            _show(message, talk)
        elif message.type is wherry.WSMsgType.ERROR:
            raise message.data
        else:
            code = socket.close_code
            reason = str(message.extra or "")
            if talk.as_json:
                show.line(json.dumps({"type": "close", "code": code, "reason": reason}))
            if talk.verbose:
                show.note(f"closed by the peer with {code} {reason}".rstrip())
            if code in _GONE_WELL:
                return 0
            show.fail(f"the WebSocket was closed with {code} {reason}".rstrip())
            return 1
        count += 1
        if count == talk.count:
            return 0


def _show(message: wherry.WSMessage, talk: Talk) -> None:
    """A message that came: a line, bytes, or a line of JSON."""
    is_text = message.type is wherry.WSMsgType.TEXT
    if talk.as_json:
        told = message.data if is_text else base64.b64encode(message.data).decode()
        kind = "text" if is_text else "binary"
        show.line(json.dumps({"type": kind, "data": told}, ensure_ascii=False))
    elif is_text:
        with line_editing.aside():
            show.line(message.data)
    else:
        show.octets(message.data)


async def _next(socket: wherry.ClientWebSocketResponse, talk: Talk) -> Any:
    """The next message; None when all was sent and it has been quiet for long enough."""
    receiving = asyncio.create_task(_receive(socket))
    sent = asyncio.create_task(talk.sent_all.wait())
    try:
        await asyncio.wait([receiving, sent], return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            await asyncio.wait([receiving], timeout=talk.wait)
        return receiving.result() if receiving.done() else None
    finally:
        tasks = [task for task in (receiving, sent) if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _lines_of_input() -> asyncio.Queue[str | ValueError | None]:
    """Lines of standard input as they come, then None; an error where one cannot be taken.  Bytes
    that are no UTF-8 are kept as surrogates.

    A thread reads, since files and terminals cannot all be waited for; it never keeps the program
    from ending.
    """
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    lines: asyncio.Queue[str | ValueError | None] = asyncio.Queue(100)

    def put(line: str | ValueError | None) -> None:
        asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()

    if line_editing.is_possible():
        line_editing.start(put)
        return lines

    def read() -> None:
        rest = b""
        try:
            # Not by sys.stdin: its lock would be held when the interpreter ends.
            while piece := os.read(descriptor, 65536):
                *whole, rest = (rest + piece).split(b"\n")
                for each in whole:
                    put(each.decode("utf-8", "surrogateescape").removesuffix("\r"))
                if len(rest) > _LONGEST_LINE:
                    put(ValueError(f"a line of standard input is over {_LONGEST_LINE >> 20} MiB"))
                    return
            if rest:
                put(rest.decode("utf-8", "surrogateescape"))
            put(None)
        except OSError as exc:
            # A directory, or a terminal that has gone.
            show.note(f"standard input ends: {show.describe(exc)}")
            with contextlib.suppress(RuntimeError):
                put(None)
        except RuntimeError:
            return  # the loop has ended: nobody listens any more

    threading.Thread(target=read, daemon=True, name="wherry-stdin").start()
    return lines
