"""The report of a run as OpenTelemetry's meters show it, beside the spans and the duration metric
of `wherry.integrations.opentelemetry`, which a session's `trace_configs` has.

Instruments are observed when the reader asks: counting costs the run nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from wherry.bulk.report import COUNTERS, GAUGES, Report


class Reporting(Protocol):
    """What has a report."""

    @property
    def report(self) -> Report: ...


def observe(source: Reporting, meter: Any = None) -> None:
    """Show a report for as long as who has it lives.

    Args:
        source: Who has it.
        meter: OpenTelemetry's meter; by default that of the global provider.

    Raises:
        ModuleNotFoundError: opentelemetry-api is not installed.
    """
    from opentelemetry import metrics

    if meter is None:
        meter = metrics.get_meter("wherry.bulk")
    held = weakref.ref(source)

    def reading(name: str) -> Callable[[Any], Iterable[Any]]:
        def read(_: Any) -> Iterable[Any]:
            alive = held()
            return [] if alive is None else [metrics.Observation(getattr(alive.report, name))]

        return read

    for name, text in COUNTERS.items():
        meter.create_observable_counter(f"wherry.bulk.{name}", [reading(name)], description=text)
    for name, text in GAUGES.items():
        meter.create_observable_gauge(f"wherry.bulk.{name}", [reading(name)], description=text)
