"""wherry for scripts, notebooks and threads: ``wherry.sync.get(url)``.

The same arguments and objects as the asynchronous client has, without `await`.  One event loop in
the background carries all of it: any number of threads may use one `Session`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wherry.sync.objects import (
    EventSource,
    EventStream,
    Response,
    Session,
    Stream,
    WebSocket,
    delete,
    get,
    head,
    options,
    patch,
    post,
    put,
    request,
)

if TYPE_CHECKING:
    from wherry.sync.rest import RestClient

__all__ = (
    "EventSource",
    "EventStream",
    "Response",
    "RestClient",
    "Session",
    "Stream",
    "WebSocket",
    "delete",
    "get",
    "head",
    "options",
    "patch",
    "post",
    "put",
    "request",
)


def __getattr__(name: str) -> Any:
    # It needs the modules for models, which a script without it should not load.
    if name != "RestClient":
        from wherry.client.call_mistakes import sync_name_hint

        raise AttributeError(
            f"module 'wherry.sync' has no attribute {name!r}{sync_name_hint(name)}", name=name
        )
    value = globals()[name] = import_module("wherry.sync.rest").RestClient
    return value
