"""Content codings: undone in bounded steps, whole or an error."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import brotli
import pytest
import zlib_ng.zlib_ng
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib
from tests.zstandard import zstd

from wherry.body import compression_backends
from wherry.body.payload.encoders import encoder_for
from wherry.body.stream import decoders
from wherry.body.stream.reader import StreamReader
from wherry.errors import ClientPayloadError


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODE = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd.compress,
}
BACKENDS = {"isal": isal_zlib, "zlib-ng": zlib_ng.zlib_ng, "zlib": zlib}


def name_of(kind: str) -> str:
    return "deflate" if kind == "raw" else kind


def pull(decoder: decoders.Decoder, data: bytes, size: int, step: int) -> bytes:
    out = []
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        while True:
            got = decoder.decode(piece, step)
            assert len(got) <= step
            out.append(got)
            piece = b""
            if decoder.needs_input:
                break
    decoder.finish()
    return b"".join(out)


@pytest.fixture(params=list(BACKENDS))
def backend(request):
    compression_backends.set_zlib_backend(BACKENDS[request.param])
    yield request.param
    compression_backends._chosen_backend.clear()


bodies = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda piece, times: piece * times,
        st.binary(min_size=1, max_size=20),
        st.integers(1, 20000),
    ),
)


@pytest.mark.parametrize(
    ("kind", "backend_name"),
    [(kind, name) for kind in ("gzip", "deflate", "raw") for name in BACKENDS]
    + [("br", "zlib"), ("zstd", "zlib")],
)
def test_any_body_in_any_pieces_comes_back(kind, backend_name):
    @settings(max_examples=40, deadline=None)
    @given(body=bodies, size=st.integers(1, 5000), step=st.integers(1, 70000))
    def check(body, size, step):
        if len(body) // step > 3000:
            step = len(body) // 3000 + 1
        compression_backends.set_zlib_backend(BACKENDS[backend_name])
        try:
            decoder = decoders.decoder_for(name_of(kind))
            assert pull(decoder, ENCODE[kind](body), size, step) == body
        finally:
            compression_backends._chosen_backend.clear()

    check()


@pytest.mark.parametrize("kind", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("size", [1, 7, 100000])
def test_members_one_after_another(kind, size, backend):
    data = b"".join(ENCODE[kind](b"member %d;" % n * 50) for n in range(200))
    decoder = decoders.decoder_for(kind)
    assert pull(decoder, data, size, 1000) == b"".join(b"member %d;" % n * 50 for n in range(200))


@pytest.mark.parametrize("kind", list(ENCODE))
def test_a_stream_cut_anywhere_is_an_error(kind, backend):
    data = ENCODE[kind](b"hello world, " * 20 + bytes(range(256)))
    for cut in range(1, len(data)):
        with pytest.raises(ClientPayloadError):
            pull(decoders.decoder_for(name_of(kind)), data[:cut], 1000, 1000)


@pytest.mark.parametrize("kind", ["gzip", "deflate", "br", "zstd"])
def test_nonsense_is_an_error(kind, backend):
    with pytest.raises(ClientPayloadError, match=f"content-encoding {kind}"):
        pull(decoders.decoder_for(kind), b"\xff\xfe nonsense " * 10, 1000, 1000)


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
def test_a_wrong_checksum_is_an_error(kind, backend):
    data = bytearray(ENCODE[kind](b"hello world"))
    data[-5 if kind == "gzip" else -1] ^= 0xFF
    with pytest.raises(ClientPayloadError):
        pull(decoders.decoder_for(kind), bytes(data), 1000, 1000)


@pytest.mark.parametrize("padding", [bytes(10), b"<!-- added by the server -->"])
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("kind", ["gzip", "deflate", "raw"])
def test_padding_after_the_end_is_passed_over(kind, size, padding, backend):
    decoder = decoders.decoder_for(name_of(kind))
    assert pull(decoder, ENCODE[kind](b"hello") + padding, size, 1000) == b"hello"


@pytest.mark.parametrize("size", [1, 1000])
def test_nothing_may_follow_brotli(size):
    with pytest.raises(ClientPayloadError, match="br"):
        pull(decoders.decoder_for("br"), brotli.compress(b"hello") + b"more", size, 1000)


def test_several_codings_are_undone_from_the_last():
    body = b"hello world " * 1000
    data = brotli.compress(zstd.compress(gzip.compress(body)))
    for size in (1, 10, 1000):
        decoder = decoders.decoder_for("gzip, ZSTD ,br")
        assert pull(decoder, data, size, 777) == body


def test_a_cut_in_any_of_several_codings_is_an_error():
    inner = gzip.compress(b"hello")[:-3]
    with pytest.raises(ClientPayloadError):
        pull(decoders.decoder_for("gzip, br"), brotli.compress(inner), 100, 100)
    with pytest.raises(ClientPayloadError):
        pull(
            decoders.decoder_for("gzip, br"),
            brotli.compress(gzip.compress(b"hello"))[:-1],
            100,
            100,
        )


@pytest.mark.parametrize("value", ["", "identity", "IDENTITY", "foo", "gzip, foo", ", ,"])
def test_what_cannot_be_undone_stays_as_it_is(value):
    assert decoders.decoder_for(value) is None


@pytest.mark.parametrize("value", ["x-gzip", "GZip", " gzip ", "identity, gzip", "gzip,"])
def test_names_of_gzip(value):
    assert pull(decoders.decoder_for(value), gzip.compress(b"x"), 100, 100) == b"x"


def test_too_many_codings_are_refused():
    with pytest.raises(ClientPayloadError, match="6 content codings"):
        decoders.decoder_for("gzip, " * 5 + "gzip").decode(b"x", 10)


def test_a_coding_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(compression_backends, "brotli", lambda: None)
    monkeypatch.setattr(compression_backends, "zstd", lambda: None)
    with pytest.raises(ClientPayloadError, match="Brotli"):
        decoders.decoder_for("br").decode(b"x", 10)
    with pytest.raises(ClientPayloadError, match=r"backports\.zstd"):
        decoders.decoder_for("zstd").decode(b"x", 10)
    assert compression_backends.accept_encoding.__wrapped__() == "gzip, deflate"
    with pytest.raises(ValueError, match="br"):
        encoder_for("br")


def test_accept_encoding_names_what_is_installed():
    assert compression_backends.accept_encoding() == "gzip, deflate, br, zstd"


@pytest.mark.parametrize("kind", ["gzip", "deflate", "br", "zstd"])
def test_encoders(kind):
    encoder = encoder_for(kind)
    data = encoder.compress(b"hello ") + encoder.compress(memoryview(b"world")) + encoder.flush()
    assert pull(decoders.decoder_for(kind), data, 100, 100) == b"hello world"


def test_an_unknown_coding_is_not_encoded():
    with pytest.raises(ValueError, match="lzw"):
        encoder_for("lzw")


def bomb(kind: str, size: int) -> list[bytes]:
    encoder = encoder_for(kind)
    block = bytes(2**22)
    pieces = [encoder.compress(block) for _ in range(size // len(block))]
    return [*pieces, encoder.flush()]


@pytest.mark.parametrize("kind", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
async def test_a_bomb_read_in_pieces_takes_little_memory(kind):
    data = b"".join(bomb(kind.split(",")[0], 2**27))
    if "," in kind:
        data = gzip.compress(data)
    reader = StreamReader(2**18)
    reader.decoder = decoders.decoder_for(kind)
    reader.feed_data(data)
    reader.feed_eof()
    tracemalloc.start()
    total = 0
    try:
        async for piece in reader.iter_chunked(65536):
            total += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 2**27
    assert peak < 2**21


@pytest.mark.parametrize("kind", ["gzip", "br", "zstd"])
async def test_a_bomb_is_stopped_at_the_limit_before_it_takes_memory(kind):
    reader = StreamReader(2**18)
    reader.decoder = decoders.decoder_for(kind)
    reader.max_size = 2**20
    reader.feed_data(b"".join(bomb(kind, 2**27)))
    reader.feed_eof()
    tracemalloc.start()
    try:
        with pytest.raises(ClientPayloadError, match="max_body_size"):
            await reader.read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**22
