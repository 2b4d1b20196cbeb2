"""Looks at the built site as its readers do: in headless Chromium, on a phone and on two screens.

    python scripts/docs_check.py site [--pictures FOLDER]

Each page is opened at three widths: nothing may be wider than the window, and the console may say
no error.  On a screen of 1280 px each piece of Python fits without scrolling.  What readers search
for is found first on its page, and the light and dark toggle works.  `make docs-check` builds the
site before.  Chromium is driven over its WebSocket by wherry itself.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import functools
import http.server
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import wherry

WIDTHS = {390: 844, 1280: 800, 1920: 1080}
# What is searched for, and the page that must come first.
SEARCHES = {
    "sync": "howto/scripts/",
    "pagination": "howto/pagination/",
    "streaming": "howto/bodies/",
    "SSRF": "howto/untrusted-urls/",
    "ConcurrencyLimit": "middlewares/",
    "proxy": "howto/proxies/",
    "timeout": "howto/timeouts/",
    "uvloop": "howto/uvloop/",
    "deployment": "howto/deployment/",
}
# Pages that pictures are made of.
PICTURES = ("", "howto/proxies/", "reference/sessions/", "performance/")
WIDER = """(() => {
  const wide = document.documentElement.scrollWidth;
  return wide > window.innerWidth ? wide : 0;
})()"""
# The longest line of each piece of code that has to be scrolled.
CUT = """[...document.querySelectorAll('.language-python pre code')]
  .filter(code => [code, code.parentElement].some(each => each.scrollWidth > each.clientWidth + 1))
  .map(code => code.textContent.split('\\n').reduce((a, b) => b.length > a.length ? b : a))"""
SEARCH = """document.querySelector('#__search').checked = true;
document.querySelector('.md-search__input').focus()"""
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FIRST_FOUND = "document.querySelector('.md-search-result__link')?.getAttribute('href') ?? ''"
SECONDS = 60.0


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server of files that does not tell of each request."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served(site: Path) -> Iterator[str]:
    """The URL of a folder's files, on loopback."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class Browser:
    """A page of Chromium: commands out, results and events in.

    Args:
        socket: The WebSocket of its DevTools.
    """

    def __init__(self, socket: wherry.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.errors: list[str] = []
        self.count = 0
        self.loaded = False

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command.

        Raises:
            RuntimeError: Chromium refuses it.
        """
        self.count += 1
        await self.socket.send_json({"id": self.count, "method": method, "params": params})
        while True:
            message = await self.socket.receive_json(timeout=SECONDS)
            if message.get("id") == self.count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self.hear(message)

    def hear(self, message: dict[str, Any]) -> None:
        """Keep what an event tells."""
        params = message.get("params", {})
        match message["method"]:
            case "Page.loadEventFired":
                self.loaded = True
            case "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"].get("exception", params)))
            case "Runtime.consoleAPICalled" if params["type"] == "error":
                self.errors.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    async def open(self, url: str) -> None:
        """Go to a page and wait until it has loaded."""
        self.loaded = False
        await self.call("Page.navigate", url=url)
        while not self.loaded:
            self.hear(await self.socket.receive_json(timeout=SECONDS))

    async def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    async def until(self, expression: str) -> Any:
        """The value of an expression once it is true.

        Raises:
            TimeoutError: It stays false.
        """
        async with asyncio.timeout(SECONDS):
            while not (value := await self.value(expression)):  # noqa: ASYNC110  (a page)
                await asyncio.sleep(0.02)
        return value

    async def size(self, width: int, height: int) -> None:
        """Give the window a size."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    async def picture(self, path: Path) -> None:
        """Write what is seen to a file."""
        shot = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))  # noqa: ASYNC240


