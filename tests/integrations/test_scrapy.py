"""Scrapy crawls over wherry: what is Scrapy's stays Scrapy's, and its middlewares know the errors.

Each crawl is a process of its own: a Twisted reactor runs once.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.servers.nginx import Nginx

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "programs" / "crawl.py"


class Server(BaseHTTPRequestHandler):
    """A server whose paths say what it does, and a proxy."""

    protocol_version = "HTTP/1.1"
    count: ClassVar[dict[str, int]] = {}
    seen: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []
    proxied: ClassVar[list[tuple[str, str | None]]] = []
    over: ClassVar[threading.Event] = threading.Event()

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", *fields: tuple[str, str]) -> None:
        self.send_response(status)
        if not any(name == "Content-Length" for name, _ in fields):
            self.send_header("Content-Length", str(len(body)))
        for name, value in fields:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:  # noqa: C901
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path
        if path.startswith("http://"):
            self.proxied.append((path, self.headers["Proxy-Authorization"]))
            self.answer(200, b"by proxy")
            return
        self.seen.append((self.command, path, dict(self.headers), body))
        tries = self.count[path] = self.count.get(path, 0) + 1
        if path == "/html":
            cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
            self.answer(200, b"<p>ahoy", ("Content-Type", "text/html"), *cookies)
        elif path == "/json":
            self.answer(200, b'{"a": 1}', ("Content-Type", "application/json"))
        elif path == "/gzip":
            packed = gzip.compress(b"unpacked by Scrapy")
            self.answer(200, packed, ("Content-Encoding", "gzip"), ("Content-Type", "text/plain"))
        elif path == "/moved":
            self.answer(302, b"", ("Location", "/html"))
        elif path == "/busy":
            self.answer(503 if tries == 1 else 200, b"at last")
        elif path == "/echo":
            self.answer(200, json.dumps([self.command, body.decode(), dict(self.headers)]).encode())
        elif path == "/large":
            self.answer(200, b"x" * 200_000)
        elif path == "/large-unknown":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            for _ in range(200):
                try:
                    self.wfile.write(b"x" * 10_000)
                except OSError:
                    break
        elif path.startswith("/cut"):
            self.answer(200, b"only this", ("Content-Length", "1000"))
            self.close_connection = True
        elif path == "/gone":
            self.close_connection = True
        elif path == "/stalls":
            self.over.wait(60)
        else:
            self.answer(404)

    do_POST = do_GET  # noqa: N815
    do_HEAD = do_GET  # noqa: N815

    def do_CONNECT(self) -> None:
        self.proxied.append((self.path, self.headers["Proxy-Authorization"]))
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as onward:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=pump, args=(onward, self.connection))
            back.start()
            pump(self.connection, onward)
            back.join()
        self.close_connection = True


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        Server.over.set()
        server.shutdown()
        thread.join()


def crawl(rows: dict[str, Any], **settings: Any) -> tuple[dict[str, Any], str]:
    """What became of the requests, and what was logged."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), json.dumps([rows, settings])],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {"PYTHONPATH": str(ROOT / "src"), "no_proxy": "", "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "Unclosed" not in done.stderr, done.stderr
    assert "ResourceWarning" not in done.stderr, done.stderr
    assert "never awaited" not in done.stderr, done.stderr
    return json.loads(done.stdout), done.stderr


def refused() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/"


@pytest.fixture(scope="module")
def crawled(server: str) -> tuple[dict[str, Any], str]:
    rows = {
        "html": {"url": f"{server}/html"},
        "json": {"url": f"{server}/json"},
        "gzip": {"url": f"{server}/gzip"},
        "moved": {"url": f"{server}/moved"},
        "busy": {"url": f"{server}/busy"},
        "none": {"url": f"{server}/none", "meta": {"handle_httpstatus_list": [404]}},
        "post": {"url": f"{server}/echo", "method": "POST", "body": "a=1",
                 "headers": {"X-A": ["1", "2"], "Content-Length": "99"}},
        "empty post": {"url": f"{server}/echo", "method": "POST"},
        "head": {"url": f"{server}/head", "method": "HEAD", "meta": {"handle_httpstatus_list": [404]}},
        "quoted": {"url": f"{server}/a%2Fb%20c;d?e=%C3%A4+f", "meta": {"handle_httpstatus_list": [404]}},
        "too large": {"url": f"{server}/large", "meta": {"download_maxsize": 100_000}},
        "too large, unknown": {"url": f"{server}/large-unknown", "meta": {"download_maxsize": 100_000}},
        "large": {"url": f"{server}/large", "meta": {"download_warnsize": 150_000}},
        "cut": {"url": f"{server}/cut"},
        "cut, let through": {"url": f"{server}/cut2", "meta": {"download_fail_on_dataloss": False}},
        "gone": {"url": f"{server}/gone"},
        "refused": {"url": refused()},
        "no host": {"url": "http://no-such-host.invalid/"},
        "stalls": {"url": f"{server}/stalls", "meta": {"download_timeout": 0.2, "dont_retry": True}},
        "stopped at the head": {"url": f"{server}/large", "meta": {"stop": "head"}},
        "stopped in the body": {"url": f"{server}/large", "meta": {"stop": "body"}},
        "by proxy": {"url": "http://a.invalid/x", "meta": {"proxy": f"{server.replace('//', '//me:mine@')}"}},
        "bound": {"url": f"{server}/html", "meta": {"bindaddress": ["127.0.0.1", 0]}},
    }  # fmt: skip
    return crawl(rows)


