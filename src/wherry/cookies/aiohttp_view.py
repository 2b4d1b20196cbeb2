"""`CookiesByPlace` and `LiveCookies`: a jar's cookies as aiohttp's jar keeps and shows them, for
programs that look into that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
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


class LiveCookies(Mapping[tuple[str, str], SimpleCookie]):
    """The cookies that a jar holds at each look, by (domain, path).

    Args:
        look: Gives them.
    """

    __slots__ = ("_look",)

    def __init__(self, look: Callable[[], dict[tuple[str, str], SimpleCookie]]) -> None:
        self._look = look

    def __getitem__(self, place: tuple[str, str]) -> SimpleCookie:
        return self._look()[place]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._look())

    def __len__(self) -> int:
        return len(self._look())

    def __repr__(self) -> str:
        return repr(self._look())

    # Each from one look: those of the base class would look once for each place.

    def keys(self) -> KeysView[tuple[str, str]]:
        return self._look().keys()

    def values(self) -> ValuesView[SimpleCookie]:
        return self._look().values()

    def items(self) -> ItemsView[tuple[str, str], SimpleCookie]:
        return self._look().items()
