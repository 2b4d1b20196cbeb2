"""The SOCKS handshakes as traces of bytes: what is sent, and what is read next."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.connect.proxy.socks import Refusal, Steps, socks4, socks5


def play(steps: Steps, answers: bytes) -> tuple[bytes, bytes]:
    """What was sent, and what is left of `answers` when the tunnel is open."""
    sent = b""
    try:
        data, size = next(steps)
        while True:
            sent += data
            assert len(answers) >= size, "the handshake wants more than the proxy would send"
            taken, answers = answers[:size], answers[size:]
            data, size = steps.send(taken)
    except StopIteration:
        return sent, answers


GRANTED_4 = b"\0\x5a\0\0\0\0\0\0"
BOUND_5 = b"\x05\0\0\x01\0\0\0\0\0\0"


@pytest.mark.parametrize(
    ("steps", "sent"),
    [
        (socks4("1.2.3.4", 80), b"\x04\x01\0\x50\x01\x02\x03\x04\0"),
        (socks4("1.2.3.4", 80, "me"), b"\x04\x01\0\x50\x01\x02\x03\x04me\0"),
        (socks4("a.example", 443, "me"), b"\x04\x01\x01\xbb\0\0\0\x01me\0a.example\0"),
    ],
)
def test_socks4_and_4a(steps: Steps, sent: bytes) -> None:
    """S000-06, S000-16"""
    assert play(steps, GRANTED_4 + b"rest") == (sent, b"rest")


@pytest.mark.parametrize(
    ("code", "number"), [(91, errno.ECONNREFUSED), (92, errno.EACCES), (93, errno.EACCES)]
)
def test_socks4_refusals(code: int, number: int) -> None:
    with pytest.raises(Refusal) as caught:
        play(socks4("1.2.3.4", 80), bytes([0, code, 0, 0, 0, 0, 0, 0]))
    assert caught.value.number == number


def test_socks4_has_no_ipv6() -> None:
    with pytest.raises(Refusal, match="IPv6"):
        play(socks4("::1", 80), b"")


@pytest.mark.parametrize(
    "reply", [BOUND_5, b"\x05\0\0\x04" + bytes(18), b"\x05\0\0\x03\x03abc\0\0"]
)
def test_socks5_without_credentials(reply: bytes) -> None:
    """S000-06: every kind of bound address is read to its end."""
    sent, left = play(socks5("a.example", 443), b"\x05\0" + reply + b"rest")
    assert sent == b"\x05\x01\0" + b"\x05\x01\0\x03\x09a.example\x01\xbb"
    assert left == b"rest"


def test_socks5_addresses_go_as_addresses() -> None:
    assert play(socks5("1.2.3.4", 80), b"\x05\0" + BOUND_5)[0].endswith(
        b"\x05\x01\0\x01\x01\x02\x03\x04\0\x50"
    )
    assert play(socks5("::1", 80), b"\x05\0" + BOUND_5)[0].endswith(
        b"\x05\x01\0\x04" + bytes(15) + b"\x01\0\x50"
    )


def test_socks5_with_credentials() -> None:
    """S000-17: RFC 1929, in UTF-8."""
    sent, _ = play(socks5("1.2.3.4", 80, "usér", "p"), b"\x05\x02" + b"\x01\0" + BOUND_5)
    assert sent.startswith(b"\x05\x02\0\x02" + b"\x01\x05us\xc3\xa9r\x01p" + b"\x05\x01\0")


def test_socks5_credentials_are_only_sent_when_the_proxy_wants_them() -> None:
    sent, _ = play(socks5("1.2.3.4", 80, "user", "s3cret"), b"\x05\0" + BOUND_5)
    assert b"s3cret" not in sent


@pytest.mark.parametrize(
    ("answers", "number"),
    [
        (b"\x05\xff", errno.EACCES),
        (b"\x05\x01", errno.EPROTO),
        (b"HT", errno.EPROTO),
        (b"\x05\x02" + b"\x01\x01", errno.EACCES),
        (b"\x05\x02" + b"HT", errno.EPROTO),
        (b"\x05\0" + b"\x04\0", errno.EPROTO),
        (b"\x05\0" + b"\x05\x05", errno.ECONNREFUSED),
        (b"\x05\0" + b"\x05\x04", errno.EHOSTUNREACH),
        (b"\x05\0" + b"\x05\x63", errno.EPROTO),
        (b"\x05\0" + b"\x05\0\0\x07", errno.EPROTO),
    ],
)
def test_socks5_refusals(answers: bytes, number: int) -> None:
    """S000-17, S000-20"""
    with pytest.raises(Refusal) as caught:
        play(socks5("a.example", 443, "user", "s3cret"), answers)
    assert caught.value.number == number
    assert "s3cret" not in caught.value.reason


@pytest.mark.parametrize("host", ["", "x" * 256, "é" * 300, "a\0b"])
def test_names_that_cannot_be_sent_are_refused(host: str) -> None:
    for steps in (socks4(host, 80), socks5(host, 80)):
        with pytest.raises(Refusal, match="host name"):
            play(steps, b"\x05\0")


@given(st.binary(max_size=600), st.booleans())
def test_any_answer_ends_the_handshake(answers: bytes, old: bool) -> None:
    steps = socks4("a.example", 443) if old else socks5("a.example", 443, "u", "p")
    try:
        play(steps, answers)
    except (Refusal, AssertionError):
        return
