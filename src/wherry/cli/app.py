"""The commands and their options, by click; what they do is in the modules beside this one.

Each command loads its own modules when it runs: help and completion need none of them.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import itertools
import ssl
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import CompletionItem, get_completion_class
from yarl import URL

import wherry
from wherry.cli import show, standard_streams
from wherry.cli.argument_values import (
    RequestArguments,
    UsageProblem,
    parse_close,
    parse_rate,
    parse_url,
    read_data,
)
from wherry.cli.curl_options import INSTEAD, NO_EFFECT, in_one_list
from wherry.cli.request_options import place_of, request_of, usual_request
from wherry.cli.run import INTERRUPTED, run

if TYPE_CHECKING:
    from wherry.cli.named_sessions import NamedSession

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_EXAMPLES = """\b
Examples:
  wherry https://example.org/                       show a page
  wherry -v example.org                             with heads and times
  wherry --json '{"a": 1}' https://api.test/items   POST JSON
  wherry -d name=value -H 'X-Key: 1' URL            POST a form
  wherry -o big.iso --continue URL                  download, and go on later
  wherry --proxy socks5://127.0.0.1:1080 URL        through a proxy; again for a chain
  wherry --curl --json @body.json URL               the curl command for it
  wherry PUT :8000/items/1 name=Ann age:=36 q==x    JSON and a query, to this machine
  wherry curl 'curl https://…'                      run what a browser copied
  wherry fetch -i urls.txt -o pages/                many downloads at once
  wherry ws ws://127.0.0.1:8000/chat                talk over a WebSocket
"""
_ITEMS = """\b
Items behind the URL say what is sent:
  name=value      a member of JSON, or a form's field with --as-form; name=@FILE: its text
  name:=1         a member that is JSON itself
  name==value     a part of the query
  Name:value      a header field; Name: leaves a usual one out
  name@FILE       a file to upload; @FILE alone is the body
"""
_ENVIRONMENT = """\
Every option can be set by the environment, by its name: WHERRY_TIMEOUT=5, WHERRY_PROXY=http://127.0.0.1:3128,
WHERRY_NO_REDIRECTS=1; one that may be repeated takes a value on each line.
"""
_SUMMARY = "Get URLs: shown on a terminal, as plain bytes in a pipe, or saved to a file."


# A ~/.zshrc that has not started zsh's completion has no compdef.
_ZSH_NEEDS = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }"


class _Option(click.Option):
    """An option that the environment sets by its own name: ``--no-redirects`` is
    WHERRY_NO_REDIRECTS.

    One that may be repeated has a value on each line there.
    """

    def __init__(self, declarations: Sequence[str], **attributes: Any) -> None:
        name = next(word for word in declarations if word.startswith("--"))
        attributes.setdefault("envvar", "WHERRY_" + name[2:].upper().replace("-", "_"))
        super().__init__(declarations, **attributes)

    def value_from_envvar(self, ctx: click.Context) -> Any:
        text = self.resolve_envvar_value(ctx)
        if text is None or not self.multiple:
            return super().value_from_envvar(ctx)
        return [line.strip() for line in text.splitlines() if line.strip()]


_option = functools.partial(click.option, cls=_Option)


class _CliGroup(click.Group):
    """Commands, of which `get` needs not be named: ``wherry URL``."""

    default = "get"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--version", "-h", "--help"}
        if args and args[0] not in self.commands and args[0] not in own:
            self._refuse_misspelt(ctx, args[0])
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def _refuse_misspelt(self, ctx: click.Context, word: str) -> None:
        """A word that is almost a command is hardly a host."""
        close = difflib.get_close_matches(word, self.commands, 1, 0.8) if word.isalpha() else ()
        if close:
            ctx.fail(
                f"no command is named {word!r}; did you mean {close[0]!r}? (A host of that name: "
                f"http://{word}/)"
            )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        command = self.commands[self.default]
        own = super().shell_complete(ctx, incomplete)
        return own + command.shell_complete(
            click.Context(command, info_name=self.default), incomplete
        )

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[OPTIONS] URL")
        formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS] ...")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.commands[self.default].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(
    cls=_CliGroup,
    context_settings=_CONTEXT,
    invoke_without_command=True,
    help=f"{_SUMMARY}\n\n{_EXAMPLES}",
    epilog=_ENVIRONMENT,
)
@click.version_option(wherry.__version__, package_name="wherry", message="wherry %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run_cli(args: list[str] | None = None) -> None:
    """Run the command that the arguments name; mistakes in them are told in one line, as other
    errors are.

    Args:
        args: The arguments; the process's own by default.
    """
    standard_streams.replace_letters()
    try:
        cli.main(args, prog_name="wherry", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        sys.exit(INTERRUPTED)
    except click.NoSuchOption as exc:
        show.fail(_no_such_option(exc))
        sys.exit(1)
    except click.ClickException as exc:
        show.fail(exc.format_message())
        sys.exit(1)
    except BrokenPipeError:
        standard_streams.let_go()
        sys.exit(1)
    except OSError as exc:
        # What has no loop yet, as help and a body on standard input.
        show.fail(show.describe(exc))
        standard_streams.let_go()
        sys.exit(1)


def _no_such_option(exc: click.NoSuchOption) -> str:
    """What to say of an option that there is not: a likely one, another command's, or nothing."""
    name = exc.option_name
    if name in INSTEAD:
        return f"No such option {name}: {INSTEAD[name]}"
    own = _long_options(exc.ctx.command) if exc.ctx is not None else []
    if close := [option for option in own if is_misspelt(name, option)]:
        return f"No such option {name}; did you mean {' or '.join(close)}?"
    for command in cli.commands.values():
        if name in _long_options(command):
            return f"No such option {name} here: it is one of `wherry {command.name}`"
    return f"No such option {name}: see --help"


