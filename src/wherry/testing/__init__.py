"""For tests and demonstrations: an embedded server, and the pytest plugin `wherry.testing.plugin`.

Needs the extra ``wherry[testing]``.  Nothing of the client knows of this room.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherry.testing.server import LocalServer

__all__ = ("LocalServer",)


def __getattr__(name: str) -> Any:
    # The plugin is loaded in every run of pytest: it must not bring the server's dependencies with it.
    if name == "LocalServer":
        from wherry.testing.server import LocalServer

        return LocalServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
