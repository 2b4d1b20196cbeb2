"""A typed SDK: tokens that are renewed, a rate limit, retries and pages."""
import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from wherry import OAuth2ClientCredentials
from wherry.rest import RestClient


@dataclass
class User:
    id: int
    name: str


class Directory(RestClient):
    def __init__(self, base: str, client: str, secret: str) -> None:
        auth = OAuth2ClientCredentials(f"{base}/token", client, secret)
        super().__init__(base_url=base, middlewares=[auth], requests_per_second=50, retries=2)

    async def user(self, number: int) -> User:
        return await self.get(f"/users/{number}", model=User)

    def users(self) -> AsyncIterator[User]:
        return self.pages("/users", model=User, items="data", cursor="next")


async def main(base: str) -> None:
    async with Directory(base, "me", "mine") as directory:
        print(await directory.user(1))
        print([user.name async for user in directory.users()])


asyncio.run(main(*sys.argv[1:]))
