"""What is asked in an opening handshake, and what may be answered."""

from __future__ import annotations

import pytest

from wherry.protocol.heads import ResponseHead
from wherry.protocol.websocket.handshake import (
    DeflateTerms,
    WSHandshakeError,
    accept_for,
    agreed_deflate,
    agreed_protocol,
    check_upgrade,
    deflate_offer,
    make_key,
)
from wherry.types import HttpVersion11

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
}


def head(fields: dict[str, str], status: int = 101) -> ResponseHead:
    return ResponseHead(
        status, "", HttpVersion11, tuple((n.encode(), v.encode()) for n, v in fields.items())
    )


def test_the_example_of_rfc_6455() -> None:
    """RFC 6455 1.3."""
    assert accept_for(KEY) == GOOD["Sec-WebSocket-Accept"]
    assert len(make_key()) == 24
    assert make_key() != make_key()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "upgrade"},
        {"Upgrade": "WebSocket"},
    ],
)
def test_good_answers_are_taken(change: dict[str, str]) -> None:
    check_upgrade(head(GOOD | change), KEY)


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({}, 200, "status"),
        ({"Upgrade": "h2c"}, 101, "upgrade header"),
        ({"Upgrade": "websocket, h2c"}, 101, "upgrade header"),
        ({"Upgrade": ""}, 101, "upgrade header"),
        ({"Connection": "keep-alive"}, 101, "connection header"),
        ({"Connection": "not-upgrade"}, 101, "connection header"),
        ({"Sec-WebSocket-Accept": "rubbish"}, 101, "challenge"),
        ({"Sec-WebSocket-Accept": ""}, 101, "challenge"),
        ({"Sec-WebSocket-Accept": GOOD["Sec-WebSocket-Accept"].lower()}, 101, "challenge"),
    ],
)
def test_bad_answers_are_refused(change: dict[str, str], status: int, message: str) -> None:
    with pytest.raises(WSHandshakeError, match=message):
        check_upgrade(head(GOOD | change, status), KEY)


def test_only_a_subprotocol_that_was_offered_is_taken() -> None:
    field = "Sec-WebSocket-Protocol"
    assert agreed_protocol(head({}), ("chat",)) is None
    assert agreed_protocol(head({field: "chat"}), ("superchat", "chat")) == "chat"
    for value, offered in (
        ("chat", ()),
        ("other", ("chat",)),
        ("chat, superchat", ("chat", "superchat")),
        ("Chat", ("chat",)),
    ):
        with pytest.raises(WSHandshakeError, match="not offered"):
            agreed_protocol(head({field: value}), offered)


@pytest.mark.parametrize(
    ("value", "terms"),
    [
        ("permessage-deflate", DeflateTerms()),
        (" permessage-deflate ; server_no_context_takeover", DeflateTerms(server_takeover=False)),
        ("permessage-deflate; client_no_context_takeover", DeflateTerms(client_takeover=False)),
        ("permessage-deflate; client_max_window_bits=10", DeflateTerms(client_bits=10)),
        ('permessage-deflate; server_max_window_bits="9"', DeflateTerms(server_bits=9)),
        (
            "permessage-deflate;server_max_window_bits=12;client_max_window_bits=8",
            DeflateTerms(12, 8),
        ),
        (", permessage-deflate ,", DeflateTerms()),
        ("", None),
    ],
)
def test_terms_of_compression_are_read(value: str, terms: DeflateTerms | None) -> None:
    assert agreed_deflate(head({"Sec-WebSocket-Extensions": value}), 15) == terms


@pytest.mark.parametrize(
    "value",
    [
        "x-webkit-deflate-frame",
        "permessage-deflate, x-other",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=015",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate rubbish",
        "=",
    ],
)
def test_extensions_and_parameters_that_were_not_offered_are_refused(value: str) -> None:
    with pytest.raises(WSHandshakeError):
        agreed_deflate(head({"Sec-WebSocket-Extensions": value}), 15)


def test_compression_that_was_not_offered_is_refused() -> None:
    with pytest.raises(WSHandshakeError, match="not offered"):
        agreed_deflate(head({"Sec-WebSocket-Extensions": "permessage-deflate"}), 0)


def test_a_server_keeps_to_the_window_that_was_offered() -> None:
    """RFC 7692 7.1.2.1."""
    field = "Sec-WebSocket-Extensions"
    assert agreed_deflate(
        head({field: "permessage-deflate; server_max_window_bits=10"}), 10
    ) == DeflateTerms(10)
    for value in ("permessage-deflate", "permessage-deflate; server_max_window_bits=11"):
        with pytest.raises(WSHandshakeError, match="window"):
            agreed_deflate(head({field: value}), 10)


def test_offers() -> None:
    assert deflate_offer(15) == "permessage-deflate; client_max_window_bits"
    assert (
        deflate_offer(9) == "permessage-deflate; client_max_window_bits; server_max_window_bits=9"
    )
    for bits in (1, 8, 16):
        with pytest.raises(ValueError, match="9 to 15"):
            deflate_offer(bits)


def test_a_window_that_zlib_cannot_make_leaves_messages_as_they_are() -> None:
    assert DeflateTerms(client_bits=8).deflater() is None
    assert DeflateTerms(client_bits=9).deflater() is not None
