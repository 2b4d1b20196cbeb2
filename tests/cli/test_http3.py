"""``wherry --http3`` and ``--http3-only``."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from tests.servers.authority import CertificateFiles
from tests.servers.http_servers import Caddy

from wherry.cli.argument_values import RequestArguments, parse_url
from wherry.cli.to_curl import curl_command

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")


@pytest.fixture
def quic_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine TCP would be there first now and then."""
    from wherry.connect.quic import race_with_tcp

    monkeypatch.setattr(race_with_tcp, "SILENT_HEAD_START", 30.0)
    monkeypatch.setattr(race_with_tcp, "HEAD_START", 60.0)


@pytest.mark.usefixtures("quic_has_time")
def test_http3_is_tried_at_once(
    run: Any, caddy: Caddy, certificate_files: CertificateFiles
) -> None:
    """Nobody asks a second time on a command line, so no Alt-Svc is waited for."""
    url = f"https://localhost:{caddy.tls}/x"
    done = run("--http3", "-v", "--cacert", certificate_files.authority, url)
    assert (done.status, done.out) == (0, b"HTTP/3.0 GET /x"), done.err
    assert f"* HTTP/3: trying localhost:{caddy.tls} by QUIC (a guess)" in done.err
    assert f"* HTTP/3: connected to localhost:{caddy.tls} in " in done.err
    assert "< HTTP/3 200" in done.err
    times = next(line for line in done.err.splitlines() if "first byte" in line)
    assert " quic " in times
    assert " connect " not in times


def test_http3_falls_back_and_says_why(run: Any, wherry_tls_server: Any) -> None:
    done = run("--http3", "-v", "-k", wherry_tls_server.url("/bytes/5"))
    assert (done.status, len(done.out)) == (0, 5), done.err
    assert "* HTTP/3: not with 127.0.0.1:" in done.err
    assert "HTTP/3 200" not in done.err


def test_http3_alone_tells_that_it_was_asked_for(
    run: Any, caddy: Caddy, certificate_files: CertificateFiles
) -> None:
    url = f"https://localhost:{caddy.tls}/x"
    done = run("--http3-only", "-v", "--cacert", certificate_files.authority, url)
    assert (done.status, done.out) == (0, b"HTTP/3.0 GET /x"), done.err
    assert "by QUIC (prior knowledge)" in done.err


@pytest.mark.parametrize("option", ["http3", "http3_only", "http2", ""])
def test_curls_word_is_the_same(option: str) -> None:
    wanted = RequestArguments(parse_url("https://e.test/"))
    if option:
        setattr(wanted, option, True)
    words = shlex.split(curl_command(wanted))
    assert f"--{option.replace('_', '-') or 'http1.1'}" in words
    assert len([word for word in words if word.startswith("--http")]) == 1
