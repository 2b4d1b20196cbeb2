"""Named sessions: what ``--session work`` keeps from one command to the next.

A session belongs to one host: its header fields, its name and password, and its cookies go to no
other.  Its files are the user's alone (mode 0600).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from yarl import URL

import wherry
from wherry.cli.argument_values import RequestArguments, UsageProblem
from wherry.private_files import write_private

# These tell what is asked for, and nothing of who asks: other hosts may have them.
_OF_NOBODY: Final = ("accept", "content-", "user-agent")
# What belongs to one request, not to the next one.
_OF_ONE_REQUEST: Final = ("content-", "if-", "cookie", "host", "range")


@dataclass(frozen=True, slots=True)
class NamedSession:
    """Where a session is kept, and whose it is.

    Args:
        folder: Its files are in there.
        host: The host that it belongs to, with its port.
        kept: What was kept: "headers", "user" and "digest".
    """

    folder: Path
    host: str
    kept: dict[str, Any]

    def put_into(self, wanted: RequestArguments) -> None:
        """Give a request what was kept, but for what its own command says."""
        names = {name.lower() for name, _ in wanted.headers}
        names |= {name.lower() for name in wanted.without}
        kept = [(name, value) for name, value in self.kept.get("headers", ())]
        if wanted.user is None and self.kept.get("user") and "authorization" not in names:
            name, password = self.kept["user"]
            wanted.user, wanted.digest = (name, password), bool(self.kept.get("digest"))
        if wanted.user is not None:
            names.add("authorization")
        wanted.headers += [(name, value) for name, value in kept if name.lower() not in names]

    def cookies(self) -> wherry.CookieJar:
        """The cookies that were kept; those of hosts that are addresses count, too."""
        jar = wherry.CookieJar(unsafe=True)
        if (path := self.folder / "cookies.json").exists():
            jar.load(path)
        return jar

    def guard(self, wanted: RequestArguments) -> wherry.ClientMiddlewareType:
        """Keeps the session's header fields from the hosts that a redirect leads to."""
        own = {name for name, _ in wanted.headers if not name.lower().startswith(_OF_NOBODY)}

        async def guard(
            request: wherry.ClientRequest, handler: wherry.ClientHandlerType
        ) -> wherry.ClientResponse:
            if _host_of(request.url) != self.host:
                for name in own:
                    request.headers.popall(name, None)
            return await handler(request)

        return guard

    def keep(self, wanted: RequestArguments, jar: wherry.CookieJar) -> None:
        """Write down what the next command is to have.

        Raises:
            OSError: It cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        headers = [
            (name, value)
            for name, value in wanted.headers
            if not name.lower().startswith(_OF_ONE_REQUEST)
        ]
        kept = {
            "host": self.host, "headers": headers, "user": wanted.user, "digest": wanted.digest,
        }  # fmt: skip
        write_private(self.folder / "session.json", (json.dumps(kept, indent=2) + "\n").encode())
        jar.save(self.folder / "cookies.json")


def open_session(name: str, url: URL) -> NamedSession:
    """The session of a name, for the host of `url`; a name with a slash is a folder's.

    Raises:
        UsageProblem: It belongs to another host, or is none.
    """
    host = _host_of(url)
    if os.sep in name or "/" in name:
        folder = Path(name)
    elif name.strip(". ") and name.isprintable():
        place = Path(click.get_app_dir("wherry")) / "sessions"
        folder = place / host.replace(":", "_").replace("/", "_") / name
    else:
        raise UsageProblem(f"{name!r} is no name of a session")
    path = folder / "session.json"
    try:
        kept = json.loads(path.read_bytes())
    except FileNotFoundError:
        return NamedSession(folder, host, {})
    except (OSError, ValueError, RecursionError) as exc:
        raise UsageProblem(f"cannot read the session {path}: {exc}") from exc
    if not isinstance(kept, dict) or kept.get("host") != host:
        raise UsageProblem(f"the session {folder} does not belong to {host}")
    return NamedSession(folder, host, kept)


def _host_of(url: URL) -> str:
    return f"{url.raw_host}:{url.port}"
