"""max_headers, max_field_size and max_line_size over HTTP/2, said to session, request or connector."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import hpack
import pytest
from tests.protocol.frames import END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame, settings

import wherry
from wherry.protocol.http2.frames import PREFACE, unpack_header
from wherry.protocol.limits import Limits

FIELDS = {
    "max_headers": [(f"x-{at}", "1") for at in range(20)],
    "max_field_size": [("x", "a" * 100)],
    "max_line_size": [("x" * 100, "a")],
}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server that answers /LIMIT with a head that passes it, and /LIMIT-trailers with trailers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        encoder, decoder = hpack.Encoder(), hpack.Decoder()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(len(PREFACE))
            writer.write(settings())
            while True:
                size, _, stream = unpack_header(await reader.readexactly(9))
                payload = await reader.readexactly(size >> 8)
                if size & 0xFF == SETTINGS and payload:
                    writer.write(frame(SETTINGS, 1))
                if size & 0xFF != HEADERS:
                    continue
                name, _, part = dict(decoder.decode(payload))[":path"][1:].partition("-")
                head, end = [(":status", "200")], END_HEADERS | END_STREAM
                if part:
                    writer.write(frame(HEADERS, END_HEADERS, stream, encoder.encode(head)))
                    writer.write(frame(HEADERS, end, stream, encoder.encode(FIELDS[name])))
                else:
                    block = encoder.encode([*head, *FIELDS[name]])
                    writer.write(frame(HEADERS, end, stream, block))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("where", ["session", "request", "connector"])
@pytest.mark.parametrize("part", ["", "-trailers"])
async def test_a_limit_holds(url: str, name: str, where: str, part: str) -> None:
    limit: Any = {name: 10}
    connector = wherry.TCPConnector(
        protocols=("h2c",), **({"limits": Limits(**limit)} if where == "connector" else {})
    )
    async with wherry.ClientSession(
        connector=connector, **(limit if where == "session" else {})
    ) as session:

        async def ask(**options: Any) -> None:
            async with session.get(url + name + part, **options) as reply:
                assert reply.status == 200
                await reply.read()

        loose: Any = {name: 8000}
        await ask(**loose)
        for _ in range(2):
            with pytest.raises(wherry.ClientError, match="more than 10"):
                await ask(**(limit if where == "request" else {}))
            await ask(**loose)
