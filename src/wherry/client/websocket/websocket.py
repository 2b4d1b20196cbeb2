"""`ClientWebSocketResponse`: what a program holds of an open WebSocket.

It turns calls into frames and messages into results; the channel under it moves the bytes.
"""

from __future__ import annotations

import asyncio
import json as json_module
import warnings
from types import TracebackType
from typing import Any, Self

import attrs

from wherry.argument_checks import check_seconds
from wherry.client.response import ClientResponse
from wherry.client.shown_connection import SocketParts
from wherry.client.websocket.channel import CLOSED_MESSAGE, WebSocketChannel
from wherry.errors import ClientConnectionResetError, NestedTooDeeply, WSMessageTypeError
from wherry.protocol.websocket.frames import FrameWriter, Message
from wherry.protocol.websocket.messages import WSCloseCode, WSMsgType
from wherry.redaction import shown_url
from wherry.types import JSONBytesEncoder, JSONDecoder, JSONEncoder

_TEXT = WSMsgType.TEXT
_BINARY = WSMsgType.BINARY


@attrs.frozen
class ClientWSTimeout:
    """Limits of a WebSocket, in seconds; None is no limit.

    Args:
        ws_receive: One `receive`.
        ws_close: The peer's answer to our Close frame.
    """

    ws_receive: float | None = None
    ws_close: float | None = None

    def __attrs_post_init__(self) -> None:
        check_seconds("ws_receive", self.ws_receive)
        check_seconds("ws_close", self.ws_close)


DEFAULT_WS_CLIENT_TIMEOUT = ClientWSTimeout(ws_receive=None, ws_close=10.0)


