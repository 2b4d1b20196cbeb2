"""The curl command that asks the same."""

from __future__ import annotations

import shlex

from wherry.cli.ask import Ask


def curl_command(ask: Ask) -> str:
    """One line for a shell; bodies that are no text are taken from standard input."""
    words = ["curl"]
    if ask.follow:
        words.append("--location")
    words.append("--http2" if ask.http2 else "--http1.1")
    has_body = ask.body is not None or bool(ask.form)
    if ask.method == "HEAD":
        words.append("--head")
    elif ask.method != ("POST" if has_body else "GET"):
        words += ["--request", ask.method]
    for name, value in ask.headers:
        words += ["--header", f"{name}: {value}" if value else f"{name};"]
    if ask.user is not None:
        words += ["--user", ":".join(ask.user)]
    if ask.timeout is not None:
        words += ["--max-time", f"{ask.timeout:g}"]
    # curl takes one proxy in front of another, and no longer chains.
    if len(ask.proxies) > 1:
        words += ["--preproxy", ask.proxies[-2]]
    if ask.proxies:
        words += ["--proxy", ask.proxies[-1]]
    if ask.proxy_user is not None:
        words += ["--proxy-user", ":".join(ask.proxy_user)]
    if ask.tls is False:
        words.append("--insecure")
    if ask.body is not None:
        words += ["--data-raw" if _is_text(ask.body) else "--data-binary", _text_or_input(ask.body)]
    for name, content, path in ask.form:
        words += (
            ["--form", f"{name}=@{_quoted(path)}"]
            if path
            else ["--form-string", f"{name}={content.decode()}"]
        )
    words.append(str(ask.url))
    return shlex.join(words)


def _quoted(path: str) -> str:
    """A file's path as curl reads it in a form's field, and the type that we send with it."""
    path = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{path}";type=application/octet-stream'


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in body.decode()
    except UnicodeDecodeError:
        return False


def _text_or_input(body: bytes) -> str:
    return body.decode() if _is_text(body) else "@-"
