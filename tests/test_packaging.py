"""What a stranger installs: entry points, extras, version, licence."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

import wherry

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_plugin_is_named_like_its_module():
    """Else a conftest that loads it too would register it a second time."""
    plugins = PROJECT["entry-points"]["pytest11"]
    assert plugins
    assert all(name == module for name, module in plugins.items())


@pytest.mark.parametrize(
    "target", [*PROJECT["scripts"].values(), *PROJECT["entry-points"]["pytest11"].values()]
)
def test_entry_points_lead_somewhere(target):
    module, _, name = target.partition(":")
    found = importlib.import_module(module)
    assert not name or callable(getattr(found, name))


def test_the_version_is_one():
    assert PROJECT["version"] == wherry.__version__
    assert f"## {wherry.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_all_names_extras_that_exist():
    extras = PROJECT["optional-dependencies"]
    named = re.search(r"\[(.+)\]", extras["all"][0])
    assert named
    assert set(named[1].split(",")) <= set(extras) - {"all"}


def test_types_and_licence_come_along():
    assert (ROOT / "src" / "wherry" / "py.typed").exists()
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")


def test_the_commands_of_the_readme_are_targets():
    readme = (ROOT / "README.md").read_text("utf-8")
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"^make ([\w-]+)", readme, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
