"""Amounts that a program gives: seconds, and numbers of bytes or of things.

What is no number is refused where it is given.  Later it would fail inside a callback of the event
loop, far from who gave it, and a timer whose time is NaN never fires and keeps others from firing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

_PLAIN = frozenset({int, float, bool, type(None)})


class NotANumberError(TypeError, ValueError):
    """What should be an amount is of another type: a bad value too, for who catches those."""


def check_seconds(name: str, value: Any) -> None:
    """Refuse what is no time, in seconds; None and infinity stand for none.

    Args:
        name: What the program calls it.
        value: What it gave.

    Raises:
        NotANumberError: It is no number.
        ValueError: It is NaN, or too large for a float.
    """
    if value is None:
        return
    try:
        seconds = value if type(value) in _PLAIN else value + 0.0
        wrong = not seconds <= sys.float_info.max and seconds != float("inf")
    except TypeError:
        raise NotANumberError(
            f"{name} is a number of seconds or None, not {type(value).__name__}: {value!r:.100}"
        ) from None
    except OverflowError:
        wrong = True
    if wrong:
        raise ValueError(f"{name} is a number of seconds or None, not {value!r:.100}")


def method_names(methods: str | Iterable[str]) -> frozenset[str]:
    """Methods in capitals; one alone is one, and not its letters.

    >>> sorted(method_names("post")), sorted(method_names(["get", "POST"]))
    (['POST'], ['GET', 'POST'])
    """
    names = (methods,) if isinstance(methods, str) else methods
    return frozenset(name.upper() for name in names)


def whole_number(name: str, value: Any, *, negative: bool = True) -> int:
    """`value` as an int; infinity is the largest that there is.

    Args:
        name: What the program calls it.
        value: What it gave.
        negative: Whether it may be less than 0.

    Raises:
        TypeError: It is no number.
        ValueError: It is NaN, or negative.
    """
    number = value if isinstance(value, int) else _rounded(name, value)
    if number < 0 and not negative:
        raise ValueError(f"{name} is 0 or more, not {value}")
    return number


def _rounded(name: str, value: Any) -> int:
    try:
        if isinstance(value, (str, bytes, bytearray)):
            raise TypeError  # what int() would read
        return int(value)
    except OverflowError:
        return sys.maxsize if value > 0 else -sys.maxsize
    except (TypeError, ValueError) as exc:
        raise type(exc)(
            f"{name} is a whole number, not {type(value).__name__}: {value!r:.100}"
        ) from None
