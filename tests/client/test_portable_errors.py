"""Every error pickles, copies and deep-copies: it goes through process pools and task queues whole."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from tests.servers.raw import response
from yarl import URL

import wherry
from wherry import errors
from wherry.connect.proxy.tunnel import TunnelInfo
from wherry.rest import RestClient, RestError
from wherry.types import ConnectionKey

from .conftest import Peer, reply

WAYS: dict[str, Callable[[Any], Any]] = {
    **{
        f"pickle {protocol}": lambda exc, protocol=protocol: pickle.loads(
            pickle.dumps(exc, protocol)
        )
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle of a copy": lambda exc: pickle.loads(pickle.dumps(copy.deepcopy(copy.copy(exc)))),
}


def check(exc: BaseException) -> None:
    exc.extra = {"mine": 1}  # type: ignore[attr-defined]
    exc.add_note("a note")
    for name, way in WAYS.items():
        other = way(exc)
        assert type(other) is type(exc), name
        assert str(other) == str(exc), name
        assert other.extra == {"mine": 1}
        assert other.__notes__ == exc.__notes__
        assert other.__notes__[-1] == "a note"
        assert len(other.args) == len(exc.args)
        if isinstance(exc, wherry.ClientResponseError):
            assert (other.status, other.message, other.code) == (
                exc.status,
                exc.message,
                exc.status,
            )
            assert other.headers == exc.headers
            assert type(other.headers) is type(exc.headers)
            assert other.request_info == exc.request_info
            assert type(other.request_info) is type(exc.request_info)
            assert [past.status for past in other.history] == [past.status for past in exc.history]
            assert [past.url for past in other.history] == [past.url for past in exc.history]
            assert [dict(past.headers) for past in other.history] == [
                dict(past.headers) for past in exc.history
            ]
        if isinstance(exc, wherry.ClientConnectionError):
            assert (other.resend_safe, other.unprocessed) == (exc.resend_safe, exc.unprocessed)
        if isinstance(exc, OSError):
            assert (other.errno, other.strerror) == (exc.errno, exc.strerror)
    assert "Sesame" not in repr(pickle.loads(pickle.dumps(exc)))
    assert copy.copy(exc).args == exc.args


async def test_errors_of_live_responses(peer: Any, session: Any) -> None:
    def answer(asked: Any) -> Any:
        if asked.target.startswith("/loop"):
            return reply(302, "", [("Location", asked.target + "x"), ("Set-Cookie", "a=Sesame")])
        if asked.target == "/hop":
            return reply(307, "", {"Location": "/end"})
        return reply(
            404, '{"title": "none"}', [("X", "1"), ("x", "2"), ("Content-Type", "application/json")]
        )

    server: Peer = await peer(answer)
    client = session(headers={"Authorization": "Bearer Sesame"})
    caught: list[BaseException] = []

    async def fails(awaited: Any) -> None:
        try:
            await awaited
        except Exception as exc:
            caught.append(exc)

    async def typed() -> None:
        async with client.get(server.url("/hop")) as answer:
            await answer.json(content_type="text/html")

    await fails(client.get(server.url("/loop"), max_redirects=3))
    await fails(client.get(server.url("/hop"), raise_for_status=True))
    await fails(typed())
    await fails(client.ws_connect(server.url("/hop")))
    await fails(client.get("http://h.test:port/"))
    await fails(client.get("gopher://h.test/"))
    await fails(client.get(URL("http://me:Sesame@h.test:1/")))
    assert len(caught) == 7
    assert {type(exc).__name__ for exc in caught} >= {
        "TooManyRedirects", "ClientResponseError", "ContentTypeError", "InvalidUrlClientError", "NonHttpUrlClientError",
    }  # fmt: skip
    for exc in caught:
        check(exc)


async def test_the_error_of_a_rest_client(raw_server: Any) -> None:
    server = await raw_server(
        [response(b'{"title": "no"}', status="404 No", fields="Content-Type: application/json\r\n")]
    )
    async with RestClient(base_url=server.url, headers={"Authorization": "Sesame"}) as api:
        with pytest.raises(RestError) as caught:
            await api.get("/x")
    check(caught.value)
    other = pickle.loads(pickle.dumps(caught.value))
    assert (other.problem, other.text, other.url) == (
        caught.value.problem, caught.value.text, caught.value.url,
    )  # fmt: skip


KEY = ConnectionKey("h.test", 1, False, True, None, None, None)
FIELDS = CIMultiDictProxy(CIMultiDict({"A": "b"}))
BY_CLASS: dict[str, Callable[[type[Any]], BaseException]] = {
    "ClientResponseError": lambda cls: cls(
        wherry.RequestInfo(URL("http://h/"), "GET", FIELDS),
        (),
        status=400,
        message="m",
        headers=FIELDS,
    ),
    "ClientHttpProxyError": lambda cls: cls(
        TunnelInfo(URL("http://h/"), "CONNECT", FIELDS, URL("http://p/")),
        (),
        status=407,
        headers=None,
    ),
    "UnixClientConnectorError": lambda cls: cls("/s", KEY, OSError(2, "no")),
    "ClientConnectorCertificateError": lambda cls: cls(KEY, ssl.SSLCertVerificationError(1, "bad")),
    "ClientConnectorError": lambda cls: cls(KEY, OSError(2, "no")),
    "ClientOSError": lambda cls: cls(2, "no"),
    "ServerFingerprintMismatch": lambda cls: cls(b"a", b"b", "h", 1),
    "WebSocketError": lambda cls: cls(1002, "bad"),
    "BadHttpMessage": lambda cls: cls("bad", b"x"),
    "InvalidURL": lambda cls: cls("http://me:Sesame@h:x/", "no"),
    "NonHttpUrlClientError": lambda cls: cls(URL("gopher://me:Sesame@h/")),
    "BaseException": lambda cls: cls("said"),
}
CLASSES = sorted(
    {
        cls
        for module in (errors, wherry)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, BaseException) and cls.__module__.startswith("wherry")
    },
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_of_the_family(cls: type[BaseException]) -> None:
    base = next(base.__name__ for base in cls.__mro__ if base.__name__ in BY_CLASS)
    exc = BY_CLASS[base](cls)
    if isinstance(exc, wherry.ClientConnectionError):
        exc.resend_safe = exc.unprocessed = True
    check(exc)


async def test_a_copy_keeps_the_responses_and_a_pickle_their_summaries(
    peer: Any, session: Any
) -> None:
    server: Peer = await peer(lambda asked: reply(302, "", {"Location": asked.target + "x"}))
    with pytest.raises(wherry.TooManyRedirects) as caught:
        await session().get(server.url("/"), max_redirects=2)
    assert copy.copy(caught.value).history == caught.value.history
    past = copy.deepcopy(caught.value).history[0]
    assert (past.method, past.url, past.status) == ("GET", URL(server.url("/")), 302)
    assert past.headers["Location"] == "/x"
    with pytest.raises(wherry.TooManyRedirects):
        await asyncio.get_running_loop().run_in_executor(None, _raise, pickle.dumps(caught.value))


def _raise(pickled: bytes) -> None:
    raise pickle.loads(pickled)
