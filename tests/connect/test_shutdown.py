"""Programs that end: nothing is printed, whatever they sleep, and no connection is left."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SRC = str(Path(__file__).parents[2] / "src")

PROGRAM = """
import asyncio, ssl, sys
import wherry
context = ssl.create_default_context(cafile={authority!r})

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is not what is looked at
    {body}

{run}
"""

WITH = """async with wherry.ClientSession() as session:
        async with session.get({url!r}, ssl=context) as response:
            assert response.status == 200, response.status
            {read}
    {sleep}"""
DIRECT = """session = wherry.ClientSession()
    response = await session.get({url!r}, ssl=context)
    {read}
    await session.close()
    {sleep}"""
ASYNCIO_RUN = "asyncio.run(main())"
OWN_LOOP = "loop = asyncio.new_event_loop()\nloop.run_until_complete(main())\n{sleep}\nloop.close()"
UVLOOP = "import uvloop\nuvloop.run(main())"


# In debug mode asyncio tells of steps that took 100 ms: that says more of the machine than of the code.
_SLOW = re.compile(r"^Executing <.* took \d+\.\d+ seconds\n", re.MULTILINE)


def complaints(err: bytes) -> str:
    """What a program in development mode printed to standard error."""
    return _SLOW.sub("", err.decode())


async def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-X",
        "dev",
        "-W",
        "error",
        "-c",
        program,
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": SRC},
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    return subprocess.CompletedProcess([], process.returncode or 0, out.decode(), complaints(err))


def program(
    body: str,
    url: str,
    authority: str,
    *,
    runner: str = ASYNCIO_RUN,
    sleep: str = "pass",
    **more: str,
) -> str:
    read = more.get("read", "await response.read()")
    return PROGRAM.format(
        authority=authority, body=body.format(url=url, sleep=sleep, read=read), run=runner
    )


@pytest.mark.parametrize(
    ("server", "body", "runner", "sleep"),
    [
        pytest.param("port", WITH, ASYNCIO_RUN, "await asyncio.sleep(0)", id="S001-135"),
        pytest.param("tls13", WITH, ASYNCIO_RUN, "await asyncio.sleep(0.250)", id="S001-136"),
        pytest.param("tls13", DIRECT, ASYNCIO_RUN, "await asyncio.sleep(0.250)", id="S001-137"),
        pytest.param("port", WITH, ASYNCIO_RUN, "pass", id="S001-138"),
        pytest.param("port", DIRECT, UVLOOP, "pass", id="S001-138 uvloop"),
        pytest.param("tls12", DIRECT, ASYNCIO_RUN, "pass", id="S001-139 TLS 1.2"),
        pytest.param("tls13", WITH, ASYNCIO_RUN, "pass", id="S001-139 TLS 1.3"),
        pytest.param("tls13", DIRECT, UVLOOP, "pass", id="S001-139 uvloop"),
    ],
)
async def test_a_program_that_ends_prints_nothing(
    nginx, certificate_files, server, body, runner, sleep
) -> None:
    """S001-135 to 139: the documented recipe, and leaving it out."""
    url = f"{'http' if server == 'port' else 'https'}://localhost:{getattr(nginx, server)}/json"
    done = await run(
        program(body, url, str(certificate_files.authority), runner=runner, sleep=sleep)
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_a_loop_of_ones_own(nginx, certificate_files) -> None:
    """S002-05: run_until_complete, a short sleep, close; and without the sleep."""
    for sleep in ("loop.run_until_complete(asyncio.sleep(0))", "pass"):
        url = f"https://localhost:{nginx.tls13}/json"
        text = program(
            WITH, url, str(certificate_files.authority), runner=OWN_LOOP.format(sleep=sleep)
        )
        done = await run(text)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("read", ["pass", "await response.content.read(1)"])
async def test_a_body_that_nobody_read_does_no_harm(nginx, certificate_files, read) -> None:
    text = program(
        WITH, f"https://localhost:{nginx.tls13}/json", str(certificate_files.authority), read=read
    )
    done = await run(text)
    assert (done.returncode, done.stderr) == (0, "")


async def test_an_error_at_the_end_prints_only_itself(nginx, certificate_files) -> None:
    text = program(
        WITH,
        f"https://localhost:{nginx.tls13}/json",
        str(certificate_files.authority),
        read="raise SystemExit(3)",
    )
    done = await run(text)
    assert (done.returncode, done.stderr) == (3, "")


CLOSED_SOON = """
import asyncio, os, wherry

def sockets():
    return [name for name in os.listdir("/proc/self/fd") if "socket:" in link(name)]

def link(name):
    try:
        return os.readlink("/proc/self/fd/" + name)
    except OSError:
        return ""

async def main():
    loop = asyncio.get_running_loop()
    before = len(sockets())
    async with wherry.ClientSession() as session:
        responses = await asyncio.gather(*(session.get({url!r}, ssl=False) for _ in range(5)))
        for response in responses:
            await response.read()
        assert len(sockets()) == before + 5
    assert len(sockets()) == before, sockets()

asyncio.run(main())
"""


@pytest.mark.parametrize("port", ["port", "tls13"])
async def test_no_socket_is_left_after_close(nginx, port) -> None:
    """S001-140"""
    scheme = "http" if port == "port" else "https"
    done = await run(
        CLOSED_SOON.replace("{url!r}", repr(f"{scheme}://127.0.0.1:{getattr(nginx, port)}/json"))
    )
    assert (done.returncode, done.stderr) == (0, "")


UNCLOSED = """
import asyncio, sys, warnings, wherry
kept = []

async def main():
    session = wherry.ClientSession()
    response = await session.get({url!r}, ssl=False)
    await response.read()
    {keep}

asyncio.run(main())
kept.clear()
"""


@pytest.mark.parametrize(
    ("port", "keep"),
    [("port", "pass"), ("port", "kept.append(session)"), ("tls13", "kept.append(session)")],
)
async def test_an_unclosed_session_warns_once(nginx, keep, port) -> None:
    """Whether the loop still runs or not; in debug mode with the place where it was made."""
    scheme = "http" if port == "port" else "https"
    url = f"{scheme}://127.0.0.1:{getattr(nginx, port)}/json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-X",
        "dev",
        "-W",
        "always",
        "-c",
        UNCLOSED.replace("{url!r}", repr(url)).replace("{keep}", keep),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": SRC},
    )
    _, err = await process.communicate()
    text = err.decode()
    assert process.returncode == 0
    assert text.count(": ResourceWarning: ") == 1, text
    assert text.count("Unclosed client session") == 2, text  # the warning, and the loop's log
    assert "source_traceback" in text
    assert "Unclosed connector" not in text
    assert "unclosed transport" not in text
