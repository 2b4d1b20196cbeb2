"""What aiohttp's server, which stays itself in drop-in mode, and wherry's client must know of each
other's objects.

One program has both: it catches what the server raises by the client's names, gives the server the
client's payloads, and takes what the server received for the client's.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import wherry
from wherry.body.payload.streams import StreamReaderPayload, Written
from wherry.body.stream.reader import EofStream, LineTooLong

# Names of aiohttp's package that stay: only its server uses them, they are the same there and here,
# or what the client raises is caught by them too.
SERVER_NAMES = frozenset({"BadHttpMessage", "EofStream", "ETag", "WebSocketError"})
# What aiohttp's test client, whose place is among the server's modules, is made of.
TEST_CLIENT = (
    "ClientResponse", "ClientSession", "ClientWebSocketResponse", "_BaseRequestContextManager",
    "_RequestContextManager", "_WSRequestContextManager",
)  # fmt: skip


def introduce(real: dict[str, ModuleType], swaps: dict[int, Any]) -> None:
    """Let them know each other.

    Args:
        real: aiohttp's own modules, by their names in the package.
        swaps: What stands for which object of aiohttp's, by its identity.
    """
    errors = {
        id(value): swaps[id(value)]
        for value in vars(real["client_exceptions"]).values()
        if isinstance(value, type) and issubclass(value, BaseException) and id(value) in swaps
    }
    for key, module in list(sys.modules.items()):
        if key.startswith("aiohttp."):
            for name, value in list(vars(module).items()):
                if id(value) in errors:
                    setattr(module, name, errors[id(value)])
    tests = real.get("test_utils")
    for name in TEST_CLIENT:
        before = getattr(tests, name, None)
        if id(before) in swaps:
            setattr(tests, name, swaps[id(before)])
    _raise_both(LineTooLong, real["http_exceptions"].LineTooLong)
    _raise_both(EofStream, real["streams"].EofStream)
    # Programs compare its type, and it is made like ours.
    _replace(wherry.WebSocketError, real["http"].WebSocketError)
    wherry.BasicAuth.register(real["helpers"].BasicAuth)
    wherry.BodyPartReader.register(real["multipart"].BodyPartReader)
    wherry.MultipartReader.register(real["multipart"].MultipartReader)
    wherry.PAYLOAD_REGISTRY.register(StreamReaderPayload, real["streams"].StreamReader)
    _register_payloads(real["payload"])
    _take_payloads(real)


def _raise_both(ours: type[Exception], theirs: type[Exception]) -> None:
    """Let what the client raises be caught by the name that the server has, which keeps what the
    server raises.
    """
    shown = {
        name: getattr(ours, name)
        for name in ("__module__", "__doc__", "__init__", "__str__", "__repr__")
    }
    _replace(ours, type(ours.__name__, (ours, theirs), shown))


def _replace(ours: type[Exception], other: type[Exception]) -> None:
    """Let all modules of wherry mean another class by the name of one of its own."""
    for key, module in list(sys.modules.items()):
        if key.partition(".")[0] == "wherry":
            for name, value in list(vars(module).items()):
                if value is ours:
                    setattr(module, name, other)


def _register_payloads(payload: Any) -> None:
    class ClientsPayload(payload.Payload):  # type: ignore[misc]
        """A body of wherry's, as aiohttp's server sends it."""

        def __init__(self, value: wherry.Payload, *args: Any, **kwargs: Any) -> None:
            kwargs = {"headers": value.headers, "content_type": value.content_type, **kwargs}
            super().__init__(value, *args, **kwargs)
            self._size = value.size

        def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
            text: str = self._value.decode(encoding, errors)
            return text

        async def write(self, writer: Any) -> None:
            await self._value.write(writer)

        async def close(self) -> None:
            await self._value.close()

    payload.PAYLOAD_REGISTRY.register(ClientsPayload, wherry.Payload)
    for kind in (wherry.streamer, Written):
        payload.PAYLOAD_REGISTRY.register(
            lambda value, **_: ClientsPayload(wherry.get_payload(value)), kind
        )


class AiohttpPayload(wherry.Payload):
    """A body of aiohttp's own kind, as the client sends it: of a class that was derived from
    aiohttp's before its names were ours, or an object that was made then.
    """

    def __init__(self, value: Any, headers: Any = None, **kwargs: Any) -> None:
        kwargs = {"content_type": value.content_type, "filename": value.filename, **kwargs}
        super().__init__(value, value.headers, **kwargs)
        if headers:
            self.headers.update(headers)

    @property
    def size(self) -> int | None:
        """What the body says."""
        size: int | None = self._value.size
        return size

    @property
    def consumed(self) -> bool:
        """What the body says."""
        return bool(self._value.consumed)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        text: str = self._value.decode(encoding, errors)
        return text

    async def write(self, writer: Any) -> None:
        """Let the body write itself."""
        await self._value.write(writer)

    async def close(self) -> None:
        """Let the body close itself."""
        await self._value.close()


def _take_payloads(real: dict[str, ModuleType]) -> None:
    """Let the client send bodies and forms that are aiohttp's own."""
    register = wherry.PAYLOAD_REGISTRY.register
    register(AiohttpPayload, real["payload"].Payload)
    register(
        lambda value, *_, **kwargs: AiohttpPayload(value(), **kwargs), real["formdata"].FormData
    )
