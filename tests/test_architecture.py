"""The contract of the packages: imports run one way, without circles, and folders stay small."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
# pytest_wherry stands outside: it may import nothing of wherry before a fixture is used
# (test_packaging holds that).
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (SOURCE / "wherry").rglob("*.py")
}

# Whom a room may import besides itself.  What stands on top (dropin, rest, integrations, cli,
# testing) and the public modules use the public names, which `wherry` gives.
BOTTOM = {"errors", "types", "argument_checks", "version", "hdrs", "redaction", "private_files"}
MIDDLE = {"connect", "body", "cookies", "auth"}
MAY_IMPORT = {
    "errors": {"types", "version", "hdrs", "redaction"},
    "redaction": set(),
    "types": {"version", "hdrs"},
    "argument_checks": set(),
    "version": set(),
    "private_files": set(),
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
    "sync",
    "compat",
    "dropin",
    "sse",
    "mock",
    "bulk",
}
# What a room on top may reach into, beside the public names.
TOP_MAY = {
    "dropin": {"compat"},
    # It stands in for classes of every package, and has a table of what has no public name.
    "compat": {"integrations", "client", "protocol", *MIDDLE},
    # It has the arguments and types of the asynchronous classes, whose sources it is made of.
    "sync": {"client", "rest", "body", "connect", "cookies", "auth", "protocol"},
    # Politeness, tries again and the URL's host are what the client says they are; a page's tags are
    # found as an index page's are.
    "bulk": {"middlewares", "client", "body"},
    # What an index page says.
    "integrations": {"body"},
    "cli": {"testing", "middlewares", "bulk"},
    "__main__": {"cli"},
    # It has a Connection of its own, whose other end is in the process; its server quotes cookies
    # as the client does.
    # A recording is looked through for secrets without its content coding.
    "testing": {"body", "client", "connect", "cookies", "protocol"},
}

# Single modules of a room that is otherwise out of reach: the grammar of fields, and what a range
# says, are everybody's.
MAY_IMPORT_TOO = {
    "middlewares": {"wherry.protocol.content_range", "wherry.protocol.grammar"},
    "cli": {"wherry.protocol.grammar"},
    "integrations": {"wherry.client.download.disk_thread", "wherry.protocol.content_range"},
}

# Edges that are against the contract still: (importer, imported).  May only shrink.
TOLERATED_EDGES: set[tuple[str, str]] = set()
# Signatures that programs see, and whose types lie further up: a request shows its session and its
# response, and listeners get the session.  Of types alone, and no others.
NAMED_FOR_TYPES = {
    ("wherry.client.request", "wherry.client.response"),
    ("wherry.client.request", "wherry.client.session"),
    ("wherry.client.tracing.signals", "wherry.client.session"),
}
# The package puts the layer for programs that reach inside aiohttp at the core's hooks.
INSTALLED = ("wherry", "wherry.compat.aiohttp.hooks")
# Distributions that may be missing: only these may be imported inside a function.
OPTIONAL = {
    "aiodns", "aiogram", "backports", "brotli", "brotlicffi", "cattrs", "certifi", "chardetng_py",
    "charset_normalizer", "compression", "fsspec", "hypercorn", "isal", "jh2", "msgspec", "opentelemetry",
    "orjson", "protego", "publicsuffixlist", "pydantic", "qh3", "redis", "rich", "truststore", "trustme", "uvloop",
    "websockets", "zlib_ng",
}  # fmt: skip
# Our own modules that need one of these, and are therefore imported where they are used.
NEEDS_OPTIONAL = {
    "wherry.testing.server",
    "wherry.bulk.dask",
    "wherry.bulk.ray",
    "wherry.cli.app",
    "wherry.connect.aiodns",
    "wherry.connect.quic.dial",
}

# Modules that most programs never need, and that take long to import.
LATE = {
    "wherry.connect.dns.https_records",
    "hashlib",
    "hmac",
    "pickle",
    # What is said of a call that has failed.
    "wherry.client.call_mistakes",
    "wherry.rest.call_mistakes",
    # Each command of the command line loads its own.
    "wherry.cli.progress_bars",
    "wherry.cli.pretty_print",
    "wherry.cli.to_curl",
    "wherry.cli.demo",
    "wherry.cli.live.server_sent_events",
    "wherry.cli.fetch",
    "wherry.bulk",
    "wherry.cli.fetch.into_sink",
    "wherry.cli.fetch.file_names",
    "wherry.cli.fetch.url_lists",
    "wherry.cli.from_curl",
    "wherry.cli.har_recorder",
    "wherry.cli.manual",
    "wherry.cli.named_sessions",
    "wherry.cli.fetch.politeness",
    "wherry.cli.python_code",
    "wherry.cli.resolve_option",
    "wherry.cli.one_request",
    "wherry.cli.live.websocket",
    "wherry.cli.help_topics",
    "wherry.cli.write_out",
    "readline",
    "termios",
    "xml.dom",
    "xml.etree",
    "xml.dom.minidom",
    "xml.parsers.expat",
    "wherry.auth.netrc",
    "wherry.body.multipart.writer",
    "wherry.client.download",
    "wherry.client.events",
    "wherry.client.websocket.connect",
    "wherry.client.websocket.websocket",
    "wherry.connect.alt_svc",
    "wherry.connect.proxy.tunnel",
    "wherry.connect.quic.race_with_tcp",
    "wherry.connect.https_record_hints",
    "wherry.cookies.storage",
    "wherry.private_files",
    "wherry.protocol.http2.connection",
}

# Private names of libraries that a module uses: (module, names).  Of our own there are none.
PRIVATE_OF_LIBRARIES: dict[str, set[str]] = {
    "wherry.integrations.aiohttp_socks": {  # and the names that aiohttp-socks sees of aiohttp's
        "_BaseProxyConnector", "_conn_key", "_create_connection", "_os_error", "_proxy_host",
        "_proxy_password", "_proxy_port", "_proxy_ssl", "_proxy_type", "_proxy_username", "_rdns",
    },
    "wherry.integrations.opentelemetry": {
        "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "_SUPPRESS_INSTRUMENTATION_KEY",
    },
    "wherry.protocol.http3.quic_engine": {  # qh3
        "_drain_tls", "_early_data_attempted", "_handshake_complete", "_handshake_confirmed",
        "_remembered_transport_parameters", "_tls",
    },
    "wherry.testing.interception": {"_get_running_loop"},  # asyncio
}  # fmt: skip
# What named tuples and `sys` give under such names.
OF_NAMED_TUPLES = {"_asdict", "_field_defaults", "_fields", "_getframe", "_replace"}

# A folder with more than this cannot be seen whole.
MAX_MODULES = 24


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
        if other == own or (module, name) in {*TOLERATED_EDGES, INSTALLED}:
            continue
        if own in FACES:
            assert other not in TOP, f"{module} imports {name}"
        elif own in TOP:
            allowed = other in FACES | BOTTOM or other in TOP_MAY.get(own, ())
            allowed = allowed or name in MAY_IMPORT_TOO.get(own, ())
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


@pytest.mark.parametrize(("module", "name"), sorted(NAMED_FOR_TYPES))
def test_what_is_named_for_types_is_so_alone(module, name):
    assert name in own_imports(module, types=True)
    assert name not in own_imports(module)


def test_there_are_no_circles():
    """Not of types either, but for what is `NAMED_FOR_TYPES`."""
    graph = {
        module: {
            name
            for name in own_imports(module, types=True) & set(MODULES) - {module}
            if (module, name) not in NAMED_FOR_TYPES
        }
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


def private_names(module: str) -> set[str]:
    """The private names that a module gives to something: its classes, their methods and
    attributes, its functions.
    """
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}:
                found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)  # of `__slots__`
    return {name for name in found if name.startswith("_")}


@functools.cache
def private_to(package: str) -> set[str]:
    inside = [name for name in MODULES if name.rpartition(".")[0] == package or name == package]
    return set().union(*map(private_names, inside))


def foreign_private(module: str) -> set[str]:
    """Private attributes that a module uses, and that nothing of its own package has."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    return {
        node.attr
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls", "mcs"})
        and node.attr not in private_to(package) | OF_NAMED_TUPLES
    }


