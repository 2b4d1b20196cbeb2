"""What may look into connectors from outside the core: who watches their methods, who dials in
place of the dialler, and which connectors there are.

The core knows these protocols and not who is behind them; without anybody it works the same.
"""

from __future__ import annotations

import threading
from abc import ABCMeta
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from weakref import WeakValueDictionary

from wherry.connect.connect_request import ConnectRequest
from wherry.connect.dial import dial
from wherry.connect.dial_settings import DialSettings
from wherry.connect.route import Route
from wherry.protocol.connection import Connection

Dial = Callable[[Route, DialSettings, ConnectRequest], Awaitable[Connection]]
ABSENT = object()


class ConnectorHooks(Protocol):
    """Finds methods of a program's own on a connector, and sees that it dials by them."""

    def connector_made(self, connector: Any) -> None:
        """A connector was made, or its class has changed: set its `shows_requests` and
        `overrides_connect`, and the `overrides` and `lookup` of its settings.
        """

    def class_made(self, cls: type) -> None:
        """A class was derived from a connector's."""


class _NoHooks:
    """Every connector dials as it is written here."""

    def connector_made(self, connector: Any) -> None:
        """Do nothing: the class dials as it is written here."""

    def class_made(self, cls: type) -> None:
        """Do nothing: no class is watched."""


class ConnectHooks:
    """What the compatibility layer has put in place, for the whole process.

    Attributes:
        connectors: Looks for methods of a program's own.
        dial: Makes connections: `dial.dial`, or what stands in its place for a while.
    """

    __slots__ = ("connectors", "dial")

    def __init__(self) -> None:
        self.connectors: ConnectorHooks = _NoHooks()
        self.dial: Dial = dial


HOOKS = ConnectHooks()

# --- which connectors there are -------------------------------------------------------------------

# By identity: a class may compare its connectors, and then they have no hash.
_all: WeakValueDictionary[int, Any] = WeakValueDictionary()
_all_lock = threading.Lock()  # connectors are made in the threads of several event loops


def note_connector(connector: Any) -> None:
    """Count a new connector among `all_connectors`, as long as somebody holds it."""
    with _all_lock:
        _all[id(connector)] = connector


def all_connectors() -> list[Any]:
    """Every connector of the process."""
    with _all_lock:
        return list(_all.values())


# --- classes whose methods are replaced -----------------------------------------------------------


class WatchedClass(ABCMeta):
    """A class that tells when what it, or a class derived from it, has is replaced.

    Programs that trace others replace methods of classes.  Whoever does not call these methods each
    time is told once, when it happens, and so pays nothing in between.  An `ABCMeta`, for programs
    derive classes from these and from abstract ones at once.
    """

    def __setattr__(cls, name: str, value: Any) -> None:
        before, known = cls.__dict__.get(name, ABSENT), hasattr(cls, name)
        super().__setattr__(name, value)
        if known and not name.startswith("_abc_"):
            _changed(cls, name, before)

    def __delattr__(cls, name: str) -> None:
        before = cls.__dict__.get(name, ABSENT)
        super().__delattr__(name)
        _changed(cls, name, before)


class ClassChanges:
    """What is replaced now in watched classes, by (class, name): what stood there before.

    Attributes:
        replaced: Empty again once everything was put back.
        listeners: Called with (class, name) after each change.
    """

    __slots__ = ("listeners", "replaced")

    def __init__(self) -> None:
        self.replaced: dict[tuple[type, str], Any] = {}
        self.listeners: list[Callable[[type, str], None]] = []


CHANGES = ClassChanges()


def _changed(cls: type, name: str, before: Any) -> None:
    first = CHANGES.replaced.setdefault((cls, name), before)
    if cls.__dict__.get(name, ABSENT) is first:
        del CHANGES.replaced[cls, name]
    for listener in CHANGES.listeners:
        listener(cls, name)
