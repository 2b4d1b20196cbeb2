"""The code of docs/middlewares.md: it compiles, and the bearer token does what the text says."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

import wherry

from .conftest import Peer, reply

TEXT = (Path(__file__).parents[2] / "docs" / "middlewares.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_code_of_the_page_compiles(block: str) -> None:
    compile(block, "middlewares.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_name_of_the_page_is_offered() -> None:
    names = set(
        re.findall(
            r"\b((?:[A-Z][A-Za-z0-9]+)(?:Middleware|Limit|Credentials|Storage|Budget))\b", TEXT
        )
    )
    assert names
    assert names <= set(wherry.__all__)


async def test_the_bearer_token_stays_at_its_origin(peer: Any, session: Any) -> None:
    other: Peer = await peer()
    server: Peer = await peer(
        lambda asked: reply(302, "", {"Location": "/next" if asked.target == "/" else other.url()})
    )
    (block,) = [block for block in BLOCKS if "class BearerAuth" in block]
    names: dict[str, Any] = {**vars(wherry), "URL": URL}
    exec(compile(block, "middlewares.md", "exec"), names)
    async with session(middlewares=(names["BearerAuth"]("t0ken", server.url()),)).get(
        server.url()
    ) as response:
        assert response.status == 200
    assert [asked.headers.get("Authorization") for asked in server.asked] == ["Bearer t0ken"] * 2
    assert [asked.headers.get("Authorization") for asked in other.asked] == [None]
