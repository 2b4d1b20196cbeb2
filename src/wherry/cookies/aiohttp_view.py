"""`CookiesByPlace`: a jar's cookies as aiohttp's jar keeps them, for programs that look into
that.
"""

from __future__ import annotations

from collections import defaultdict
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherry.cookies.abc import AbstractCookieJar


class CookiesByPlace(defaultdict[tuple[str, str], SimpleCookie]):
    """The cookies that a jar holds now, by (domain, path); emptying it empties the jar, and it
    pickles as a plain one.

    Args:
        jar: The jar.
    """

    def __init__(self, jar: AbstractCookieJar) -> None:
        super().__init__(SimpleCookie, jar.cookies)
        self._jar = jar

    def clear(self) -> None:
        """Empty it, and the jar."""
        super().clear()
        self._jar.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        return defaultdict, (SimpleCookie, dict(self))
