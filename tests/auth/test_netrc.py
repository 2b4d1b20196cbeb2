"""Reading netrc files."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.auth.basic import BasicAuth
from wherry.auth.netrc import Netrc, netrc_path, read_netrc


def test_entries_are_found_by_host(tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text(
        "machine Example.com login user password pass\nmachine b.example account acc password p2\n"
    )
    found = read_netrc(file)
    assert found.lookup("example.COM") == BasicAuth("user", "pass")
    assert found.lookup("b.example") == BasicAuth("acc", "p2")
    assert found.lookup("c.example") is None
    assert found.lookup("sub.example.com") is None
    assert found.lookup(None) is None


def test_the_default_entry_stands_for_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine a.example login u password p\ndefault login anyone password d\n")
    found = read_netrc(file)
    assert found.lookup("x.example") == BasicAuth("anyone", "d")
    assert found.lookup("x.example", default=False) is None
    assert found.lookup("default", default=False) is None
    assert found.lookup("a.example", default=False) == BasicAuth("u", "p")


def test_a_broken_file_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine a.example login\nnonsense here\n")
    assert not read_netrc(file)
    assert "Could not parse" in caplog.text


def test_a_file_that_is_not_text_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "netrc"
    file.write_bytes(b"machine \xff\xfe login a password b\n")
    assert read_netrc(file).lookup("a.example") is None
    assert read_netrc(tmp_path).lookup("a") is None  # a directory
    assert "Could not read" in caplog.text


def test_the_environment_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "missing"))
    assert not read_netrc()
    assert "does not exist" in caplog.text
    caplog.clear()
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert netrc_path() == tmp_path / ".netrc"
    assert not read_netrc()
    assert not caplog.text
    (tmp_path / ".netrc").write_text("machine h login l password w\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert read_netrc().lookup("h") == BasicAuth("l", "w")


def test_a_login_with_a_colon_makes_no_basic_credentials() -> None:
    assert Netrc({"h": ("a:b", "", "p")}).lookup("h") is None
