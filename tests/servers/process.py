"""A real server of Debian's, run by the tests: started, waited for, read (its log), and ended by
its process id.

Every module beside this one tells how one server is configured; none but this one starts a process.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

_SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/bin"
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0
# Below what Linux gives to outgoing connections, so that none of those takes a port between its
# choice and its use.
_PORTS = range(20_000, 32_000)


def needed(what: str, found: str | None) -> str:
    """`found`; where it is None the test is left out, and in CI it fails."""
    if found is None:
        reason = f"{what} is not installed: tests/servers/install.sh installs it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def program_path(name: str) -> str | None:
    """Where a program is; the system's own directories may be missing in PATH."""
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH)


def find_program(name: str) -> str:
    """The same; where there is none the test is left out, and in CI it fails."""
    return needed(name, program_path(name))


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody uses, for TCP and, if asked for, for UDP too."""
    return free_ports(1, kind)[0]


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    """The same, `count` of them."""
    found: list[int] = []
    for port in random.sample(_PORTS, min(len(_PORTS), 200 + count)):
        with contextlib.ExitStack() as stack:
            try:
                for each in {socket.SOCK_STREAM, kind}:
                    stack.enter_context(socket.socket(socket.AF_INET, each)).bind(
                        ("127.0.0.1", port)
                    )
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("the ports of 127.0.0.1 are in use")


def launch(
    name: str,
    command: Sequence[str | Path],
    directory: Path,
    environ: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Run a program in the foreground; what it prints goes to `name`.out in the directory."""
    with (directory / f"{name}.out").open("wb") as out:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**os.environ, **(environ or {})},
        )


def wait_for_port(
    name: str, port: int, directory: Path, processes: Sequence[subprocess.Popen[bytes]]
) -> None:
    """Return when something takes connections; one of the processes should do so, and none may end
    meanwhile.
    """
    end = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)  # a port tells nobody that it opened
        dead = any(process.poll() is not None for process in processes)
        if dead or time.monotonic() > end:
            printed = "\n".join(
                path.read_text(errors="replace")[-2000:] for path in directory.glob("*.out")
            )
            raise RuntimeError(
                f"{name} {'ended at once' if dead else 'does not listen'}: {printed}"
            )


def end_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes, if need be by force."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Farm:
    """Servers that start together.  One whose program is missing costs the tests that ask for it
    alone.

    Args:
        directory: Their configurations, files and logs are here.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []
        self._missing: dict[str, BaseException] = {}
        try:
            self.start_all()
        except BaseException:
            # Whoever made this never sees it, so nobody else can end what runs already.
            self.close()
            raise

    def start_all(self) -> None:
        """Start every server and wait until it takes connections."""
        raise NotImplementedError

    def add(self, names: Sequence[str], start: Callable[..., Any], *args: Any) -> None:
        """Make what `start` gives the attributes `names`, or keep why its program is missing."""
        try:
            made = start(*args)
        except (pytest.skip.Exception, pytest.fail.Exception) as exc:
            self._missing.update(dict.fromkeys(names, exc))
            return
        for name, server in zip(names, made if len(names) > 1 else [made], strict=True):
            setattr(self, name, server)

    def __getattr__(self, name: str) -> Any:
        """A server that is missing leaves out the test that asks for it; in CI it fails the
        test.
        """
        exc = self.__dict__.get("_missing", {}).get(name)
        if exc is not None:
            raise type(exc)(exc.msg)
        raise AttributeError(name)

    def run(
        self, name: str, command: Sequence[str | Path], environ: Mapping[str, str] | None = None
    ) -> Path:
        """Run a program in the foreground; what it prints is the file that is returned."""
        self.processes.append(launch(name, command, self.directory, environ))
        return self.directory / f"{name}.out"

    def close(self) -> None:
        end_all(self.processes)


class RealServer:
    """One server process.

    Args:
        name: What messages call it.
        directory: Its configuration, its files and its log are here.
        ports: Ports that must take connections before it counts as started.
    """

    def __init__(self, name: str, directory: Path, ports: Sequence[int]) -> None:
        self.name = name
        self.directory = directory
        self.ports = list(ports)
        self.log_path = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Its first port."""
        return self.ports[0]

    def url(
        self,
        path: str = "/",
        *,
        port: int | None = None,
        scheme: str = "http",
        host: str = "127.0.0.1",
    ) -> str:
        return f"{scheme}://{host}:{port or self.port}{path}"

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def start(
        self, command: Sequence[str | Path], environ: Mapping[str, str] | None = None
    ) -> None:
        """Run the program in the foreground and wait until each port takes a connection."""
        self.process = launch(self.name, command, self.directory, environ)
        try:
            for port in self.ports:
                wait_for_port(self.name, port, self.directory, [self.process])
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            end_all([process])

    # --- the log, which proves the way that was taken ---------------------------------------------

    @property
    def log(self) -> str:
        """What it logged until now."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @contextlib.contextmanager
    def logs(self, *words: str) -> Iterator[None]:
        """A line with every one of `words` comes into the log while the block runs, or soon
        after.
        """
        begin = len(self.log)
        yield
        end = time.monotonic() + _STOP_SECONDS
        while not any(
            all(word in line for word in words) for line in self.log[begin:].splitlines()
        ):
            assert time.monotonic() < end, (
                f"{self.name} logged no line with {words}: {self.log[begin:]!r}"
            )
            assert self.process is not None
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.01)

    def lines(self, begin: int = 0) -> list[str]:
        """The lines of the log from character `begin` on."""
        return self.log[begin:].splitlines()
