"""What is used of qh3, held so that another version cannot change it unseen: a client's engine and a
server of qh3's own, in memory.
"""

from __future__ import annotations

from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")

from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.events import StreamDataReceived

from wherry.protocol.http3.quic_engine import QuicEngine, QuicTrust

CLIENT, SERVER = ("127.0.0.1", 1111), ("127.0.0.1", 2222)


class Pair:
    """A client and a server whose datagrams are carried by hand."""

    def __init__(
        self,
        ca: trustme.CA,
        leaf: trustme.LeafCert,
        *,
        name: str = "localhost",
        trust: QuicTrust | None = None,
        **options: Any,
    ) -> None:
        self.now = 1000.0
        configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
        configuration.load_cert_chain(leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes())
        self.client = QuicEngine(name, trust or QuicTrust(True, ca.cert_pem.bytes()), **options)
        self.client.connect(SERVER, self.now)
        self.server = QuicConnection(
            configuration=configuration,
            original_destination_connection_id=(
                self.client._quic.original_destination_connection_id
            ),
        )
        self.received: dict[int, bytes] = {}

    def carry(self, rounds: int = 4) -> None:
        for _ in range(rounds):
            self.now += 0.001
            for datagram in self.client.datagrams(self.now):
                self.server.receive_datagram(datagram, CLIENT, self.now)
            while (event := self.server.next_event()) is not None:
                if isinstance(event, StreamDataReceived):
                    kept = self.received.get(event.stream_id, b"")
                    self.received[event.stream_id] = kept + event.data
            answers = [data for data, _ in self.server.datagrams_to_send(self.now)]
            self.client.receive(answers, self.now)

    def events(self) -> list[Any]:
        found = []
        while (event := self.client.next_event()) is not None:
            found.append(event)
        return found


@pytest.fixture
def pair(ca: trustme.CA, server_cert: trustme.LeafCert) -> Pair:
    pair = Pair(ca, server_cert)
    pair.carry()
    return pair


def test_the_handshake(pair: Pair, server_cert: trustme.LeafCert) -> None:
    engine = pair.client
    assert (engine.handshake_done, engine.protocol, engine.end) == (True, "h3", None)
    assert engine.is_open
    assert engine.certificate in server_cert_der(server_cert)
    pair.events()
    assert engine._quic._handshake_confirmed
    while (timer := engine.timer()) is not None and timer[0] != "idle":
        pair.now = max(pair.now, timer[1])  # a larger MTU is probed for
        engine.handle_timer(pair.now)
        pair.carry()
    assert timer is not None
    assert timer[1] == pytest.approx(pair.now + 30, abs=1)
    assert engine.probes == 0


def server_cert_der(leaf: trustme.LeafCert) -> list[bytes]:
    import ssl

    return [ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())]


def test_the_handshake_takes_datagrams_in_any_grouping(
    ca: trustme.CA, server_cert: trustme.LeafCert
) -> None:
    pair = Pair(ca, server_cert)
    while not pair.client.handshake_done:
        pair.now += 0.001
        for datagram in pair.client.datagrams(pair.now):
            pair.server.receive_datagram(datagram, CLIENT, pair.now)
        for datagram, _ in pair.server.datagrams_to_send(pair.now):
            pair.client.receive([datagram, datagram], pair.now)  # duplicates too
    pair.carry()
    assert pair.client.is_open


def test_streams_carry_data_both_ways(pair: Pair) -> None:
    engine = pair.client
    assert engine.send(0, b"ask", True)
    assert engine.unsent(0) == 3
    pair.carry()
    assert engine.unsent(0) == 0
    assert pair.received == {0: b"ask"}
    pair.server.send_stream_data(0, b"answer", True)
    pair.carry()
    assert ("stream_data", 0, b"answer", True) in pair.events()


def test_the_limit_of_streams_counts_all_that_ever_were(pair: Pair) -> None:
    engine = pair.client
    assert engine.stream_limit == 100
    for stream_id in range(0, 400, 4):
        assert engine.send(stream_id, b"x", True)
    assert not engine.send(400, b"x", True)
    pair.carry()
    for stream_id in range(0, 400, 4):
        pair.server.send_stream_data(stream_id, b"y", True)
    pair.carry(8)
    pair.events()
    pair.carry(8)
    assert "streams_available" in {event[0] for event in pair.events()} or (
        engine.stream_limit > 100
    )
    assert engine.stream_limit > 100
    assert engine.send(400, b"x", True)


