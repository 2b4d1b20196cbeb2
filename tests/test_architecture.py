"""The contract of the rooms: imports run one way, without circles, and files and functions stay
small.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}

# Whom a room may import besides itself.  What stands on top (dropin, rest, integrations, cli,
# testing) and the public modules use the public names, which `wherry` gives.
BOTTOM = {"errors", "types", "amounts", "version", "hdrs"}
MIDDLE = {"connect", "body", "cookies", "auth"}
MAY_IMPORT = {
    "errors": {"types", "version", "hdrs"},
    "types": {"version", "hdrs"},
    "amounts": set(),
    "version": set(),
    "hdrs": set(),
    "protocol": BOTTOM,
    "connect": {"protocol", *BOTTOM},
    "body": {"protocol", *BOTTOM},
    "cookies": {"protocol", *BOTTOM},
    "auth": {"protocol", *BOTTOM},
    "client": {*MIDDLE, "protocol", *BOTTOM},
    "middlewares": {"client", *MIDDLE, *BOTTOM},
}
# The public face, and the modules that are there because aiohttp's are.
FACES = {
    "",
    "abc",
    "connector",
    "resolver",
    "client_exceptions",
    "typedefs",
    "payload",
    "streams",
    "tracing",
}
TOP = {
    "__main__",
    "cli",
    "testing",
    "integrations",
    "rest",
    "dropin",
    "dropin_names",
    "dropin_server",
    "sse",
    "mock",
}
# What a room on top may reach into, beside the public names.
TOP_MAY = {
    "dropin": {"integrations", "dropin_names", "dropin_server"},
    "dropin_server": {"body"},
    "dropin_names": {"client", "protocol", *MIDDLE},  # a table of what has no public name
    "cli": {"testing"},
    "__main__": {"cli"},
    # It has a Connection of its own, whose other end is in the process; its server quotes cookies
    # as the client does.
    "testing": {"client", "connect", "cookies", "protocol"},
}

# Single modules of a room that is otherwise out of reach: the grammar of fields is everybody's.
MAY_IMPORT_TOO = {"middlewares": {"wherry.protocol.grammar"}}

# Edges that are against the contract still: (importer, imported).  May only shrink.
TOLERATED_EDGES: set[tuple[str, str]] = set()
# Distributions that may be missing: only these may be imported inside a function.
OPTIONAL = {
    "aiodns", "aiogram", "backports", "brotli", "brotlicffi", "certifi", "chardetng_py",
    "charset_normalizer", "compression", "hypercorn", "isal", "jh2", "msgspec", "opentelemetry", "orjson",
    "publicsuffixlist", "pydantic", "qh3", "truststore", "trustme", "uvloop", "websockets", "zlib_ng",
}  # fmt: skip
# Our own modules that need one of these, and are therefore imported where they are used.
NEEDS_OPTIONAL = {"wherry.testing.server", "wherry.cli.app", "wherry.connect.aiodns"}

MAX_FILE = 500
MAX_FUNCTION = 60
# What is longer still.  These may only become fewer.
LONG_FILES: set[str] = set()
LONG_FUNCTIONS = {
    "wherry.client.options.RequestOptions.__init__",
    "wherry.client.request.ClientRequest.__init__",
    "wherry.client.session.ClientSession.__init__",
    "wherry.client.websocket.connect.connect_websocket",
    "wherry.connect.connector.TCPConnector.__init__",
}


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


def room(module: str) -> str:
    """The first name below wherry: "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def is_for_types(node: ast.AST) -> bool:
    """``if TYPE_CHECKING:``, whose imports never run."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(module: str, node: ast.AST, *, types: bool = False) -> Iterator[tuple[str, ast.stmt]]:
    """(module, statement) for every import in `node`, down to what is imported from a package."""
    for child in ast.iter_child_nodes(node):
        if is_for_types(child) and not types:
            for other in child.orelse:  # type: ignore[attr-defined]
                yield from imports(module, other)
            continue
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, child
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, f"{module}:{child.lineno}: imports here are absolute"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield (whole if whole in MODULES else child.module or ""), child
        yield from imports(module, child, types=types)


def own_imports(module: str, *, types: bool = False) -> set[str]:
    return {
        name
        for name, _ in imports(module, tree(module), types=types)
        if name.split(".")[0] == "wherry"
    }


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_one_way(module):
    """Those for types too: a room that names another's types knows of it."""
    own = room(module)
    for name in own_imports(module, types=True):
        other = room(name)
        if other == own or (module, name) in TOLERATED_EDGES:
            continue
        if own in FACES:
            assert other not in TOP, f"{module} imports {name}"
        elif own in TOP:
            allowed = other in FACES | BOTTOM or other in TOP_MAY.get(own, ())
            assert allowed, f"{module} imports {name}: rooms on top use the public names"
        else:
            assert other in MAY_IMPORT[own] or name in MAY_IMPORT_TOO.get(own, ()), (
                f"{module} imports {name}"
            )