def test_responses_are_scrapys(crawled: tuple[dict[str, Any], str]) -> None:
    found, _ = crawled
    html = found["html"]
    assert (html["kind"], html["status"], html["body"]) == ("HtmlResponse", 200, "<p>ahoy")
    assert (html["protocol"], html["ip"], html["certificate"]) == ("HTTP/1.1", "127.0.0.1", None)
    assert html["cookies"] == ["a=1", "b=2"]
    assert html["latency"] > 0
    assert (found["json"]["kind"], found["json"]["size"]) == ("JsonResponse", 8)
    assert found["none"]["status"] == found["head"]["status"] == 404


def test_redirects_cookies_retries_and_codings_stay_scrapys(
    crawled: tuple[dict[str, Any], str], server: str
) -> None:
    found, _ = crawled
    assert found["gzip"]["body"] == "unpacked by Scrapy"
    assert (found["moved"]["url"], found["moved"]["redirects"]) == (f"{server}/html", 1)
    assert (found["busy"]["body"], found["busy"]["retries"]) == ("at last", 1)
    assert Server.count["/busy"] == 2


def test_requests_are_what_scrapy_says(crawled: tuple[dict[str, Any], str]) -> None:
    found, _ = crawled
    method, body, headers = json.loads(found["post"]["body"] + "")
    assert (method, body) == ("POST", "a=1")
    assert headers["Content-Length"] == "3"
    assert headers["User-Agent"].startswith("Scrapy/")
    assert "X-A" in headers
    method, body, headers = json.loads(found["empty post"]["body"])
    assert (method, body, headers["Content-Length"]) == ("POST", "", "0")
    assert "Content-Type" not in headers
    assert ("GET", "/a%2Fb%20c;d?e=%C3%A4+f") in [(row[0], row[1]) for row in Server.seen]
    assert not [row for row in Server.seen if "wherry" in str(row).lower()]


def test_sizes_are_limited_while_bodies_come(crawled: tuple[dict[str, Any], str]) -> None:
    found, logged = crawled
    for name, word in (
        ("too large", "Expected to receive 200000"),
        ("too large, unknown", "Received "),
    ):
        assert found[name]["error"] == "DownloadCancelledError"
        assert word in found[name]["said"]
    assert found["large"]["size"] == 200_000
    assert "larger than download warn size (150000)" in logged


def test_errors_are_those_that_scrapy_retries(crawled: tuple[dict[str, Any], str]) -> None:
    found, logged = crawled
    for name, error, retries in (
        ("cut", "ResponseDataLossError", 1),
        ("gone", "DownloadFailedError", 1),
        ("refused", "DownloadConnectionRefusedError", 1),
        ("no host", "CannotResolveHostError", 1),
        ("stalls", "DownloadTimeoutError", 0),
    ):
        assert (found[name]["error"], found[name]["retries"]) == (error, retries), name
    assert logged.count("Got data loss in") == 1
    through = found["cut, let through"]
    assert (through["body"], through["flags"]) == ("only this", ["dataloss"])


def test_downloads_stop_where_a_listener_says(crawled: tuple[dict[str, Any], str]) -> None:
    found, _ = crawled
    at_head = found["stopped at the head"]
    assert (at_head["size"], at_head["flags"]) == (0, ["download_stopped"])
    in_body = found["stopped in the body"]
    assert (in_body["error"], in_body["flags"]) == ("StopDownload", ["download_stopped"])


def test_a_proxy_gets_its_credentials(crawled: tuple[dict[str, Any], str]) -> None:
    found, logged = crawled
    assert found["by proxy"]["body"] == "by proxy"
    assert ("http://a.invalid/x", "Basic bWU6bWluZQ==") in Server.proxied
    assert not [row for row in Server.seen if "Proxy-Authorization" in row[2]]
    assert "only the setting DOWNLOAD_BIND_ADDRESS is heard" in logged


def test_http_2_certificates_and_tunnels(server: str, nginx: Nginx) -> None:
    url = f"https://127.0.0.1:{nginx.http2}/"
    rows = {
        "direct": {"url": url},
        "tunnel": {"url": url, "meta": {"proxy": server.replace("//", "//me:mine@")}},
    }
    found, _ = crawl(rows, WHERRY_PROTOCOLS=["h2", "http/1.1"], DOWNLOAD_BIND_ADDRESS="127.0.0.1",
                     DOWNLOAD_TLS_MIN_VERSION="TLSv1.2", TWISTED_REACTOR_ENABLED=False)  # fmt: skip
    for row in found.values():
        assert (row["protocol"], row["ip"]) == ("h2", "127.0.0.1")
        assert "protocol HTTP/2.0" in row["body"]
        assert row["certificate"] is not None
    assert (f"127.0.0.1:{nginx.http2}", "Basic bWU6bWluZQ==") in Server.proxied


def test_certificates_are_verified_where_it_is_asked_for(nginx: Nginx) -> None:
    rows = {"untrusted": {"url": f"https://127.0.0.1:{nginx.tls13}/", "meta": {"dont_retry": True}}}
    found, _ = crawl(rows, DOWNLOAD_VERIFY_CERTIFICATES=True)
    assert found["untrusted"]["error"] == "DownloadFailedError"
    assert "certificate" in found["untrusted"]["said"].lower()


def test_what_is_missing_is_told() -> None:
    for code, message in (
        ("import sys; sys.modules['scrapy'] = None\nimport wherry.integrations.scrapy",
         "needs Scrapy 2.15 or newer: pip install 'scrapy>=2.15'"),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        )
        assert message in done.stderr.splitlines()[-1]