class ClientWebSocketResponse:
    """An open WebSocket; `ClientSession.ws_connect` makes it.

    Iterate over it with ``async for`` or call `receive`; send with the `send_` methods; close it,
    best by ``async with``.
    """

    def __init__(
        self,
        reader: WebSocketChannel,
        writer: FrameWriter,
        protocol: str | None,
        response: ClientResponse,
        timeout: ClientWSTimeout,
        autoclose: bool,
        autoping: bool,
        loop: asyncio.AbstractEventLoop,
        *,
        heartbeat: float | None = None,
        compress: int = 0,
        client_notakeover: bool = False,
    ) -> None:
        self._channel = reader
        self._messages = reader.messages
        self._frames = writer
        self._protocol = protocol
        self._response = response
        self._timeout = timeout
        self._autoclose = autoclose
        self._autoping = autoping
        self._heartbeat = heartbeat
        self._compress = compress
        self._client_notakeover = client_notakeover
        self._loop = loop
        self._closed = False
        # Done when whoever waited in `receive` has heard that the WebSocket is being closed.
        self._heard: asyncio.Future[None] | None = None
        self._receive_seconds = timeout.ws_receive

    def __del__(self, _warnings: Any = warnings) -> None:
        channel = getattr(self, "_channel", None)
        if channel is None or self._closed or channel.lost or self._loop.is_closed():
            return
        _warnings.warn(f"Unclosed WebSocket {self!r}", ResourceWarning, source=self, stacklevel=2)
        self._loop.call_exception_handler(
            {"client_websocket": self, "message": "Unclosed WebSocket"}
        )
        self._loop.call_soon_threadsafe(channel.abort)

    def __repr__(self) -> str:
        state = "closed" if self.closed else self._channel.state.value
        return f"<{type(self).__name__} {shown_url(self._response.url)} {state}>"

    # --- what is known of it ----------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether it was closed, by either side."""
        return self._closed or self._channel.ended

    @property
    def close_code(self) -> int | None:
        """The peer's close code, 1006 for a connection that broke, None while open; 0 if the peer
        gave none.
        """
        return self._channel.close_code

    @property
    def protocol(self) -> str | None:
        """The subprotocol that the server chose."""
        return self._protocol

    @property
    def _conn(self) -> SocketParts:
        tunnel = self._channel.tunnel
        return SocketParts(None if tunnel is None else tunnel.transport)

    _writer = _conn

    @property
    def compress(self) -> int:
        """The window of our compression in bits; 0 for none."""
        return self._compress

    @property
    def client_notakeover(self) -> bool:
        """Whether each message of ours is compressed by itself."""
        return self._client_notakeover

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows under `name` (as asyncio's `get_extra_info`), else `default`."""
        return self._channel.get_extra_info(name, default)

    def exception(self) -> BaseException | None:
        """What ended the WebSocket, if it was an error."""
        return self._channel.exception

    # --- sending ----------------------------------------------------------------------------------

    async def ping(self, message: bytes = b"") -> None:
        """Send a ping; `message` has at most 125 bytes."""
        await self.send_frame(message, WSMsgType.PING)

    async def pong(self, message: bytes = b"") -> None:
        """Send a pong; `message` has at most 125 bytes."""
        await self.send_frame(message, WSMsgType.PONG)

    async def send_frame(
        self, message: bytes, opcode: WSMsgType, compress: int | None = None
    ) -> None:
        """Send a frame of any type, and wait while the peer takes nothing.

        Args:
            message: The payload.
            opcode: TEXT, BINARY, PING, PONG or CLOSE.
            compress: As for `send_str`.

        Raises:
            ClientConnectionResetError: The WebSocket is closed.
            ValueError: A control frame is too long.
        """
        channel = self._channel
        if opcode == WSMsgType.CLOSE:
            channel.send_close(
                int.from_bytes(message[:2], "big") if message else WSCloseCode.OK, message[2:]
            )
        elif opcode == _BINARY:
            await self.send_bytes(message, compress)
        elif opcode == _TEXT and channel.large is not None and channel.large.concern(len(message)):
            await channel.large.send(_TEXT, message, compress)
        else:
            channel.send(opcode, message, compress)
        if channel.write_gate.paused:
            await channel.drain()

    async def send_str(self, data: str, compress: int | None = None) -> None:
        """Send a text message, and wait while the peer takes nothing.

        Args:
            data: The text.
            compress: 0 leaves this message as it is; where compression was agreed on, all others
                are compressed.

        Raises:
            TypeError: It is no str.
            UnicodeEncodeError: It holds half of a surrogate pair.
            ClientConnectionResetError: The WebSocket is closed.
        """
        if not isinstance(data, str):
            raise TypeError(f"data argument must be str, not {type(data)!r}")
        channel = self._channel
        if channel.sealed or channel.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        payload = data.encode()
        large = channel.large
        if large is not None and large.concern(len(payload)):
            await large.send(_TEXT, payload, compress)
        else:
            channel.write(channel.encode(_TEXT, payload, compress))
        if channel.write_gate.paused:
            await channel.drain()

    async def send_bytes(
        self, data: bytes | bytearray | memoryview, compress: int | None = None
    ) -> None:
        """Send a binary message, and wait while the peer takes nothing.

        Args:
            data: The bytes.
            compress: As for `send_str`.

        Raises:
            TypeError: It is not bytes, bytearray or memoryview.
            ClientConnectionResetError: The WebSocket is closed.
        """
        if not isinstance(data, bytes):
            if not isinstance(data, (bytearray, memoryview)):
                raise TypeError(
                    f"data argument must be bytes, bytearray or memoryview, not {type(data)!r}"
                )
            data = bytes(data)
        channel = self._channel
        if channel.sealed or channel.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        large = channel.large
        if large is not None and large.concern(len(data)):
            await large.send(_BINARY, data, compress)
        else:
            channel.write(channel.encode(_BINARY, data, compress))
        if channel.write_gate.paused:
            await channel.drain()

    async def send_json(
        self, data: Any, compress: int | None = None, *, dumps: JSONEncoder = json_module.dumps
    ) -> None:
        """Send `data` as JSON by `dumps`, in a text message; `compress` as for `send_str`."""
        await self.send_str(dumps(data), compress=compress)

    async def send_json_bytes(
        self, data: Any, compress: int | None = None, *, dumps: JSONBytesEncoder
    ) -> None:
        """Send `data` as JSON by `dumps`, in a binary message; `compress` as for `send_str`."""
        await self.send_bytes(dumps(data), compress=compress)

    # --- receiving --------------------------------------------------------------------------------

    async def receive(self, timeout: float | None = None) -> Message:
        """The next message.

        TEXT and BINARY bring data.  CLOSE is the peer's Close frame, CLOSING says that another task
        closes the WebSocket, CLOSED that it is closed, ERROR that the connection failed (`data` is
        the exception).

        Args:
            timeout: Seconds to wait, `ClientWSTimeout.ws_receive` by default.

        Raises:
            TimeoutError: Nothing came in time; the WebSocket stays open.
            RuntimeError: Another task is receiving.
        """
        channel = self._channel
        if channel.waiter is not None:
            raise RuntimeError("Concurrent call to receive() is not allowed")
        if self._closed:
            return CLOSED_MESSAGE
        messages = self._messages
        if not messages:
            if channel.peer_close is not None or self._heard is not None:
                await self.close()
                return CLOSED_MESSAGE
            if timeout is not None:
                check_seconds("timeout", timeout)
            seconds = timeout or self._receive_seconds
            waiter = channel.waiter = self._loop.create_future()
            timer = self._loop.call_later(seconds, _expire, waiter, seconds) if seconds else None
            try:
                await waiter
            finally:
                channel.waiter = None
                if self._heard is not None and not self._heard.done():
                    self._heard.set_result(None)
                if timer is not None:
                    timer.cancel()
        message = messages.popleft()
        if channel.held and not messages:
            channel.taken()
        kind = message[0]
        if kind is _TEXT or kind is _BINARY:
            return message
        return await self._other(message)

    async def _other(self, message: Message) -> Message:
        """Act on a control frame: PING, PONG or CLOSE."""
        kind = message[0]
        if kind is WSMsgType.CLOSE:
            self._channel.close_code = message[1]
            if self._autoclose:
                await self.close()
        elif kind is WSMsgType.ERROR or kind is WSMsgType.CLOSED:
            self._closed = True
        return message

    async def receive_str(self, *, timeout: float | None = None) -> Any:
        """The text of the next message, bytes with `decode_text=False`; `timeout` as for `receive`.

        Raises:
            WSMessageTypeError: The next message is not TEXT.
        """
        message = await self.receive(timeout)
        if message[0] is not _TEXT:
            raise WSMessageTypeError(
                f"Received message {message[0]}:{message[1]!r} is not WSMsgType.TEXT"
            )
        return message[1]

    async def receive_bytes(self, *, timeout: float | None = None) -> bytes:
        """The bytes of the next message; `timeout` as for `receive`.

        Raises:
            WSMessageTypeError: The next message is not BINARY.
        """
        message = await self.receive(timeout)
        if message[0] is not _BINARY:
            raise WSMessageTypeError(
                f"Received message {message[0]}:{message[1]!r} is not WSMsgType.BINARY"
            )
        data: bytes = message[1]
        return data

    async def receive_json(
        self, *, loads: JSONDecoder = json_module.loads, timeout: float | None = None
    ) -> Any:
        """The next message, which is TEXT, as JSON that `loads` reads; `timeout` as for `receive`.

        Raises:
            WSMessageTypeError: The next message is not TEXT.
            ValueError: It is not JSON.
        """
        text = await self.receive_str(timeout=timeout)
        try:
            return loads(text)
        except RecursionError:
            raise NestedTooDeeply from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        message = await self.receive()
        if message[0] >= WSMsgType.CLOSE and message[0] in _LAST_TYPES:
            raise StopAsyncIteration
        return message

    # --- the end ----------------------------------------------------------------------------------

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes | str = b"") -> bool:
        """Close the WebSocket: send a Close frame, wait for the peer's
        (`ClientWSTimeout.ws_close`), disconnect.

        Args:
            code: The close code.
            message: The reason, at most 123 bytes of UTF-8.

        Returns:
            False if it was closed before.

        Raises:
            ValueError: The code must not be sent (RFC 6455 7.4), or the reason is too long.
        """
        if self._closed:
            return False
        reason = message.encode() if isinstance(message, str) else message
        channel = self._channel
        if not channel.close_sent:
            self._frames.encode_close(code, reason)
        if channel.waiter is not None and self._heard is None:
            # Who waits in `receive` goes first.  A program that then closes as well waits for the
            # peer's answer there, and its other task, which has closed, goes on.
            channel.interrupt()
            self._heard = self._loop.create_future()
            await self._heard
            if self._closed:
                return False
        self._closed = True
        await channel.finish(code, reason, self._timeout.ws_close)
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()


_LAST_TYPES = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED})


def _expire(waiter: asyncio.Future[None], seconds: float) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError(f"no message came within {seconds:g} seconds"))
