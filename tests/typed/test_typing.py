"""What editors and type checkers know of wherry."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.left_out import can_be_had

import wherry
from wherry.client import options
from wherry.client.options import _RequestOptions
from wherry.client.websocket import connect
from wherry.client.websocket.connect import _WSConnectOptions

ROOT = Path(__file__).parents[2]
CALLS = Path(__file__).parent / "calls.py"
SOURCE = ROOT / "src"
# Node starts slowly where much else runs.
pytestmark = pytest.mark.timeout(900)


def run(*command: str, folder: Path) -> str:
    """What a program of this Python's environment prints; it may fail."""
    environ = os.environ | {
        "PYTHONPATH": str(SOURCE),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        env=environ,
        cwd=folder,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout


def lines_that_are(mark: str) -> set[int]:
    lines = CALLS.read_text("utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith(mark)}


def differences(found: dict[int, str]) -> dict[int, str]:
    """Lines that a checker takes for what they are not, and what it says of them."""
    wrong = lines_that_are("# wrong")
    assert len(wrong) > 60
    return {
        **{line: said for line, said in found.items() if line not in wrong},
        **dict.fromkeys(wrong - set(found), "no error was found"),
    }


def test_mypy_finds_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = True\n")
    told = run("mypy", "--no-color-output", "--no-error-summary", "--hide-error-context",
               f"--cache-dir={tmp_path}", str(CALLS), folder=tmp_path)  # fmt: skip
    found = {}
    for line in told.splitlines():
        if match := re.match(r"(.+\.py):(\d+): error: (.+)", line):
            assert Path(match[1]).name == CALLS.name, line
            found[int(match[2])] = match[3]
    assert differences(found) == {}


def test_pyright_finds_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / CALLS.name).write_text(CALLS.read_text("utf-8"), "utf-8")
    settings: dict[str, object] = {"typeCheckingMode": "strict", "extraPaths": [str(SOURCE)]}
    # Statements without an effect are there on purpose; a wrong call has no type to know.
    quiet = ("UnusedExpression", "UnusedCoroutine", "UnknownMemberType", "UnknownVariableType")
    settings |= {f"report{name}": False for name in quiet}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    told = run("pyright", "--outputjson", "-p", str(tmp_path), folder=tmp_path)
    found = {
        each["range"]["start"]["line"] + 1: each["message"]
        for each in json.loads(told)["generalDiagnostics"]
        if each["severity"] == "error"
    }
    assert differences(found) == {}


def test_both_checkers_are_there_for_every_run_of_the_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extra = " ".join(project["optional-dependencies"]["test"])
    assert "mypy" in extra
    assert "pyright[nodejs]" in extra


def test_the_type_of_every_public_name_is_known(tmp_path: Path) -> None:
    told = run("pyright", "--verifytypes", "wherry", "--ignoreexternal", "--outputjson",
               folder=tmp_path)  # fmt: skip
    found = json.loads(told)["typeCompleteness"]
    assert len(found["symbols"]) > 4000
    unknown = {
        each["name"]: [problem["message"] for problem in each["diagnostics"]]
        for each in found["symbols"]
        if not each["isTypeKnown"] or each["isTypeAmbiguous"]
    }
    # A class of another package's class is known only where that package is there.
    if not can_be_had("aiogram"):
        unknown.pop("wherry.integrations.aiogram.WherrySession")
    assert unknown == {}
    assert found["completenessScore"] == 1 or not can_be_had("aiogram")


@pytest.mark.parametrize(
    ("function", "keywords"),
    [
        (wherry.ClientSession.request, _RequestOptions),
        (wherry.ClientSession.ws_connect, _WSConnectOptions),
        (wherry.ClientSession, None),
        (wherry.TCPConnector, None),
    ],
)
def test_every_argument_is_described(function: Any, keywords: Any) -> None:
    """In the docstring, and at the keyword itself, where an editor shows it."""
    made = inspect.signature(function).parameters
    names = set(made if keywords is None else keywords.__annotations__) - {"self", "unknown"}
    text = inspect.getdoc(function) or ""
    assert {
        name for name in names if not re.search(rf"^    {name}: \S", text, re.MULTILINE)
    } == set()


def test_every_keyword_has_a_sentence() -> None:
    for module in (options, connect):
        tree = ast.parse(Path(module.__file__).read_text("utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef) or not node.name.startswith("_"):
                continue
            for place, each in enumerate(node.body):
                if isinstance(each, ast.AnnAssign):
                    after = node.body[place + 1]
                    assert isinstance(after, ast.Expr), ast.unparse(each)
                    assert isinstance(after.value, ast.Constant), ast.unparse(each)


def test_what_a_request_takes_is_what_its_keywords_say() -> None:
    # What follows from them stands among their defaults, and is no keyword; nothing makes a default
    # of `read_until_eof`, which is aiohttp's, and taken.
    follows = {"hops", "limits", "usual"}
    takes = options.RequestOptions.__annotations__.keys() - follows
    assert takes == _RequestOptions.__annotations__.keys() - {"read_until_eof"}
    assert all(hasattr(options.RequestOptions, name) for name in takes)
    for name in follows:
        with pytest.raises(TypeError, match=name):
            options.RequestOptions(**{name: None})
    opens = {
        each.name
        for each in inspect.signature(connect.connect_websocket).parameters.values()
        if each.kind is each.KEYWORD_ONLY
    }
    assert opens == _WSConnectOptions.__annotations__.keys()
