"""What goes wrong with an API's answer, and what it says of that itself (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wherry import ClientResponse, ClientResponseError


class RestError(ClientResponseError):
    """A response of status 400 or above, or one that is not what was asked for.

    `problem` is the problem document (RFC 9457) or whatever JSON the body was, None for neither;
    `text` is the body.
    """

    problem: Any = None
    text: str = ""

    @classmethod
    def of(cls, response: ClientResponse, message: str, problem: Any, text: str) -> RestError:
        error = cls(
            response.request_info,
            response.history,
            status=response.status,
            message=message,
            headers=response.headers,
        )
        error.problem, error.text = problem, text
        return error

    @property
    def url(self) -> str:
        """The URL that answered."""
        return str(self.request_info.real_url)


async def failure_of(response: ClientResponse, loads: Callable[[str], Any]) -> RestError:
    """The error for a response of status 400 or above, whose body has been read."""
    text = await response.text(errors="replace")
    problem: Any = None
    if "json" in response.content_type:
        try:
            problem = loads(text.removeprefix("\ufeff"))
        except (ValueError, RecursionError):
            problem = None
    told = problem if isinstance(problem, Mapping) else {}
    message = (
        told.get("detail") or told.get("title") or told.get("message") or response.reason or ""
    )
    return RestError.of(response, str(message), problem, text)
