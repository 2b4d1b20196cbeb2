"""Fixtures for what is on the wire."""

from __future__ import annotations

import pytest

from wherry.protocol.http1 import parser_backend, plain_parser


@pytest.fixture(params=["llhttp", "plain"])
def each_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """llhttp, and what stands in for it where it cannot be imported."""
    if request.param == "plain":
        for name in parser_backend.__all__:
            monkeypatch.setattr(parser_backend, name, getattr(plain_parser, name))
