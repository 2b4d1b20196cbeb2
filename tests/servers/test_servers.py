"""Each real server of the fixtures starts and answers as its fixture says."""

from __future__ import annotations

import glob
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers import process
from tests.servers import proxies as proxies_module
from tests.servers.fixtures import open_directory
from tests.servers.process import Farm, RealServer, find_program, free_port, launch, wait_for_port
from tests.servers.raw import read_request, response

import wherry


async def text(url: str, **options: object) -> str:
    async with wherry.ClientSession() as session, session.get(url, **options) as answer:
        assert answer.status == 200, answer
        return await answer.text()


async def test_nginx_answers_in_the_clear_and_logs_it(nginx):
    with nginx.logs('"GET /json HTTP/1.1" 200', f"port={nginx.port}"):
        assert "Hello" in await text(nginx.url("/json"))


@pytest.mark.parametrize(
    ("name", "version"), [("tls12", "TLSv1.2"), ("tls13", "TLSv1.3"), ("http2", "TLSv1.3")]
)
async def test_nginx_speaks_tls(nginx, client_tls, name, version):
    seen = await text(nginx.url(port=getattr(nginx, name), scheme="https"), ssl=client_tls)
    assert f"tls {version}" in seen


async def test_nginx_asks_for_a_client_certificate(nginx, client_tls_with_cert):
    seen = await text(nginx.url(port=nginx.client_cert, scheme="https"), ssl=client_tls_with_cert)
    assert "tests-client" in seen


async def test_nginx_listens_on_a_unix_socket(nginx):
    connector = wherry.UnixConnector(path=str(nginx.socket_path))
    async with (
        wherry.ClientSession(connector=connector) as session,
        session.get("http://origin.test/") as answer,
    ):
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
    assert (
        await text(apache.url("/index.txt", port=apache.tls, scheme="https"), ssl=client_tls)
        == "open\n"
    )


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
    assert (await text(caddy.url("/x", port=caddy.tls, scheme="https"), ssl=client_tls)).endswith(
        " GET /x"
    )


@pytest.mark.parametrize("name", ["nghttpd", "nghttpd_plain", "apache"])
def test_servers_of_http2_listen(request, name):
    assert request.getfixturevalue(name).process.poll() is None


# --- the raw server -------------------------------------------------------------------------------


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


# --- the processes --------------------------------------------------------------------------------


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


class Shop(Farm):
    """Three servers: one that starts, one whose program is missing, and, if wanted, one that ends
    at once.
    """

    def __init__(self, directory: Path, *, broken: bool) -> None:
        self.broken = broken
        super().__init__(directory)

    def start_all(self) -> None:
        self.add(["good"], self._serve, free_port())
        self.add(["lost", "lost_too"], self._miss)
        if self.broken:
            self.run("broken", [sys.executable, "-c", "raise SystemExit('no configuration')"])
            wait_for_port("broken", free_port(), self.directory, self.processes)

    def _serve(self, port: int) -> int:
        self.run("good", [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)])
        wait_for_port("good", port, self.directory, self.processes)
        return port

    def _miss(self) -> tuple[int, int]:
        find_program("no-such-program-of-wherry")
        return 1, 2


@pytest.mark.parametrize("in_ci", [False, True])
def test_a_program_that_is_missing_costs_its_own_tests_alone(tmp_path: Path, monkeypatch, in_ci):
    monkeypatch.setenv("CI", "true" if in_ci else "")
    farm = Shop(tmp_path, broken=False)
    try:
        assert farm.good
        for name in ("lost", "lost_too", "lost"):
            with pytest.raises(
                (pytest.skip.Exception, pytest.fail.Exception), match="is not installed"
            ) as caught:
                getattr(farm, name)
            assert isinstance(caught.value, pytest.fail.Exception) is in_ci
        with pytest.raises(AttributeError):
            farm.never_heard_of  # noqa: B018
    finally:
        farm.close()
    assert all(process.returncode is not None for process in farm.processes)


def test_a_server_that_fails_ends_those_that_started_before(tmp_path: Path, monkeypatch):
    started = []
    monkeypatch.setattr(
        process, "launch", lambda *args: started.append(launch(*args)) or started[-1]
    )
    with pytest.raises(RuntimeError, match=r"(?s)broken ended at once: .*no configuration"):
        Shop(tmp_path, broken=True)
    assert len(started) == 2
    assert all(one.returncode is not None for one in started)


