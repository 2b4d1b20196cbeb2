"""MessageSignatures: what each part of a request is, and what a server that checks sees."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest
from multidict import CIMultiDict
from tests.client.conftest import Asked, Peer, reply
from yarl import URL

import wherry
from wherry.middlewares.signatures import (
    MessageSignatures,
    SignedMessage,
    hmac_sha256,
    signature_base,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("@method", "POST"),
        ("@target-uri", "https://www.example.com:8443/path?param=value"),
        ("@authority", "www.example.com:8443"),
        ("@scheme", "https"),
        ("@request-target", "/path?param=value"),
        ("@path", "/path"),
        ("@query", "?param=value"),
        ("x-many", "a, b   c, "),
    ],
)
def test_each_part_as_rfc_9421_2_has_it(name: str, value: str) -> None:
    fields = CIMultiDict([("X-Many", " a "), ("x-many", "b   c"), ("X-MANY", "")])
    url = URL("https://WWW.example.com:8443/path?param=value#part")
    base, _ = signature_base([name], {}, SignedMessage(fields, "POST", url))
    assert base.split("\n")[0] == f'"{name}": {value}'
    for url, part, value in (
        ("https://h.test:443/", "@authority", "h.test"),
        ("http://h/", "@query", "?"),
    ):
        base, _ = signature_base([part], {}, SignedMessage(fields, "GET", URL(url)))
        assert base.startswith(f'"{part}": {value}\n')


async def test_a_server_can_check_every_hop_and_try(peer: Any, session: Any) -> None:
    secret = b"shared"
    checked: list[str] = []

    def answer(asked: Asked) -> Any:
        told = asked.headers["Signature-Input"].removeprefix("bot=")
        lines = []
        for name in re.findall(r'"([^"]+)"', told.partition(")")[0]):
            value = {"@method": asked.method, "@path": asked.target.partition("?")[0]}.get(name)
            if name == "@authority":
                value = asked.headers["Host"]
            if value is None:
                value = asked.headers[name]
            lines.append(f'"{name}": {value}')
        lines.append(f'"@signature-params": {told}')
        expected = base64.b64encode(hmac_sha256(secret)("\n".join(lines).encode())).decode()
        assert asked.headers.getall("Signature") == [f"bot=:{expected}:"]
        digest = base64.b64encode(hashlib.sha256(asked.body).digest()).decode()
        assert asked.headers["Content-Digest"] == f"sha-256=:{digest}:"
        assert 'tag="web-bot-auth"' in told
        checked.append(told)
        return reply(307, "", {"Location": "/b"}) if asked.target == "/a" else reply()

    server: Peer = await peer(answer)
    signs = MessageSignatures(
        hmac_sha256(secret), "k", ["@method", "@path", "@authority", "Content-Digest"],
        alg="hmac-sha256", tag="web-bot-auth", expires=60, nonce=True, label="bot",
    )  # fmt: skip
    client = session(middlewares=(signs,))
    async with client.post(server.url("/a"), data=b"body") as response:
        assert response.status == 200
    async with client.get(server.url("/b")) as response:
        assert response.status == 200
    assert len(set(checked)) == 3  # a nonce each
    assert "shared" not in repr(signs)


async def test_to_whom_and_what_cannot_be_signed(peer: Any, session: Any) -> None:
    server: Peer = await peer()
    elsewhere = MessageSignatures(hmac_sha256(b"s"), "k", origins=["https://h.test"])
    async with session(middlewares=(elsewhere,)).get(server.url()) as response:
        assert response.status == 200
    assert "Signature" not in server.asked[0].headers
    missing = MessageSignatures(hmac_sha256(b"s"), "k", ["x-missing"])
    with pytest.raises(wherry.ClientError, match='no field "x-missing"'):
        await session(middlewares=(missing,)).get(server.url())
    for options in (
        {"components": ["@method", "@METHOD"]}, {"components": ["@nothing"]}, {"components": ["a b"]},
        {"keyid": "ü"}, {"tag": "a\n"}, {"label": "a b"}, {"components": ["@status"]},
        {"components": ["date;req"]}, {"components": ["date;tr"]}, {"components": ["a;sf", "A;sf"]},
        {"components": ["a;bs;sf"]}, {"components": ["a;x"]}, {"components": ["@method;sf"]},
        {"components": ["@query-param"]}, {"components": ["@query-param;name=q"]},
        {"components": ['@query-param;name="q"', '"@query-param";name="q"']},
        {"components": ['a;key="b";bs']}, {"components": ["a;"]}, {"components": ["a;sf b"]},
    ):  # fmt: skip
        with pytest.raises(
            ValueError, match=r"once|no @nothing|token|ASCII|in a request|bytes|has |want|RFC 9651"
        ):
            MessageSignatures(hmac_sha256(b"s"), **{"keyid": "k", **options})  # type: ignore[arg-type]
