"""What to say when a call has failed: other clients' words and ours for them, what was given in a
wrong form, and what an error answer says itself.

It is loaded when a call has failed already, so that a right call pays nothing for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, SupportsInt

from yarl import URL

from wherry.body.media_types import known_charset
from wherry.errors import ClientPayloadError, printable
from wherry.redaction import HIDDEN, is_secret_name, shown_url

if TYPE_CHECKING:
    from wherry.client.interfaces import ReadableResponse

__all__ = (
    "NOT_SET",
    "body_beginning",
    "error_body",
    "missing_attribute",
    "name_hint",
    "refused_attribute",
    "standard_reason",
    "sync_name_hint",
    "unknown_keyword",
    "wrong_connector",
    "wrong_form",
)

# Characters of a body that are shown, and bytes that are looked at for them.
SHOWN, SEEN = 200, 2048
_TEXT = re.compile(
    r"text/|application/(?:[\w.-]+\+)?(?:json|xml)|application/x-www-form", re.IGNORECASE
)
# A member of a JSON object, cut off or not.
_MEMBER = re.compile(r'"([^"\\]{1,128})"(\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\Z)')

# Arguments that requests, httpx and urllib3 have, and what stands for them here.
_ARGUMENTS = {
    "body": "data=",
    "ca_certs": "ssl=ssl.create_default_context(cafile=...)",
    "cert": "ssl=context, an ssl.SSLContext with load_cert_chain(...)",
    "client_cert": "ssl=context, an ssl.SSLContext with load_cert_chain(...)",
    "content": "data=",
    "event_hooks": "middlewares= or trace_configs= of ClientSession",
    "extensions": "trace_request_ctx= or middlewares=",
    "fields": "params= or data=",
    "follow_redirects": "allow_redirects=",
    "hooks": "middlewares= or trace_configs= of ClientSession",
    "http2": 'connector=TCPConnector(protocols=("h2", "http/1.1")) of ClientSession',
    "limit": "connector=TCPConnector(limit=...) of ClientSession",
    "limits": "connector=TCPConnector(limit=..., limit_per_host=...) of ClientSession",
    "max_size": "max_msg_size= (WebSocket) or max_body_size=",
    "mounts": "proxy= or connector= of ClientSession",
    "open_timeout": "timeout=ClientTimeout(total=...)",
    "ping_interval": "heartbeat=",
    "ping_timeout": "heartbeat=",
    "proxies": "proxy=",
    "proxy_url": "proxy=",
    "query": "params=",
    "redirect": "allow_redirects=",
    "stream": "nothing: bodies are streamed always, read response.content for pieces",
    "subprotocols": "protocols=",
    "additional_headers": "headers=",
    "extra_headers": "headers=",
    "transport": "connector= of ClientSession",
    "url_params": "params=",
    "user_agent": 'headers={"User-Agent": ...}',
    "verify": "ssl=False to check nothing, or ssl=context with a context of your own",
}
# What belongs to the session, and is looked for at a request.
_OF_SESSIONS = {
    "base_url", "connector", "connector_owner", "cookie_jar", "fallback_charset_resolver",
    "json_serialize", "json_serialize_bytes", "requote_redirect_url", "retries", "trace_configs",
    "trust_env", "version", "request_class", "response_class",
}  # fmt: skip
_LOADED = "ssl=context), an ssl.SSLContext with load_cert_chain(...)"
_LIMITER = "middlewares=[RateLimitMiddleware(...)]"
# What stands for them where it is not what a request has.
_ARGUMENTS_OF = {
    "a request": {
        "form": "data=, a mapping",
        "rate_limit": f"{_LIMITER} of ClientSession",
        "resolver": "connector=TCPConnector(resolver=...) of ClientSession",
    },
    "ClientSession": {
        "ca_certs": "connector=TCPConnector(ssl=ssl.create_default_context(cafile=...))",
        "cert": f"connector=TCPConnector({_LOADED}",
        "client_cert": f"connector=TCPConnector({_LOADED}",
        "event_hooks": "middlewares= or trace_configs=",
        "follow_redirects": "allow_redirects= of a request",
        "hooks": "middlewares= or trace_configs=",
        "http2": 'connector=TCPConnector(protocols=("h2", "http/1.1"))',
        "limit": "connector=TCPConnector(limit=...)",
        "limit_per_host": "connector=TCPConnector(limit_per_host=...)",
        "limits": "connector=TCPConnector(limit=..., limit_per_host=...)",
        "mounts": "proxy= or connector=",
        "rate_limit": _LIMITER,
        "resolver": "connector=TCPConnector(resolver=...)",
        "ssl": "connector=TCPConnector(ssl=...), or ssl= of a request",
        "ssl_context": "connector=TCPConnector(ssl=context), or ssl= of a request",
        "transport": "connector=",
        "verify": "connector=TCPConnector(ssl=False) to check nothing, or ssl= of a request",
        "verify_ssl": "connector=TCPConnector(ssl=False) to check nothing, or ssl= of a request",
    },
    "ClientTimeout": {
        "pool": "connect=, which counts the wait for a connection too",
        "read": "sock_read=",
        "timeout": "total=",
        "write": "sock_read=, which counts while the peer takes nothing too",
    },
}
# Attributes of other clients' objects.
_OF_RESPONSES = {
    "status_code": "status",
    "iter_content": "content.iter_chunked(size)",
    "iter_bytes": "content.iter_chunked(size)",
    "iter_raw": "content.iter_any()",
    "aiter_bytes": "content.iter_chunked(size)",
    "aiter_raw": "content.iter_any()",
    "iter_lines": "content, by `async for line in response.content`",
    "aiter_lines": "content, by `async for line in response.content`",
    "aiter_text": "content.iter_chunked(size), whose pieces are bytes",
    "aread": "read()",
    "aclose": "close()",
    "elapsed": "the trace_configs= of the session, which tell each step's time",
    "encoding": "get_encoding()",
    "is_success": "ok",
    "is_error": "ok, the opposite",
    "is_redirect": "status, with allow_redirects=False",
    "is_closed": "closed",
    "reason_phrase": "reason",
    "http_version": "version",
    "raw": "content",
    "next_request": "headers['Location'], with allow_redirects=False",
    "apparent_encoding": "get_encoding()",
    "body": "read()",
    "data": "read()",
}
_OF_SESSIONS_ATTRIBUTES = {
    "send": "request(method, url, ...)",
    "mount": "a connector= of ClientSession",
    "stream": "get(url), by `async with`: bodies are streamed always",
    "build_request": "request(method, url, ...)",
    "aclose": "close()",
    "is_closed": "closed",
    "cookies": "cookie_jar",
    "params": "the params= of ClientSession",
    "proxies": "the proxy= of ClientSession",
    "verify": "the ssl= of TCPConnector",
    "websocket_connect": "ws_connect(url)",
}
# What programs set on sessions of others and what of ours means it, for {session} and its module.
NOT_SET = {
    "base_url": "{session}(base_url=...)",
    "cert": "{connector}(ssl=context)), an ssl.SSLContext with load_cert_chain(...)",
    "cookies": "{session}(cookies=...), or session.cookie_jar.update_cookies(...)",
    "event_hooks": "{session}(middlewares=...) or {session}(trace_configs=...)",
    "follow_redirects": "allow_redirects= of a request",
    "hooks": "{session}(middlewares=...) or {session}(trace_configs=...)",
    "max_redirects": "max_redirects= of a request",
    "middlewares": "{session}(middlewares=...)",
    "params": "{session}(params=...)",
    "proxies": "{session}(proxy=...)",
    "proxy": "{session}(proxy=...)",
    "retries": "{session}(retries=...)",
    "stream": "{stream}",
    "verify": "{connector}(ssl=False)), or ssl= with a context of your own",
}
_WORDS = {
    "ClientSession": {
        "session": "ClientSession",
        "connector": "ClientSession(connector=TCPConnector",
        "stream": "response.content for pieces: bodies are streamed always",
    },
    "Session": {
        "session": "Session",
        "connector": "Session(connector=lambda: wherry.TCPConnector",
        "stream": "stream=True of a request",
    },
}
_NAMES = {
    "AsyncClient": "wherry.ClientSession",
    "Client": "wherry.ClientSession, or wherry.sync.Session in a script",
    "Session": "wherry.ClientSession, or wherry.sync.Session in a script",
    "Timeout": "wherry.ClientTimeout",
    "Limits": "wherry.TCPConnector(limit=..., limit_per_host=...)",
    "HTTPError": "wherry.ClientError, or wherry.ClientResponseError for a status",
    "HTTPStatusError": "wherry.ClientResponseError",
    "RequestException": "wherry.ClientError",
    "ConnectError": "wherry.ClientConnectorError",
    "ConnectTimeout": "wherry.ConnectionTimeoutError",
    "ReadTimeout": "wherry.SocketTimeoutError",
    "Timeouts": "wherry.ClientTimeout",
    "TimeoutException": "TimeoutError",
    "Response": "wherry.ClientResponse",
    "Request": "wherry.ClientRequest",
    "HTTPTransport": "wherry.TCPConnector",
    "AsyncHTTPTransport": "wherry.TCPConnector",
    "HTTPAdapter": "wherry.TCPConnector",
    "Proxy": "the argument proxy=",
    "Cookies": "wherry.CookieJar",
    "HTTPBasicAuth": "wherry.BasicAuth",
    "HTTPDigestAuth": "wherry.DigestAuthMiddleware",
    "DigestAuth": "wherry.DigestAuthMiddleware",
    "Retry": "wherry.RetryMiddleware",
    "stream": "wherry.request(method, url), by `async with`",
}
# Names of requests, for who writes `import wherry.sync as requests`.
_SYNC_NAMES = {
    "ConnectTimeout": "wherry.ConnectionTimeoutError",
    "ConnectionError": "wherry.ClientConnectionError",
    "HTTPError": "wherry.ClientResponseError",
    "JSONDecodeError": "json.JSONDecodeError",
    "PreparedRequest": "Session.request(method, url, ...)",
    "ReadTimeout": "wherry.SocketTimeoutError",
    "Request": "request(method, url, ...)",
    "RequestException": "wherry.ClientError",
    "Timeout": "TimeoutError",
    "TooManyRedirects": "wherry.TooManyRedirects",
    "URLRequired": "wherry.InvalidURL",
    "auth": "wherry.BasicAuth and wherry.DigestAuthMiddleware",
    "adapters": "wherry.TCPConnector and wherry.RetryMiddleware",
    "codes": "http.HTTPStatus",
    "exceptions": "wherry.ClientError, the base of all, and TimeoutError",
    "session": "wherry.sync.Session()",
    "sessions": "wherry.sync.Session",
}
_VERBS = {"get", "post", "put", "patch", "delete", "head", "options"}


def unknown_keyword(
    call: str, given: Iterable[str], known: Iterable[str], of_requests: Iterable[str] = ()
) -> str | None:
    """What is wrong with the keywords of a call; None where nothing is.

    Args:
        call: What was called, for a person.
        given: The keywords that it got.
        known: Those that it takes.
        of_requests: Those that a request takes, where the call is none.
    """
    known = frozenset(known)
    for name in given:
        if name not in known:
            hint = _argument_hint(call, name, known, frozenset(of_requests))
            return f"{call} has no argument {name!r}{hint}"
    return None


def _argument_hint(call: str, name: str, known: frozenset[str], of_requests: frozenset[str]) -> str:
    if ours := _ARGUMENTS_OF.get(call, {}).get(name):
        return f": say {ours}"
    if name in of_requests:
        return f": {name}= is an argument of a request"
    if call == "ClientTimeout":
        near = get_close_matches(name, known, 1)
        return f": did you mean {near[0]}=?" if near else f": it takes {', '.join(sorted(known))}"
    if ours := _ARGUMENTS.get(name):
        return f": say {ours}"
    if name in _OF_SESSIONS:
        return f": {name}= is an argument of ClientSession"
    if near := get_close_matches(name, known, 1):
        return f": did you mean {near[0]}=?"
    return ""


def missing_attribute(kind: str, name: str, *, asynchronous: bool = True) -> str:
    """What to say of an attribute that a "response" or a "session" has not, and others' have."""
    table = _OF_RESPONSES if kind == "response" else _OF_SESSIONS_ATTRIBUTES
    ours = table.get(name)
    if ours is not None and not asynchronous:
        ours = ours.replace("`async ", "`")
    return "" if ours is None else f": a {kind} of wherry has {ours}"


