"""What fetching many small pages of many hosts costs: ``python -m benchmarks.bulk``.

100,000 pages of 500 hosts on loopback, no URL twice, in wherry's `Fetcher`, in a bare session's
`gather` with the same checks, and in Scrapy, crawlee and aria2c where they are installed.  Each
client has a process of its own, on another processor than nginx; what counts is its CPU time for a
page.  crawlee has no limit for one host, its list of URLs is in its memory, and its HTTP is Rust's.

``python -m benchmarks.bulk memory`` reads 10,000,000 URLs from a generator, with a session that
answers by itself, and says how much memory that took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import importlib.util
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from multidict import CIMultiDict, CIMultiDictProxy

HERE = Path(__file__).parent
HOSTS = 500
IN_FLIGHT = 100
PER_HOST = 4
CONFIGURATION = """
daemon off; worker_processes 1; pid {root}/pid; error_log /dev/null;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000; keepalive_timeout 600;
  client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c;
  uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;
  server {{
    {listens}
    location / {{ default_type text/html; return 200 "<title>$request_uri</title>{text}"; }}
  }}
}}
"""


def address(number: int) -> str:
    """The loopback address that is host `number`, for clients without a resolver of ours."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


def urls(count: int, port: int, *, named: bool) -> Iterator[str]:
    """URLs of all hosts in turn."""
    for number in range(count):
        host = number % HOSTS
        name = f"host{host}.test" if named else address(host)
        yield f"http://{name}:{port}/page/{number}?of={host}"