def test_every_room_is_in_the_contract():
    rooms = {room(module) for module in MODULES}
    assert rooms <= FACES | TOP | set(MAY_IMPORT), rooms - FACES - TOP - set(MAY_IMPORT)


def test_tolerated_edges_are_there_still():
    for module, name in TOLERATED_EDGES:
        assert name in own_imports(module, types=True), (
            f"{module} no longer imports {name}: take it off the list"
        )


def test_there_are_no_circles():
    """Not of types either, except in the client room, where a session has requests and a request
    its session.
    """
    graph = {
        module: own_imports(module, types=room(module) != "client") & set(MODULES) - {module}
        for module in MODULES
    }
    state: dict[str, bool] = {}

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module in state:
            return
        for other in sorted(graph[module]):
            # A package stands for its `__init__`, which its own modules do not need.
            if not module.startswith(f"{other}."):
                visit(other, (*path, module))
        state[module] = True

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize("module", sorted(MODULES))
def test_functions_import_optional_dependencies_only(module):
    for function in ast.walk(tree(module)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for name, statement in imports(module, function):
            allowed = name.split(".")[0] in OPTIONAL or name in NEEDS_OPTIONAL
            assert allowed, (
                f"{MODULES[module]}:{statement.lineno} imports {name} in {function.name}"
            )


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_say_what_they_are_for(module):
    assert ast.get_docstring(tree(module)), f"{module} has no docstring"


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


def functions(
    node: ast.AST, prefix: str
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        name = f"{prefix}.{child.name}" if hasattr(child, "name") else prefix
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, child
        yield from functions(child, name)


def long_files() -> dict[str, int]:
    sizes = {module: len(path.read_text("utf-8").splitlines()) for module, path in MODULES.items()}
    return {module: size for module, size in sizes.items() if size > MAX_FILE}


def long_functions() -> dict[str, int]:
    sizes = {
        name: length(function)
        for module in MODULES
        for name, function in functions(tree(module), module)
    }
    return {name: size for name, size in sizes.items() if size > MAX_FUNCTION}


@pytest.mark.parametrize(
    ("found", "known", "limit"),
    [(long_files, LONG_FILES, MAX_FILE), (long_functions, LONG_FUNCTIONS, MAX_FUNCTION)],
    ids=["files", "functions"],
)
def test_files_and_functions_are_small(found, known, limit):
    now = found()
    assert not {name: size for name, size in now.items() if name not in known}, (
        f"over {limit} lines: what is missing?"
    )
    assert not known - set(now), "these fit now: take them off the list"


def test_the_lengths_are_those_of_code():
    """The measure itself: the docstring does not count."""
    module = ast.parse('def one(\n    a,\n):\n    """Tell.\n\n    More.\n    """\n    return a\n')
    function = module.body[0]
    assert isinstance(function, ast.FunctionDef)
    assert length(function) == 4


def test_a_wrong_import_is_seen(monkeypatch, tmp_path):
    """The contract itself: a protocol that knew the client would be found."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from wherry.client.session import ClientSession\n")
    monkeypatch.setitem(MODULES, "wherry.protocol.wrong", wrong)
    with pytest.raises(
        AssertionError, match=r"wherry\.protocol\.wrong imports wherry\.client\.session"
    ):
        test_imports_run_one_way("wherry.protocol.wrong")