def refused_attribute(
    kind: str, name: str, takes: Iterable[str] = (), of_requests: Iterable[str] = ()
) -> str:
    """What is wrong with setting an attribute of a session.

    Args:
        kind: "Session" or "ClientSession".
        name: The attribute.
        takes: The arguments of the session.
        of_requests: Those of a request.
    """
    if ours := NOT_SET.get(name):
        hint = f": say {ours.format(**_WORDS[kind])}"
    elif name == "headers":
        hint = f": say {kind}(headers=...), or session.headers.update(...)"
    elif name in takes:
        hint = f": say {kind}({name}=...)"
    elif name in of_requests:
        hint = f": {name}= is an argument of a request"
    else:
        hint = ""
    return f"{kind} has no attribute {name!r} to set{hint}"


def sync_name_hint(name: str) -> str:
    """What to say of a name that `wherry.sync` has not, and requests has."""
    ours = _SYNC_NAMES.get(name)
    return "" if ours is None else f": say {ours}"


def name_hint(name: str) -> str:
    """What to say of a name that the package has not, and another client has."""
    if name in _VERBS:
        return (
            f": `async with wherry.ClientSession() as session: await session.{name}(url)` in a "
            f"coroutine, `wherry.sync.{name}(url)` in a script"
        )
    ours = _NAMES.get(name)
    return "" if ours is None else f": say {ours}"


