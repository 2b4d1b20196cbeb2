"""The scripted peers and sessions of tests/client, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

from tests.client.conftest import peer, pytest_generate_tests, session, version

__all__ = ["peer", "pytest_generate_tests", "session", "version"]
