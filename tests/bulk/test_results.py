"""Pages and results are values that cross processes; the list in memory is a sink like any other."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from wherry import bulk
from wherry.bulk import Memory, Page, Result
from wherry.bulk.sinks.base import shard_of


def page(url: str = "http://a.test/", body: bytes = b"\xe4", charset: str | None = None) -> Page:
    headers = CIMultiDictProxy(CIMultiDict([("Set-Cookie", "a=1"), ("set-cookie", "b=2")]))
    now = datetime.now(UTC)
    return Page(
        url, url, 200, "OK", headers, body, ((b"Set-Cookie", b"a=1"),), "1.1", "GET", headers,
        "127.0.0.1", now, 0.1, "00", charset,
    )  # fmt: skip


def test_a_page_survives_pickling():
    before = page()
    after = pickle.loads(pickle.dumps(before))
    assert after == before
    assert after.headers.getall("SET-COOKIE") == ["a=1", "b=2"]


def test_text_has_the_charset_of_the_page_or_utf_8():
    assert page(charset="latin-1").text() == "ä"
    assert page().text() == "\N{REPLACEMENT CHARACTER}"
    assert page(charset="no-such-charset").text() == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "charset", ["utf-7", "unicode_escape", "raw_unicode_escape", "punycode", "idna", "hex", "rot13"]
)
def test_a_server_names_no_codec_that_no_page_is_in(charset):
    body = b"\\u003cb+ADw-\xe4-"
    assert page(body=body, charset=charset).text() == body.decode("utf-8", "replace")


def test_a_result_is_ok_without_an_error():
    assert Result("http://a.test/", 404).ok
    assert not Result("http://a.test/", error=OSError()).ok


def test_names_that_are_not_there_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Fetch'"):
        bulk.Fetch  # noqa: B018
    assert {getattr(bulk, name).__name__ for name in bulk.__all__} == set(bulk.__all__)


async def test_pages_in_memory_are_visible_once_published():
    sink = Memory(size=2)
    await sink.open("run.1")
    places = [await sink.add(page())]
    assert not sink.full
    places.append(await sink.add(page()))
    assert sink.full
    shards = await sink.prepare()
    assert {shard_of(place) for place in places} == {shard.name for shard in shards}
    assert await sink.prepare() == []
    assert sink.pages == []
    assert not await sink.present(shards)
    await sink.publish(shards)
    await sink.publish(shards)
    assert len(sink.pages) == 2
    assert await sink.present(shards) == {shards[0].name}
    await sink.add(page())
    await sink.discard()
    await sink.close()
    assert await sink.prepare() == []
