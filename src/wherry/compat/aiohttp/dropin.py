"""Drop-in mode: a program's `import aiohttp` finds wherry's client, and the real aiohttp's server.

It knows the names of the modules that programs import from.  The real package's own modules keep
the real objects, bound before anything is replaced, so `aiohttp.web` runs on what it was written
for.
"""

from __future__ import annotations

import importlib
import runpy
import sys
import threading
from contextlib import suppress
from functools import update_wrapper
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import wherry
from wherry.compat.aiohttp.dropin_names import NAMES
from wherry.compat.aiohttp.dropin_server import SERVER_NAMES, introduce
from wherry.integrations import aiohttp_socks

__all__ = ("install", "report")

CLIENT_MODULES = (
    "abc", "base_protocol", "client", "client_exceptions", "client_middleware_digest_auth",
    "client_middlewares", "client_proto", "client_reqrep", "client_ws", "connector", "cookiejar",
    "formdata", "hdrs", "helpers", "http", "http_exceptions", "http_websocket", "multipart",
    "payload", "payload_streamer", "resolver", "streams", "tracing", "typedefs",
)  # fmt: skip
SERVER_MODULES = ("web", "test_utils", "pytest_plugin")
API_VERSION = "3.14.0"

_replaced: dict[str, list[str]] = {}
_installing = threading.RLock()


def install() -> None:
    """Give every later `import aiohttp` wherry's client names; modules that hold the real ones
    already get ours too.

    Classes that were derived from aiohttp's before stay as they are.  Calling it twice is harmless.
    """
    with _installing:
        if not _replaced:
            _install()


def _install() -> None:
    try:
        package = importlib.import_module("aiohttp")
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        _install_alone()
    else:
        _install_over(package)
    _install_socks()


def report() -> dict[str, list[str]]:
    """What was replaced: the names of each module; empty before `install`."""
    return {module: list(names) for module, names in _replaced.items()}


def _offered() -> dict[str, Any]:
    names = {name: getattr(wherry, name) for name in wherry.__all__ if not name.startswith("__")}
    return {name: value for name, value in names.items() if not isinstance(value, ModuleType)}


def _install_over(package: ModuleType) -> None:
    # Whatever the real package may import later is imported first, while the names are still its
    # own.
    real = {}
    for name in (*CLIENT_MODULES, *SERVER_MODULES):
        with suppress(ImportError):
            real[name] = importlib.import_module(f"aiohttp.{name}")
    _share_kinds(package.WSMsgType)
    offered = {name: value for name, value in _offered().items() if name not in SERVER_NAMES}
    swaps: dict[int, Any] = {}
    for name in CLIENT_MODULES:
        if name in real:
            mixed = _mixed(real[name], offered, swaps)
            swaps[id(real[name])] = mixed
    own = {
        id(module)
        for key, module in sys.modules.items()
        if key.partition(".")[0] in {"aiohttp", "wherry"}
    }
    holders = [module for module in list(sys.modules.values()) if id(module) not in own]
    for name in CLIENT_MODULES:
        if name in real:
            sys.modules[f"aiohttp.{name}"] = swaps[id(real[name])]
            setattr(package, name, swaps[id(real[name])])
    _replaced["aiohttp"] = []
    for name, value in offered.items():
        before = getattr(package, name, None)
        if not isinstance(before, ModuleType):
            if before is not None and getattr(before, "__module__", "").startswith("aiohttp"):
                swaps[id(before)] = value
            setattr(package, name, value)
            _replaced["aiohttp"].append(name)
    introduce(real, swaps)
    for module in holders:
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if id(value) in swaps:
                setattr(module, name, swaps[id(value)])


def _share_kinds(real: Any) -> None:
    """One enumeration of WebSocket messages for the client and the server: programs compare its
    members by `is`.
    """
    ours = wherry.WSMsgType

    def shared(value: Any) -> Any:
        if value is ours:
            return real
        if isinstance(value, ours):
            return real(int(value))
        if isinstance(value, wherry.WSMessage):
            return value._replace(type=shared(value.type))
        if type(value) is dict and any(isinstance(each, ours) for each in value.values()):
            return {key: shared(each) for key, each in value.items()}
        return value

    for key, module in list(sys.modules.items()):
        if key.partition(".")[0] == "wherry":
            for name, value in list(vars(module).items()):
                if (better := shared(value)) is not value:
                    setattr(module, name, better)


def _mixed(real: ModuleType, offered: dict[str, Any], swaps: dict[int, Any]) -> ModuleType:
    """A module with all the real one's names, ours where we have them."""
    mixed = ModuleType(real.__name__, real.__doc__)
    names = mixed.__dict__
    names.update(real.__dict__)
    inner = NAMES.get(real.__name__.partition(".")[2], {})
    taken = []
    for name, value in real.__dict__.items():
        ours = inner.get(name)
        if (
            ours is None
            and name in offered
            and str(getattr(value, "__module__", "")).startswith("aiohttp")
        ):
            ours = offered[name]
        if ours is not None:
            names[name] = ours
            if name in offered or isinstance(value, (type, FunctionType)):
                swaps[id(value)] = ours
            taken.append(name)
        elif isinstance(value, FunctionType) and value.__module__ == real.__name__:
            names[name] = _copy(value, names)
    _replaced[real.__name__] = sorted(taken)
    return mixed


def _copy(function: FunctionType, names: dict[str, Any]) -> FunctionType:
    """A function that finds our objects under the names which it uses, `BasicAuth` for one."""
    copy = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return update_wrapper(copy, function)  # type: ignore[return-value]


def _install_alone() -> None:
    offered = _offered()
    package = ModuleType("aiohttp", wherry.__doc__)
    package.__dict__.update(offered, __version__=API_VERSION, __path__=[])
    sys.modules["aiohttp"] = package
    _replaced["aiohttp"] = sorted(offered)
    for name in CLIENT_MODULES:
        module = wherry.hdrs if name == "hdrs" else ModuleType(f"aiohttp.{name}")
        if name != "hdrs":
            module.__dict__.update(offered | NAMES.get(name, {}))
        sys.modules[f"aiohttp.{name}"] = module
        setattr(package, name, module)
        _replaced[f"aiohttp.{name}"] = sorted(offered) if name != "hdrs" else []


def _install_socks() -> None:
    """aiohttp-socks derives its connectors from aiohttp's: from ours, if it is imported from now
    on.
    """
    is_late = "aiohttp_socks" in sys.modules
    if not is_late:
        with suppress(ImportError, AttributeError):
            aiohttp_socks.adopt(importlib.import_module("aiohttp_socks"))
    if is_late or "aiohttp_socks" not in sys.modules:
        for name in ("aiohttp_socks", "aiohttp_socks.utils"):
            sys.modules[name] = aiohttp_socks
            _replaced[name] = sorted(aiohttp_socks.__all__)


def run(arguments: list[str]) -> None:
    by_module = arguments[:1] == ["-m"]
    rest = arguments[1:] if by_module else arguments
    if not rest or (not by_module and rest[0].startswith("-")):
        sys.exit("usage: python -m wherry.dropin PROGRAM.py [ARGS] | -m MODULE [ARGS]")
    install()
    sys.argv = rest
    if by_module:
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(rest[0]).resolve().parent)
        runpy.run_path(rest[0], run_name="__main__")
