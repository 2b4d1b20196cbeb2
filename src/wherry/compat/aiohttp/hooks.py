"""Puts this layer at the core's hooks: from then on connectors, requests and responses go by what a
program overrides of aiohttp's.

`wherry` does so when it is imported; the core works without.
"""

from __future__ import annotations

from typing import Any

from wherry.client.hooks import HOOKS as CLIENT_HOOKS
from wherry.compat.aiohttp import private_names, request_overrides
from wherry.compat.aiohttp.dial_overrides import detect
from wherry.compat.aiohttp.private_names import NEVER_CALLED, warn_of_never_called
from wherry.connect.hooks import HOOKS as CONNECT_HOOKS

__all__ = ("install",)


class ConnectorOverrides:
    """The `ConnectorHooks` of programs that know aiohttp's connectors."""

    def connector_made(self, connector: Any) -> None:
        """See `detect`."""
        detect(connector)

    def class_made(self, cls: type) -> None:
        """Warn of methods that nobody will call."""
        warn_of_never_called(cls, NEVER_CALLED, stacklevel=5)


def install() -> None:
    """Do so, once."""
    requests = request_overrides.RequestOverrides()
    private_names.install()
    request_overrides.install(requests)
    CONNECT_HOOKS.connectors = ConnectorOverrides()
    CLIENT_HOOKS.requests = requests
