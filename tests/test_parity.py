"""aiohttp's client API beside ours: names, signatures, attributes, and the tree of exceptions.

What is not there yet stands in `MISSING`, which may only become shorter: a line of it that is no
longer true fails.  What differs on purpose stands in `DIFFERENT`, with the reason.
"""

from __future__ import annotations

import enum
import inspect
from typing import Any

import aiohttp
import pytest

import wherry
from wherry.client.options import _RequestOptions

# For servers, or for gunicorn, or names of submodules.
SERVER_ONLY = {"ChainMapProxy", "GunicornUVLoopWebWorker", "GunicornWebWorker"}
CLIENT_NAMES = sorted(set(aiohttp.__all__) - SERVER_ONLY)

MISSING: set[str] = set()

# Public members that are aiohttp's inner workings: how a request is written and a response fed,
# which no document describes and which stand on rooms that we have not.
INNER = {
    "ClientRequest": {
        "ATTRS", "DEFAULT_HEADERS", "GET_METHODS", "POST_METHODS", "ALL_METHODS", "loop",
        "connection_key", "send", "terminate", "write_bytes", "keep_alive", "update_auth",
        "update_auto_headers", "update_body_from_data", "update_content_encoding", "update_cookies",
        "update_expect_continue", "update_headers", "update_host", "update_proxy",
        "update_transfer_encoding", "update_version", "request_info",
    },
    "ClientResponse": {"ATTRS", "start", "method", "reason", "status", "version"},
    "ClientSession": {"ATTRS"},
    "CookieJar": {
        "DATE_DAY_OF_MONTH_RE", "DATE_HMS_TIME_RE", "DATE_MONTH_RE", "DATE_TOKENS_RE",
        "DATE_YEAR_RE", "MAX_TIME", "SUB_MAX_TIME",
    },
    "Fingerprint": {"HASHFUNC_BY_DIGESTLEN"},
    "StreamReader": {"feed_data", "feed_eof", "total_bytes"},
}  # fmt: skip
DIFFERENT: set[str] = set()


def their_members(cls: type) -> set[str]:
    """Public members that aiohttp's own classes define."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("aiohttp")]
    names = {name for base in own for name in vars(base) if not name.startswith("_")}
    return names - INNER.get(cls.__name__, set())


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def lost_parameters(theirs: Any, ours: Any, where: str) -> set[str]:
    """What a call to theirs may say and a call to ours may not."""
    their, our = parameters(theirs), parameters(ours)
    if not their or not our:
        return set()
    takes_names = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in our.values())
    takes_places = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in our.values())
    lost = set()
    positions = [
        name
        for name, each in our.items()
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    place = 0
    for name, each in their.items():
        if name.startswith("_") or each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD):
            if not takes_places and (place >= len(positions) or positions[place] != name):
                lost.add(f"{where}({name} at {place})")
            place += 1
        if each.kind is not each.POSITIONAL_ONLY and name != "self":
            mine = our.get(name)
            if mine is None and not takes_names:
                lost.add(f"{where}({name})")
            elif mine is not None and each.default is not each.empty and mine.default is mine.empty:
                lost.add(f"{where}({name} has a default)")
    for name, each in our.items():
        needed = each.default is each.empty and each.kind not in (
            each.VAR_POSITIONAL,
            each.VAR_KEYWORD,
        )
        if needed and name not in their:
            lost.add(f"{where}({name} is not needed)")
    return lost


def class_differences(name: str, theirs: type, ours: Any) -> set[str]:
    if not isinstance(ours, type):
        return {f"{name} is a class"}
    if issubclass(theirs, enum.Enum):
        return {
            f"{name}.{member}"
            for member in theirs.__members__
            if member not in getattr(ours, "__members__", {})
        }
    found = lost_parameters(theirs.__init__, ours.__init__, name)
    for member in their_members(theirs):
        if not hasattr(ours, member):
            if member not in _set_on_objects(ours):
                found.add(f"{name}.{member}")
            continue
        their, our = inspect.getattr_static(theirs, member), inspect.getattr_static(ours, member)
        if inspect.isfunction(their) and inspect.isfunction(our):
            found |= lost_parameters(their, our, f"{name}.{member}")
    return found


def _set_on_objects(cls: type) -> set[str]:
    """What `__init__` sets is no member of the class, but is there too."""
    found: set[str] = set()
    for base in cls.__mro__:
        found |= set(vars(base).get("__annotations__", {}))
        if inspect.isfunction(init := vars(base).get("__init__")):
            found |= set(init.__code__.co_names)
    return found


def differences(name: str) -> set[str]:
    theirs, ours = getattr(aiohttp, name), getattr(wherry, name, None)
    if ours is None:
        return {name}
    if isinstance(theirs, type) and not hasattr(theirs, "_fields"):
        return class_differences(name, theirs, ours)
    if inspect.isfunction(theirs):
        return lost_parameters(theirs, ours, name)
    return set()


@pytest.mark.parametrize("name", CLIENT_NAMES)
def test_the_api_is_there(name):
    found = differences(name) - DIFFERENT
    assert not found - MISSING, "not there, or not callable as aiohttp's is"


def test_what_is_listed_as_missing_is_missing():
    found = set().union(*(differences(name) for name in CLIENT_NAMES))
    assert not MISSING - found, "these are there now: take them off the list"
    assert not DIFFERENT - found, "these do not differ any more"


def test_public_names_are_public():
    assert set(CLIENT_NAMES) - set(wherry.__all__) <= MISSING


EXCEPTIONS = [
    name
    for name in CLIENT_NAMES
    if isinstance(getattr(aiohttp, name), type)
    and issubclass(getattr(aiohttp, name), BaseException)
]


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exceptions_are_caught_as_theirs_are(name):
    """Whatever an ``except`` of aiohttp's or of Python's catches."""
    theirs, ours = getattr(aiohttp, name), getattr(wherry, name)
    wanted = {base.__name__ for base in theirs.__mro__}
    assert wanted <= {base.__name__ for base in ours.__mro__}


@pytest.mark.parametrize(
    "name", ["ClientError", "ClientConnectionError", "ClientResponseError", "ClientOSError"]
)
def test_exceptions_are_no_wider_than_theirs(name):
    """What is a subclass of one of theirs is so in ours and the other way round."""
    ours = {each for each in EXCEPTIONS if issubclass(getattr(wherry, each), getattr(wherry, name))}
    theirs = {
        each for each in EXCEPTIONS if issubclass(getattr(aiohttp, each), getattr(aiohttp, name))
    }
    assert ours == theirs


def test_every_option_of_a_request_is_taken():
    theirs = set(parameters(aiohttp.ClientSession._request)) - {"self", "method", "str_or_url"}
    assert theirs <= set(_RequestOptions.__annotations__)


def test_the_measure_sees_what_is_lost():
    """The comparison itself."""

    def theirs(self, a, b=1, *, c=2): ...

    def ours(self, b, a, *, d): ...

    assert lost_parameters(theirs, ours, "f") == {
        "f(a at 1)",
        "f(b at 2)",
        "f(b has a default)",
        "f(c)",
        "f(d is not needed)",
    }
