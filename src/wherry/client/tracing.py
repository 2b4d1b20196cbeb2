"""Client tracing; what is here for now is the place of it."""

from __future__ import annotations

from typing import Any


class TraceConfig:
    """Who listens to the steps of requests."""

    def freeze(self) -> None:
        """Take no more listeners."""


class Traces:
    """The traces of one request."""

    def __init__(self, session: Any, configs: list[TraceConfig], trace_request_ctx: object) -> None:
        self.configs = configs
