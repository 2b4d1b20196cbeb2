"""What `RestClient` for threads is made of: an asynchronous one whose calls the loop in the
background makes.  `wherry.sync.rest` adds the signatures.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from wherry import ClientResponse
from wherry.rest import RestClient as AsyncRestClient
from wherry.rest import RestConfig
from wherry.sync.background import give, run
from wherry.sync.delegation import wait_for
from wherry.sync.objects import Response

V = TypeVar("V")


class Method(Generic[V]):
    """A verb of the client: the asynchronous one's, waited for."""

    def __set_name__(self, owner: type[HeldRest], name: str) -> None:
        self._name = name

    def __get__(self, api: HeldRest, owner: type[HeldRest]) -> V:
        verb = getattr(api.asynchronous, self._name)
        return cast("V", lambda *args, **kwargs: waited(verb(*args, **kwargs)))


def waited(call: Any) -> Any:
    """What a call of the asynchronous client gives; a response is one for threads."""
    result = wait_for(call)
    return Response(result, whole=True) if isinstance(result, ClientResponse) else result


async def _enter(api: AsyncRestClient) -> None:
    await api.__aenter__()


class HeldRest:
    """Enters and closes the asynchronous client on the loop."""

    def __init__(self, config: RestConfig | None = None, **options: Any) -> None:
        self.asynchronous: AsyncRestClient = AsyncRestClient(config, **options)
        self._entered = False

    def __enter__(self) -> Self:
        run(_enter(self.asynchronous))
        self._entered = True
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the session and its connections; harmless a second time."""
        if self._entered:
            self._entered = False
            run(self.asynchronous.close())

    def __del__(self) -> None:
        if getattr(self, "_entered", False):
            give(_forget, self.asynchronous)


def _forget(api: AsyncRestClient) -> None:
    """Drop the last reference on the loop's thread, where its session may warn and close."""
