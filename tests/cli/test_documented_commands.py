"""Every command that README, CONTRIBUTING and docs/ name is run: a line that nothing here knows how
to run fails.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.servers.process import find_program

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A fence that says no language, or a shell's, has commands; a span of code is one if it begins like
# one.
_FENCE = re.compile(r"^```([\w-]*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(
    r"`(?:eval \"\$\()?((?:make|wherry|pip|python3?|\.venv/bin/\w+) [^`\n]+?)(?:\)\")?`"
)
SHELLS = {"", "sh", "bash", "shell", "console"}
# What stands for a word of the reader's own.
_PLACEHOLDER = re.compile(r"\b(?:PROGRAM|MODULE|URL|FILE|NAME|DIR|ARGS|SHELL)\b(?!=)|\.\.\.")


def commands_of(text: str) -> list[str]:
    """The commands of a page, in their order, without their remarks."""
    lines = [
        line
        for language, block in _FENCE.findall(text)
        if language in SHELLS
        for line in block.splitlines()
    ]
    spans = [span for span in _SPAN.findall(_FENCE.sub("", text)) if not _PLACEHOLDER.search(span)]
    stripped = (
        re.split(r"\s{2,}#", line)[0].removeprefix("$ ").strip() for line in [*lines, *spans]
    )
    return [line for line in stripped if line and not line.startswith("#")]


COMMANDS = sorted({command for page in PAGES for command in commands_of(page.read_text("utf-8"))})


# --- how each kind is run -------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small project with our Makefile, and an environment where pip has done its part."""
    for name in ("Makefile", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("scripts", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in {
        "src/small/__init__.py": '"""A room."""\n',
        "tests/test_small.py": "def test_that_it_runs() -> None:\n    assert True\n",
        "tests/servers/install.sh": "true\n",
        "docs/index.md": "# A page\n",
        "docs/performance.md": "# Figures\n\n<!-- figures -->\n<!-- /figures -->\n",
        "mkdocs.yml": "site_name: a site\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    # What mypy is to look at is there, if in small.
    for name in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]:
        path = tmp_path / name if name.endswith(".py") else tmp_path / name / "small.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def make_environment(path: Path) -> None:
    """Programs that are those of this Python's environment; ``python -m pip`` has nothing left to
    do.
    """
    programs = path / "bin"
    programs.mkdir(parents=True)
    scripts = {name: f'"{sys.executable}" -m {name} "$@"' for name in ("ruff", "mypy", "mkdocs")}
    scripts["wherry"] = f'"{sys.executable}" -m wherry.cli "$@"'
    scripts["python"] = f'[ "$1 $2" = "-m pip" ] || exec "{sys.executable}" "$@"'
    for name, line in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    for stamp in (".installed", ".installed-for-demo"):
        (path / stamp).touch()


def run_make(words: list[str], tree: Path, url: str) -> None:
    if "bench" in words:
        find_program("nginx")
    given = dict(word.split("=", 1) for word in words if "=" in word)
    make_environment(tree / given.get("VENV", ".venv"))
    if "release-check" in words:
        # What it asks the index for is not asked here: test_wheel.py does the rest of its steps.
        (tree / "scripts" / "release_check.sh").write_text('test -x "$1"\n')
    quick = {
        "WORKERS": "0",
        "BENCH_ARGS": "--rounds 1 --scenarios connect --clients wherry aiohttp --loops asyncio",
        "HTTP3_ARGS": "--rounds 1 --clients wherry --scenarios http3-connect --loops asyncio",
        "SYNC_ARGS": "--rounds 1 --cells calls --clients wherry",
        "BULK_ARGS": "--rounds 1 --pages 200 --clients gather,fetcher",
        "MUTANTS": "sends-twice",
        # The extra bench is not what the tests install, and its server needs this one.
        "WEBSOCKET_ARGS": "--rounds 1 --clients wherry --size 256"
        if find_spec("picows")
        else "--help",
    }
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    # A make that runs these tests hands on its own variables, and pytest its worker's name.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKE", "MFLAGS", "PYTEST_"))
    }
    environ = {**kept, "PYTHONPATH": path, **quick, "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    for name in ("VENV", "PYTHON", "PYTEST_ARGS"):
        environ.pop(name, None)
    shorter = {"MINUTES": "0.02", "SEEDS": "4", "URL": url}
    words = [
        f"{name}={shorter.get(name, value)}" if equals else name
        for name, equals, value in (word.partition("=") for word in words)
        if name != "PYTHON"
    ]
    if "SHRINK" in given:
        words.append("--dry-run")  # only a seed that fails can be made shorter
    check(words, tree, environ)


def check(words: list[str], directory: Path, environ: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        words,
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        timeout=230,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has built and installed the package, without asking an index."""
    target = tmp_path_factory.mktemp("installed")
    offline = [
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--disable-pip-version-check",
        "--target",
        str(target),
    ]
    check([sys.executable, "-m", "pip", "install", *offline, str(ROOT)], target)
    return target


def run_pip(words: list[str], installed: Path) -> None:
    """Whatever extras a command names, what is built and installed is this package: that is done
    once, and the extras are looked up in it.
    """
    wanted = re.fullmatch(r"(?:wherry|\.)(?:\[([\w,]+)\])?", words[-1])
    assert words[:2] == ["pip", "install"], words
    assert wanted, f"{words[-1]} is not this package"
    (written,) = installed.glob("wherry-*.dist-info/METADATA")
    extras = re.findall(r"^Provides-Extra: (.+)$", written.read_text("utf-8"), re.MULTILINE)
    assert set(filter(None, (wanted[1] or "").split(","))) <= set(extras)
    check([sys.executable, "-c", f"import wherry; assert {str(installed)!r} in wherry.__file__"], installed,
          {**os.environ, "PYTHONPATH": str(installed)})  # fmt: skip
    assert (installed / "bin" / "wherry").exists()


def run_wherry(
    words: list[str], run: Callable[..., object], server: object, directory: Path
) -> None:
    """Its URLs are those of the embedded server."""
    here = server.url("/anything")  # type: ignore[attr-defined]
    (directory / "report.pdf").write_bytes(b"%PDF-1.7")
    (directory / "urls.txt").write_text(server.url("/bytes/10") + "\n")  # type: ignore[attr-defined]
    if "|" in words:
        # What comes behind is another program's, a shell's for instance.
        words = words[: words.index("|")]
    (directory / "notes.txt").write_text("notes")
    if words[1:2] == ["sse"]:
        here = server.url("/sse")  # type: ignore[attr-defined]
    words = [re.sub(r"^(https?://\S+|:8000/\S*|URL)$", here, word) for word in words]
    words = [re.sub(r"^(curl )https?://\S+", rf"\1{here}", word) for word in words]
    words = [re.sub(r"^wss?://\S+$", server.url("/ws/echo", scheme="ws"), word) for word in words]  # type: ignore[attr-defined]
    done = run(*words[1:])
    assert done.status == 0, done.err  # type: ignore[attr-defined]


def run_dropin(words: list[str], directory: Path) -> None:
    """The program, or the module, that is named is one that sees whose client it has."""
    name = words[4] if words[3] == "-m" else words[3].removesuffix(".py")
    (directory / f"{name}.py").write_text(
        "import aiohttp\nassert 'wherry' in aiohttp.ClientSession.__module__\n"
    )
    check([sys.executable, *words[1:]], directory, {**os.environ, "PYTHONPATH": str(ROOT / "src")})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_pages_runs(command, run, wherry_server, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    if words[:3] == ["python", "-m", "wherry"]:
        words = words[2:]
    if words[0] == "wherry":
        run_wherry(words, run, wherry_server, tmp_path)
    elif words[0] == "make":
        run_make(words, request.getfixturevalue("tree"), wherry_server.url("/anything"))
    elif words[0] == "pip":
        run_pip(words, request.getfixturevalue("installed"))
    elif words[:3] == [".venv/bin/python", "-m", "pytest"]:
        make_environment(request.getfixturevalue("tree") / ".venv")
        assert (ROOT / words[3]).is_dir()
        check([*words[:3], "tests/test_small.py", "-p", "no:cacheprovider"], tmp_path)
    elif words[:3] == ["python", "-m", "wherry.dropin"]:
        run_dropin(words, tmp_path)
    elif words[:2] == ["python", "-m"] and words[2].split(".")[0] in {"benchmarks", "tests"}:
        # It would take minutes: that there is what it names is seen before the help is shown.
        check(
            [sys.executable, *words[1:], "--help"],
            ROOT,
            {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        )
    else:
        pytest.fail(f"no test knows how to run {command!r}")


# --- that nothing is missed -----------------------------------------------------------------------


def test_the_commands_of_a_page_are_found():
    page = (
        "Say `make demo`.\n\n```\nwherry -H 'A: # 1' x  # one\n\n# two\n```\n\n"
        "```python\nmake()\n```\n\n`wherry URL` `pip`\n"
    )
    assert commands_of(page) == ["wherry -H 'A: # 1' x", "make demo"]


def test_every_page_brings_its_commands():
    for kind, least in {"make": 7, "wherry": 20, "pip": 2}.items():
        assert sum(command.split()[0] == kind for command in COMMANDS) >= least, kind
