"""One client in one fresh process: runs a scenario and prints its figures as one line of JSON.

Each client is used as its own documentation shows it; what differs is named here, in one small
class a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count, cycle
from typing import Any

from benchmarks.scenarios import SCENARIOS, UNLIKE, Scenario

MESSAGE = {"chat_id": 12345, "text": "Hello, World!"}
COOKIES = {f"name{at}": f"value{at}" for at in range(30)}
# The program reads these.
READ = ("X-Request-Id", "ETag", "X-RateLimit-Remaining")
Fetch = Callable[[], Awaitable[Any]]


class Setting:
    """What a client needs to know: the scenario, the URL, the authority's file and the file to
    send.
    """

    def __init__(self, scenario: Scenario, url: str, authority: str, upload: str) -> None:
        self.scenario = scenario
        self.urls = url.split()
        self.url = self.urls[0]
        self.next_url: Callable[[], str] = cycle(self.urls).__next__
        self.numbers = count(int(time.time()))
        if scenario.path == UNLIKE:
            self.next_url = self.new_url
        self.upload = upload
        self.authority = authority
        self.context = ssl.create_default_context(cafile=authority)
        if scenario.tls_version == "1.2":
            self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.cookies = COOKIES if scenario.kind == "cookies" else None
        if scenario.kind == "session":
            self.cookies = dict(list(COOKIES.items())[:10])

    def new_url(self) -> str:
        """A URL that was never asked for."""
        number = next(self.numbers)
        if self.scenario.kind == "params":
            return f"{self.url}users/{number}"
        return f"{self.url}users/{number}?page={number}"

    def arguments(self) -> dict[str, Any]:
        """Query and fields of one request alone."""
        number = next(self.numbers)
        return {
            "params": {"page": number, "per_page": 100, "q": f"term {number}"},
            "headers": {"Authorization": f"Bearer {number}", "X-Request-Id": f"r-{number}"},
        }


async def pass_on(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
    return await handler(request)


def trace_config(module: Any) -> Any:
    async def listen(session: Any, context: Any, params: Any) -> None:
        pass

    config = module.TraceConfig()
    for signal in (
        config.on_request_start,
        config.on_request_headers_sent,
        config.on_connection_reuseconn,
    ):
        signal.append(listen)
    config.on_request_end.append(listen)
    return config


def orjson_options(module: Any) -> dict[str, Any]:
    """How a session is told to write JSON by orjson."""
    import orjson

    if module.__name__ == "wherry":
        return {"json": "orjson"}
    return {"json_serialize_bytes": orjson.dumps}


def orjson_loads(module: Any) -> dict[str, Any]:
    """How a response is told to read JSON by orjson, where its session does not say so."""
    import orjson

    return {} if module.__name__ == "wherry" else {"loads": orjson.loads}


@contextlib.asynccontextmanager
async def aiohttp_like(module: Any, at: Setting) -> AsyncIterator[Fetch]:
    url, kind = at.url, at.scenario.kind
    options: dict[str, Any] = {"protocols": ("h2", "http/1.1")} if kind == "http2" else {}
    if kind == "connect" and module.__name__ == "wherry":
        # Others resume the sessions of any context; we, of one that stays as it is.
        options["tls_resumption"] = True
    connector = module.TCPConnector(limit=at.scenario.limit, ssl=at.context, **options)
    jar = module.CookieJar(unsafe=True)
    options = {}
    if kind == "middlewares":
        options["middlewares"] = (pass_on,) * 5
    elif kind == "session":
        options["middlewares"] = (pass_on,)
    elif kind == "orjson":
        options.update(orjson_options(module))
    elif kind == "traced":
        options["trace_configs"] = [trace_config(module)]
    reading = orjson_loads(module) if kind == "orjson" else {}
    async with module.ClientSession(
        connector=connector, cookie_jar=jar, cookies=at.cookies, **options
    ) as session:

        async def get_json() -> None:
            async with session.get(at.next_url()) as response:
                await response.json()

        async def post() -> None:
            async with session.post(at.next_url(), json=MESSAGE) as response:
                await response.json(**reading)

        async def params() -> None:
            async with session.get(at.next_url(), **at.arguments()) as response:
                await response.json()

        async def headers() -> None:
            async with session.get(at.next_url()) as response:
                assert response.status == 200
                _ = [response.headers[name] for name in READ]
                await response.json()

        auth, timeout = module.BasicAuth("user", "secret"), module.ClientTimeout(total=30)

        async def with_all() -> None:
            async with session.get(at.next_url(), auth=auth, timeout=timeout) as response:
                await response.json()

        async def download() -> None:
            async with session.get(url) as response:
                async for _ in response.content.iter_chunked(65536):
                    pass

        async def upload() -> None:
            with open(at.upload, "rb") as file:
                async with session.post(url, data=file) as response:
                    await response.read()

        async def multipart() -> None:
            with open(at.upload, "rb") as file:
                async with session.post(url, data={"file": file, "name": "x"}) as response:
                    await response.read()

        yield {
            "post": post,
            "orjson": post,
            "params": params,
            "headers": headers,
            "session": with_all,
            "download": download,
            "upload": upload,
            "multipart": multipart,
        }.get(kind, get_json)


@contextlib.asynccontextmanager
async def with_wherry(at: Setting) -> AsyncIterator[Fetch]:
    import wherry

    async with aiohttp_like(wherry, at) as fetch:
        yield fetch


@contextlib.asynccontextmanager
async def with_aiohttp(at: Setting) -> AsyncIterator[Fetch]:
    import aiohttp

    async with aiohttp_like(aiohttp, at) as fetch:
        yield fetch


@contextlib.asynccontextmanager
async def with_httpx(at: Setting) -> AsyncIterator[Fetch]:
    import httpx

    async with httpx_like(httpx, at) as fetch:
        yield fetch


@contextlib.asynccontextmanager
async def with_httpx2(at: Setting) -> AsyncIterator[Fetch]:
    import httpx2

    async with httpx_like(httpx2, at) as fetch:
        yield fetch


@contextlib.asynccontextmanager
async def httpx_like(httpx: Any, at: Setting) -> AsyncIterator[Fetch]:
    url, kind = at.url, at.scenario.kind
    limits = httpx.Limits(
        max_connections=at.scenario.limit, max_keepalive_connections=at.scenario.limit
    )
    async with httpx.AsyncClient(
        http1=kind != "http2",
        http2=kind == "http2",
        verify=at.context,
        limits=limits,
        cookies=at.cookies,
        follow_redirects=True,
        timeout=300,
        trust_env=False,
    ) as client:

        async def get_json() -> None:
            (await client.get(at.next_url())).json()

        async def post() -> None:
            (await client.post(at.next_url(), json=MESSAGE)).json()

        async def params() -> None:
            (await client.get(at.next_url(), **at.arguments())).json()

        async def headers() -> None:
            response = await client.get(at.next_url())
            assert response.status_code == 200
            _ = [response.headers[name] for name in READ]
            response.json()

        async def download() -> None:
            async with client.stream("GET", url) as response:
                async for _ in response.aiter_bytes(65536):
                    pass

        async def pieces() -> AsyncIterator[bytes]:
            with open(at.upload, "rb") as file:
                while piece := file.read(65536):
                    yield piece

        async def upload() -> None:
            length = str(os.path.getsize(at.upload))
            (await client.post(url, content=pieces(), headers={"Content-Length": length})).read()

        async def multipart() -> None:
            with open(at.upload, "rb") as file:
                await client.post(url, files={"file": file}, data={"name": "x"})

        yield {
            "post": post,
            "params": params,
            "headers": headers,
            "download": download,
            "upload": upload,
            "multipart": multipart,
        }.get(kind, get_json)


@contextlib.asynccontextmanager
async def with_niquests(at: Setting) -> AsyncIterator[Fetch]:
    import niquests

    url, kind = at.url, at.scenario.kind
    limit = at.scenario.limit
    versions = {
        "disable_http1" if kind == "http2" else "disable_http2": True,
        "disable_http3": True,
    }
    async with niquests.AsyncSession(
        pool_maxsize=limit, pool_connections=limit, **versions
    ) as session:
        session.verify = at.authority
        session.trust_env = False
        for name, value in (at.cookies or {}).items():
            session.cookies.set(name, value)

        async def get_json() -> None:
            (await session.get(at.next_url())).json()

        async def post() -> None:
            (await session.post(at.next_url(), json=MESSAGE)).json()

        async def download() -> None:
            response = await session.get(url, stream=True)
            async for _ in await response.iter_content(65536):
                pass

        async def upload() -> None:
            with open(at.upload, "rb") as file:
                await session.post(url, data=file)

        async def multipart() -> None:
            with open(at.upload, "rb") as file:
                await session.post(url, files={"file": file}, data={"name": "x"})

        yield {"post": post, "download": download, "upload": upload, "multipart": multipart}.get(
            kind, get_json
        )


@contextlib.asynccontextmanager
async def with_pyreqwest(at: Setting) -> AsyncIterator[Fetch]:
    from pyreqwest.client import ClientBuilder
    from pyreqwest.multipart import FormBuilder

    url, kind = at.url, at.scenario.kind
    with open(at.authority, "rb") as file:
        builder = ClientBuilder().add_root_certificate_pem(file.read()).no_proxy()
    builder = builder.http2(True) if kind == "http2" else builder.http1_only()
    builder = builder.pool_max_idle_per_host(at.scenario.limit).default_cookie_store(True)
    builder = builder.max_connections(at.scenario.limit)
    if at.cookies:
        builder = builder.default_headers(
            {"Cookie": "; ".join(f"{k}={v}" for k, v in at.cookies.items())}
        )
    async with builder.build() as client:

        async def get_json() -> None:
            await (await client.get(at.next_url()).build().send()).json()

        async def post() -> None:
            await (await client.post(at.next_url()).body_json(MESSAGE).build().send()).json()

        async def params() -> None:
            own = at.arguments()
            query = {name: str(value) for name, value in own["params"].items()}
            request = client.get(at.next_url()).query(query).headers(own["headers"])
            await (await request.build().send()).json()

        async def headers() -> None:
            response = await client.get(at.next_url()).build().send()
            assert response.status == 200
            _ = [response.headers[name] for name in READ]
            await response.json()

        async def download() -> None:
            async with client.get(url).build_streamed() as response:
                while await response.body_reader.read(65536):
                    pass

        async def pieces() -> AsyncIterator[bytes]:
            with open(at.upload, "rb") as file:
                while piece := file.read(65536):
                    yield piece

        async def upload() -> None:
            await client.post(url).body_stream(pieces()).build().send()

        async def multipart() -> None:
            form = (
                await FormBuilder().file("file", at.upload)
                if hasattr(FormBuilder, "file")
                else None
            )
            await client.post(url).multipart(form).build().send()

        yield {
            "post": post,
            "orjson": post,
            "params": params,
            "headers": headers,
            "download": download,
            "upload": upload,
            "multipart": multipart,
        }.get(kind, get_json)


@contextlib.asynccontextmanager
async def with_pyqwest(at: Setting) -> AsyncIterator[Fetch]:
    from pyqwest import Client, HTTPTransport, HTTPVersion

    url, kind = at.url, at.scenario.kind
    with open(at.authority, "rb") as file:
        authority = file.read()
    async with HTTPTransport(
        tls_ca_cert=authority,
        http_version=HTTPVersion.HTTP2 if kind == "http2" else HTTPVersion.HTTP1,
        proxy=(),
        pool_max_idle_per_host=at.scenario.limit,
        max_connections_per_address=at.scenario.limit,
        enable_otel=False,
        use_system_dns=True,
    ) as transport:
        client = Client(transport)
        own = (
            {"Cookie": "; ".join(f"{k}={v}" for k, v in at.cookies.items())} if at.cookies else None
        )

        async def get_json() -> None:
            (await client.get(at.next_url(), own)).json()

        async def post() -> None:
            (await client.post(at.next_url(), content=MESSAGE)).json()

        async def params() -> None:
            own = at.arguments()
            query = {name: str(value) for name, value in own["params"].items()}
            (await client.get(at.next_url(), own["headers"], params=query)).json()

        async def headers() -> None:
            response = await client.get(at.next_url())
            assert response.status == 200
            _ = [response.headers[name] for name in READ]
            response.json()

        async def download() -> None:
            async with client.stream("GET", url) as response:
                async for _ in response.content:
                    pass

        async def upload() -> None:
            async def pieces() -> AsyncIterator[bytes]:
                with open(at.upload, "rb") as file:
                    while piece := file.read(65536):
                        yield piece

            await client.post(url, content=pieces())

        yield {
            "post": post,
            "params": params,
            "headers": headers,
            "download": download,
            "upload": upload,
        }.get(kind, get_json)


@contextlib.asynccontextmanager
async def with_curl_cffi(at: Setting) -> AsyncIterator[Fetch]:
    from curl_cffi import CurlHttpVersion, CurlMime
    from curl_cffi.requests import AsyncSession

    url, kind = at.url, at.scenario.kind
    async with AsyncSession(
        max_clients=at.scenario.limit,
        verify=at.authority,
        cookies=at.cookies,
        trust_env=False,
        timeout=300,
        http_version=CurlHttpVersion.V2_0 if kind == "http2" else CurlHttpVersion.V1_1,
    ) as session:

        async def get_json() -> None:
            (await session.get(at.next_url())).json()

        async def post() -> None:
            (await session.post(at.next_url(), json=MESSAGE)).json()

        async def download() -> None:
            async with session.stream("GET", url) as response:
                async for _ in response.aiter_content():
                    pass

        async def upload() -> None:
            with open(at.upload, "rb") as file:
                await session.post(url, data=file.read())

        async def multipart() -> None:
            form = CurlMime()
            form.addpart(name="file", filename="f", local_path=at.upload)
            await session.post(url, multipart=form)
            form.close()

        yield {"post": post, "download": download, "upload": upload, "multipart": multipart}.get(
            kind, get_json
        )


@contextlib.asynccontextmanager
async def with_aiosonic(at: Setting) -> AsyncIterator[Fetch]:
    import aiosonic
    from aiosonic.connectors import TCPConnector
    from aiosonic.timeout import Timeouts

    url, kind = at.url, at.scenario.kind
    timeouts = Timeouts(sock_connect=300, sock_read=300, pool_acquire=300, request_timeout=300)
    connector = TCPConnector(timeouts=timeouts)
    connector.pool_size = at.scenario.limit
    options = {"ssl": at.context} if at.scenario.tls else {}
    headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in at.cookies.items())} if at.cookies else {}
    async with aiosonic.HTTPClient(connector, handle_cookies=at.cookies is not None) as client:

        async def get_json() -> None:
            response = await client.get(at.next_url(), headers=headers, follow=True, **options)
            await response.json()

        async def post() -> None:
            await (await client.post(at.next_url(), json=MESSAGE)).json()

        async def download() -> None:
            await (await client.get(url)).content()

        async def upload() -> None:
            async def pieces() -> AsyncIterator[bytes]:
                with open(at.upload, "rb") as file:
                    while piece := file.read(65536):
                        yield piece

            await client.post(url, data=pieces())

        async def multipart() -> None:
            with open(at.upload, "rb") as file:
                await client.post(url, data={"file": file, "name": "x"}, multipart=True)

        yield {"post": post, "download": download, "upload": upload, "multipart": multipart}.get(
            kind, get_json
        )


@contextlib.asynccontextmanager
async def with_floor(at: Setting) -> AsyncIterator[Fetch]:
    """What cannot be undercut in Python: a bare protocol with httptools, and a request that was
    written before.
    """
    import httptools
    from yarl import URL

    loop = asyncio.get_running_loop()
    url = URL(at.url)
    view = memoryview(bytearray(2**18))
    cookie = (
        "Cookie: " + "; ".join(f"{k}={v}" for k, v in at.cookies.items()) + "\r\n"
        if at.cookies
        else ""
    )
    paths = [url.raw_path] if at.scenario.path != "/r3" else ["/r3", "/r2", "/r1", "/json"]
    agent = "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: floor\r\n"
    heads = [
        f"GET {p} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n{agent}{cookie}\r\n".encode()
        for p in paths
    ]
    plain = at.scenario.kind != "download"
    if at.scenario.path == UNLIKE:
        heads = []
    origin = f"{url.scheme}://{url.authority}"
    rest = f" HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n{agent}\r\n"

    def written(text: str) -> bytes:
        return f"GET {text.removeprefix(origin)}{rest}".encode()

    class Protocol(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.parser = httptools.HttpResponseParser(self)
            self.fields: list[tuple[bytes, bytes]] = []
            self.body = b""

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def get_buffer(self, sizehint: int) -> memoryview:
            return view

        def buffer_updated(self, nbytes: int) -> None:
            self.parser.feed_data(view[:nbytes])

        def on_header(self, name: bytes, value: bytes) -> None:
            self.fields.append((name, value))

        def on_body(self, data: bytes) -> None:
            self.body = data

        def on_message_complete(self) -> None:
            self.waiter.set_result(self.body)

        async def ask(self, head: bytes) -> bytes:
            self.waiter = loop.create_future()
            self.fields = []
            self.transport.write(head)
            return await self.waiter  # type: ignore[no-any-return]

    idle: list[Protocol] = []
    places = asyncio.Semaphore(at.scenario.limit)
    tls = {"ssl": at.context, "server_hostname": "localhost"}
    options: dict[str, Any] = tls if at.scenario.tls else {}

    async def fetch() -> None:
        async with places if at.scenario.tasks > at.scenario.limit else contextlib.nullcontext():
            once = at.scenario.kind == "connect"
            if idle:
                protocol = idle.pop()
            else:
                _, protocol = await loop.create_connection(
                    Protocol, "127.0.0.1", url.port or 0, **options
                )
            for head in heads or [written(at.next_url())]:
                body = await protocol.ask(head)
            if plain:
                json.loads(body)
            if once:
                protocol.transport.close()
            else:
                idle.append(protocol)

    yield fetch
    for protocol in idle:
        protocol.transport.close()


def resident() -> float:
    """KiB of memory that this process has now."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1024


