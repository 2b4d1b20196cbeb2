"""Large messages of a WebSocket with compression: they are compressed in a thread, and keep their
place in the order of messages.

One compressor serves all messages, so whatever is sent while it is busy waits for its turn; control
frames, which nothing compresses, do not.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from wherry.errors import ClientConnectionResetError
from wherry.protocol.websocket.deflate import Deflater
from wherry.protocol.websocket.frames import PACKED
from wherry.protocol.websocket.masking import Buffer

# From this size on, in bytes, compressing takes the event loop longer than a thread does to be
# woken (1 to 4 ms).
LARGE = 256 * 1024


class FrameSender(Protocol):
    """Where frames go."""

    sealed: bool

    def encode(self, opcode: int, payload: Buffer, compress: int | None) -> bytes | bytearray: ...

    def write(self, frame: bytes | bytearray) -> None: ...

    def is_closing(self) -> bool: ...


class LargeMessages:
    """The line of messages behind one that is compressed in a thread.

    Args:
        channel: Where the frames go.
        deflater: What compresses.
    """

    __slots__ = ("_channel", "_deflater", "_lock", "_sending")

    def __init__(self, channel: FrameSender, deflater: Deflater) -> None:
        self._channel = channel
        self._deflater = deflater
        self._lock = asyncio.Lock()
        self._sending: set[asyncio.Task[None]] = set()

    def concern(self, size: int) -> bool:
        """Whether a message of so many bytes goes by `send`: it is large, or behind a large one."""
        return size >= LARGE or bool(self._sending)

    async def send(self, opcode: int, payload: Buffer, compress: int | None) -> None:
        """Send a message in its turn.

        It is sent, too, if who waits for that is cancelled: what has gone through the compressor is
        part of what the peer needs to inflate the next one.

        Raises:
            ClientConnectionResetError: The WebSocket was closed meanwhile.
        """
        task = asyncio.get_running_loop().create_task(self._send(opcode, bytes(payload), compress))
        self._sending.add(task)
        task.add_done_callback(self._sent)
        if not task.done():
            # Not `shield`: where a message fails that nobody waits for any more, newer Pythons tell
            # the loop's exception handler.
            await asyncio.wait((task,))
        task.result()

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits has it; who was cancelled does not want it

    async def _send(self, opcode: int, payload: bytes, compress: int | None) -> None:
        channel = self._channel
        async with self._lock:
            if compress != 0 and len(payload) >= LARGE and not channel.sealed:
                loop = asyncio.get_running_loop()
                packed = await loop.run_in_executor(None, self._deflater.compress, payload)
                opcode, payload, compress = opcode | PACKED, packed, 0
            if channel.sealed or channel.is_closing():
                raise ClientConnectionResetError("Cannot write to closing transport")
            channel.write(channel.encode(opcode, payload, compress))
