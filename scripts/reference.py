"""Hooks of mkdocs.

On pages of the reference ``<!-- all of wherry.rest -->`` becomes an entry for each name in that
package's `__all__`, so that none can be missing.  Search does not look into the decision records,
which are for those who change wherry.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "src"
_ALL_OF = re.compile(r"^<!-- all of ([\w.]+) -->$", re.MULTILINE)


def names_of(package: str) -> list[str]:
    """The names in the `__all__` of a package, read without importing it."""
    text = (SOURCE.joinpath(*package.split(".")) / "__init__.py").read_text("utf-8")
    return next(
        [ast.literal_eval(each) for each in node.value.elts]
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Tuple)
        and ast.unparse(node.targets[0]) == "__all__"
    )


def expanded(markdown: str) -> str:
    """The text of a page with an entry for each name."""
    return _ALL_OF.sub(
        lambda found: "\n".join(f"::: {found[1]}.{name}" for name in names_of(found[1])), markdown
    )


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs with the text of each page."""
    if page.file.src_uri.startswith("decisions/"):
        page.meta["search"] = {"exclude": True}
    if page.file.src_uri.startswith("reference/"):
        page.meta["search"] = {"boost": 0.2}  # who asks for a word wants to be told, first
    return expanded(markdown)
