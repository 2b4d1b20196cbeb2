"""Exchanges that are recorded once and played after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import wherry
from wherry.testing import Cassette, NotOnTape


async def asked(url, **options):
    async with (
        wherry.ClientSession() as session,
        session.request(options.pop("method", "GET"), url, **options) as answer,
    ):
        return answer.status, await answer.read()


async def test_what_was_recorded_is_played(tmp_path, wherry_server):
    path = tmp_path / "made" / "tape.json"
    urls = [wherry_server.url(way) for way in ("/get?a=1", "/gzip", "/bytes/300", "/status/404", "/stream/3")]
    with Cassette(path):
        recorded = [await asked(url) for url in urls]
        posted = await asked(wherry_server.url("/post"), method="POST", json={"a": 1})
    before = wherry_server.requests
    with Cassette(path):
        assert [await asked(url) for url in urls] == recorded
        assert await asked(wherry_server.url("/post"), method="POST", json={"a": 1}) == posted
    assert json.loads(posted[1])["json"] == {"a": 1}
    assert wherry_server.requests == before


async def test_secrets_are_not_kept(tmp_path, wherry_server):
    path = tmp_path / "tape.json"
    options = {"headers": {"Authorization": "Bearer s3cret", "Cookie": "a=s3cret", "X-Key": "s3cret"}}
    hidden = {"filter_headers": ["X-Key"], "filter_query": ["key"], "filter_body": lambda body: b"gone"}
    with Cassette(path, **hidden):
        status, body = await asked(wherry_server.url("/get?key=s3cret"), **options)
    assert b"s3cret" in body
    assert "s3cret" not in path.read_text()
    with Cassette(path, **hidden):
        assert await asked(wherry_server.url("/get?key=another")) == (status, b"gone")


async def test_a_cookie_that_is_set_is_not_kept(tmp_path, wherry_server):
    path = tmp_path / "tape.json"
    with Cassette(path):
        await asked(wherry_server.url("/cookies/set?a=1"), allow_redirects=False)
    assert "set-cookie" not in path.read_text().lower()


async def test_what_is_not_on_the_tape_fails_loudly(tmp_path, wherry_server):
    path = tmp_path / "tape.json"
    with Cassette(path):
        await asked(wherry_server.url("/get"))
    with Cassette(path) as cassette:
        await asked(wherry_server.url("/get"))
        with pytest.raises(NotOnTape, match=r"/get is not on the cassette(?s:.*)/get \(played\)"):
            await asked(wherry_server.url("/get"))
    with pytest.raises(NotOnTape):
        cassette.assert_nothing_missing()


async def test_modes(tmp_path, wherry_server):
    path = tmp_path / "tape.json"
    with Cassette(path, "none"), pytest.raises(NotOnTape):
        await asked(wherry_server.url("/get"))
    assert not path.exists()
    for mode, ways, length in [("new", ["/get"], 1), ("new", ["/get", "/status/404"], 2), ("all", ["/get"], 1)]:
        with Cassette(path, mode):
            for way in ways:
                await asked(wherry_server.url(way))
        assert len(json.loads(path.read_text())["exchanges"]) == length
    with pytest.raises(ValueError, match="mode"):
        Cassette(path, "some")


async def test_bodies_may_have_to_match(tmp_path, wherry_server):
    path, url = tmp_path / "tape.json", wherry_server.url("/post")
    with Cassette(path):
        await asked(url, method="POST", data=b"\xff1")
    with Cassette(path, match_body=True):
        with pytest.raises(NotOnTape):
            await asked(url, method="POST", data=b"\xff2")
        assert (await asked(url, method="POST", data=b"\xff1"))[0] == 200


async def test_a_server_that_cannot_be_reached_is_the_clients_own_error(tmp_path):
    with Cassette(tmp_path / "tape.json"), pytest.raises(wherry.ClientConnectorError):
        await asked("http://127.0.0.1:1/")
    assert not (tmp_path / "tape.json").exists()


def test_the_fixture_keeps_a_file_for_each_test(pytester, monkeypatch, wherry_server):
    monkeypatch.setenv("PYTHONPATH", str(Path(wherry.__file__).parents[1]))
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        test_it=f"""
        import wherry

        async def test_it(wherry_cassette):
            async with wherry.ClientSession() as session:
                assert (await session.get("{wherry_server.url("/get")}")).status == 200
        """
    )
    pytester.plugins = ["wherry.testing.plugin"]
    pytester.runpytest_subprocess("--wherry-cassettes=none").assert_outcomes(failed=1, errors=1)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
    before = wherry_server.requests
    pytester.runpytest_subprocess("--wherry-cassettes=none").assert_outcomes(passed=1)
    assert wherry_server.requests == before
    assert (pytester.path / "cassettes" / "test_it" / "test_it.json").exists()