def _long_options(command: click.Command) -> list[str]:
    return [word for param in command.params for word in param.opts if word.startswith("--")]


def is_misspelt(typed: str, option: str) -> bool:
    """Whether somebody who typed one may have meant the other.

    The beginning of it, or one slip of the fingers behind the first letter: a letter too many,
    missing, wrong, or two in the wrong order.  What shares some letters only was not meant, and
    another digit is another thing.
    """
    typed, option = typed.removeprefix("--"), option.removeprefix("--")
    if len(typed) >= 3 and option.startswith(typed):
        return True
    if min(len(typed), len(option)) < 3:
        return False
    same = sum(
        1
        for _ in itertools.takewhile(
            lambda pair: pair[0] == pair[1], zip(typed, option, strict=False)
        )
    )
    left, right = typed[same:], option[same:]
    if not same or left[:1].isdigit() or right[:1].isdigit():
        return False
    return (
        left[1:] == right
        or left == right[1:]
        or left[1:] == right[1:]
        or (left[:2] == right[1::-1] and left[2:] == right[2:])
    )


@contextlib.contextmanager
def _mistakes() -> Iterator[None]:
    """What is wrong with the arguments ends the program with one line."""
    try:
        yield
    except (UsageProblem, ssl.SSLError, UnicodeDecodeError) as exc:
        show.fail(show.describe(exc))
        sys.exit(1)