def test_resets_and_stops_have_their_codes(pair: Pair) -> None:
    engine = pair.client
    engine.send(0, b"x", False)
    pair.carry()
    pair.server.reset_stream(0, 0x10B)
    pair.server.stop_stream(0, 0x10C)
    pair.carry()
    found = {event[0]: event[1:3] for event in pair.events()}
    assert found["stream_reset"] == (0, 0x10B)
    assert found["stop_sending"] == (0, 0x10C)
    assert not engine.send(0, b"more", True)
    # Of streams that are over, and that never were.
    for stream_id in (0, 4000):
        engine.reset(stream_id, 0x10C)
        engine.stop_sending(stream_id, 0x10C)


def test_what_is_not_taken_holds_the_server_back(
    ca: trustme.CA, server_cert: trustme.LeafCert
) -> None:
    """The core grants credit as events are taken, and not before."""
    pair = Pair(ca, server_cert, window=2**20, stream_window=2**18)
    pair.carry()
    pair.client.send(0, b"x", True)
    pair.carry()
    pair.server.send_stream_data(0, bytes(2**21), True)
    for _ in range(400):
        pair.carry(1)
    left = pair.server.get_send_buffer_size(0)
    assert left >= 2**21 - 2**18
    got = 0
    for _ in range(4000):
        pair.carry(1)
        got += sum(len(event[2]) for event in pair.events() if event[0] == "stream_data")
        if got == 2**21:
            break
    assert got == 2**21


@pytest.mark.parametrize(
    ("name", "authority", "match"),
    [("other.test", True, ""), ("localhost", False, "")],
)
def test_the_first_reason_of_a_failed_handshake_stays(
    ca: trustme.CA, server_cert: trustme.LeafCert, name: str, authority: bool, match: str
) -> None:
    trust = None if authority else QuicTrust(True, trustme.CA().cert_pem.bytes())
    pair = Pair(ca, server_cert, name=name, trust=trust)
    pair.carry()
    end = pair.client.end
    assert end is not None
    assert end.refuses_certificate, end
    assert not end.by_peer
    assert not pair.client.handshake_done


def test_no_checks(ca: trustme.CA, server_cert: trustme.LeafCert) -> None:
    pair = Pair(ca, server_cert, name="other.test", trust=QuicTrust(False, b""))
    pair.carry()
    assert pair.client.is_open


def test_an_end_says_who_and_why(pair: Pair) -> None:
    pair.server.close(0x102, None, "bye")
    pair.carry()
    pair.events()
    assert pair.client.end == (0x102, True, True, "bye")
    assert not pair.client.is_open
    pair.client.close(0x100)
    assert pair.client.end == (0x102, True, True, "bye")


def test_our_own_end(pair: Pair) -> None:
    pair.client.close(0x100, "done")
    pair.carry(1)
    assert not pair.client.is_open
    assert pair.client.end == (0x100, True, False, "done")


def test_a_connection_that_is_idle_ends(pair: Pair) -> None:
    pair.events()
    for _ in range(20):
        timer = pair.client.timer()
        if timer is None:
            break
        pair.client.handle_timer(timer[1] + 0.01)
        pair.events()
    assert pair.client.end is not None


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=1300), max_size=4))
def test_any_datagrams_are_borne(data: list[bytes]) -> None:
    engine = QuicEngine("localhost", QuicTrust(False, b""))
    engine.connect(SERVER, 1000.0)
    sent = engine.datagrams(1000.0)
    engine.receive([*data, *(sent[0][:40] + piece for piece in data)], 1000.1)
    engine.handle_timer(1002.0)
    assert not engine.handshake_done


@settings(max_examples=20)
@given(st.binary(min_size=1, max_size=40))
def test_any_datagrams_are_borne_later_too(data: bytes) -> None:
    ca = _ca
    pair = Pair(ca, _leaf)
    pair.carry()
    pair.client.receive([data, b"\x40" + data, b"\xc0\x00\x00\x00\x01" + data], pair.now)
    pair.events()
    assert pair.client.is_open


_ca = trustme.CA()
_leaf = _ca.issue_cert("localhost")
