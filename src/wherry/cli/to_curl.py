"""The curl command that asks the same."""

from __future__ import annotations

import shlex

from wherry.cli.argument_values import FormField, RequestArguments


def curl_command(wanted: RequestArguments) -> str:
    """One line for a shell; bodies that are no text are taken from standard input."""
    words = ["curl"]
    if wanted.follow:
        words.append("--location")
    words.append("--" + _version(wanted))
    has_body = wanted.body is not None or bool(wanted.form)
    if wanted.method == "HEAD":
        words.append("--head")
    elif wanted.method != ("POST" if has_body else "GET"):
        words += ["--request", wanted.method]
    for name in wanted.without:
        words += ["--header", f"{name}:"]
    for name, value in wanted.headers:
        words += ["--header", f"{name}: {value}" if value else f"{name};"]
    words += _way_there(wanted)
    if wanted.body is not None:
        words += [
            "--data-raw" if _is_text(wanted.body) else "--data-binary",
            _text_or_input(wanted.body),
        ]
    for each in wanted.form:
        words += _form_words(each)
    words.append(str(wanted.url))
    return shlex.join(words)


def _version(wanted: RequestArguments) -> str:
    if wanted.http3_only:
        return "http3-only"
    return "http3" if wanted.http3 else "http2" if wanted.http2 else "http1.1"


def _way_there(wanted: RequestArguments) -> list[str]:
    """Who asks, for how long, and through what."""
    words: list[str] = []
    if wanted.user is not None:
        words += ["--user", ":".join(wanted.user), *(["--digest"] if wanted.digest else [])]
    if wanted.timeout is not None:
        words += ["--max-time", f"{wanted.timeout:g}"]
    if wanted.connect_timeout is not None:
        words += ["--connect-timeout", f"{wanted.connect_timeout:g}"]
    for (host, port), address in wanted.resolved.items():
        words += ["--resolve", f"{host}:{port}:{address}"]
    if wanted.family:
        words.append(f"-{wanted.family}")
    if wanted.unix_socket is not None:
        words += ["--unix-socket", wanted.unix_socket]
    # curl takes one proxy in front of another, and no longer chains.
    if len(wanted.proxies) > 1:
        words += ["--preproxy", wanted.proxies[-2]]
    if wanted.proxies:
        words += ["--proxy", wanted.proxies[-1]]
    if wanted.proxy_user is not None:
        words += ["--proxy-user", ":".join(wanted.proxy_user)]
    return words + wanted.tls_words


def _form_words(field: FormField) -> list[str]:
    """A form's field; --form-string, where it can be so, has no letters that mean something."""
    told = field.arguments
    if field.path is None and not told:
        return ["--form-string", f"{field.name}={field.content.decode()}"]
    value = _quoted(field.content.decode()) if field.path is None else "@" + _quoted(field.path)
    text = f"{field.name}={value}"
    if "content_type" in told:
        text += f";type={told['content_type']}"
    if field.filename is not None:
        text += f";filename={_quoted(field.filename)}"
    return ["--form", text]


def _quoted(path: str) -> str:
    """A file's path as curl reads it in a form's field."""
    path = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{path}"'


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in body.decode()
    except UnicodeDecodeError:
        return False


def _text_or_input(body: bytes) -> str:
    return body.decode() if _is_text(body) else "@-"
