"""Whether bytes leave a connection, or come: what tells a slow line from a dead peer.

Who asks a peer for a sign of life must know that the question may stand behind megabytes of its
own: in the transport, and in the system's buffer, which nobody sees from here.  Linux counts the
bytes that the peer's system has acknowledged (TCP_INFO); elsewhere what leaves the transport is all
that can be seen.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

# struct tcp_info of Linux: tcpi_unacked, tcpi_bytes_acked, tcpi_bytes_received, tcpi_notsent_bytes.
_TCP_INFO_SIZE = 148
_unacked = struct.Struct("=I")
_byte_counts = struct.Struct("=QQ")


class LineProgress(NamedTuple):
    """How far a connection has come at a moment.

    `left` and `came` are bytes in all, as the system counts them; 0 where it does not.  `unsent`
    are bytes that wait in the transport, `resumed` counts how often a full one took bytes again.
    `waiting` tells whether something is under way that the peer's system has not acknowledged.
    """

    left: int = 0
    came: int = 0
    unsent: int = 0
    resumed: int = 0
    waiting: bool = False

    def moved_since(self, before: LineProgress) -> bool:
        """Whether bytes came, or left of what waits.

        Bytes that leave at once prove nothing: the system at the other end takes them for a program
        that may hang.
        """
        congested = self.waiting or before.waiting
        return (
            self.came != before.came
            or self.resumed != before.resumed
            or self.unsent < before.unsent
            or (congested and self.left != before.left)
        )


def line_progress(
    get_extra_info: Callable[[str], Any], unsent: int = 0, resumed: int = 0
) -> LineProgress:
    """The progress of the connection whose transport knows of a socket.

    Args:
        get_extra_info: The transport's.
        unsent: Bytes that wait in it.
        resumed: How often it took bytes again after it was full.
    """
    info = b""
    if sys.platform == "linux":
        sock = get_extra_info("socket")
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except (OSError, AttributeError):
            info = b""  # no TCP, or no socket at all
    if len(info) < _TCP_INFO_SIZE:
        return LineProgress(unsent=unsent, resumed=resumed, waiting=unsent > 0)
    left, came = _byte_counts.unpack_from(info, 120)
    (unacked,) = _unacked.unpack_from(info, 24)
    (not_sent,) = _unacked.unpack_from(info, 144)
    return LineProgress(left, came, unsent, resumed, bool(unsent or unacked or not_sent))
