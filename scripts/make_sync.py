"""Writes src/wherry/sync/objects.py and rest.py: the classes of `wherry.sync`, out of the
asynchronous ones.

Each public method, property and argument is taken over with its type and its docstring, so nothing
of it is written twice; what waits is run by the loop in the background.  `tests/sync` compares what
this gives with the file.  Run it after a change of a public signature.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import wherry

SOURCE = Path(__file__).parents[1] / "src"
TARGET = SOURCE / "wherry" / "sync" / "objects.py"
REST_TARGET = SOURCE / "wherry" / "sync" / "rest.py"

# What an asynchronous type is called here.
TYPES = {
    r"\bClientResponse\b": "Response",
    r"\bClientWebSocketResponse\b": "WebSocket",
    r"\b_WSRequestContextManager\b": "WebSocket",
    r"\b_RequestContextManager\b": "Response",
    r"\bAsyncStreamIterator\[bytes\]": "Iterator[bytes]",
    r"\bChunkTupleAsyncStreamIterator\b": "Iterator[tuple[bytes, bool]]",
    r"\bAsyncIterator\[": "Iterator[",
    r"\bAwaitable\[": "Plain[",
    r"\bStreamReader\b": "Stream",
}
# How what comes is wrapped, by what its type is called here.
WRAPPED = {
    "Response": "Response({})",
    "WebSocket": "WebSocket({})",
    "EventSource": "EventSource({})",
    "EventStream": "EventStream({})",
    "Iterator[bytes]": "Pieces({})",
    "Iterator[tuple[bytes, bool]]": "Pieces({})",
    "tuple[Response, ...]": "tuple(map(Response, {}))",
}
VERBS = ("request", "get", "options", "head", "post", "put", "patch", "delete")


class Copied(NamedTuple):
    """A class that is made.

    Args:
        name: What it is called.
        bases: What it is made of.
        doc: Its docstring.
        original: The asynchronous class.
        names: What is taken over, in this order; "*" for all that is public.
        without: What is not.
    """

    name: str
    bases: str
    doc: str
    original: type
    without: frozenset[str] = frozenset()


CLASSES = (
    Copied(
        "Stream",
        "Held[wherry.StreamReader]",
        "The body of a response, to be read piece by piece; as `wherry.StreamReader`.",
        wherry.StreamReader,
        frozenset({"set_exception", "feed_data", "take_whole", "beginning", "put_back",
                   "unread_data", "set_read_chunk_size", "get_read_buffer_limits", "drop",
                   "begin_http_chunk_receiving", "end_http_chunk_receiving", "chunk_ended",
                   "lend", "keep_lent", "on_eof", "wait_eof", "feed_eof"}),
    ),
    Copied(
        "Response",
        "HeldResponse",
        "A response; as `wherry.ClientResponse`.\n"
        "\n"
        "Its body is here already, but with `stream=True`.",
        wherry.ClientResponse,
        frozenset({"from_parts", "start", "connection", "on_settled", "output_size", "url_obj",
                   "upload_complete", "wait_for_close"}),
    ),
    Copied(
        "WebSocket",
        "Held[wherry.ClientWebSocketResponse]",
        "An open WebSocket; as `wherry.ClientWebSocketResponse`.\n"
        "\n"
        "A thread may send while another receives.",
        wherry.ClientWebSocketResponse,
        frozenset({"client_notakeover"}),
    ),
    Copied(
        "EventStream",
        "HeldEvents[wherry.EventStream]",
        "The server-sent events of one response; as `wherry.EventStream`.",
        object,
    ),
    Copied(
        "EventSource",
        "HeldEvents[wherry.EventSource]",
        "The server-sent events of a URL; as `wherry.EventSource`, which connects again.",
        object,
    ),
    Copied(
        "Session",
        "HeldSession",
        "The way to make requests from threads; as `wherry.ClientSession`, with its arguments.\n"
        "\n"
        "A `connector` is something to call that gives one, for it is made on the loop:\n"
        "``Session(connector=lambda: wherry.TCPConnector(limit=10))``.\n"
        "Middlewares and traces run on the loop too.",
        wherry.ClientSession,
        frozenset({"detach", "closed", "close", "connector", "loop", "requote_redirect_url",
                   "connector_owner"}),
    ),
)  # fmt: skip


class Module:
    """A module's source, and where its names come from."""

    def __init__(self, name: str) -> None:
        self.name = name
        path = SOURCE / Path(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        self.tree = ast.parse(path.read_text("utf-8"))
        self.imports: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    line = f"from {node.module} import {alias.name}"
                    if alias.asname:
                        line += f" as {alias.asname}"
                    self.imports[alias.asname or alias.name] = line
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    line = f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
                    self.imports[alias.asname or alias.name] = line
        for node in self.tree.body:
            names: list[str] = []
            if isinstance(node, ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign):
                names = [each.id for each in node.targets if isinstance(each, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names = [node.target.id]
            for each in names:
                self.imports[each] = f"from {name} import {each}"

    def class_named(self, name: str) -> ast.ClassDef:
        return next(
            node for node in self.tree.body if isinstance(node, ast.ClassDef) and node.name == name
        )


class Writer:
    """Gathers the lines of the target, and what they import."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.for_types: set[str] = set()
        self.for_values: set[str] = set()

    def type_of(self, node: ast.expr | None, module: Module, *, ours: bool = True) -> str:
        if node is None:
            return "Any"
        text = ast.unparse(node)
        if text[:1] in "'\"":
            text = str(ast.literal_eval(text))
        if ours:
            for old, new in TYPES.items():
                text = re.sub(old, new, text)
        self._need(text, module, self.for_types)
        return text

    def _need(self, text: str, module: Module, where: set[str]) -> None:
        for each in ast.walk(ast.parse(text, mode="eval")):
            if isinstance(each, ast.Name) and each.id not in OWN and not hasattr(builtins, each.id):
                where.add(module.imports[each.id])

    def arguments(
        self, node: ast.arguments, module: Module, *, ours: bool = True
    ) -> tuple[list[str], list[str]]:
        """(the parameters after self, what a call passes on)."""
        declared, passed = [], []
        positional = node.args[1:]
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(node.defaults))
        defaults += node.defaults
        for argument, default in zip(positional, defaults, strict=True):
            declared.append(self._parameter(argument, default, module, ours=ours))
            passed.append(argument.arg)
        if node.kwonlyargs:
            declared.append("*")
        for argument, default in zip(node.kwonlyargs, node.kw_defaults, strict=True):
            declared.append(self._parameter(argument, default, module, ours=ours))
            passed.append(f"{argument.arg}={argument.arg}")
        if node.kwarg:
            declared.append(f"**{node.kwarg.arg}: {self.type_of(node.kwarg.annotation, module)}")
            passed.append(f"**{node.kwarg.arg}")
        return declared, passed

    def _parameter(
        self, argument: ast.arg, default: ast.expr | None, module: Module, *, ours: bool
    ) -> str:
        text = f"{argument.arg}: {self.type_of(argument.annotation, module, ours=ours)}"
        if default is None:
            return text
        value = ast.unparse(default)
        self._need_values(value, module)
        return f"{text} = {value}"

    def _need_values(self, text: str, module: Module) -> None:
        tree = ast.parse(text, mode="eval")
        bound = {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
        for each in ast.walk(tree):
            if (
                isinstance(each, ast.Name)
                and each.id not in bound
                and not hasattr(builtins, each.id)
            ):
                self.for_values.add(module.imports[each.id])

    def function(
        self, name: str, declared: list[str], result: str, doc: str | None, body: str,
        decorator: str = "",
    ) -> None:  # fmt: skip
        indent = "    "
        if decorator:
            self.lines.append(f"{indent}{decorator}")
        self.lines.append(f"{indent}def {name}({', '.join(['self', *declared])}) -> {result}:")
        if doc:
            streams = "stream: bool = False" in declared
            self.lines += docstring(doc, indent * 2, stream=streams)
        self.lines += [f"{indent * 2}{body}", ""]


OWN = {
    "Any", "EventSource", "EventStream", "Iterator", "Literal", "Pieces", "Plain", "Response",
    "Self", "Session", "Stream", "Unpack", "WebSocket",
}  # fmt: skip


STREAM = "Leave the body to be read piece by piece; close the response then (``with``)."


def docstring(text: str, indent: str, *, stream: bool = False) -> list[str]:
    text = text.replace("``async with``", "``with``")
    text = text.replace("await the result or enter it with ``with``", "a response, its body read")
    if stream:
        text = text.replace("Args:\n", f"Args:\n    stream: {STREAM}\n", 1)
    lines = textwrap.dedent(f"{text}\n").rstrip().splitlines()
    if len(lines) == 1:
        return [f'{indent}"""{lines[0]}"""']
    return [
        f'{indent}"""{lines[0]}',
        *(f"{indent}{line}" if line else "" for line in lines[1:]),
        f'{indent}"""',
    ]


def members(made: Copied) -> list[tuple[Module, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The public methods and properties, of the first class that has them."""
    found: dict[str, tuple[Module, ast.FunctionDef | ast.AsyncFunctionDef]] = {}
    for each in made.original.__mro__:
        if not each.__module__.startswith("wherry"):
            continue
        module = Module(each.__module__)
        for node in module.class_named(each.__name__).body:
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and not node.name.startswith("_")
                and node.name not in made.without
            ):
                found.setdefault(node.name, (module, node))
    return list(found.values())


def write_member(
    writer: Writer, made: Copied, module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef
) -> None:
    decorators = [ast.unparse(each) for each in node.decorator_list]
    if any(each.endswith(".setter") for each in decorators):
        return
    declared, passed = writer.arguments(node.args, module)
    result = writer.type_of(
        node.returns, module, ours=not (made.name == "Session" and "property" in decorators)
    )
    doc = ast.get_docstring(node)
    inner = f"self._inner.{node.name}"
    keep = WRAPPED.get(result, "{}")
    if "property" in decorators:
        writer.function(node.name, [], result, doc, f"return {keep.format(inner)}", "@property")
        return
    called = f"{inner}({', '.join(passed)})"
    if made.name == "Session" and node.name in VERBS:
        place = next((at for at, each in enumerate(declared) if each.startswith("**")), 0)
        stream = ["stream: bool = False"]
        if "*" not in declared:
            stream.insert(0, "*")
        declared[place:place] = stream
        body = f"return Response(self._fetch({called}, stream), not stream)"
    elif result == "WebSocket":
        body = f"return WebSocket(wait_for({called}))"
    elif isinstance(node, ast.AsyncFunctionDef):
        wait = "self._wait_for" if made.name == "Response" else "wait_for"
        body = f"return {keep.format(f'{wait}({called})')}"
    elif keep != "{}":
        body = f"return {keep.format(called)}"
    else:
        function = "self._call" if made.name == "Response" else "call"
        body = f"return {function}({', '.join([inner, *passed])})"
    if result == "Self":
        body = f"{body.removeprefix('return ')}\n        return self"
    writer.function(node.name, declared, result, doc, body.replace("return None", "return"))


def write_session_init(writer: Writer) -> None:
    module = Module("wherry.client.session")
    init = next(
        node
        for node in module.class_named("ClientSession").body
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    declared, passed = writer.arguments(init.args, module, ours=False)
    declared = [each for each in declared if not each.startswith("loop:")]
    declared = [
        "connector: Callable[[], BaseConnector] | None = None"
        if each.startswith("connector:")
        else each
        for each in declared
    ]
    given = ", ".join(
        f"{name}={name}" if "=" not in name and "*" not in name else name
        for name in passed
        if not name.startswith("loop=")
    )
    writer.lines.append(f"    def __init__(self, {', '.join(declared)}) -> None:")
    writer.lines += [f"        super().__init__(dict({given}))", ""]


def write_functions(writer: Writer) -> list[str]:
    """The verbs without a session."""
    module = Module("wherry.client.session")
    names = []
    for node in module.class_named("ClientSession").body:
        if isinstance(node, ast.FunctionDef) and node.name in VERBS:
            declared, passed = writer.arguments(node.args, module)
            declared.insert(declared.index(next(e for e in declared if e.startswith("**"))),
                            "stream: bool = False")  # fmt: skip
            if "*" not in declared:
                declared.insert(declared.index("stream: bool = False"), "*")
            method = "method" if node.name == "request" else repr(node.name.upper())
            given = ", ".join(each for each in passed if each not in {"method", "url"})
            doc = ast.get_docstring(node) or ""
            writer.lines += [f"def {node.name}({', '.join(declared)}) -> Response:"]
            writer.lines += docstring(doc, "    ", stream=True)
            writer.lines += [
                f"    response = fetch_once({method}, url, stream, dict({given}))",
                "    return Response(response, not stream)", "", "",
            ]  # fmt: skip
            names.append(node.name)
    return names


HEAD = '''"""The classes and functions of `wherry.sync`: what threads have of the asynchronous ones.

scripts/make_sync.py wrote this file out of their sources: change those, and run it again.
"""

from __future__ import annotations

'''


def generate() -> str:
    writer = Writer()
    for made in CLASSES:
        writer.lines += ["", f"class {made.name}({made.bases}):"]
        writer.lines += [*docstring(made.doc, "    "), ""]
        if made.name == "Session":
            write_session_init(writer)
        if made.name == "Stream":
            writer.lines += [
                "    def __iter__(self) -> Iterator[bytes]:",
                "        return Pieces(aiter(self._inner))",
                "",
            ]
        if made.name == "WebSocket":
            message = Module("wherry.client.websocket.websocket").imports["Message"]
            writer.for_types.add(message)
            writer.lines += [
                "    def __iter__(self) -> Iterator[Message]:",
                "        return Pieces(aiter(self._inner))",
                "",
                "    def __enter__(self) -> Self:",
                "        return self",
                "",
                "    def __exit__(self, *_: object) -> None:",
                "        self.close()",
                "",
            ]
        if made.name == "Response":
            for name, kind in (("method", "str"), ("status", "int"), ("reason", "str | None"),
                               ("version", "wherry.HttpVersion | None")):  # fmt: skip
                writer.function(name, [], kind, None, f"return self._inner.{name}", "@property")
            writer.function("status_code", [], "int", "The status, by requests' name for it.",
                            "return self._inner.status", "@property")  # fmt: skip
            writer.function("content", [], "Stream", "The body, to be read piece by piece.",
                            "return Stream(self._inner.content)", "@property")  # fmt: skip
        for module, node in members(made):
            write_member(writer, made, module, node)
    writer.lines += ["", ""]
    names = write_functions(writer)
    everything = sorted([*names, *(made.name for made in CLASSES)])
    values = {line for line in writer.for_values if "from wherry.sync" not in line}
    types = {
        line
        for line in writer.for_types - values
        if "from typing import" not in line and "collections.abc" not in line
    }
    head = [
        *(sorted(values)),
        "from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence",
        "from typing import TYPE_CHECKING, Any, Literal, Never, Self, Unpack",
        "import wherry",
        (
            "from wherry.sync.delegation import Held, HeldEvents, HeldResponse, HeldSession, "
            "Pieces, call, fetch_once, wait_for"
        ),
        "",
        "if TYPE_CHECKING:",
        *(f"    {line}" for line in sorted(types)),
        "",
        f"__all__ = {tuple(everything)!r}",
        "",
    ]
    return HEAD + "\n".join([*head, *writer.lines]).rstrip() + "\n"


REST_HEAD = '''"""`RestClient` for threads; as `wherry.rest.RestClient`, which it runs on the loop.

scripts/make_sync.py wrote this file out of rest/client.py: change that, and run it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeVar, overload

from wherry.sync.delegation import Pieces
from wherry.sync.objects import Response
from wherry.sync.rest_delegation import HeldRest, Method, waited

__all__ = ("RestClient", "Verb")

T = TypeVar("T")

'''
# What an asynchronous type of the REST client is called here.
REST_TYPES = {
    r"\bAwaitable\[(.*?)\](?=:)": r"\1",
    r"\bClientResponse\b": "Response",
    r"\bAsyncIterator\b": "Iterator",
}


def generate_rest() -> str:
    """The client for one API: its verbs and how they are called, and what waits."""
    module = Module("wherry.rest.client")
    lines = [ast.unparse(module.class_named("Verb")), "", "", "class RestClient(HeldRest):"]
    client = module.class_named("RestClient")
    doc = (ast.get_docstring(client) or "").partition("\n\nExample:")[0]
    lines += docstring(doc.replace("for one API.", "for one API; enter it by ``with``.", 1), "    ")
    for node, after in zip(client.body, [*client.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assert isinstance(after, ast.Expr)
            lines += [f"    {node.target.id}: Method[Verb] = Method()"]
            lines += docstring(ast.literal_eval(after.value), "    ")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in {
            "pages",
            "request",
        }:
            text = ast.unparse(node.args)
            lines += [f"    @{ast.unparse(each)}" for each in node.decorator_list]
            assert node.returns is not None
            lines.append(f"    def {node.name}({text}) -> {ast.unparse(node.returns)}:")
            if node.decorator_list:
                lines.append("        ...")
                continue
            lines += docstring(ast.get_docstring(node) or "", "        ")
            _, passed = Writer().arguments(node.args, module)
            run = "Pieces" if node.name == "pages" else "waited"
            lines.append(
                f"        return {run}(self.asynchronous.{node.name}({', '.join(passed)}))"
            )
    text = "\n".join(lines)
    for old, new in REST_TYPES.items():
        text = re.sub(old, new, text)
    return REST_HEAD + text + "\n"


if __name__ == "__main__":
    for target, made in ((TARGET, generate()), (REST_TARGET, generate_rest())):
        target.write_text(made, "utf-8")
        sys.stdout.write(f"{target}\n")
