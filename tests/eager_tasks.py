"""`pytest -p tests.eager_tasks`: every event loop of asyncio's starts its tasks eagerly (Python 3.12
and later), those of the tests and their servers as well.
"""

from __future__ import annotations

import asyncio
from typing import Any

_make = asyncio.BaseEventLoop.__init__


def _make_eager(self: asyncio.BaseEventLoop, *args: Any) -> None:
    _make(self, *args)
    self.set_task_factory(asyncio.eager_task_factory)


asyncio.BaseEventLoop.__init__ = _make_eager  # type: ignore[method-assign]
