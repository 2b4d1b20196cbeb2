"""How urgent a response is (RFC 9218): `priority=` as the field that says it.  Pure."""

from __future__ import annotations

import re
from typing import Any, Final

_MEMBERS: Final = re.compile(r"(?:u=[0-7]|i(?:=\?[01])?)(?: *, *(?:u=[0-7]|i(?:=\?[01])?))*")
_MOST_URGENT, _LEAST_URGENT = 0, 7


def priority_field(priority: Any) -> str:
    """The Priority field.

    >>> priority_field(1), priority_field("u=5, i")
    ('u=1', 'u=5, i')

    Args:
        priority: The urgency, 0 (first) to 7 (when there is nothing else to do), where 3 is usual;
            or the field's own words: "u=1", "i" for what is of use in parts, or both.

    Raises:
        ValueError: It is something else.
        TypeError: It is neither an int nor a str.
    """
    if isinstance(priority, int) and not isinstance(priority, bool):
        if _MOST_URGENT <= priority <= _LEAST_URGENT:
            return f"u={priority}"
    elif not isinstance(priority, str):
        raise TypeError(f"priority is an int or a str, not {type(priority).__name__}")
    elif _MEMBERS.fullmatch(priority):
        return priority
    raise ValueError(f"priority is 0 to 7, or as 'u=1, i' (RFC 9218), not {priority!r:.100}")


def with_priority(headers: Any, priority: Any) -> Any:
    """Header fields with the Priority field, in place of one that is there."""
    field = priority_field(priority)
    pairs = headers.items() if hasattr(headers, "items") else headers or ()
    kept = [(name, value) for name, value in pairs if str(name).lower() != "priority"]
    return [*kept, ("Priority", field)]
