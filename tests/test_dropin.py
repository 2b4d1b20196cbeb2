"""Drop-in mode, in processes of their own: the program, unchanged, runs on wherry's client and
aiohttp's server.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"

CLIENT_AND_SERVER = """
import asyncio, sys
import aiohttp
from aiohttp import web
from aiohttp.client_exceptions import ClientResponseError
from aiohttp.connector import TCPConnector

async def hello(request):
    return web.json_response({"agent": request.headers["User-Agent"], "q": request.query["q"]})

async def main():
    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession(base, connector=TCPConnector(limit=1)) as session:
        async with session.get("/", params={"q": "1"}) as response:
            answer = await response.json()
        try:
            await session.get("/none", raise_for_status=True)
        except ClientResponseError as error:
            answer["status"] = error.status
    await runner.cleanup()
    print(aiohttp.ClientSession.__module__.split(".")[0], answer["q"], answer["status"], sys.argv[1:])
    assert "wherry" in answer["agent"]
    assert web.Application.__module__ == "aiohttp.web_app"

asyncio.run(main())
"""


def run(folder: Path, *arguments: str) -> str:
    found = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        timeout=200,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_a_program_runs_unchanged_with_its_arguments(tmp_path):
    (tmp_path / "program.py").write_text(CLIENT_AND_SERVER)
    assert (
        run(tmp_path, "-m", "wherry.dropin", "program.py", "-x", "y") == "wherry 1 404 ['-x', 'y']"
    )


def test_a_module_runs_unchanged(tmp_path):
    (tmp_path / "program.py").write_text(CLIENT_AND_SERVER)
    assert run(tmp_path, "-m", "wherry.dropin", "-m", "program", "y") == "wherry 1 404 ['y']"


def test_installed_late_it_reaches_names_already_imported(tmp_path):
    (tmp_path / "late.py").write_text("import aiohttp\nfrom aiohttp import ClientSession, web\n")
    code = (
        "import late, wherry.dropin as d; assert d.report() == {}; d.install(); d.install(); "
        "import wherry;"
        "assert late.ClientSession is late.aiohttp.ClientSession is wherry.ClientSession;"
        "print('ClientSession' in d.report()['aiohttp.client'])"
    )
    assert run(tmp_path, "-c", code) == "True"


def test_without_aiohttp_the_client_names_are_there(tmp_path):
    code = (
        "import sys, importlib.abc\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'aiohttp': raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import wherry.dropin; wherry.dropin.install()\n"
        "import aiohttp, wherry\n"
        "from aiohttp.client_exceptions import ClientError\n"
        "from aiohttp.hdrs import ACCEPT\n"
        "from aiohttp.client import URL, _RequestContextManager, _RequestOptions\n"
        "from aiohttp.connector import Connection, TCPConnector\n"
        "from aiohttp.helpers import BasicAuth, parse_mimetype, strip_auth_from_url\n"
        "assert strip_auth_from_url(URL('http://a:b@h/')) == (URL('http://h/'), BasicAuth('a', 'b'))\n"
        "assert aiohttp.ClientError is ClientError is wherry.ClientError; print(ACCEPT)\n"
    )
    assert run(tmp_path, "-c", code) == "Accept"


def test_what_the_submodules_give_is_of_one_kind(tmp_path):
    program = """
import wherry.dropin
wherry.dropin.install()
import aiohttp
from aiohttp.client_reqrep import _merge_ssl_params
from aiohttp.multipart import MultipartReader, MultipartResponseWrapper
print(MultipartReader.response_wrapper_cls is MultipartResponseWrapper)
print(type(_merge_ssl_params(True, None, None, b"\\0" * 32)) is aiohttp.Fingerprint)

import asyncio
from aiohttp import http_exceptions, web_protocol

async def read():
    reader = aiohttp.StreamReader(16)
    reader.feed_data(bytes(100))
    try:
        await reader.readline()
    except http_exceptions.LineTooLong as error:
        print(isinstance(error, aiohttp.ClientPayloadError) and "32 bytes" in str(error))

asyncio.run(read())
odd = wherry.WebSocketError(1002, "odd")
print(type(odd) is aiohttp.WebSocketError and aiohttp.http.WebSocketError is aiohttp.WebSocketError)
print(str(odd) == "odd" and repr(odd) == "WebSocketError(1002, 'odd')" and odd.code == 1002)
print(issubclass(http_exceptions.LineTooLong, http_exceptions.BadHttpMessage))
print(web_protocol.HttpProcessingError is http_exceptions.HttpProcessingError)
"""
    assert run(tmp_path, "-W", "ignore::DeprecationWarning", "-c", program).split() == ["True"] * 7