def wrong_connector(given: object) -> str:
    """What to say of what was given as a connector, and is none."""
    if isinstance(given, type):
        return f"connector= takes an object: say connector={given.__name__}()"
    return (
        f"connector= takes a TCPConnector(...), not {type(given).__name__}: a proxy goes to proxy="
    )


def wrong_form(error: BaseException, url: object, given: Mapping[str, Any]) -> str | None:
    """What of a request was given in a form that no request takes; None where nothing was.

    Args:
        error: What came of it.
        url: What was given as its URL.
        given: Its keywords.
    """
    said = str(error)
    if not isinstance(url, str | URL) and said.startswith("Constructor parameter"):
        return f"a request's URL is a str or a yarl.URL, not {type(url).__name__}"
    if said.startswith("Invalid variable type"):
        return _wrong_parameter(given.get("params"))
    check = given.get("raise_for_status")
    if callable(check) and not iscoroutinefunction(check) and "await" in said:
        return "raise_for_status= takes True, or a coroutine function (async def) of the response"
    return None


def _wrong_parameter(params: Any) -> str | None:
    pairs = params.items() if isinstance(params, Mapping) else params
    for name, value in pairs or ():
        for one in value if isinstance(value, list | tuple) else (value,):
            if one is None or isinstance(one, bool) or not isinstance(one, str | SupportsInt):
                shown = f"{one}" if one is None or isinstance(one, bool) else type(one).__name__
                return (
                    f"the parameter {name!r:.100} of params= is a str, an int or a float, not "
                    f"{shown}: leave it out, or give it as a str"
                )
    return None


