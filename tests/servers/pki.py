"""An authority of the tests: contexts of servers that it vouches for, and of clients that trust
it.
"""

from __future__ import annotations

import ssl

import trustme


class Pki:
    """One authority; `server` is a context for 127.0.0.1, localhost and origin.test."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("localhost", "127.0.0.1", "origin.test").configure_cert(
            self.server
        )

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context