class _GetCommand(click.Command):
    """Its kinds of data are kept in their order."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, in_one_list(args))


def _way_options(function: Any) -> Any:
    """How to get to servers: what `fetch`, `sse` and `ws` say in the same words."""
    for option in (
        _option(
            "--cacert",
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False),
            help="Trust these authorities.",
        ),
        _option("-k", "--insecure", is_flag=True, help="Do not check certificates."),
        _option("--proxy-user", metavar="NAME:PASSWORD", help="Who you are to the proxy."),
        _option(
            "--proxy", "proxies", multiple=True, metavar="URL", help="A proxy; again for a chain."
        ),
    ):
        function = option(function)
    return function


def _without_effect(function: Any) -> Any:
    """Options of curl that say what is so anyway."""
    for number, words in enumerate(NO_EFFECT):
        take = click.option(
            f"no_effect_{number}", *words, is_flag=True, hidden=True, expose_value=False
        )
        function = take(function)
    return function


@cli.command(
    "get",
    cls=_GetCommand,
    short_help="What `wherry URL` does.",
    help=f"{_SUMMARY}\n\n{_EXAMPLES}\n\n{_ITEMS}",
    context_settings=_CONTEXT,
    epilog=_ENVIRONMENT,
)
@click.argument("words", nargs=-1, metavar="[METHOD] URL [ITEM]...")
@_option(
    "-X", "--request", "method", metavar="METHOD", help="The method; GET, or POST with a body."
)
@_option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'K: V'",
    help="A header field; may be repeated.",
)
@_option(
    "-d",
    "--data",
    multiple=True,
    metavar="TEXT",
    help="A form's body; @FILE reads one, @- standard input.",
)
@_option("--json", "json_text", metavar="TEXT", help="A body of JSON; @FILE and @- as for --data.")
@_option(
    "-F",
    "--form",
    multiple=True,
    metavar="NAME=VALUE",
    help="A multipart form's field; NAME=@FILE uploads.",
)
@_option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Save the body, with a progress bar; in a directory, by its name; - is standard output."
    " A device or a pipe is written to.",
)
@_option(
    "-C",
    "--continue",
    "resume",
    is_flag=True,
    help="With -o: go on with a download that broke off.",
)
@_option(
    "-v", "--verbose", is_flag=True, help="Show the heads of request and response, and the times."
)
@_option("-f", "--fail", is_flag=True, help="A status from 400 up is an error: exit status 1.")
@_option(
    "-m",
    "--timeout",
    "--max-time",
    "timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Seconds in all; no limit by default.",
)
@_option("--no-redirects", is_flag=True, help="Show a redirect instead of following it.")
@_option("-u", "--user", metavar="NAME:PASSWORD", help="Basic authentication.")
@_option(
    "-x",
    "--proxy",
    "proxies",
    multiple=True,
    metavar="URL",
    help="A proxy (http, https, socks4, socks4a, socks5 or socks5h); again for a chain.",
)
@_option(
    "--proxy-user",
    metavar="NAME:PASSWORD",
    help="Who you are to the proxy, the last one of a chain.",
)
@_option("--http2", is_flag=True, help="Offer HTTP/2 to https:// servers.")
@_option("-k", "--insecure", is_flag=True, help="Do not check certificates.")
@_option(
    "--cacert",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Trust these authorities.",
)
@_option(
    "--curl", is_flag=True, help="Print the curl command that asks the same, and send nothing."
)
@_option(
    "--har",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Record the exchange as HAR 1.2.",
)
@_option("-i", "--include", is_flag=True, help="Write the head before the body.")
@_option("-I", "--head", is_flag=True, help="Ask for the head only, and write it.")
@_option("-O", "--remote-name", is_flag=True, help="Save under the URL's last segment, here.")
@_option("-J", "--remote-header-name", is_flag=True, help="With -O: under the server's name.")
@_option("--create-dirs", is_flag=True, help="With -o: make the directories.")
@_option("-T", "--upload-file", metavar="FILE", help="PUT a file; - for standard input.")
@_option("-G", "--get", is_flag=True, help="Put the data into the query.")
@_option("--data-raw", multiple=True, metavar="TEXT", help="As --data, and @ is a letter.")
@_option("--data-binary", multiple=True, metavar="TEXT", help="As --data.")
@_option("--data-urlencode", multiple=True, metavar="TEXT", help="As --data, percent-encoded.")
@_option("-A", "--user-agent", metavar="TEXT", help="The User-Agent field.")
@_option("-e", "--referer", metavar="URL", help="The Referer field.")
@_option(
    "-b",
    "--cookie",
    "cookies",
    multiple=True,
    metavar="'K=V; K=V'",
    help="The Cookie field, or a file of cookies; again for more.",
)
@_option("--http3", is_flag=True, help="Try HTTP/3, which needs wherry[http3], beside TCP.")
@_option("--http3-only", is_flag=True, help="Speak HTTP/3, which needs wherry[http3], alone.")
@_option("--cert", metavar="FILE", help="Your certificate, as PEM, for TLS.")
@_option("--key", metavar="FILE", help="Its key, where that is another file.")
@_option("-4", "--ipv4", is_flag=True, help="Connect to IPv4 addresses only.")
@_option("-6", "--ipv6", is_flag=True, help="Connect to IPv6 addresses only.")
@_option("--unix-socket", metavar="PATH", help="Connect to a Unix socket.")
@_option(
    "--connect-timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Seconds for getting a connection.",
)
@_option("--fail-with-body", is_flag=True, help="As --fail, and the body is shown all the same.")
@_option("-s", "--silent", is_flag=True, help="No progress bar, and no errors.")
@_option("-S", "--show-error", is_flag=True, help="With -s: errors all the same.")
@_option("--as-form", is_flag=True, help="Items are a form's fields, not members of JSON.")
@_option("--form-string", multiple=True, metavar="NAME=VALUE", help="As --form, and @ is a letter.")
@_option(
    "--bearer",
    "--oauth2-bearer",
    metavar="TOKEN",
    help="The Authorization field of a bearer token.",
)
@_option("--digest", is_flag=True, help="With -u: Digest authentication, not Basic.")
@_option("--session", metavar="NAME", help="Keep headers, user and cookies under a name, by host.")
@_option("-c", "--cookie-jar", metavar="FILE", help="Write the cookies to a file afterwards.")
@_option("-r", "--range", "byte_range", metavar="0-99", help="Ask for a part of the body.")
@_option(
    "--print",
    "parts",
    metavar="HBhbm",
    help="What to write: head (H) and body (B) of the request, h and b of the response, times (m).",
)
@_option("--headers", "only_head", is_flag=True, help="Write the head alone: --print h.")
@_option("--body", "only_body", is_flag=True, help="Write the body alone: --print b.")
@_option(
    "--pretty",
    type=click.Choice(["all", "colors", "format", "none"]),
    help="How bodies look; all on a terminal, none in a pipe.",
)
@_option("-w", "--write-out", metavar="FORMAT", help="Print this in the end: %{http_code} etc.")
@_option(
    "-D",
    "--dump-header",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the heads to a file.",
)
@_option("--python", is_flag=True, help="Print a Python program that asks the same; send nothing.")
@_option(
    "--retry",
    type=click.IntRange(0, 100),
    default=0,
    metavar="N",
    help="Further tries after failures that may pass.",
)
@_option("--max-redirs", type=click.IntRange(-1), metavar="N", help="Follow at most N redirects.")
@_option("--resolve", multiple=True, metavar="HOST:PORT:ADDRESS", help="Do not look HOST up.")
@_option(
    "--proto-default",
    metavar="SCHEME",
    type=click.Choice(["http", "https"]),
    help="The scheme of a URL that has none; http by default.",
)
@_option("--url", "urls", multiple=True, metavar="URL", help="The URL, where it stands last.")
@_option("--limit-rate", metavar="BYTES", help="Bytes a second of the body, as 500k or 2M.")
@_option("--ignore-stdin", is_flag=True, help="Standard input is no body.")
@_option("--preproxy", metavar="URL", help="A proxy before the proxy.")
@_option("--socks4", metavar="HOST:PORT", help="--proxy socks4://HOST:PORT")
@_option("--socks4a", metavar="HOST:PORT", help="--proxy socks4a://HOST:PORT")
@_option("--socks5", metavar="HOST:PORT", help="--proxy socks5://HOST:PORT")
@_option("--socks5-hostname", metavar="HOST:PORT", help="--proxy socks5h://HOST:PORT")
@_without_effect
def get(words: tuple[str, ...], **given: Any) -> None:
    if given["silent"] and not given["show_error"]:
        standard_streams.silence_errors()
    with _mistakes():
        wanted, named = request_of(words, given)
        place = place_of(wanted.url, given)
    if given["curl"]:
        from wherry.cli.to_curl import curl_command

        click.echo(curl_command(wanted))
    elif given["python"]:
        from wherry.cli.python_code import python_code

        with _mistakes():
            click.echo(python_code(wanted))
    else:
        _get(wanted, named, place, given)


def _get(
    wanted: RequestArguments,
    named: NamedSession | None,
    place: Path | None,
    given: dict[str, Any],
) -> None:
    """Send the request."""
    from wherry.cli.one_request import Output, run_single

    output = Output(place, given["resume"], given["verbose"], given["fail"])
    if given["har"]:
        from wherry.cli.har_recorder import Recorder

        output.recorder = Recorder(given["har"])
    with _mistakes():
        output.parts = _parts(wanted, given)
    output.fail_after = given["fail_with_body"]
    output.pretty = given["pretty"]
    if given["write_out"] is not None:
        with _mistakes():
            output.write_out = read_data(given["write_out"]).decode("utf-8", "surrogateescape")
    if given["limit_rate"] is not None:
        with _mistakes():
            output.rate = parse_rate(given["limit_rate"])
    output.dump, output.bars = given["dump_header"], not given["silent"]
    run(run_single(wanted, output, named))


def _parts(wanted: RequestArguments, given: dict[str, Any]) -> str:
    """What is written to standard output, as letters of --print."""
    told = [
        given["parts"],
        "h" if given["only_head"] else None,
        "b" if given["only_body"] else None,
    ]
    told = [each for each in told if each is not None]
    if len(told) > 1:
        raise UsageProblem("give one of --print, --headers and --body")
    if told:
        if strange := set(told[0]) - set("HBhbm"):
            raise UsageProblem(f"--print takes letters of HBhbm, not {''.join(sorted(strange))!r}")
        return str(told[0])
    return "hb" if given["include"] or wanted.method == "HEAD" else "b"


@cli.command(
    "curl",
    short_help="Run a curl command, as browsers copy it.",
    context_settings={**_CONTEXT, "ignore_unknown_options": True},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="'curl …'")
@click.option("--python", is_flag=True, help="Print it as a Python program, and send nothing.")
@click.pass_context
def curl(ctx: click.Context, words: tuple[str, ...], python: bool) -> None:
    """Run a curl command that was copied from somewhere, or print it as Python.

    \b
    Examples:
    wherry curl 'curl https://example.org/ -H "X-Key: 1" --compressed'
    wherry curl --python 'curl https://example.org/'
    """
    from wherry.cli.from_curl import follows_redirects, words_of_curl

    with _mistakes():
        told = words_of_curl(words)
    more = [] if follows_redirects(told) else ["--no-redirects"]
    if python:
        more.append("--python")
    get.main([*more, *told], prog_name="wherry curl", standalone_mode=False)


@cli.command("sse", short_help="Print server-sent events as they come.", context_settings=_CONTEXT)
@click.argument("url")
@_option("-H", "--header", "headers", multiple=True, metavar="'K: V'", help="A header field.")
@_option("-n", "--count", type=click.IntRange(0), default=0, help="End after so many events.")
@_option("--no-reconnect", is_flag=True, help="End when the stream ends.")
@_option("--last-event-id", metavar="ID", help="Go on behind this event.")
@_option("--json", "as_json", is_flag=True, help="Each event as a line of JSON.")
@_option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Seconds in all; no limit by default.",
)
@_option("-u", "--user", metavar="NAME:PASSWORD", help="Basic authentication.")
@_way_options
def events(url: str, **given: Any) -> None:
    """Print the data of server-sent events, an event on a line; connect again when the stream
    breaks.

    \b
    Examples:
    wherry sse https://example.org/events
    wherry sse --json -n 10 https://example.org/events | jq .data
    """
    from wherry.cli.live.server_sent_events import Listening, run_events

    with _mistakes():
        wanted = usual_request(parse_url(url), given)
    listening = Listening(
        wanted, given["count"], not given["no_reconnect"], given["last_event_id"], given["as_json"]
    )
    run(run_events(listening))


@cli.command(short_help="Download many URLs at once.", context_settings=_CONTEXT)
@click.argument("urls", nargs=-1, metavar="[URL]...")
@_option(
    "-i",
    "--input",
    "lines",
    type=click.File("rb"),
    metavar="FILE",
    help="A URL on each line, JSON lines, CSV or metalink; - for standard input.",
)
@_option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Where the files go; here by default.",
)
@_option(
    "-n",
    "--concurrency",
    type=click.IntRange(1, 1000),
    default=8,
    show_default=True,
    help="Downloads at once.",
)
@_option(
    "--per-host",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="Of these, from one host.",
)
@_option(
    "--retries",
    type=click.IntRange(0, 100),
    default=2,
    show_default=True,
    help="Further tries after failures that may pass.",
)
@_option(
    "--connections",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Connections for one large file.",
)
@_option("--no-continue", is_flag=True, help="Begin anew, and replace what is there.")
@_option("--checksum", metavar="sha256=…", help="What the one file that is named must have.")
@_option("--limit-rate", metavar="BYTES", help="Bytes a second in all, as 500k or 2M.")
@_option("--timestamping", is_flag=True, help="Fetch what is newer than the file that is there.")
@_option("--output-template", metavar="TEXT", help="Name files as {host}/{path}/{name}.")
@_option("--accept", multiple=True, metavar="LIST", help="Only names as these: jpg,*.tar.*")
@_option("--reject", multiple=True, metavar="LIST", help="No names as these.")
@_option(
    "--wait",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Between two downloads from one host, from half of it to one and a half.",
)
@_option("--robots", is_flag=True, help="Heed robots.txt, its Crawl-delay too.")
@_option("-A", "--user-agent", metavar="TEXT", help="The User-Agent field.")
@_option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a line of JSON for each download.",
)
@_option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'K: V'",
    help="A header field of every request.",
)
@_option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Seconds for one try; no limit by default.",
)
@_option(
    "--into",
    metavar="KIND:PLACE",
    help="Pages into a sink, not files: warc:, parquet:, jsonl: or files:, a folder or URL.",
)
@_option(
    "--checkpoint", metavar="FILE", help="With --into: what is done; the same command goes on."
)
@_option("--ray", metavar="ADDRESS", help="With --into: on a cluster of Ray's; auto finds one.")
@_option("--dask", metavar="ADDRESS", help="With --into: on a cluster of Dask's; local makes one.")
@_way_options
def fetch(urls: tuple[str, ...], lines: Any, **given: Any) -> None:
    """Download many URLs at once: those of a list, and those that are named.

    What broke off goes on where it was, and what may pass is tried again. The exit status is 0 if
    all are there, 2 if some are, 1 if none is.

    \b
    Examples:
    wherry fetch -i urls.txt -o pages/
    wherry fetch -n 20 --per-host 2 -o pages/ https://example.org/a https://example.org/b
    grep -o 'https://[^"]*' page.html | wherry fetch -i - -o pages/ --report report.jsonl
    wherry fetch -i urls.txt --into warc:out/ --checkpoint run.sqlite --wait 1 --robots
    """
    if given["into"] is not None:
        _fetch_into(urls, lines, given)
    from wherry.cli.fetch import Plan, run_fetch
    from wherry.cli.fetch.url_lists import parse_checksum, read_list

    with _mistakes():
        for name in ("checkpoint", "ray", "dask"):
            if given[name] is not None:
                raise UsageProblem(f"--{name} goes with --into")
        jobs = read_list(
            urls,
            None if lines is None else lines.read(),
            name=str(getattr(lines, "name", "")),  # a descriptor has a number, or none
            template=given["output_template"],
            accept=given["accept"],
            reject=given["reject"],
        )
        options = usual_request(URL(), given)
        if given["user_agent"] is not None:
            options.headers.append(("User-Agent", given["user_agent"]))
        if given["checksum"] is not None:
            if len(jobs) != 1:
                raise UsageProblem("--checksum goes with one URL; a list may have them itself")
            jobs[0].checksum = parse_checksum(given["checksum"])
        rate = None if given["limit_rate"] is None else parse_rate(given["limit_rate"])
    plan = Plan(given["output"], given["concurrency"], given["per_host"], given["retries"])
    plan.resume, plan.report, plan.options = not given["no_continue"], given["report"], options
    plan.connections, plan.rate, plan.wait = given["connections"], rate, given["wait"]
    plan.robots, plan.timestamping = given["robots"], given["timestamping"]
    run(run_fetch(jobs, plan))


def _fetch_into(urls: tuple[str, ...], lines: Any, given: dict[str, Any]) -> NoReturn:
    """Fetch pages into a sink, and end the program."""
    from wherry.bulk import parse_sink
    from wherry.cli.fetch import into_sink

    with _mistakes():
        context = click.get_current_context()
        for name, word in into_sink.FOR_FILES.items():
            if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
                raise UsageProblem(f"{word} is for files, and goes not with --into")
        if given["ray"] is not None and given["dask"] is not None:
            raise UsageProblem("--ray and --dask: say one of them")
        if not urls and lines is None:
            raise UsageProblem("no URL: name some, or a list with -i")
        try:
            sink = parse_sink(given["into"])
        except ValueError as exc:
            raise UsageProblem(f"--into: {exc}") from None
        request = usual_request(URL(), given)
        plan = into_sink.BulkPlan(sink, given["checkpoint"], given["ray"], given["dask"])
        plan.report, plan.fetcher = given["report"], into_sink.fetcher_options(given, request)
    found = into_sink.listed(urls, lines, given["accept"], given["reject"])
    here = plan.ray is None and plan.dask is None
    run(into_sink.run_here(found, plan) if here else into_sink.run_on_cluster(found, plan))


@cli.command("ws", short_help="Talk over a WebSocket.", context_settings=_CONTEXT)
@click.argument("url")
@_option(
    "-m",
    "--message",
    "messages",
    multiple=True,
    metavar="TEXT",
    help="Send this, not standard input; again for more.",
)
@_option(
    "-s",
    "--subprotocol",
    "protocols",
    multiple=True,
    metavar="NAME",
    help="Offer a subprotocol; again for more.",
)
@_option(
    "-n",
    "--count",
    type=click.IntRange(0),
    default=0,
    help="Close after so many messages have come.",
)
@_option(
    "-w",
    "--wait",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Silence after the last message that we sent, before we close.",
)
@_option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'K: V'",
    help="A header field of the handshake.",
)
@_option("-v", "--verbose", is_flag=True, help="Tell how it opens and closes.")
@_option("--binary", is_flag=True, help="Send messages as bytes.")
@_option("--listen", is_flag=True, help="Send nothing; a line of JSON for each message that comes.")
@_option("--close", metavar="CODE[:REASON]", help="Close with this code, 1000 by default.")
@_option(
    "-p",
    "--ping",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Send a ping so often, and tell how long its answer took.",
)
@_option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Seconds for the handshake; no limit by default.",
)
@_option("-u", "--user", metavar="NAME:PASSWORD", help="Basic authentication.")
@_way_options
def websocket(url: str, **given: Any) -> None:
    """Talk over a WebSocket: each line of standard input is a message, each message that comes is a
    line.

    \b
    Examples:
    wherry ws ws://127.0.0.1:8000/chat
    wherry ws -m '{"subscribe": "ticks"}' -n 10 wss://feed.test/
    wherry ws --listen wss://feed.test/ | jq .data
    """
    from wherry.cli.live.websocket import Talk, run_talk

    with _mistakes():
        wanted = usual_request(parse_url(url, ("ws", "wss", "http", "https")), given)
        talk = Talk(
            wanted,
            given["protocols"],
            given["messages"],
            given["wait"],
            given["count"],
            given["verbose"],
        )
        talk.ping, talk.binary, talk.as_json = given["ping"], given["binary"], given["listen"]
        if given["close"] is not None:
            talk.close = parse_close(given["close"])
        if given["listen"] and given["messages"]:
            raise UsageProblem("--listen sends nothing: leave out --message")
    run(run_talk(talk))


@cli.command(short_help="Make real requests, and tell what happened.", context_settings=_CONTEXT)
@click.argument("url", required=False)
@_option(
    "-n",
    "--requests",
    type=click.IntRange(1, 100_000),
    help="How many in the last step; 500 by default.",
)
@_option(
    "-c",
    "--at-once",
    type=click.IntRange(1, 1000),
    help="How many of them together; 50 by default.",
)
def demo(url: str | None, requests: int | None, at_once: int | None) -> None:
    """Make real requests on an embedded server, or on URL, and tell what happened.

    \b
    Examples:
    wherry demo
    wherry demo -n 2000 -c 100 http://127.0.0.1:8000/
    """
    from wherry.cli.demo import run_demo

    with _mistakes():
        target = parse_url(url) if url else None
    run(run_demo(target, requests, at_once))


@cli.command("help", short_help="Explain a command or a topic.", context_settings=_CONTEXT)
@click.argument("topic", required=False)
@click.pass_context
def help_command(ctx: click.Context, topic: str | None) -> None:
    """Explain a command, or a topic: items, curl-words, downloads, into, sessions, output,
    environment, exit.

    \b
    Examples:
    wherry help fetch
    wherry help items
    """
    from wherry.cli.help_topics import ALIASES, TOPICS

    if topic is None:
        click.echo(cli.get_help(ctx.find_root()))
        return
    if (command := cli.commands.get(topic)) is not None:
        with click.Context(command, info_name=topic, parent=ctx.find_root()) as inner:
            click.echo(command.get_help(inner))
        return
    topic = ALIASES.get(topic, topic)
    with _mistakes():
        if topic not in TOPICS:
            known = ", ".join([*cli.commands, *TOPICS])
            raise UsageProblem(f"there is no topic {topic!r}; there are {known}")
    click.echo(TOPICS[topic])


@cli.command("man", short_help="Print a manual page.", context_settings=_CONTEXT)
@click.argument("command", required=False)
def manual(command: str | None) -> None:
    """Print the manual page of wherry, or of one of its commands, in the form that man reads.

    \b
    Examples:
    wherry man | man -l -
    wherry man fetch > wherry-fetch.1
    """
    from wherry.cli.manual import manual_page

    with _mistakes():
        if command is not None and command not in cli.commands:
            raise UsageProblem(f"no command is named {command!r}")
    click.echo(manual_page(cli, command))


@cli.command(short_help="Print your shell's completion script.", context_settings=_CONTEXT)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  eval "$(wherry completion bash)"        in ~/.bashrc
    zsh:   eval "$(wherry completion zsh)"         in ~/.zshrc
    fish:  wherry completion fish | source         in ~/.config/fish/config.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    if shell == "zsh":
        click.echo(_ZSH_NEEDS)
    click.echo(found(cli, {}, "wherry", "_WHERRY_COMPLETE").source())