def standard_reason(status: int) -> str:
    """The reason phrase that IANA's registry has for a status; "" for one that it has not.

    >>> standard_reason(404), standard_reason(599)
    ('Not Found', '')
    """
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def body_beginning(text: str) -> str:
    """How a text begins, in one line, without the values of what is secret by its name.

    >>> body_beginning('{"error": "gone",\\n "token": "abc"}')
    '{"error": "gone", "token": "***"}'
    """
    text = " ".join(text[:SEEN].split())
    hidden = shown_url(_MEMBER.sub(_hide, text))
    return printable(hidden[:SHOWN] + ("..." if len(hidden) > SHOWN else ""))


def _hide(found: re.Match[str]) -> str:
    name, colon = found.groups()
    return f'"{name}"{colon}"{HIDDEN}"' if is_secret_name(name) else found[0]


def error_body(response: ReadableResponse, body: bytes | None) -> str:
    """How the body of `response` begins, if it is a text that has arrived; reading it later gives
    it whole all the same.

    Args:
        response: The response.
        body: All of it, where it was read.
    """
    if not _TEXT.match(response.content_type):
        return ""
    if body is None:
        beginning = getattr(response.content, "beginning", None)
        if beginning is None:
            return ""  # a stream of the program's own
        try:
            body = beginning(SEEN)
        except ClientPayloadError:
            return ""
    return body_beginning(body[:SEEN].decode(known_charset(response.charset) or "utf-8", "replace"))
