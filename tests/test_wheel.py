"""What would be uploaded: the archives, their description, and a first request with nothing else installed."""

from __future__ import annotations

import email
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def source(built: Path) -> Path:
    (found,) = built.glob("*.tar.gz")
    return found


def test_twine_finds_nothing_to_complain_of(wheel: Path, source: Path) -> None:
    said = run(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    assert said.count("PASSED") == 2


def test_the_wheel_has_the_package_and_the_plugin_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"wherry", "pytest_wherry.py"}
    assert {"wherry/py.typed", "pytest_wherry.py"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    packed = {name for name in names if name.startswith("wherry/")}
    files = (ROOT / "src").glob("wherry/**/*")
    assert packed == {
        str(path.relative_to(ROOT / "src"))
        for path in files
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_source_archive_has_what_its_tests_need(source: Path) -> None:
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        "tests/conftest.py",
        "tests/servers/install.sh",
        "scripts/install.sh",
        "Makefile",
        "README.md",
    }
    needed |= {
        "pyproject.toml",
        "src/wherry/py.typed",
        "docs/index.md",
        "scripts/index_readme.py",
        "LICENSE",
    }
    assert needed <= names
    assert not {
        name
        for name in names
        if name.startswith((".venv", "dist", "site")) or "__pycache__" in name
    }


def test_the_description_has_no_link_to_a_file_beside_it(wheel: Path) -> None:
    (name,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/METADATA")]
    metadata = email.message_from_bytes(zipfile.ZipFile(wheel).read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload()
    assert "An asyncio HTTP client" in text
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert all(target.startswith("https://") for target in targets), targets
    # The words of a link stay.
    assert "Security on by default" in " ".join(text.split())
    assert "Typing :: Typed" in metadata.get_all("Classifier")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("see [a](docs/a.md#b)", "see [a](https://x.test/main/docs/a.md#b)"),
        ("![a](docs/a.svg)", "![a](https://x.test/main/docs/a.svg)"),
        ("[a](https://b.test/) and [c](#d)", "[a](https://b.test/) and [c](#d)"),
    ],
)
def test_links_lead_into_the_source_where_the_project_names_one(line: str, shown: str) -> None:
    scope: dict[str, object] = {"__name__": "index_readme"}
    exec((ROOT / "scripts" / "index_readme.py").read_text("utf-8"), scope)
    assert scope["for_index"](line, "https://x.test/main/") == shown  # type: ignore[operator]


def needed_by(name: str, found: set[str]) -> set[str]:
    """A distribution and all that it requires, without extras."""
    if name in found:
        return found
    found.add(name)
    for line in importlib.metadata.requires(name) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed_by(requirement.name.lower(), found)
    return found


def test_a_first_request_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """The wheel and what it says that it requires, and nothing else: no extra, no pytest."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    zipfile.ZipFile(wheel).extractall(packages)
    for name in needed_by("wherry", set()) - {"wherry"}:
        for file in importlib.metadata.files(name) or []:
            path = Path(str(file.locate()))
            if path.exists() and ".." not in file.parts and "__pycache__" not in file.parts:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                (packages / file).symlink_to(path)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    said = run(
        python, "-W", "error", ROOT / "scripts" / "first_request.py", cwd=tmp_path, env=environ
    )
    assert said.startswith("200 {'ok': 200}")
    assert str(packages) in said
