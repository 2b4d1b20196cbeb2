"""How long the steps of one request took.

A response keeps the moments; what lies between them is worked out when somebody asks.
"""

from __future__ import annotations

from wherry.connect.connect_request import ConnectTimings


class Timings:
    """Seconds that the steps of one request took; None for a step that did not happen, or has not
    ended.

    The hops of a redirect are requests of their own, each with its own timings in
    `ClientResponse.history`.

    Args:
        queued: Waiting for a connection.
        dns: Resolving the name.
        connect: Connecting, through proxies where there are any; by HTTP/3, `quic`.
        quic: The QUIC handshake, which has TLS in it, where the connection speaks HTTP/3.
        tls: The TLS handshake with the origin.
        send: Sending a streamed body; one that was at hand goes out with the head at once.
        first_byte: From the moment that there was a connection until the response's head was here.
        total: From the request's start until the body's last byte.
    """

    __slots__ = ("connect", "dns", "first_byte", "queued", "quic", "send", "tls", "total")

    def __init__(
        self,
        started: float,
        connected: float,
        head: float,
        *,
        sent: float | None = None,
        ended: float | None = None,
        steps: ConnectTimings | None = None,
    ) -> None:
        self.queued: float | None = None if steps is None else steps.queued
        self.dns: float | None = None if steps is None else steps.dns
        self.connect: float | None = None if steps is None else steps.connect
        self.quic: float | None = None if steps is None else steps.quic
        self.tls: float | None = None if steps is None else steps.tls
        self.send: float | None = None if sent is None else sent - connected
        self.first_byte: float = head - connected
        # The body may have ended in the read that brought the head, an instant before it was looked
        # at.
        self.total: float | None = None if ended is None else max(ended, head) - started

    def __repr__(self) -> str:
        steps = ", ".join(
            f"{name}={value:.6f}"
            for name in self.__slots__
            if (value := getattr(self, name)) is not None
        )
        return f"<Timings {steps}>"
