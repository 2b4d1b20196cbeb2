"""A body that breaks off: what came is readable, then whoever reads gets the error."""

from __future__ import annotations

import asyncio
import itertools
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wherry
from wherry.body.stream.decoders import decoder_for
from wherry.body.stream.reader import StreamReader
from wherry.errors import ClientPayloadError

BODY = b"".join(b"line %d of the body\n" % number for number in range(400))


async def drained(reader, method):
    """All that `method` gives before the error, and the error."""
    got = bytearray()
    try:
        while True:
            if method == "read":
                piece = await reader.read(700)
            elif method == "readexactly":
                piece = await reader.readexactly(3)
            elif method == "readchunk":
                piece, _ = await reader.readchunk()
            elif method == "read_nowait":
                piece = reader.read_nowait(100)
            else:
                piece = await getattr(reader, method)()
            assert piece, "the end of a broken body was told as a good one"
            got += piece
    except ClientPayloadError as exc:
        return bytes(got), exc


METHODS = ["read", "readany", "readline", "readchunk", "readexactly", "read_nowait"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("coded", [False, True])
@given(
    cuts=st.lists(st.integers(0, 2000), max_size=5), end=st.integers(0, 2000), waits=st.booleans()
)
async def test_what_came_is_read_before_the_error(method, coded, cuts, end, waits):
    """Whatever the pieces, and whether the reader waited for them or comes later."""
    reader = StreamReader(2**16)
    packed = BODY
    if coded:
        packer = zlib.compressobj(wbits=31)
        packed = b"".join(
            packer.compress(BODY[at : at + 500]) + packer.flush(zlib.Z_SYNC_FLUSH)
            for at in range(0, 8000, 500)
        )
        reader.decoder = decoder_for("gzip")
    sent = packed[:end]
    # As far as the module that decompresses gives it: some hold a byte back whose bits are all
    # there.
    expected = decoder_for("gzip").decode(sent, 2**20) if coded and sent else sent
    task = (
        asyncio.ensure_future(drained(reader, method))
        if waits and method != "read_nowait"
        else None
    )
    await asyncio.sleep(0)
    places = sorted({0, end, *(cut for cut in cuts if cut < end)})
    for begin, stop in itertools.pairwise(places):
        reader.feed_data(sent[begin:stop])
        if task is not None:
            await asyncio.sleep(0)
    broken = ClientPayloadError("broken")
    reader.set_exception(broken)
    got, error = await (task if task is not None else drained(reader, method))
    assert error is broken
    if method in {"readline", "readexactly"}:
        # The beginning of a line is none; `readany` gives what there is of it.
        whole = expected.rfind(b"\n") + 1 if method == "readline" else len(expected) // 3 * 3
        assert got == expected[:whole]
        rest, error = await drained(reader, "readany")
        assert got + rest == expected
        assert error is broken
    else:
        assert got == expected
    with pytest.raises(ClientPayloadError):
        await reader.read()


async def test_a_whole_read_of_a_broken_body_is_an_error_and_loses_nothing():
    for coding in (None, "gzip"):
        reader = StreamReader(2**16)
        data = BODY
        if coding is not None:
            reader.decoder = decoder_for(coding)
            packer = zlib.compressobj(wbits=31)
            data = packer.compress(BODY) + packer.flush(zlib.Z_SYNC_FLUSH)
        task = asyncio.ensure_future(reader.read())
        await asyncio.sleep(0)
        reader.feed_data(data)
        await asyncio.sleep(0)
        reader.set_exception(ClientPayloadError("broken"))
        with pytest.raises(ClientPayloadError, match="broken"):
            await task
        assert (await drained(reader, "readany"))[0] == BODY


async def test_what_was_decoded_before_a_bad_byte_is_read_before_the_error():
    reader = StreamReader(2**16)
    reader.decoder = decoder_for("gzip")
    packer = zlib.compressobj(wbits=31)
    reader.feed_data(packer.compress(BODY) + packer.flush(zlib.Z_SYNC_FLUSH))
    assert reader.read_nowait(10) == BODY[:10]
    reader.feed_data(b"\xff" * 100)
    reader.feed_eof()
    got, error = await drained(reader, "readany")
    assert BODY[10:].startswith(got)
    assert "cannot decode" in str(error)
    with pytest.raises(ClientPayloadError, match="cannot decode"):
        await reader.read()


async def test_a_thread_that_decodes_goes_on_when_the_body_breaks():
    noise = random.Random(1).randbytes(2**20)
    packer = zlib.compressobj(wbits=31)
    reader = StreamReader(2**20)
    reader.decoder = decoder_for("gzip")
    task = asyncio.ensure_future(drained(reader, "readany"))
    await asyncio.sleep(0)
    reader.feed_data(packer.compress(noise) + packer.flush(zlib.Z_SYNC_FLUSH))
    await asyncio.sleep(0)
    reader.set_exception(ClientPayloadError("broken"))
    assert (await task)[0] == noise


async def test_a_closed_response_forgets_what_came(session, answer):
    url = await answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
    async with session.get(url) as response:
        assert await response.content.read(2) == b"he"
    with pytest.raises(wherry.ClientError):
        await response.content.read(2)
    assert response.content._size == 0


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 100\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n9\r\nhello"],
)
async def test_head_data_and_the_end_in_one_packet(session, answer, framing):
    async with session.get(await answer(b"HTTP/1.1 200 OK\r\n" + framing)) as response:
        # The peer's FIN is here before anything is read.
        while response.content.exception() is None:
            await asyncio.sleep(0)
        assert await response.content.readany() == b"hello"
        with pytest.raises(ClientPayloadError):
            await response.content.readany()