@contextlib.contextmanager
def nginx() -> Iterator[int]:
    """nginx on the first processor; gives its port."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        raise SystemExit("the benchmark needs nginx: apt-get install nginx-light")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as name:
        root = Path(name)
        root.chmod(0o755)
        listens = " ".join(
            f"listen {place}:{port} backlog=1024;"
            for place in ["127.0.0.1", *map(address, range(HOSTS))]
        )
        (root / "nginx.conf").write_text(
            CONFIGURATION.format(root=root, listens=listens, text="What a page says. " * 25)
        )
        process = subprocess.Popen([program, "-c", str(root / "nginx.conf")])
        os.sched_setaffinity(process.pid, {0})
        try:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
            yield port
        finally:
            process.terminate()
            process.wait()


# --- clients --------------------------------------------------------------------------------------


def loopback_resolver() -> Any:
    from wherry.abc import AbstractResolver

    class Loopback(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
            return [
                {
                    "hostname": host,
                    "host": address(int(host.removeprefix("host").removesuffix(".test"))),
                    "port": port,
                    "family": socket.AF_INET,
                    "proto": 0,
                    "flags": 0,
                }
            ]

        async def close(self) -> None:
            pass

    return Loopback()


async def with_gather(count: int, port: int) -> None:
    """A session and `gather`, with what a Fetcher sees to as well: each URL once, so many at once,
    the page's digest and fields, its status.
    """
    import wherry

    connector = wherry.TCPConnector(
        limit=IN_FLIGHT + 1024, limit_per_host=PER_HOST, resolver=loopback_resolver(),
        ttl_dns_cache=300,
    )  # fmt: skip
    places = asyncio.Semaphore(IN_FLIGHT)
    seen: set[str] = set()
    async with wherry.ClientSession(
        connector=connector, cookie_jar=wherry.DummyCookieJar(), max_body_size=64 * 2**20
    ) as session:

        async def fetch(url: str) -> tuple[str, int, int, str, Any]:
            if url in seen:
                raise ValueError(url)
            seen.add(url)
            async with places, session.get(url) as response:
                body = await response.read()
                return (
                    url, response.status, len(body), sha256(body).hexdigest(), response.headers
                )  # fmt: skip

        pages = await asyncio.gather(*map(fetch, urls(count, port, named=True)))
    assert sum(status == 200 for _, status, *_ in pages) == count


async def with_fetcher(count: int, port: int) -> None:
    from wherry.bulk import Fetcher

    good = 0
    async with Fetcher(
        in_flight=IN_FLIGHT, per_host=PER_HOST, connector_options={"resolver": loopback_resolver()}
    ) as fetcher:
        async for result in fetcher.fetch(urls(count, port, named=True)):
            assert result.page is not None
            assert result.page.digest
            assert result.page.headers
            good += result.status == 200
    assert good == count


def with_scrapy(count: int, port: int) -> None:
    scrapy: Any = importlib.import_module("scrapy")
    crawler: Any = importlib.import_module("scrapy.crawler")

    good = 0

    class Pages(scrapy.Spider):
        name = "pages"

        async def start(self) -> Any:
            for url in urls(count, port, named=False):
                yield scrapy.Request(url, self.parse)

        def parse(self, response: Any, **_: Any) -> None:
            nonlocal good
            good += response.status == 200
            sha256(response.body).hexdigest()

    process = crawler.CrawlerProcess(
        {
            "CONCURRENT_REQUESTS": IN_FLIGHT,
            "CONCURRENT_REQUESTS_PER_DOMAIN": PER_HOST,
            "DOWNLOAD_DELAY": 0,
            "ROBOTSTXT_OBEY": False,
            "COOKIES_ENABLED": False,
            "LOG_ENABLED": False,
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    process.crawl(Pages)
    process.start()
    assert good == count, good


async def with_crawlee(count: int, port: int) -> None:
    crawlee: Any = importlib.import_module("crawlee")
    crawlers: Any = importlib.import_module("crawlee.crawlers")
    storage: Any = importlib.import_module("crawlee.storage_clients")

    good = 0
    crawler = crawlers.HttpCrawler(
        concurrency_settings=crawlee.ConcurrencySettings(
            min_concurrency=IN_FLIGHT, max_concurrency=IN_FLIGHT, desired_concurrency=IN_FLIGHT
        ),
        storage_client=storage.MemoryStorageClient(),
        use_session_pool=False,
        max_request_retries=0,
        configure_logging=False,
    )

    async def take(context: Any) -> None:
        nonlocal good
        sha256(await context.http_response.read()).hexdigest()
        good += context.http_response.status_code == 200

    crawler.router.default_handler(take)
    await crawler.run(list(urls(count, port, named=False)))
    assert good == count, good


def with_aria2c(count: int, port: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        listed = Path(name, "urls.txt")
        with listed.open("w") as file:
            for number, url in enumerate(urls(count, port, named=False)):
                file.write(f"{url}\n out={number}\n")
        command = [
            "aria2c", f"--input-file={listed}", f"--dir={name}/pages", f"-j{IN_FLIGHT}",
            "--no-conf", "--quiet", "--file-allocation=none", "--deferred-input=true",
            "--max-connection-per-server=4", "--auto-save-interval=0",
        ]  # fmt: skip
        subprocess.run(command, check=True)
        assert len(list(Path(name, "pages").iterdir())) == count


CLIENTS: dict[str, Callable[[int, int], Any]] = {
    "gather": with_gather,
    "fetcher": with_fetcher,
    "scrapy": with_scrapy,
    "crawlee": with_crawlee,
    "aria2c": with_aria2c,
}


def is_there(client: str) -> bool:
    if client in {"scrapy", "crawlee"}:
        return importlib.util.find_spec(client) is not None
    return client != "aria2c" or shutil.which("aria2c") is not None


def child(client: str, count: int, port: int, loop: str) -> None:
    """One client in its own process: CPU in microseconds a page, and the most memory in MiB."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    work = CLIENTS[client]
    if client in {"gather", "fetcher", "crawlee"}:
        # Imports are not what is measured.
        importlib.import_module(
            "crawlee.crawlers" if client == "crawlee" else "wherry.bulk.fetcher"
        )
        if loop == "uvloop":
            import uvloop

            before = time.process_time()
            uvloop.run(work(count, port))
        else:
            before = time.process_time()
            asyncio.run(work(count, port))
    else:
        before = time.process_time()
        work(count, port)
    spent = time.process_time() - before
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    if client == "aria2c":
        spent = children.ru_utime + children.ru_stime
    peak = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, children.ru_maxrss)
    print(json.dumps({"cpu": 1e6 * spent / count, "mib": peak / 1024}))


