"""What a program does besides requests: WebSockets, server-sent events, downloads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import wherry

from .checks import Broken
from .origins import EVENT_COUNT, FILE_LIFE, HUGE, MOST_AHEAD, body_of, event_of, with_wire
from .talkers import reply_of

if TYPE_CHECKING:
    from .programs import Client, Program


#: Seconds that a WebSocket's peer may take to answer a Close frame.
CLOSE_TIMEOUT = 2.0


class Activity:
    """Something that a program does with one URL.

    Args:
        program: Whose it is.
        client: By which session.
        number: Which it is.
    """

    kind = ""
    sizes: tuple[int, ...] = (0, 100, 3_000, 70_000)

    def __init__(self, program: Program, client: Client, number: int) -> None:
        self.program = program
        self.client = client
        self.number = number
        self.dice = dice = program.dice_of(self.kind, number)
        program.report.requests += 1
        self.origin = dice.choice(client.origins)
        self.size = dice.choice(self.sizes)
        self.url = f"{self.origin.replace(' ', '://')}/{number}/{self.size}/{self.kind}"
        self.options: dict[str, Any] = {}
        if dice.random() < 0.3:
            token = program.secrets.token(f"a secret of {self.url}", with_wire([self.origin]))
            self.options["headers"] = {"Authorization": f"Bearer {token}"}

    async def make(self) -> None:
        """Do it, and judge it.

        Raises:
            Broken: An invariant does not hold.
        """
        program = self.program
        program.say(f"{self.number} {self.kind} {self.url}")
        state = f"{self.client.name} {self.kind} {self.size}"
        try:
            how = await self._do()
            program.report.answered += 1
            program.report.seen[f"{state} {how}"] += 1
            program.say(f"{self.number} {how}")
        except (wherry.ClientError, TimeoutError) as exc:
            program.report.seen[f"{state} {type(exc).__name__}"] += 1
            program.failed(self.number, exc)
        except RuntimeError as exc:
            if "Session is closed" not in str(exc):
                raise

    async def _do(self) -> str:
        raise NotImplementedError


class WebSocket(Activity):
    """Some messages, and the answers to them."""

    kind = "socket"

    async def _do(self) -> str:
        dice = self.dice
        self.options["heartbeat"] = dice.choice((None, None, 1.0))
        self.options["compress"] = dice.choice((0, 15))
        self.options["timeout"] = wherry.ClientWSTimeout(
            ws_receive=dice.choice((5.0, 60.0)), ws_close=CLOSE_TIMEOUT
        )
        count = 0
        async with self.client.session.ws_connect(self.url, **self.options) as socket:
            for count in range(dice.randrange(1, 6)):
                text = dice.random() < 0.5
                said = f"{self.number} {count} ".encode() * dice.choice((1, 20, 2_000))
                if text:
                    await socket.send_str(said.decode())
                else:
                    await socket.send_bytes(said)
                expected = reply_of(self.number, said, self.size)
                message = await socket.receive()
                if message.type in {
                    wherry.WSMsgType.CLOSE,
                    wherry.WSMsgType.CLOSED,
                    wherry.WSMsgType.CLOSING,
                    wherry.WSMsgType.ERROR,
                }:
                    return f"ended by {message.type.name}"
                if message.data != (expected.hex() if text else expected):
                    raise Broken(f"{self.url}: message {count} is another: {message.data[:40]!r}")
        return f"{count + 1} messages"


class Events(Activity):
    """Server-sent events, from the first to the last, however often the stream breaks."""

    kind = "events"
    sizes = (EVENT_COUNT,)

    async def _do(self) -> str:
        last = 0
        source = self.client.session.events(
            self.url, reconnect=0.5, max_reconnects=2, **self.options
        )
        async with source as events:
            async for event in events:
                last += 1
                if event.id != str(last) or event.data != event_of(self.number, last):
                    raise Broken(f"{self.url}: event {event} came as number {last}")
                if events.last_event_id != event.id:
                    raise Broken(f"{self.url}: {events.last_event_id!r} is the last of {event}")
        # It gives up where three streams in a row brought nothing, each to its orderly end.
        return "all events" if last == EVENT_COUNT else "gave up"


class SlowReader(Activity):
    """A body that is larger than anybody may keep for a reader who does not read."""

    kind = "huge"
    sizes = (0,)

    async def _do(self) -> str:
        network = self.program.network
        began = network.taken
        async with self.client.session.get(self.url, **self.options) as response:
            if response.status != 200:
                return "refused"
            seen = await response.content.read(1_000)
            if not body_of("huge", HUGE).startswith(seen):
                raise Broken(f"{self.url} has bytes of something else: {seen[:40]!r}")
            await asyncio.sleep(3.0)
            ahead = network.taken - began
            # Who closes reads to the end of TLS, and keeps nothing of that.
            if ahead > MOST_AHEAD and not self.client.session.closed:
                raise Broken(f"{ahead} bytes came in, for a reader who took {len(seen)}")
        return "left"


class Download(Activity):
    """A download, once more when it breaks off."""

    kind = "file"
    sizes = (0, 100, 20_000, 300_000)

    async def _do(self) -> str:
        dice, loop = self.dice, asyncio.get_running_loop()
        path = self.program.folder / f"{self.number}"
        tries, resume, connections = 3, dice.random() < 0.8, dice.choice((1, 1, 3))
        self.options["timeout"] = wherry.ClientTimeout(
            total=dice.choice((1.0, 20.0, None)), sock_connect=30.0
        )
        for left in reversed(range(tries)):
            try:
                await self.client.session.download(
                    self.url, path, resume=resume, connections=connections, **self.options
                )
                break
            except (wherry.ClientError, TimeoutError):
                if path.exists():
                    raise Broken(f"{self.url} failed, and the file is there") from None
                if not left:
                    raise
        content = path.read_bytes()
        versions = range(int(loop.time() / FILE_LIFE) + 1)
        if not any(content == body_of(f"file {self.number} {v}", self.size) for v in versions):
            raise Broken(f"{self.url}: the file is none that there was: {len(content)} bytes")
        return f"whole at try {tries - left}"