@pytest.mark.parametrize("module", sorted(MODULES))
def test_private_attributes_stay_in_their_package(module):
    """What another package needs has a public name."""
    assert foreign_private(module) - PRIVATE_OF_LIBRARIES.get(module, set()) == set(), (
        "private attributes of another package: give them public names there"
    )


def test_private_attributes_that_are_listed_are_used():
    for module, names in PRIVATE_OF_LIBRARIES.items():
        assert names <= foreign_private(module), (
            f"{module} no longer uses {names - foreign_private(module)}: take them off the list"
        )


@pytest.mark.parametrize("module", sorted(MODULES))
def test_functions_import_optional_dependencies_only(module):
    for function in ast.walk(tree(module)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for name, statement in imports(module, function):
            allowed = name.split(".")[0] in OPTIONAL or name in NEEDS_OPTIONAL | LATE
            assert allowed, (
                f"{MODULES[module]}:{statement.lineno} imports {name} in {function.name}"
            )


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_say_what_they_are_for(module):
    assert ast.get_docstring(tree(module)), f"{module} has no docstring"


def test_folders_can_be_seen_whole():
    """Modules and packages of each package; its `__init__` and `__main__` do not count, and nor
    do the modules that are there because aiohttp's are.
    """
    sizes: dict[Path, int] = {}
    for module, path in MODULES.items():
        folder = path.parent.parent if path.name == "__init__.py" else path.parent
        is_face = module.count(".") == 1 and room(module) in FACES
        if module != "wherry" and path.name != "__main__.py" and not is_face:
            sizes[folder] = sizes.get(folder, 0) + 1
    assert not {str(folder): size for folder, size in sizes.items() if size > MAX_MODULES}


def test_the_map_has_every_module():
    """ARCHITECTURE.md names each in its tree; of the command line and the server's endpoints it
    names the room.
    """
    text = (SOURCE.parent / "ARCHITECTURE.md").read_text("utf-8")
    named = set(re.findall(r"\w+", text.split("```")[1]))
    modules = {
        module
        for module, path in MODULES.items()
        if path.name not in {"__init__.py", "__main__.py"}
        and not module.startswith(("wherry.cli.", "wherry.testing.endpoints."))
        and "." in module
    }
    assert not {module for module in modules if module.rpartition(".")[2] not in named}


def test_a_wrong_import_is_seen(monkeypatch, tmp_path):
    """The contract itself: a protocol that knew the client would be found."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from wherry.client.session import ClientSession\n")
    monkeypatch.setitem(MODULES, "wherry.protocol.wrong", wrong)
    with pytest.raises(
        AssertionError, match=r"wherry\.protocol\.wrong imports wherry\.client\.session"
    ):
        test_imports_run_one_way("wherry.protocol.wrong")


def test_no_group_of_a_pattern_is_repeated_possessively() -> None:
    """Python 3.11.0 to 3.11.4, Debian 12's among them, match such a group wrongly where its
    alternatives can fail after their beginning: what must be refused is taken.
    """
    possessive_group = re.compile(r"\)(?:[*+?]|\{\d*,?\d*\})\+|\(\?>")
    patterns = re.compile(r"""r[bf]?(?:"[^"\n]*"|'[^'\n]*')|[bf]?r(?:"[^"\n]*"|'[^'\n]*')""")
    found = [
        f"{path.name}: {text}"
        for path in SOURCE.rglob("*.py")
        for text in patterns.findall(path.read_text("utf-8"))
        if possessive_group.search(re.sub(r"\\.|\[[^\]]*\]", "x", text))
    ]
    assert not found


def test_a_private_attribute_of_another_package_is_seen(monkeypatch, tmp_path) -> None:
    """And one of its own package, or of itself, is not."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "class Thing:\n"
        "    def __init__(self, other):\n"
        "        self._own = other._own, other._builder_of_another_package\n"
    )
    monkeypatch.setitem(MODULES, "wherry.cookies.wrong", wrong)
    private_to.cache_clear()
    try:
        with pytest.raises(AssertionError, match="give them public names"):
            test_private_attributes_stay_in_their_package("wherry.cookies.wrong")
        assert foreign_private("wherry.cookies.wrong") == {"_builder_of_another_package"}
    finally:
        private_to.cache_clear()
