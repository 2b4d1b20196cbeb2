"""How much work a reader does for what it is given, counted: the same on a busy machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(read: Callable[[Any], object], value: Any) -> int:
    """Lines of Python that run: what is read twice in a loop counts twice."""
    count = 0

    def tracer(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        read(value)
    finally:
        sys.settrace(before)
    return count
