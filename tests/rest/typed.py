"""What type checkers know of the REST client; mypy reads it, and a test runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, assert_type

from wherry import ClientResponse
from wherry.rest import RestClient

T = TypeVar("T")


@dataclass
class User:
    id: int


@dataclass
class Envelope(Generic[T]):
    item: T


async def ask(api: RestClient) -> list[Any]:
    assert_type(await api.get("/user"), ClientResponse)
    assert_type(await api.get("/user", model=Envelope[User]), Envelope[User])
    assert_type(api.pages("/users", model=User), AsyncIterator[User])
    assert_type(api.pages("/users"), AsyncIterator[Any])
    users = [user async for user in api.pages("/users", model=User)]
    assert_type(users, list[User])
    named = [user async for user in api.pages("/users", model=dict[str, int], items="data")]
    assert_type(named, list[dict[str, int]])
    return [*users, *named]
