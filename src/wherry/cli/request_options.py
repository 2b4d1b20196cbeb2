"""The request that the options of ``wherry URL`` describe, and where its body goes."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from yarl import URL

from wherry.cli import standard_streams
from wherry.cli.argument_values import (
    RequestArguments,
    UsageProblem,
    parse_header,
    parse_proxy,
    parse_url,
    parse_user,
    read_data,
    with_body,
)
from wherry.cli.curl_options import (
    TAGS,
    cookie_field,
    data_of,
    parse_resolved,
    upload_url,
    with_query,
)
from wherry.cli.request_items import Items, parse_words

if TYPE_CHECKING:
    from wherry.cli.named_sessions import NamedSession

# curl's words for a proxy, and the scheme that says the same.
_PROXY_KINDS: Final = {
    "socks4": "socks4",
    "socks4a": "socks4a",
    "socks5": "socks5",
    "socks5_hostname": "socks5h",
}


def usual_request(url: URL, given: dict[str, Any]) -> RequestArguments:
    """What the options that several commands have say of a request.

    Raises:
        UsageProblem: One cannot be meant so.
    """
    return RequestArguments(
        url,
        headers=[parse_header(text) for text in given["headers"] if not _is_unset(text)],
        without=[text.strip()[:-1] for text in given["headers"] if _is_unset(text)],
        user=_user_of(given["user"], url) if given.get("user") else None,
        proxies=[parse_proxy(text) for text in given["proxies"]],
        proxy_user=parse_user(given["proxy_user"]) if given["proxy_user"] else None,
        timeout=given["timeout"],
        follow=not given.get("no_redirects"),
        http2=given.get("http2", False),
        http3=given.get("http3", False),
        tls=_tls(given["insecure"], given["cacert"]),
        tls_words=["--insecure"] if given["insecure"] else _words(given, "cacert"),
    )


def request_of(
    words: Sequence[str], given: dict[str, Any]
) -> tuple[RequestArguments, NamedSession | None]:
    """The request of ``wherry [OPTIONS] [METHOD] URL [ITEM]...``, and the named session that it
    belongs to.

    Raises:
        UsageProblem: The words and options contradict each other, or a file cannot be read.
    """
    method, url, items = parse_words([*words, *given["urls"]])
    wanted = usual_request(parse_url(url, default=given["proto_default"]), given)
    _put_fields(wanted, given)
    _put_body(wanted, given, items, method)
    _put_way(wanted, given)
    if given["session"] is None:
        return wanted, None
    from wherry.cli.named_sessions import open_session

    named = open_session(given["session"], wanted.url)
    named.put_into(wanted)
    return wanted, named


def _put_fields(wanted: RequestArguments, given: dict[str, Any]) -> None:
    """Header fields that have options of their own, and who asks."""
    for option, name in (("user_agent", "User-Agent"), ("referer", "Referer")):
        if given[option] is not None:
            wanted.headers.append((name, given[option]))
    if given["byte_range"] is not None:
        wanted.headers.append(("Range", f"bytes={given['byte_range']}"))
    pairs = [text for text in given["cookies"] if "=" in text]
    if pairs:
        wanted.headers.append(cookie_field("; ".join(pairs)))
    files = [text for text in given["cookies"] if "=" not in text]
    if len(files) > 1:
        raise UsageProblem("--cookie takes one file")
    wanted.cookies = files[0] if files else None
    wanted.cookies_to = given["cookie_jar"]
    if given["bearer"] is not None:
        if wanted.user is not None:
            raise UsageProblem("give one of --user and --bearer")
        wanted.headers.append(("Authorization", f"Bearer {given['bearer']}"))
    elif any(name.lower() == "authorization" for name, _ in wanted.headers):
        wanted.user = None  # curl: a field of the user's own counts
    wanted.digest = given["digest"] and bool(given["user"])
    if given["digest"] and not given["user"]:
        raise UsageProblem("--digest goes with --user NAME:PASSWORD")


def _put_body(
    wanted: RequestArguments, given: dict[str, Any], items: Items, method: str | None
) -> None:
    """The body and the method, which says what the one who asks wants done."""
    _put_data(wanted, given, items)
    if method is not None and given["method"] is not None:
        raise UsageProblem(f"give one of {method} and --request {given['method']}")
    if _reads_input(wanted, given, items, method):
        items.raw = "-"
    items.put_into(wanted, as_form=given["as_form"])
    has_body = wanted.body is not None or bool(wanted.form)
    if given["head"] and has_body:
        raise UsageProblem("--head asks for the head only, and sends no body")
    usual = "PUT" if given["upload_file"] else "POST" if has_body else "GET"
    said = given["method"] or method
    wanted.method = (said or ("HEAD" if given["head"] else usual)).upper()


def _put_data(wanted: RequestArguments, given: dict[str, Any], items: Items) -> None:
    """The body, or with --get the query, that curl's options give."""
    tagged = [
        tag + text for name, tag in TAGS.items() for text in given[name[2:].replace("-", "_")]
    ]
    data = [data_of(text) for text in (*given["data"], *tagged)]
    if given["get"]:
        wanted.url, data = with_query(wanted.url, data), []
    if given["upload_file"] is not None:
        form = given["form"] or given["form_string"]
        if data or given["json_text"] or form or items.has_body:
            raise UsageProblem("give one of --upload-file, --data, --json, --form and items")
        wanted.url = upload_url(wanted.url, given["upload_file"])
        wanted.body = read_data("@" + given["upload_file"])
    with_body(wanted, data, given["json_text"], given["form"], given["form_string"])


