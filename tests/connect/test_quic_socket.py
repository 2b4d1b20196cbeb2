"""The UDP socket of a QUIC connection: what goes out by one call, and a system that cannot do that."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import Any

import pytest

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")

from wherry.connect.quic.socket import QuicTransport, _segment_end


@pytest.mark.parametrize(
    ("sizes", "calls"),
    [
        ([], []),
        ([100], [1]),
        ([1200, 1200, 1200], [3]),
        ([1200, 1200, 300], [3]),
        ([300, 1200, 1200], [1, 2]),
        ([1426, 131, 1419, 131], [2, 2]),
        ([1200, 300, 300], [2, 1]),
        ([1] * 130, [64, 64, 2]),
        ([1400] * 50, [46, 4]),
    ],
)
def test_datagrams_of_one_size_go_out_together(sizes: list[int], calls: list[int]) -> None:
    """udp(7), UDP_SEGMENT: all but the last have one size; 64 of them and 64 KiB at most."""
    datagrams = [bytes(size) for size in sizes]
    made, start = [], 0
    while start < len(datagrams):
        end = _segment_end(datagrams, start)
        made.append(end - start)
        assert sum(sizes[start:end]) <= 65535
        start = end
    assert made == calls


class Engine:
    """Has datagrams to send, and nothing else to say."""

    handshake_done = True
    probes = 0
    due: float | None = None

    def __init__(self, datagrams: list[bytes]) -> None:
        self.out = datagrams

    def datagrams(self, now: float) -> list[bytes]:
        out, self.out = self.out, []
        return out

    def timer(self) -> tuple[str, float] | None:
        return None if self.due is None else ("pto", self.due)

    def handle_timer(self, now: float) -> None:
        self.due = None


class Receiver:
    is_busy = False

    def __init__(self) -> None:
        self.silences: list[float] = []

    def timer_passed(self, silence: float) -> None:
        self.silences.append(silence)

    def events_arrived(self) -> None:
        pass

    def datagrams_sent(self) -> bool:
        return False

    def transport_closed(self) -> None:
        pass


class Socket:
    """A socket with a memory; `refuses` are the errors that its next calls raise."""

    def __init__(self, made: socket.socket, refuses: list[int | None]) -> None:
        self._made = made
        self.refuses = refuses
        self.calls: list[str] = []

    def _note(self, name: str) -> None:
        self.calls.append(name)
        code = self.refuses.pop(0) if self.refuses else None
        if code is not None:
            raise OSError(code, "refused")

    def send(self, data: bytes) -> int:
        self._note("send")
        return self._made.send(data)

    def sendmsg(self, *arguments: Any) -> int:
        self._note("sendmsg")
        return self._made.sendmsg(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)


def sockets() -> tuple[socket.socket, socket.socket]:
    """One that sends, connected to one that receives."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(10)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setblocking(False)
    sender.connect(receiver.getsockname())
    return sender, receiver


@pytest.mark.skipif(sys.platform != "linux", reason="UDP_SEGMENT is Linux's")
@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL, errno.EOPNOTSUPP])
@pytest.mark.parametrize("refuses", [False, True])
async def test_a_way_that_cannot_send_many_gets_one_by_one(code: int, refuses: bool) -> None:
    sender, receiver = sockets()
    watched = Socket(sender, [code] if refuses else [])
    datagrams = [b"a" * 100, b"b" * 100, b"c" * 50]
    engine = Engine(list(datagrams))
    loop = asyncio.get_running_loop()
    transport = QuicTransport(loop, watched, engine, Receiver())  # type: ignore[arg-type]
    for _ in range(2):
        transport.flush()
        assert [receiver.recv(2000) for _ in datagrams] == datagrams
        engine.out = list(datagrams)
    expected = ["sendmsg", *["send"] * 6] if refuses else ["sendmsg"] * 2
    assert watched.calls == expected
    transport.abort()
    receiver.close()


@pytest.mark.skipif(sys.platform != "linux", reason="UDP_SEGMENT is Linux's")
async def test_what_the_system_does_not_take_goes_out_later() -> None:
    sender, receiver = sockets()
    watched = Socket(sender, [None, errno.EAGAIN])
    datagrams = [b"a" * 10, b"b" * 100, b"c" * 100]
    loop = asyncio.get_running_loop()
    transport = QuicTransport(loop, watched, Engine(list(datagrams)), Receiver())  # type: ignore[arg-type]
    transport.flush()
    assert transport.get_write_buffer_size() == 200
    assert receiver.recv(2000) == datagrams[0]
    while transport.get_write_buffer_size():
        await asyncio.sleep(0)
    assert [receiver.recv(2000) for _ in range(2)] == datagrams[1:]
    transport.abort()
    receiver.close()


async def test_what_the_loop_had_no_time_for_is_no_silence() -> None:
    """A blocked loop comes late to every timer; the server may have said something meanwhile."""
    sender, receiver = sockets()
    engine, told = Engine([]), Receiver()
    loop = asyncio.get_running_loop()
    transport = QuicTransport(loop, sender, engine, told)  # type: ignore[arg-type]
    transport.heard_at = loop.time() - 100
    for due in (0.0, -40.0, -50.0, 0.0):  # of which the loop came to two in time
        engine.due = loop.time() + due
        transport._timer_due()
    assert told.silences == pytest.approx([100, 60, 10, 10], abs=5)
    transport.heard_at = loop.time() - 7
    engine.due = loop.time()
    transport._timer_due()
    assert told.silences[-1] == pytest.approx(7, abs=5)
    transport.abort()
    receiver.close()
