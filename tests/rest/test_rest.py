"""The REST client, and the document's own adapter with our names."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import enum
import json
import re
import typing
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Dict, Optional  # noqa: UP035  (the document's)

import attrs
import cattrs
import cattrs.gen
import pytest
from tests.rest import typed
from tests.servers.raw import RawServer, read_request, response
from yarl import URL

import wherry
from wherry.rest import RestClient, RestConfig, RestError, decode, encode
from wherry.testing import LocalServer

Start = Callable[..., Awaitable[RawServer]]
log = __import__("logging").getLogger(__name__)


# --- the document's adapter, its slips mended (a missing import or two, a missing call) -----------


@dataclass
class Config:
    verify_ssl: bool = True
    tcp_connections: int = 5


class Http:
    """A generic HTTP Rest adapter."""

    def __init__(self, config: Optional[Config] = None) -> None:  # noqa: UP045
        self.config = Config() if config is None else config

    async def __aenter__(self) -> Http:  # noqa: PYI034
        self._con = wherry.TCPConnector(
            verify_ssl=self.config.verify_ssl, limit=self.config.tcp_connections
        )
        self._session = wherry.ClientSession(connector=self._con)
        return self

    async def __aexit__(self, exc_type: Any, exc: Any, tb: Any) -> None:
        await self._session.close()
        await self._con.close()

    async def request(
        self,
        url: str,
        method: str = "get",
        query_param: Optional[Dict] = None,  # type: ignore[type-arg]  # noqa: UP006, UP045
        headers: Optional[Dict] = None,  # type: ignore[type-arg]  # noqa: UP006, UP045
        body: Optional[Dict] = None,  # type: ignore[type-arg]  # noqa: UP006, UP045
    ) -> wherry.ClientResponse:
        method = method.upper()
        headers = headers or {}

        if method == "GET":
            log.debug(f"Fetching page {url}")  # noqa: G004
            async with self._session.get(url, params=query_param, headers=headers) as response:
                if response.status != 200:
                    log.debug(f"{url} returned an {response.status} code")  # noqa: G004
                    response.raise_for_status()
                return response
        raise AssertionError(method)


pytestmark = pytest.mark.filterwarnings("ignore:verify_ssl is deprecated:DeprecationWarning")


async def test_the_adapter_gets_a_page(
    wherry_server: LocalServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """S003-20, S003-26"""
    async with Http() as client:
        print(await client.request(method="GET", url=wherry_server.url("/get")))
    assert "<ClientResponse(http://127.0.0.1:" in (shown := capsys.readouterr().out)
    assert "[200" in shown


async def test_the_adapter_sends_query_and_headers(raw_server: Start) -> None:
    """S003-21"""
    server = await raw_server([response(b"{}")])
    async with Http() as client:
        await client.request(server.url, query_param={"q": "1"}, headers={"X-A": "b"})
    assert bytes(server.received[0]).startswith(b"GET /?q=1 HTTP/1.1\r\n")
    assert b"X-A: b\r\n" in bytes(server.received[0])


async def test_the_adapter_raises_for_bad_statuses(wherry_server: LocalServer) -> None:
    """S003-22"""
    async with Http() as client:
        with pytest.raises(wherry.ClientResponseError) as caught:
            await client.request(wherry_server.url("/status/404"))
    assert caught.value.status == 404


async def test_the_adapters_verify_ssl(wherry_tls_server: LocalServer) -> None:
    """S003-23"""
    async with Http() as strict:
        with pytest.raises(wherry.ClientConnectorCertificateError):
            await strict.request(wherry_tls_server.url("/get"))
    async with Http(Config(verify_ssl=False)) as loose:
        assert (await loose.request(wherry_tls_server.url("/get"))).status == 200


@pytest.mark.parametrize("limit", [5, 2])
async def test_the_adapters_connections(raw_server: Start, limit: int) -> None:
    """S003-24"""
    await _hold(
        raw_server, limit, lambda: Http() if limit == 5 else Http(Config(tcp_connections=limit))
    )


async def _hold(raw_server: Start, limit: int, make: Callable[[], Any]) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(response(b"{}", fields="Content-Type: application/json\r\n"))

    server = await raw_server(script)
    async with make() as client:
        await asyncio.gather(*(client.request(server.url) for _ in range(50)))
    assert server.connections == limit


async def test_closing_the_adapter_twice_is_harmless(wherry_server: LocalServer) -> None:
    """S003-25"""
    client = Http()
    with pytest.raises(wherry.ClientResponseError):
        async with client:
            await client.request(wherry_server.url("/status/500"))
    await client.__aexit__(None, None, None)


# --- ours -----------------------------------------------------------------------------------------


@dataclass
class Address:
    street: str
    number: int | None = None


@dataclass
class User:
    id: int
    name: str
    addresses: list[Address]
    weight: float = 1.0


USER = {"id": 7, "name": "Ann", "addresses": [{"street": "Quay", "number": None}], "extra": True}
ANN = User(7, "Ann", [Address("Quay")])


def as_json(value: Any, **more: Any) -> bytes:
    fields = "Content-Type: application/json\r\n" + more.pop("fields", "")
    return response(json.dumps(value).encode(), fields=fields, **more)


async def test_no_config_is_needed(raw_server: Start) -> None:
    """S003-30"""
    server = await raw_server([as_json({"a": 1})])
    async with RestClient() as api:
        reply = await api.request(server.url + "/x", "get", {"q": "1"}, {"X-A": "b"})
        assert reply.status == 200
        assert await reply.json() == {"a": 1}
    assert bytes(server.received[0]).startswith(b"GET /x?q=1 HTTP/1.1\r\n")
    assert b"X-A: b\r\n" in bytes(server.received[0])


@pytest.mark.parametrize("method", ["post", "PUT", "Patch", "delete"])
async def test_a_body_is_json_with_any_verb_in_any_case(raw_server: Start, method: str) -> None:
    """S003-31"""
    server = await raw_server([as_json({})])
    async with RestClient(RestConfig()) as api:
        await api.request(server.url, method, body={"a": [1]})
    sent = bytes(server.received[0])
    assert sent.startswith(method.upper().encode() + b" / HTTP/1.1\r\n")
    assert sent.endswith(b'\r\n\r\n{"a": [1]}')
    assert b"Content-Type: application/json\r\n" in sent


@pytest.mark.parametrize("base", ["/api/v1", "/api/v1/"])
@pytest.mark.parametrize("verb", ["get", "post", "put", "patch", "delete", "head", "options"])
async def test_verbs_base_url_and_headers(raw_server: Start, base: str, verb: str) -> None:
    """S003-32"""
    server = await raw_server([response(b"", status="200 OK")])
    async with RestClient(base_url=server.url + base, headers={"X-App": "demo"}) as api:
        assert (await getattr(api, verb)("/users/1")).status == 200
    sent = bytes(server.received[0])
    assert sent.startswith(verb.upper().encode() + b" /api/v1/users/1 HTTP/1.1\r\n")
    assert b"X-App: demo\r\n" in sent


async def test_typed_results(raw_server: Start) -> None:
    """S003-33"""
    server = await raw_server(
        [as_json(USER), as_json([USER, USER]), as_json({"x": 1}), as_json({"id": "seven"})]
    )
    async with RestClient(base_url=server.url) as api:
        assert await api.get("/users/7", model=User, full="yes") == ANN
        assert await api.get("/users", model=list[User]) == [ANN, ANN]
        assert await api.get("/any", model=dict[str, int]) == {"x": 1}
        with pytest.raises(RestError, match=r"User\.id: expected int, got 'seven'"):
            await api.get("/users/8", model=User)
    assert b"GET /users/7?full=yes " in bytes(server.received[0])


def test_models_of_other_libraries() -> None:
    import msgspec
    import pydantic

    class Struct(msgspec.Struct):
        id: int

    class Model(pydantic.BaseModel):
        id: int

    assert decode({"id": 1}, Struct) == Struct(1)
    assert decode([{"id": 1}], list[Model]) == [Model(id=1)]


@pytest.mark.parametrize(
    ("value", "model"),
    [
        (True, int),
        ("1", int),
        (None, int),
        ({}, User),
        ([], dict[str, int]),
        ({}, list[int]),
        ("c", typing.Literal["a"]),
    ],
)
def test_values_that_do_not_fit(value: Any, model: Any) -> None:
    with pytest.raises(ValueError, match=r"expected|missing"):
        decode(value, model)


def test_values_that_fit() -> None:
    assert decode(1, float) == 1.0
    assert decode([1, "a"], tuple[int, str]) == (1, "a")
    assert decode([1, 1], set[int]) == {1}
    assert decode(None, int | None) is None
    assert decode("a", typing.Literal["a", "b"]) == "a"


async def test_errors_carry_the_problem(raw_server: Start) -> None:
    """S003-34"""
    problem = {"type": "about:blank", "title": "Out of rope", "detail": "none left", "status": 409}
    body = json.dumps(problem).encode()
    bad = response(body, status="409 Conflict", fields="Content-Type: application/problem+json\r\n")
    server = await raw_server([bad, response(b"<p>no</p>", status="500 Oops"), as_json(None)])
    async with RestClient(base_url=server.url) as api:
        with pytest.raises(RestError) as caught:
            await api.get("/a")
        assert (caught.value.status, caught.value.message, caught.value.problem) == (
            409,
            "none left",
            problem,
        )
        assert caught.value.url == server.url + "/a"
        with pytest.raises(RestError) as caught:
            await api.get("/b")
        assert (caught.value.status, caught.value.problem, caught.value.text) == (
            500,
            None,
            "<p>no</p>",
        )
        assert await api.get("/c", model=type(None)) is None


async def test_connections_and_certificates(
    raw_server: Start, wherry_tls_server: LocalServer
) -> None:
    """S003-35"""
    await _hold(raw_server, 3, lambda: RestClient(tcp_connections=3))
    async with RestClient(RestConfig(base_url=wherry_tls_server.url("/"))) as strict:
        with pytest.raises(wherry.ClientConnectorCertificateError):
            await strict.get("/get")
    client = RestClient(base_url=wherry_tls_server.url("/"), verify_ssl=False)
    async with client as loose:
        assert (await loose.get("/get")).status == 200
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await client.get("/get")


async def test_misspelt_options_and_bad_methods(raw_server: Start) -> None:
    """S003-36"""
    with pytest.raises(TypeError, match="tcp_conections"):
        RestClient(tcp_conections=3)
    async with RestClient() as api:
        with pytest.raises(ValueError, match="'GTE' is not a method"):
            await api.request("http://127.0.0.1:1/", "GTE")
    with pytest.raises(RuntimeError, match="async with"):
        await RestClient().get("http://127.0.0.1:1/")


async def test_retries(raw_server: Start) -> None:
    server = await raw_server(
        [response(status="503 Busy", fields="Retry-After: 0\r\n"), as_json({"a": 1})]
    )
    async with RestClient(base_url=server.url, retries=2) as api:
        assert await api.get("/", model=dict[str, int]) == {"a": 1}


async def test_pages_by_link(raw_server: Start) -> None:
    server = await raw_server(
        [as_json([1, 2], fields='Link: </p?page=2>; rel="next"\r\n'), as_json([3])]
    )
    async with RestClient(base_url=server.url) as api:
        assert [item async for item in api.pages("/p", model=int)] == [1, 2, 3]
    assert b"GET /p?page=2 " in b"".join(bytes(each) for each in server.received)


async def test_pages_by_cursor(raw_server: Start) -> None:
    server = await raw_server(
        [as_json({"data": [1], "next": "x"}), as_json({"data": [2], "next": None})]
    )
    async with RestClient(base_url=server.url) as api:
        got = [
            item async for item in api.pages("/p", model=int, items="data", cursor="next", size=1)
        ]
    assert got == [1, 2]
    assert b"GET /p?size=1&cursor=x " in b"".join(bytes(each) for each in server.received)


async def test_verbs_take_a_body_query_and_headers_alike(raw_server: Start) -> None:
    server = await raw_server([as_json({"id": 1})] * 2)
    async with RestClient(base_url=server.url) as api:
        await api.patch("/a", {"x": 1}, headers={"X-A": "b"}, query_param={"model": "m"}, q=1)
        await api.get("/a", {"x": 1}, headers={"X-A": "b"}, query_param={"model": "m"}, q=1)
    for verb, sent in zip(
        (b"PATCH", b"GET"), bytes(server.received[0]).split(b'{"x": 1}'), strict=False
    ):
        assert sent.startswith(verb + b" /a?model=m&q=1 HTTP/1.1\r\n")
        assert b"X-A: b\r\n" in sent


async def test_models_are_sent_too(raw_server: Start) -> None:
    server = await raw_server([as_json({})])
    async with RestClient(base_url=server.url) as api:
        await api.post("/users", ANN)
    sent = json.loads(bytes(server.received[0]).partition(b"\r\n\r\n")[2])
    assert sent == {
        "id": 7, "name": "Ann", "addresses": [{"street": "Quay", "number": None}], "weight": 1.0,
    }  # fmt: skip


class Colour(enum.Enum):
    RED = "red"


class Row(typing.TypedDict):
    name: str
    size: typing.NotRequired[int]


@dataclass
class Event:
    at: dt.datetime
    day: dt.date
    number: uuid.UUID
    price: decimal.Decimal
    colour: Colour
    row: Row
    tags: frozenset[str]
    note: typing.Annotated[str, "shown"]


EVENT = Event(
    dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC), dt.date(2026, 1, 2), uuid.UUID(int=5), decimal.Decimal("1.50"),
    Colour.RED, {"name": "n"}, frozenset({"a"}), "x",
)  # fmt: skip


def test_the_librarys_own_types_go_both_ways() -> None:
    assert decode(json.loads(json.dumps(EVENT, default=encode)), Event) == EVENT
    assert decode("2026-01-02T03:04:00Z", dt.datetime) == EVENT.at


@pytest.mark.parametrize(
    ("value", "model"),
    [("soon", dt.datetime), (5, dt.date), ("x", uuid.UUID), ("x", decimal.Decimal), (True, decimal.Decimal),
     ("blue", Colour), ({"size": 1}, Row), ([], Row), ({"name": 1}, Row)],
)  # fmt: skip
def test_values_that_do_not_fit_these(value: Any, model: Any) -> None:
    with pytest.raises(ValueError, match=r"expected|missing|not a valid"):
        decode(value, model)


def test_models_of_other_libraries_are_sent() -> None:
    import msgspec
    import pydantic

    class Struct(msgspec.Struct):
        at: dt.date

    class Model(pydantic.BaseModel):
        at: dt.date

    for kind in (Struct, Model):
        assert encode(kind(at=EVENT.day)) == {"at": "2026-01-02"}
    with pytest.raises(TypeError, match="object cannot be sent"):
        encode(object())


async def _pages(api: RestClient, **options: Any) -> list[Any]:
    return [item async for item in api.pages("/p", **options)]


@pytest.mark.parametrize(
    ("page", "options", "message"),
    [
        ({"data": [1]}, {"items": "rows", "cursor": "next"}, "not as asked for"),
        ({"data": 1}, {"items": "data"}, "not as asked for"),
        ([1, "a"], {"model": int}, "expected int, got 'a'"),
        ([1], {"items": "data"}, "leads into list"),
        (
            {"data": [1], "meta": {"next": "x"}},
            {"items": "data", "cursor": "meta.next", "max_pages": 2},
            "than 2 pages",
        ),
    ],
)
async def test_pages_that_are_none_are_told(
    raw_server: Start, page: Any, options: Any, message: str
) -> None:
    """A list that is cut off does not look like a whole one."""
    server = await raw_server([as_json(page)] * 2)
    async with RestClient(base_url=server.url) as api:
        with pytest.raises(RestError, match=message) as caught:
            await _pages(api, **options)
    assert caught.value.url.startswith(server.url + "/p")


async def test_a_page_that_is_no_json_is_told(raw_server: Start) -> None:
    server = await raw_server([response(b"<html>")])
    async with RestClient(base_url=server.url) as api:
        with pytest.raises(RestError, match="the body is no JSON: "):
            await _pages(api)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"{", b"<p>", b"  "])
async def test_a_body_that_is_no_json_is_told(raw_server: Start, body: bytes) -> None:
    server = await raw_server([response(body, fields="Content-Type: application/json\r\n")])
    async with RestClient(base_url=server.url) as api:
        with pytest.raises(RestError, match=r"the body is no User: "):
            await api.get("/", model=User)


async def test_the_next_page_is_at_the_same_origin(raw_server: Start) -> None:
    """The credentials of the API go nowhere else."""
    stranger = await raw_server([as_json([2])])
    server = await raw_server([as_json([1], fields=f'Link: <{stranger.url}/p>; rel="next"\r\n')])
    async with RestClient(base_url=server.url, headers={"Authorization": "Bearer t"}) as api:
        with pytest.raises(RestError, match="at another origin, " + stranger.url):
            await _pages(api)
    assert stranger.connections == 0


async def test_a_body_may_have_a_limit(raw_server: Start) -> None:
    server = await raw_server([as_json("x" * 2000)])
    async with RestClient(base_url=server.url, max_body_size=1000) as api:
        with pytest.raises(wherry.ClientError, match="1000"):
            await api.get("/")


async def test_a_proxy(raw_server: Start) -> None:
    proxy = await raw_server([as_json(1)])
    async with RestClient(base_url="http://api.test/v1", proxy=proxy.url) as api:
        assert await api.get("/n", model=int) == 1
    assert bytes(proxy.received[0]).startswith(b"GET http://api.test/v1/n HTTP/1.1\r\n")


@pytest.mark.parametrize("base", ["/api/v1", "/api/v1/", ""])
@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/users:batch", "/users:batch"),
        ("users:batch", "/users:batch"),
        ("a:b/c:d", "/a:b/c:d"),
        ("http:", "/http:"),
        ("mailto:ann", "/mailto:ann"),
        ("1:2", "/1:2"),
        ("/login?next=https://other.example/x", "/login?next=https://other.example/x"),
        ("login?next=https://other.example/x", "/login?next=https://other.example/x"),
        ("/web/2020/https://other.example/x", "/web/2020/https://other.example/x"),
        ("web/2020/https://other.example/x", "/web/2020/https://other.example/x"),
        ("/https://other.example/x", "/https://other.example/x"),
        ("//other.example/x", "/other.example/x"),
        ("/a//b", "/a//b"),
        ("/a%2Fb:c?q=%26", "/a%2Fb:c?q=%26"),
        ("/\u00fcn\u00ef:x", "/%C3%BCn%C3%AF:x"),
        ("?q=a:b", "/?q=a:b"),
        ("", "/"),
    ],
)
async def test_paths_are_paths(raw_server: Start, base: str, path: str, sent: str) -> None:
    """RFC 3986 4.2: a colon, or a URL, in a path or in a query makes no URL of it."""
    server = await raw_server([as_json({})])
    async with RestClient(base_url=server.url + base) as api:
        await api.get(path)
    line = bytes(server.received[0]).partition(b"\r\n")[0].decode()
    assert line == f"GET {base.rstrip('/')}{sent} HTTP/1.1"


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
async def test_urls_are_urls(raw_server: Start, scheme: str) -> None:
    server = await raw_server([as_json({}), as_json({})])
    there = f"{scheme}{server.url.removeprefix('http')}/there:x?to=http://x/"
    async with RestClient(base_url="http://api.example/v1/") as api:
        await api.get(there)
        await api.get(URL(there))  # type: ignore[arg-type]
    assert bytes(server.received[0]).count(b"GET /there:x?to=http://x/ HTTP/1.1") == 2


@attrs.define
class Ship:
    ship_name: str
    built: dt.date


async def test_a_converter_of_the_programs_own_makes_and_unmakes(raw_server: Start) -> None:
    """Its hooks say what members are called, and how dates are written."""
    converter = cattrs.Converter()
    converter.register_structure_hook(dt.date, lambda days, _: dt.date.fromordinal(days))
    converter.register_unstructure_hook(dt.date, lambda day: day.toordinal())
    name = cattrs.gen.override(rename="shipName")
    converter.register_structure_hook(
        Ship, cattrs.gen.make_dict_structure_fn(Ship, converter, ship_name=name)
    )
    converter.register_unstructure_hook(
        Ship, cattrs.gen.make_dict_unstructure_fn(Ship, converter, ship_name=name)
    )
    bodies = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (
            b'{"shipName": "Ahoy", "built": 5}',
            b'[{"shipName": "Ahoy"}]',
            b"[1]",
            b"1",
        ):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: ([0-9]+)", head)
            bodies.append(await reader.readexactly(int(length[1]) if length else 0))
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer)
            )
        await reader.read()
        writer.close()

    server = await raw_server(script)
    ship = Ship("Ahoy", dt.date.fromordinal(5))
    base = f"http://127.0.0.1:{server.port}"
    async with RestClient(base_url=base, converter=converter) as api:
        assert await api.post("/", ship, model=Ship) == ship
        with pytest.raises(RestError, match=r"no list\[.*'built' is missing"):
            await api.get("/", model=list[Ship])
        with pytest.raises(RestError, match="not as asked for"):
            await _pages(api, model=Ship)
        assert await api.get("/", model=Any) == 1
    assert json.loads(bodies[0]) == {"shipName": "Ahoy", "built": 5}


async def test_type_checkers_know_what_comes(raw_server: Start) -> None:
    pages = [as_json([{"id": 1}]), as_json({"data": [{"a": 1}]})]
    server = await raw_server([as_json({}), as_json({"item": {"id": 1}}), *pages])
    async with RestClient(base_url=server.url) as api:
        assert await typed.ask(api) == [typed.User(1), {"a": 1}]