def _reads_input(
    wanted: RequestArguments, given: dict[str, Any], items: Items, method: str | None
) -> bool:
    """Whether standard input is the body: of a method that sends one, where there is no other."""
    if method in {None, "GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "DELETE"}:
        return False
    has_body = wanted.body is not None or bool(wanted.form) or items.has_body
    return not has_body and not given["ignore_stdin"] and standard_streams.input_has_body()


def _put_way(wanted: RequestArguments, given: dict[str, Any]) -> None:
    """How the request gets there, and how often it is tried."""
    wanted.http3_only = given["http3_only"]
    wanted.connect_timeout, wanted.unix_socket = given["connect_timeout"], given["unix_socket"]
    wanted.retries = given["retry"]
    if given["max_redirs"] is not None:
        wanted.max_redirects = given["max_redirs"] if given["max_redirs"] >= 0 else 1000
        if not wanted.max_redirects:
            wanted.follow = False
    if given["ipv4"] != given["ipv6"]:
        wanted.family = 4 if given["ipv4"] else 6
    for name, scheme in _PROXY_KINDS.items():
        if given[name] is not None:
            wanted.proxies.append(f"{scheme}://{given[name]}")
    if given["preproxy"] is not None:
        wanted.proxies.insert(0, parse_proxy(given["preproxy"]))
    wanted.resolved = dict(parse_resolved(text) for text in given["resolve"])
    if given["cert"] or given["key"]:
        wanted.tls = _with_certificate(given)
        wanted.tls_words += _words(given, "cert", "key")


def _is_unset(text: str) -> bool:
    """``Name:`` leaves a usual field out, as curl has it."""
    name, colon, value = text.partition(":")
    return bool(name.strip() and colon and not value.strip())


def _user_of(text: str, url: URL) -> tuple[str, str]:
    """A name and a password, which is asked for where there is none."""
    if ":" in text:
        return parse_user(text)
    if not standard_streams.somebody_is_there():
        raise UsageProblem(f"--user {text} has no password: write NAME:PASSWORD")
    prompt = f"Password for {text} at {url.host or 'the servers'}"
    return text, click.prompt(prompt, hide_input=True, err=True, default="", show_default=False)


def _tls(insecure: bool, authority: str | None) -> bool | ssl.SSLContext:
    if insecure:
        return False
    return ssl.create_default_context(cafile=authority) if authority else True


def _words(given: dict[str, Any], *names: str) -> list[str]:
    """Options with a value, as they were given."""
    return [word for name in names if given[name] for word in (f"--{name}", given[name])]


def _with_certificate(given: dict[str, Any]) -> ssl.SSLContext:
    """A TLS context that has the user's certificate."""
    if not given["cert"]:
        raise UsageProblem("--key goes with --cert")
    context = ssl.create_default_context(cafile=given["cacert"])
    if given["insecure"]:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        context.load_cert_chain(given["cert"], given["key"])
    except OSError as exc:
        raise UsageProblem(f"cannot use the certificate {given['cert']}: {exc.strerror}") from exc
    return context


def place_of(url: URL, given: dict[str, Any]) -> Path | None:
    """The file or directory that the body goes into; None for standard output.

    Raises:
        UsageProblem: It cannot be made.
    """
    place: Path | None = given["output"]
    if given["remote_name"]:
        if place is not None:
            raise UsageProblem("give one of --output and --remote-name")
        from wherry.cli.fetch.file_names import file_name

        place = Path() if given["remote_header_name"] else Path(file_name(url))
    if place is None or place == Path("-"):
        return None
    if given["create_dirs"]:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise UsageProblem(f"cannot make {place.parent}: {exc.strerror}") from exc
    return place