def port_in(place: Path) -> str:
    """The port that Chromium writes into a file once it listens there.

    Raises:
        TimeoutError: It does not.
    """
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        lines = place.read_text().splitlines() if place.exists() else []
        if len(lines) == 2:
            return lines[0]
        time.sleep(0.05)
    raise TimeoutError("Chromium does not start")


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Headless Chromium with one page; it is gone at the end.

    Raises:
        FileNotFoundError: It is not installed.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise FileNotFoundError("chromium is not installed; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-port=0", "--no-first-run", "--disable-extensions",
            "--disable-background-networking", "--hide-scrollbars", f"--user-data-dir={profile}",
            "about:blank", stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = await asyncio.to_thread(port_in, Path(profile) / "DevToolsActivePort")
            async with wherry.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                    targets = await response.json()
                pages = [each for each in targets if each["type"] == "page"]
                url = pages[0]["webSocketDebuggerUrl"]
                async with session.ws_connect(url, max_msg_size=0) as socket:
                    page = Browser(socket)
                    for domain in ("Page", "Runtime", "Log"):
                        await page.call(f"{domain}.enable")
                    yield page
        finally:
            process.terminate()
            await process.wait()


def pages_of(site: Path) -> list[str]:
    """The pages of a site, as the ends of their URLs."""
    found = (path.parent.relative_to(site).as_posix() for path in site.rglob("index.html"))
    return sorted("" if path == "." else f"{path}/" for path in found)


async def look_at_pages(page: Browser, base: str, pages: list[str]) -> list[str]:
    """What is wrong with pages at each width; each is loaded once."""
    wrong: list[str] = []
    for path in pages:
        await page.size(390, 844)
        await page.open(base + path)
        for width, height in WIDTHS.items():
            await page.size(width, height)
            wide = await page.value(WIDER)
            for _ in range(50):  # the drawer of the phone slides out of the way
                if not wide:
                    break
                await asyncio.sleep(0.1)
                wide = await page.value(WIDER)
            if wide:
                wrong.append(f"{path or 'index'} is {wide} px wide in a window of {width}")
            if width >= 1280:
                cut = await page.value(CUT)
                wrong += [f"{path or 'index'}: at {width} px this is cut: {line}" for line in cut]
        wrong += [f"{path or 'index'}: {error}" for error in page.errors]
        page.errors.clear()
    return wrong


async def look_for(page: Browser, base: str) -> list[str]:
    """Words that are not found first on their page."""
    wrong: list[str] = []
    await page.size(1280, 800)
    for word, path in SEARCHES.items():
        await page.open(base)
        await page.until("document.querySelector('.md-search__input') !== null")
        await page.value(SEARCH)
        await page.call("Input.insertText", text=word)
        first = await page.until(FIRST_FOUND)
        found = first.removeprefix(base).partition("?")[0].partition("#")[0].removeprefix("./")
        if found != path:
            wrong.append(f"search for {word!r} finds {found!r} first, not {path!r}")
    return wrong


async def toggle(page: Browser, base: str) -> list[str]:
    """Whether the switch between light and dark does what it says."""
    await page.open(base)
    seen: list[str] = []
    scheme = "document.body.getAttribute('data-md-color-scheme')"
    for _ in range(2):
        await page.value(
            "[...document.querySelectorAll('form[data-md-component=palette] label')]"
            ".find(label => !label.hidden).click()"
        )
        seen.append(await page.value(scheme))
    return [] if seen == ["default", "slate"] else [f"the toggle gives {seen}"]


async def take_pictures(page: Browser, base: str, folder: Path) -> None:
    """Pictures of some pages at each width; the page before has been left dark."""
    for scheme in ("dark", "light"):
        if scheme == "light":
            await page.open(base)
            await page.value("localStorage.clear()")
        for width, height in WIDTHS.items():
            await page.size(width, height)
            for path in PICTURES:
                await page.open(base + path)
                name = path.strip("/").replace("/", "-") or "index"
                await page.picture(folder / f"{name}-{width}-{scheme}.png")


async def check(site: Path, pictures: Path | None) -> list[str]:
    """All that is wrong with a site."""
    with served(site) as base:
        async with browser() as page:
            wrong = await look_at_pages(page, base, pages_of(site))
            wrong += await look_for(page, base)
            wrong += await toggle(page, base)
            if pictures is not None:
                await take_pictures(page, base, pictures)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--pictures", type=Path, help="a folder for screenshots")
    options = parser.parse_args()
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    wrong = asyncio.run(check(options.site, options.pictures))
    sys.stdout.write("".join(f"{each}\n" for each in wrong))
    sys.stdout.write(f"{len(pages_of(options.site))} pages, {len(wrong)} faults\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