async def measure_memory(scenario: Scenario, fetch: Fetch) -> dict[str, float]:
    """What a connection takes that has carried requests and is kept."""

    async def task() -> None:
        for _ in range(scenario.requests // scenario.tasks):
            await fetch()

    for _ in range(50):
        await fetch()
    gc.collect()
    before = resident()
    await asyncio.gather(*[task() for _ in range(scenario.tasks)])
    gc.collect()
    return {"value": (resident() - before) / scenario.tasks}


async def measure(scenario: Scenario, fetch: Fetch) -> dict[str, float]:
    if scenario.kind == "memory":
        return await measure_memory(scenario, fetch)

    async def run(total: int, latencies: list[float] | None = None) -> None:
        async def task(count: int) -> None:
            for _ in range(count):
                begun = time.perf_counter()
                await fetch()
                if latencies is not None:
                    latencies.append(time.perf_counter() - begun)

        await asyncio.gather(
            *[task(max(1, total // scenario.tasks)) for _ in range(scenario.tasks)]
        )

    heavy = scenario.kind in {"download", "upload", "multipart"}
    await run(1 if heavy else max(scenario.tasks * 3, scenario.requests // 20))
    gc.collect()
    latencies: list[float] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    await run(scenario.requests, latencies if scenario.kind == "latency" else None)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    figures = {"wall": wall, "a_second": scenario.requests / wall, "growth_mib": growth}
    if scenario.kind == "latency":
        latencies.sort()
        figures["value"] = 1000 * latencies[len(latencies) // 2]
        figures["cpu"] = 1_000_000 * cpu / scenario.requests
        figures["p99"] = 1000 * latencies[int(len(latencies) * 0.99)]
    elif heavy:
        figures["value"] = 1000 * cpu / scenario.requests
    else:
        figures["value"] = 1_000_000 * cpu / scenario.requests
    return figures


async def main(scenario: Scenario, client: str, url: str, authority: str, upload: str) -> None:
    make = globals()[f"with_{client}"]
    async with make(Setting(scenario, url, authority, upload)) as fetch:
        print(json.dumps(await measure(scenario, fetch)), flush=True)


if __name__ == "__main__":
    name, client_, loop_, url_, authority_, upload_ = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    chosen = next(scenario for scenario in SCENARIOS if scenario.name == name)
    work = main(chosen, client_, url_, authority_, upload_)
    if loop_ == "uvloop":
        import uvloop

        uvloop.run(work)
    else:
        asyncio.run(work)