def compare(count: int, rounds: int, loop: str, clients: list[str]) -> None:
    figures: dict[str, list[dict[str, float]]] = {client: [] for client in clients}
    with nginx() as port:
        for _ in range(rounds):
            for client in clients:
                words = ["child", client, str(count), str(port), loop]
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.bulk", *words],
                    capture_output=True, text=True, check=False, cwd=HERE.parent,
                )  # fmt: skip
                if done.returncode:
                    print(f"  {client}: {done.stderr.strip()[-300:]}", file=sys.stderr)
                else:
                    figures[client].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{count} pages of {HOSTS} hosts, {loop}, {rounds} rounds: median CPU time of a page\n")
    print("| client | us | times gather | MiB |\n|---|---|---|---|")
    bare = statistics.median(each["cpu"] for each in figures["gather"])
    for client, samples in figures.items():
        if samples:
            cpu = statistics.median(each["cpu"] for each in samples)
            mib = max(each["mib"] for each in samples)
            print(f"| {client} | {cpu:.0f} | {cpu / bare:.2f} | {mib:.0f} |")


# --- memory ---------------------------------------------------------------------------------------


class Answer:
    """A response that nobody sent, and the context manager that gives it."""

    status, reason, version, charset, method = 200, "OK", None, None, "GET"
    headers = CIMultiDictProxy(CIMultiDict[str]())
    raw_headers: tuple[tuple[bytes, bytes], ...] = ()
    request_info: Any
    # What `brought_by_connection` looks at.
    _head = _exchange = None

    async def read(self) -> bytes:
        return b"a small page"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


Answer.request_info = Answer()


class Answering:
    """Stands for a session: it answers by itself."""

    def __init__(self, **_: Any) -> None:
        pass

    def get(self, url: str, **_: Any) -> Answer:
        return Answer()

    async def close(self) -> None:
        pass


async def remember(count: int, hosts: int, checkpoint: str | None) -> None:
    """Read `count` URLs from a generator; a transport of our own answers, so that it is quick."""
    from unittest.mock import patch

    import wherry
    from wherry.bulk import Fetcher

    def many() -> Iterator[str]:
        # A tenth of them are one host's, and come first: they must not pile up.
        for number in range(count // 10):
            yield f"http://large.test/{number}"
        for number in range(count - count // 10):
            yield f"http://host{number % hosts}.test/{number}"

    began, done = time.perf_counter(), 0
    with patch.object(wherry, "ClientSession", Answering):
        async with Fetcher(in_flight=100, checkpoint=checkpoint) as fetcher:
            async for _ in fetcher.fetch(many()):
                done += 1
                if done % (count // 20) == 0:
                    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                    report = fetcher.report
                    print(
                        f"{done:>12,} of {count:,}: {peak:.0f} MiB at most,"
                        f" {report.hosts:,} hosts, {report.spilled:,} URLs on disk,"
                        f" {time.perf_counter() - began:.0f} s",
                        flush=True,
                    )


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        _, _, client, count, port, loop = sys.argv
        child(client, int(count), int(port), loop)
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["cost", "memory"], default="cost")
    parser.add_argument("--pages", type=int, help="100,000, or 10,000,000 for memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--hosts", type=int, default=5_000_000, help="for memory")
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--checkpoint", help="for memory: a file")
    given = parser.parse_args()
    if given.what == "memory":
        asyncio.run(remember(given.pages or 10_000_000, given.hosts, given.checkpoint))
        return
    clients = [client for client in given.clients.split(",") if is_there(client)]
    compare(given.pages or 100_000, given.rounds, given.loop, clients)


if __name__ == "__main__":
    main()
