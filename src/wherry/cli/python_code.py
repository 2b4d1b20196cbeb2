"""The Python program that asks the same as a command line."""

from __future__ import annotations

from typing import Any

from wherry.cli.argument_values import RequestArguments, UsageProblem

_VERBS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


def python_code(wanted: RequestArguments) -> str:
    """A program of its own: it prints the body.

    Raises:
        UsageProblem: Something in the request has no place in a short program.
    """
    if wanted.tls_words and wanted.tls is not False:
        raise UsageProblem("--python knows no --cacert, --cert and --key: see docs/howto/tls")
    if wanted.resolved or wanted.unix_socket:
        raise UsageProblem("--python knows no --resolve and no --unix-socket")
    lines = ["import asyncio", "", "import wherry", "", "", "async def main() -> None:"]
    session = _session_arguments(wanted)
    if wanted.form:
        lines += _form_lines(wanted)
    lines.append(f"    async with wherry.ClientSession({', '.join(session)}) as session:")
    call = wanted.method.lower()
    arguments = [repr(str(wanted.url))]
    if wanted.method not in _VERBS:
        call, arguments = "request", [repr(wanted.method), *arguments]
    arguments += [f"{name}={value}" for name, value in _arguments(wanted).items()]
    lines.append(f"        async with session.{call}(")
    lines += [f"            {argument}," for argument in arguments]
    lines += [
        "        ) as response:",
        "            print(response.status, await response.text())",
        "",
        "",
        "asyncio.run(main())",
    ]
    return "\n".join(lines)


def _session_arguments(wanted: RequestArguments) -> list[str]:
    arguments = []
    if wanted.protocols != ("http/1.1",):
        arguments.append(f"connector=wherry.TCPConnector(protocols={wanted.protocols!r})")
    middlewares = []
    if wanted.digest and wanted.user is not None:
        name, password = wanted.user
        middlewares.append(f"wherry.DigestAuthMiddleware({name!r}, {password!r})")
    if wanted.retries:
        middlewares.append(f"wherry.RetryMiddleware(attempts={wanted.retries + 1})")
    if middlewares:
        arguments.append(f"middlewares=[{', '.join(middlewares)}]")
    return arguments


def _form_lines(wanted: RequestArguments) -> list[str]:
    lines = ["    form = wherry.FormData(quote_fields=False, default_to_multipart=True)"]
    for each in wanted.form:
        is_text = each.path is None
        value = repr(each.content.decode()) if is_text else f"open({each.path!r}, 'rb')"
        told = {
            name: text
            for name, text in each.arguments.items()
            if is_text or name != "filename" or each.filename
        }
        more = "".join(f", {name}={text!r}" for name, text in told.items())
        lines.append(f"    form.add_field({each.name!r}, {value}{more})")
    return lines


def _arguments(wanted: RequestArguments) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    names = [name.lower() for name, _ in wanted.headers]
    if wanted.headers:
        fields = dict(wanted.headers) if len(set(names)) == len(names) else wanted.headers
        arguments["headers"] = repr(fields)
    if wanted.without:
        arguments["skip_auto_headers"] = repr(wanted.without)
    if wanted.body is not None:
        arguments["data"] = repr(wanted.body)
    elif wanted.form:
        arguments["data"] = "form"
    if wanted.user is not None and not wanted.digest:
        name, password = wanted.user
        arguments["auth"] = f"wherry.BasicAuth({name!r}, {password!r})"
    if wanted.proxies:
        proxies = wanted.proxies
        arguments["proxy"] = repr(proxies[0] if len(proxies) == 1 else proxies)
    if wanted.proxy_user is not None:
        name, password = wanted.proxy_user
        arguments["proxy_auth"] = f"wherry.BasicAuth({name!r}, {password!r})"
    if wanted.timeout is not None or wanted.connect_timeout is not None:
        arguments["timeout"] = (
            f"wherry.ClientTimeout(total={wanted.timeout!r}, connect={wanted.connect_timeout!r})"
        )
    if not wanted.follow:
        arguments["allow_redirects"] = "False"
    elif wanted.max_redirects != 10:
        arguments["max_redirects"] = repr(wanted.max_redirects)
    if wanted.tls is False:
        arguments["ssl"] = "False"
    return arguments
