"""Credentials from ~/.netrc, or from the file that $NETRC names.

`read_netrc` does blocking I/O and belongs in a thread; what it gives back is looked up without
any.  A file that cannot be read or parsed is a warning in the log, never an error of a request.
"""

from __future__ import annotations

import logging
import netrc
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from wherry.auth.basic import BasicAuth

_logger = logging.getLogger("wherry.client")
_DEFAULT = "default"

# What the file says of one machine: login, account, password.
Entry = tuple[str, str, str]


class Netrc:
    """The entries of a file.

    Args:
        entries: (login, account, password) by host; "default" stands for every other host.
    """

    __slots__ = ("_entries",)

    def __init__(self, entries: Mapping[str, Entry] | None = None) -> None:
        self._entries = (
            {} if entries is None else {host.lower(): entry for host, entry in entries.items()}
        )

    def lookup(self, host: str | None, *, default: bool = True) -> BasicAuth | None:
        """The credentials for a host, None where there are none.

        Args:
            host: The host, without a port; case does not matter.
            default: Whether the entry for every other host may be used.
        """
        if not self._entries or not host:
            return None
        host = host.lower()
        entry = self._entries.get(host) if host != _DEFAULT else None
        if entry is None and default:
            entry = self._entries.get(_DEFAULT)
        if entry is None:
            return None
        login, account, password = entry
        login = login or account or ""
        if ":" in login:
            return None  # no Basic credentials can be made of it (RFC 7617 2)
        return BasicAuth(login, password or "")

    def __bool__(self) -> bool:
        return bool(self._entries)


def netrc_path(environ: Mapping[str, str] | None = None) -> Path | None:
    """Where the file is: $NETRC, or .netrc (on Windows _netrc, too) at home; None without a
    home.
    """
    named = (os.environ if environ is None else environ).get("NETRC")
    if named:
        return Path(named)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32" and (home / "_netrc").exists():
        return home / "_netrc"
    return home / ".netrc"


def read_netrc(path: Path | None = None) -> Netrc:
    """Read the file; an empty `Netrc` where there is none, or none that can be read.

    Args:
        path: The file; `netrc_path` by default.
    """
    if path is None:
        path = netrc_path()
    if path is None:
        return Netrc()
    try:
        return Netrc(netrc.netrc(path).hosts)
    except netrc.NetrcParseError as exc:
        # What it says of the fault quotes a word of the file, which may be a part of a password.
        _logger.warning(
            "Could not parse the netrc file %s: line %s is not as it should be", path, exc.lineno
        )
    except FileNotFoundError:
        if os.environ.get("NETRC"):
            _logger.warning("The netrc file %s does not exist", path)
    except (OSError, UnicodeError) as exc:
        _logger.warning("Could not read the netrc file %s: %s", path, exc)
    return Netrc()
