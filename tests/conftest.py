"""Fixtures of every room: the real servers, started at first use and once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.servers.pki import Pki
from tests.servers.proxies import ProxyFarm


@pytest.fixture(scope="session")
def pki() -> Pki:
    """The tests' authority."""
    return Pki()


@pytest.fixture(scope="session")
def proxies(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[ProxyFarm]:
    """Every real proxy."""
    directory = tmp_path_factory.mktemp("proxies")
    for parent in (directory, *directory.parents[:2]):
        parent.chmod(0o755)  # some of them give up root's rights
    farm = ProxyFarm(directory, pki.authority)
    try:
        yield farm
    finally:
        farm.close()
