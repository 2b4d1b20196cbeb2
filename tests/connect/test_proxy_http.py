"""What is said to an HTTP proxy, and how its answer is read."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.connect.proxy.http import (
    MAX_FIELDS,
    NotHttp,
    connect_answer,
    connect_head,
    forward_fields,
)
from wherry.connect.route import ProxyHop


def test_connect_names_host_and_port() -> None:
    """S001-118, S000-05"""
    hop = ProxyHop("http", "proxy", 3128)
    assert (
        connect_head(hop, "a.example", 443)
        == b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
    )
    assert connect_head(hop, "::1", 80).startswith(
        b"CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n"
    )


def test_credentials_and_proxy_headers_go_with_connect() -> None:
    """S001-119"""
    hop = ProxyHop("http", "proxy", 3128, "user", "pass", (("X-Way", "1"),))
    lines = connect_head(hop, "a.example", 443).split(b"\r\n")
    assert b"X-Way: 1" in lines
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"user:pass") in lines


@pytest.mark.parametrize(
    ("hop", "pair"),
    [
        (ProxyHop("http", "h", 1, "é", "ü"), "é:ü".encode("latin1")),
        (ProxyHop("http", "h", 1, "é", "ü", encoding="utf-8"), "é:ü".encode()),
        (ProxyHop("http", "h", 1, "ж", "p"), "ж:p".encode()),
        (ProxyHop("http", "h", 1, "u"), b"u:"),
        (ProxyHop("http", "h", 1, "", "p"), b":p"),
    ],
)
def test_credentials_are_encoded(hop: ProxyHop, pair: bytes) -> None:
    assert forward_fields(hop) == [
        ("Proxy-Authorization", "Basic " + base64.b64encode(pair).decode())
    ]


def test_a_field_of_the_user_stands_instead_of_credentials() -> None:
    hop = ProxyHop("http", "h", 1, "u", "p", (("proxy-authorization", "Bearer x"),))
    assert forward_fields(hop) == [("proxy-authorization", "Bearer x")]
    assert forward_fields(ProxyHop("http", "h", 1)) == []


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n", 200, "Connection established"),
        (b"HTTP/1.0 200\r\n\r\n", 200, ""),
        (b"\r\nHTTP/1.1 407 \r\n\r\n", 407, ""),
    ],
)
def test_answers_are_read(head: bytes, status: int, reason: str) -> None:
    answer = connect_answer(head)
    assert (answer.status, answer.reason) == (status, reason)


def test_fields_are_kept_in_order() -> None:
    answer = connect_answer(b"HTTP/1.1 407 no\r\nA: 1\r\nB:  2 \r\nA:\r\n\r\n")
    assert answer.raw == ((b"A", b"1"), (b"B", b"2"), (b"A", b""))


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\nB: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \x1b[2J\r\n\r\n",
        b"HTTP/1.1 200 \x1b[2J\r\n\r\n",
        b"HTTP/1.1 200 O\x7fK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n\r\n",
        b"ICE/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * (MAX_FIELDS + 1) + b"\r\n",
        b"\r\n\r\n",
    ],
)
def test_garbage_is_not_http(head: bytes) -> None:
    with pytest.raises(NotHttp):
        connect_answer(head)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_not_http(data: bytes) -> None:
    for head in (data + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n"):
        with contextlib.suppress(NotHttp):
            assert 100 <= connect_answer(head).status <= 999
