"""How a `RestClient` talks: the options, with their defaults."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from wherry import BasicAuth, ClientMiddlewareType, ClientRequest, ClientTimeout
from wherry.rest.models import decode, encode, told_of


def dumps(value: Any) -> str:
    """`value` as JSON, of dataclasses and models too."""
    return json.dumps(value, default=encode)


class Converter(Protocol):
    """What makes models of JSON and JSON of models, as cattrs' converters do."""

    def structure(self, obj: Any, cl: Any, /) -> Any: ...

    def unstructure(self, obj: Any, /) -> Any: ...


@dataclasses.dataclass(frozen=True)
class RestConfig:
    """How a `RestClient` talks.

    Args:
        base_url: What paths are relative to; a path in it is kept, with or without a slash at its
            end.
        verify_ssl: Whether certificates are checked, as by default; an SSLContext or a Fingerprint
            serves too.
        tcp_connections: Connections at most, 5 by default.
        timeout: A `ClientTimeout`, or seconds in all; the session's default where it is None.
        headers: Fields of every request.
        auth: As for a session: a `BasicAuth`, or what writes the credentials of every request.
        retries: How often a request that failed is tried again where that is safe, 0 by default.
        requests_per_second: A limit to each origin; None, the default, for none.
        middlewares: More middlewares, outside the two that `retries` and `requests_per_second`
            make.
        proxy: A proxy or a chain of them, as for a session.
        trust_env: Whether the environment names the proxy and ``~/.netrc`` the credentials; False
            by default.
        max_body_size: Bytes that a body may have; None, the default, for any number.
        dumps: Makes JSON; by default of dataclasses and models too.
        loads: Reads JSON.
        converter: Makes models of JSON, and JSON of what is sent, in place of ours: a
            converter of cattrs, with the program's own hooks.
    """

    base_url: str | None = None
    verify_ssl: Any = True
    tcp_connections: int = 5
    timeout: ClientTimeout | float | None = None
    headers: Mapping[str, str] | None = dataclasses.field(default=None, repr=False)
    auth: BasicAuth | Callable[[ClientRequest], Any] | ClientMiddlewareType | None = (
        dataclasses.field(default=None, repr=False)
    )
    retries: int = 0
    requests_per_second: float | None = None
    middlewares: Sequence[ClientMiddlewareType] = ()
    proxy: Any = dataclasses.field(default=None, repr=False)
    trust_env: bool = False
    max_body_size: int | None = None
    dumps: Callable[[Any], str] = dumps
    loads: Callable[[str], Any] = json.loads
    converter: Converter | None = dataclasses.field(default=None, repr=False)

    def _made(self, value: Any, model: Any) -> Any:
        """A model of decoded JSON.

        Raises:
            ValueError: The value does not fit.
        """
        if self.converter is None or model is Any:
            return decode(value, model)
        try:
            return self.converter.structure(value, model)
        except Exception as exc:
            raise ValueError(told_of(exc)) from exc

    def _text_of(self, value: Any) -> str:
        """JSON of a body."""
        return self.dumps(value if self.converter is None else self.converter.unstructure(value))
