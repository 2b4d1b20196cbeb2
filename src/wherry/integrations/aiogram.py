"""aiogram over wherry: `Bot(token, session=WherrySession())` (extra `aiogram`).

The constructor and the behaviour of aiogram's own AiohttpSession, proxies in every documented form
included; it closes without a sleep, and every failure on the way to Telegram is a
TelegramNetworkError that says where.  Uses wherry's public names only.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import AsyncGenerator, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Self, cast

try:
    import certifi
    from aiogram.__meta__ import __version__ as aiogram_version
except ModuleNotFoundError as _exc:  # pragma: no cover
    raise ModuleNotFoundError(
        f"WherrySession needs {_exc.name}: pip install 'wherry[aiogram]'", name=_exc.name
    ) from _exc
from aiogram.client.session.base import BaseSession
from aiogram.exceptions import TelegramNetworkError
from aiogram.methods.base import TelegramMethod, TelegramType
from aiogram.types import BufferedInputFile, InputFile

from wherry import (
    BasicAuth,
    ClientError,
    ClientSession,
    ClientTimeout,
    FormData,
    ProxyHop,
    TCPConnector,
    proxy_hops,
)
from wherry.version import SERVER_SOFTWARE

if TYPE_CHECKING:
    from aiogram.client.bot import Bot

__all__ = ("BasicAuth", "WherrySession")

ProxyBasic = str | tuple[str, BasicAuth]
ProxyType = ProxyBasic | Iterable[ProxyBasic]

# aiogram lets SOCKS proxies resolve names whatever the scheme: where Telegram's names do not
# resolve, they still work.
RESOLVED_BY_PROXY = {"socks4": "socks4a", "socks5": "socks5h"}


class TunnellingConnector(TCPConnector):
    """Asks an HTTP proxy for a tunnel to a plain Bot API server too, as aiogram's documents say.

    A proxy's own error, a 407 for one, is then no answer of the Bot API's.
    """

    _forwards = False


class WherrySession(BaseSession):
    """A session for `aiogram.Bot`.

    Args:
        proxy: A proxy's URL, a ``(url, BasicAuth)`` pair, or an iterable of these: a chain.  http,
            https, socks4, socks4a, socks5 and socks5h; BasicAuth wins over credentials in the URL.
        limit: Connections at most; 100 by default.
        ssl: An SSLContext, for the Bot API and for https:// proxies; certifi's
            authorities by default.
        **kwargs: For aiogram's BaseSession: `api`, `json_loads`, `json_dumps`, `timeout` (60
            seconds by default).

    Raises:
        ValueError: `proxy` is not a proxy.
    """

    def __init__(
        self,
        proxy: ProxyType | None = None,
        limit: int = 100,
        *,
        ssl: ssl_module.SSLContext | bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._session: ClientSession | None = None
        self._limit = limit
        self._ssl = ssl
        self._proxy: ProxyType | None = None
        self._hops: tuple[ProxyHop, ...] = ()
        self._stale = False
        self._set_proxy(proxy)

    @property
    def proxy(self) -> ProxyType | None:
        """The proxy as it was given.  Setting it closes the connections; the next request takes the
        new way.
        """
        return self._proxy

    @proxy.setter
    def proxy(self, proxy: ProxyType | None) -> None:
        self._set_proxy(proxy)
        self._stale = True

    def _set_proxy(self, proxy: ProxyType | None) -> None:
        # Once, here: an iterator gives its hops only once, and what is wrong with them is told
        # where it was written.
        self._hops = tuple(
            hop._replace(scheme=RESOLVED_BY_PROXY.get(hop.scheme, hop.scheme))
            for hop in proxy_hops(proxy)
        )
        self._proxy = proxy

    async def create_session(self) -> ClientSession:
        """The session that requests go through, a new one where there is none."""
        if self._stale:
            self._stale = False
            await self.close()
        context = self._ssl
        if context is None and (self._session is None or self._session.closed):
            context = await asyncio.to_thread(certifi_context)
        # Looked at after the last await: of two first requests only one makes the session.
        if self._session is None or self._session.closed:
            self._session = ClientSession(
                connector=TunnellingConnector(
                    limit=self._limit, ttl_dns_cache=3600, ssl=True if context is None else context
                ),
                headers={"User-Agent": f"{SERVER_SOFTWARE} aiogram/{aiogram_version}"},
                proxy=self._hops or None,
            )
        return self._session

    async def close(self) -> None:
        """Close the session; returns when its connections are closed.  The next request opens it
        anew.
        """
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def build_form_data(self, bot: Bot, method: TelegramMethod[TelegramType]) -> FormData:
        """The form that asks for `method`: its parameters, and the files that they attach."""
        form = FormData(quote_fields=False)
        files: dict[str, InputFile] = {}
        for name, value in method.model_dump(warnings=False).items():
            prepared = self.prepare_value(value, bot=bot, files=files)
            if prepared:
                form.add_field(name, prepared)
        for name, file in files.items():
            # What is in memory has a length; everything else is read while it is sent.
            content: Any = file.data if type(file) is BufferedInputFile else file.read(bot)
            form.add_field(name, content, filename=file.filename or name)
        return form

    async def make_request(
        self, bot: Bot, method: TelegramMethod[TelegramType], timeout: int | None = None
    ) -> TelegramType:
        """Ask the Bot API for `method`.

        Args:
            bot: Whose token is used.
            method: What is asked for.
            timeout: Seconds for the whole request, None for the session's own.

        Raises:
            TelegramNetworkError: No answer came, or not in time; the message names the proxy that
                failed.
            TelegramAPIError: The Bot API answered with an error; subclasses say which.
        """
        session = await self.create_session()
        url = self.api.api_url(token=bot.token, method=method.__api_method__)
        form = self.build_form_data(bot=bot, method=method)
        limits = as_timeout(self.timeout if timeout is None else timeout)
        try:
            async with session.post(url, data=form, timeout=limits) as response:
                content = await response.text()
        except TimeoutError as exc:
            raise TelegramNetworkError(
                method=method, message=joined("Request timeout error", exc)
            ) from exc
        except ClientError as exc:
            raise TelegramNetworkError(
                method=method, message=f"{type(exc).__name__}: {exc}"
            ) from exc
        checked = self.check_response(
            bot=bot, method=method, status_code=response.status, content=content
        )
        return cast("TelegramType", checked.result)

    async def stream_content(
        self,
        url: str,
        headers: dict[str, Any] | None = None,
        timeout: int = 30,
        chunk_size: int = 65536,
        raise_for_status: bool = True,
    ) -> AsyncGenerator[bytes, None]:
        """A file's content, piece by piece.

        Args:
            url: Where it is.
            headers: Header fields of the request.
            timeout: Seconds for the whole file.
            chunk_size: Bytes that a piece has at most.
            raise_for_status: Whether a status from 400 up raises ClientResponseError.
        """
        session = await self.create_session()
        async with session.get(
            url,
            timeout=as_timeout(timeout),
            headers=headers or {},
            raise_for_status=raise_for_status,
        ) as response:
            async for chunk in response.content.iter_chunked(chunk_size):
                yield chunk

    async def __aenter__(self) -> Self:
        await self.create_session()
        return self


@cache
def certifi_context() -> ssl_module.SSLContext:
    """The context that aiogram's own session has; reads a file of authorities, so not for the
    loop.
    """
    return ssl_module.create_default_context(cafile=certifi.where())


def as_timeout(value: float | ClientTimeout) -> ClientTimeout:
    """Seconds for a whole request; a ClientTimeout goes as it is."""
    return value if isinstance(value, ClientTimeout) else ClientTimeout(total=value)


def joined(text: str, exc: BaseException) -> str:
    """`text`, and what the exception adds to it: a limit that passed at a proxy tells which."""
    return f"{text}: {exc}" if str(exc) else text
