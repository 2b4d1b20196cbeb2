"""``wherry sse URL``."""

from __future__ import annotations

import asyncio
import json

from tests.servers.raw import read_request

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


async def events_server(raw_server, *streams):
    """Gives each connection the next of the streams, the last one to all others."""
    left = list(streams)
    asked = []

    async def script(reader, writer):
        asked.append(await read_request(reader))
        stream = left.pop(0) if len(left) > 1 else left[0]
        writer.write(HEAD + stream)
        await writer.drain()
        writer.close()

    return (await raw_server(script)).url, asked


async def test_data_of_events_is_printed(run, raw_server):
    url, _ = await events_server(raw_server, b"data: 1\n\nevent: x\nid: 7\ndata: \xc3\xa4\n\n")
    done = await asyncio.to_thread(run, "sse", "-n", 2, url)
    assert (done.status, done.out.decode(), done.err) == (0, "1\n\u00e4\n", "")
    done = await asyncio.to_thread(run, "sse", "--json", "-n", 2, url)
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"event": "message", "data": "1", "id": ""},
        {"event": "x", "data": "\u00e4", "id": "7"},
    ]


async def test_a_stream_that_breaks_goes_on(run, raw_server):
    url, asked = await events_server(
        raw_server, b"retry: 1\nid: 7\ndata: 1\n\n", b"data: 2\n\ndata: 3\n\n"
    )
    done = await asyncio.to_thread(run, "sse", "-n", 3, url)
    assert (done.status, done.out) == (0, b"1\n2\n3\n")
    assert b"last-event-id: 7" in asked[1].lower()


async def test_a_stream_may_end(run, raw_server):
    url, asked = await events_server(raw_server, b"data: 1\n\n")
    done = await asyncio.to_thread(run, "sse", "--no-reconnect", "--last-event-id", "5", url)
    assert (done.status, done.out) == (0, b"1\n")
    assert len(asked) == 1
    assert b"last-event-id: 5" in asked[0].lower()


def test_what_is_no_stream_is_one_line(run, wherry_server):
    done = run("sse", wherry_server.url("/get"))
    assert (done.status, done.out, done.err.count("\n")) == (1, b"", 1)