def test_socks_goes_tested_where_there_is_no_dante(tmp_path_factory, pki, monkeypatch):
    """Debian's trixie has none: the stand-ins listen, and speak the kinds that dante would."""
    monkeypatch.setattr(proxies_module, "dante_is_there", lambda: False)
    with open_directory() as directory:
        farm = proxies_module.ProxyFarm(directory, pki.authority)
        try:
            assert farm.dante.name == "microsocks-for-dante"
            assert farm.dante_auth.credentials is not None
            assert farm.get("dante", "socks4").name == "ssh-for-dante"
            assert farm.get("dante", "socks5h").port == farm.dante.port
        finally:
            farm.close()


# --- what installs them ---------------------------------------------------------------------------

INSTALLER = Path(__file__).with_name("install.sh")
BASH = shutil.which("bash")


def installer(
    directory: Path, programs: dict[str, str], **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the installer in a system that has no programs but these, and bash with what it needs."""
    for name in ("cat", "sort", "env", "rm", "chmod", "tee"):
        (directory / name).symlink_to(shutil.which(name))
    for name, text in programs.items():
        (directory / name).write_text(f"#!{BASH}\n{text}\n")
        (directory / name).chmod(0o755)
    # What the machine has in its own directories must not be seen.
    text = INSTALLER.read_text().replace('PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin"', "")
    text = text.replace("/usr/sbin/policy-rc.d", f"{directory}/policy")
    script = directory / "installer"
    script.write_text(text)
    return subprocess.run(
        [str(BASH), script],
        capture_output=True,
        text=True,
        env={"PATH": str(directory), **environ},
        check=False,
    )


APT = """
case " $* " in
*" update "*) ;;
*" install "*)
    for word; do
        case $word in install|-*) ;; *) echo "$word" >> "$ASKED";; esac
        # One package that breaks the others, as a conflict does.
        [ "$word" != squid ] || { echo "E: squid is broken" >&2; exit 100; }
    done;;
esac
"""
MADISON = 'case "$2" in dante-server|caddy) ;; *) echo "$2 | 1.0 | main";; esac'


def test_a_package_that_a_release_lacks_leaves_the_others(tmp_path: Path):
    asked = tmp_path / "asked"
    programs = {"apt-get": APT, "apt-cache": MADISON, "id": "echo 0"}
    done = installer(tmp_path, programs, ASKED=str(asked))
    packages = asked.read_text().split()
    assert {"nginx-light", "curl", "microsocks", "squid", "unbound"} <= set(packages)
    assert not {"dante-server", "caddy"} & set(packages)
    assert done.returncode == 0
    assert "microsocks and ssh stand in for it" in done.stdout
    assert "caddy (Debian's package caddy): tests of HTTP/2 that ask caddy" in done.stdout
    assert "You are not root" not in done.stdout
    assert not (tmp_path / "policy").exists()


def test_who_may_not_install_is_told_so(tmp_path: Path):
    done = installer(tmp_path, {"apt-get": "exit 1", "id": "echo 1000", "sudo": "exit 1"})
    assert done.returncode == 0
    assert "You are not root" in done.stdout
    assert "curl (Debian's package curl)" in done.stdout


def test_ci_fails_where_tests_would_be_left_out(tmp_path: Path):
    done = installer(
        tmp_path, {"apt-get": "exit 1", "id": "echo 1000", "sudo": "exit 1"}, CI="true"
    )
    assert done.returncode == 1


def test_everything_there_says_nothing(tmp_path: Path):
    rows = re.findall(r"^(\S*?)\|(\S*?)\|.*\|.*$", INSTALLER.read_text(), re.MULTILINE)
    assert len(rows) > 10
    names = [name for name, _ in rows if not name.startswith("/")]
    paths = [name for name, _ in rows if name.startswith("/")]
    if not all(glob.glob(path) for path in paths):
        pytest.fail("squid's helpers and nss_wrapper belong to what is installed here")
    done = installer(tmp_path, dict.fromkeys(names, "exit 1"))
    assert (done.returncode, done.stdout) == (0, "")
