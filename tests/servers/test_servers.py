"""Each real server of the fixtures starts and answers as its fixture says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers.process import RealServer, free_port
from tests.servers.raw import read_request, response

import wherry


async def text(url: str, **options: object) -> str:
    async with wherry.ClientSession() as session, session.get(url, **options) as answer:
        assert answer.status == 200, answer
        return await answer.text()


async def test_nginx_answers_in_the_clear_and_logs_it(nginx):
    with nginx.logs('"GET /json HTTP/1.1" 200', f"port={nginx.port}"):
        assert "Hello" in await text(nginx.url("/json"))


@pytest.mark.parametrize(("name", "version"), [("tls12", "TLSv1.2"), ("tls13", "TLSv1.3"), ("http2", "TLSv1.3")])
async def test_nginx_speaks_tls(nginx, client_tls, name, version):
    seen = await text(nginx.url(port=getattr(nginx, name), scheme="https"), ssl=client_tls)
    assert f"tls {version}" in seen


async def test_nginx_asks_for_a_client_certificate(nginx, client_tls_with_cert):
    seen = await text(nginx.url(port=nginx.client_cert, scheme="https"), ssl=client_tls_with_cert)
    assert "tests-client" in seen


async def test_nginx_listens_on_a_unix_socket(nginx):
    connector = wherry.UnixConnector(path=str(nginx.socket_path))
    async with wherry.ClientSession(connector=connector) as session, session.get("http://origin.test/") as answer:
        assert "host origin.test" in await answer.text()


async def test_nginx_ends_a_connection_after_five_requests(nginx):
    async with wherry.ClientSession() as session:
        seen = []
        for _ in range(6):
            async with session.get(nginx.url(port=nginx.five_requests)) as answer:
                seen.append((await answer.text()).splitlines()[-1])
    assert seen == ["request 1", "request 2", "request 3", "request 4", "request 5", "request 1"]


async def test_apache_guards_by_digest(apache):
    async with wherry.ClientSession() as session:
        async with session.get(apache.url("/index.txt")) as answer:
            assert await answer.text() == "open\n"
        async with session.get(apache.url("/digest/index.txt")) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Digest ")


async def test_apache_speaks_tls(apache, client_tls):
    assert await text(apache.url("/index.txt", port=apache.tls, scheme="https"), ssl=client_tls) == "open\n"


@pytest.mark.parametrize("front", ["haproxy", "stunnel"])
async def test_tls_fronts_pass_requests_to_nginx(request, nginx, client_tls, front):
    server: RealServer = request.getfixturevalue(front)
    with nginx.logs('"GET /json HTTP/1.1" 200'):
        assert "Hello" in await text(server.url("/json", scheme="https"), ssl=client_tls)


@pytest.mark.parametrize("name", ["dnsmasq", "unbound"])
async def test_name_servers_know_the_tests_names(request, name):
    aiodns = pytest.importorskip("aiodns")
    server: RealServer = request.getfixturevalue(name)
    resolver = aiodns.DNSResolver(nameservers=[f"127.0.0.1:{server.port}"])
    with server.logs("two.test"):
        found = await resolver.query_dns("two.test", "A")
    assert {record.data.addr for record in found.answer} == {"127.0.0.1", "127.0.0.2"}


async def test_caddy_answers(caddy, client_tls):
    assert await text(caddy.url("/x")) == "HTTP/1.1 GET /x"
    assert (await text(caddy.url("/x", port=caddy.tls, scheme="https"), ssl=client_tls)).endswith(" GET /x")


@pytest.mark.parametrize("name", ["nghttpd", "nghttpd_plain", "apache"])
def test_servers_of_http2_listen(request, name):
    assert request.getfixturevalue(name).process.poll() is None


# --- the raw server -------------------------------------------------------------------------------------------


async def test_a_list_answers_requests_in_turn(raw_server):
    server = await raw_server([response(b"one"), response(b"two")])
    async with wherry.ClientSession() as session:
        seen = []
        for path in ("/a", "/b"):
            async with session.post(server.url + path, data=b"body") as answer:
                seen.append(await answer.text())
    assert seen == ["one", "two"]
    assert server.connections == 1
    assert server.received[0].startswith(b"POST /a HTTP/1.1\r\n")
    assert b"POST /b HTTP/1.1\r\n" in server.received[0]
    await server.until(lambda server: server.lost == 1)


async def test_a_script_may_speak_tls(raw_server, server_tls, client_tls):
    async def script(reader, writer):
        await read_request(reader)
        writer.write(response())

    server = await raw_server(script, server_tls)
    assert await text(server.url, ssl=client_tls) == "ok"


# --- the processes --------------------------------------------------------------------------------------------


def test_a_server_that_ends_at_once_tells_why(tmp_path: Path):
    server = RealServer("short", tmp_path, [free_port()])
    with pytest.raises(RuntimeError, match=r"short ended at once: no configuration"):
        server.start([sys.executable, "-c", "raise SystemExit('no configuration')"])
    assert server.process is None


def test_stopping_ends_the_process(tmp_path: Path):
    port = free_port()
    server = RealServer("files", tmp_path, [port])
    server.start([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)])
    process = server.process
    assert isinstance(process, subprocess.Popen)
    server.stop()
    assert process.returncode is not None
