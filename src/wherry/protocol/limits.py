"""What a server may send in a response's head and trailers, whatever version of HTTP it speaks.

Values and what they say of a field; who counts, and what becomes of a response that has more, is
each protocol's matter.
"""

from __future__ import annotations

from typing import Final

from wherry.argument_checks import whole_number

__all__ = ("DEFAULT_LIMITS", "MAX_INTERIM_RESPONSES", "Limits")

# RFC 9110 15.2: interim (1xx) responses may come at any time, but not for ever.
MAX_INTERIM_RESPONSES: Final = 32


class Limits:
    """What a server may send before it counts as an attack.  Equal limits are equal values.

    Args:
        max_line_size: The status line's reason and a field's name, in bytes.
        max_field_size: A field's value, in bytes.
        max_headers: How many field lines a head (and a trailer section) may have.
    """

    __slots__ = ("max_field_size", "max_head_size", "max_headers", "max_line_size", "unquestioned")

    max_line_size: int
    max_field_size: int
    max_headers: int

    def __init__(
        self, max_line_size: int = 8190, max_field_size: int = 8190, max_headers: int = 128
    ) -> None:
        self.max_line_size = max_line_size = whole_number("max_line_size", max_line_size)
        self.max_field_size = max_field_size = whole_number("max_field_size", max_field_size)
        self.max_headers = max_headers = whole_number("max_headers", max_headers)
        # The whole head at most, in bytes: all fields may be long, if there are few of them.
        self.max_head_size: int = max_line_size + max_field_size * 32 + max_headers * 256
        # No line of a head of this size is too long, whichever it is.
        self.unquestioned: int = min(max_line_size, max_field_size)

    def __repr__(self) -> str:
        return (
            f"Limits(max_line_size={self.max_line_size}, max_field_size={self.max_field_size}, "
            f"max_headers={self.max_headers})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Limits) and self._numbers == other._numbers

    def __hash__(self) -> int:
        return hash(self._numbers)

    @property
    def _numbers(self) -> tuple[int, int, int]:
        return self.max_line_size, self.max_field_size, self.max_headers

    def too_many(self) -> str:
        """What is wrong with a head or trailer section of more than `max_headers` fields."""
        return f"the response has more than {self.max_headers} header fields"

    def too_long(self, name: bytes) -> str:
        """What is wrong with a field whose name or value is too long."""
        limit = self.max_line_size if len(name) > self.max_line_size else self.max_field_size
        return f"the header field {name[:64]!r} has more than {limit} bytes"


DEFAULT_LIMITS: Final = Limits()
