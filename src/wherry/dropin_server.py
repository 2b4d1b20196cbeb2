"""What aiohttp's server, which stays itself in drop-in mode, and wherry's client must know of each other's objects.

One program has both: it catches what the server raises by the client's names, gives the server the client's
payloads, and takes what the server received for the client's.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import wherry
from wherry.body import stream
from wherry.body.payload_stream import StreamReaderPayload

# Names of aiohttp's package that only its server uses, or that are the same there and here.
SERVER_NAMES = frozenset({"BadHttpMessage", "ETag"})
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
    # Bodies of the client and of the server: a line that is too long is caught by one name.
    too_long, theirs = stream.LineTooLong, real["http_exceptions"].LineTooLong
    shown = {"__str__": BaseException.__str__, "__repr__": BaseException.__repr__, "__module__": too_long.__module__}
    stream.LineTooLong = type("LineTooLong", (too_long, theirs), shown)  # type: ignore[misc, assignment]
    wherry.BodyPartReader.register(real["multipart"].BodyPartReader)
    wherry.MultipartReader.register(real["multipart"].MultipartReader)
    wherry.PAYLOAD_REGISTRY.register(StreamReaderPayload, real["streams"].StreamReader)
    _register_payloads(real["payload"])


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
