"""README.md as an index of packages shows it, where no link leads to a file beside it.

A metadata hook of hatchling.  With a `Source` among the project's URLs, links to files become
links into it.  As long as there is none, their words stay and their targets go; pictures go whole.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# [text](target), or ![text](target), whose target is neither absolute nor a place on the page.
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")


def for_index(text: str, source: str | None) -> str:
    """The same page with no relative link in it.

    Args:
        text: README.md.
        source: Where the repository's files are, up to their paths; None where that is not known.
    """

    def replace(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if source is not None:
            return f"{picture}[{words}]({source.rstrip('/')}/{target})"
        return "" if picture else words

    return re.sub(r"\n{3,}", "\n\n", _LINK.sub(replace, text))


class IndexReadme(MetadataHookInterface):
    """Gives the package its description."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text("utf-8")
        source = metadata.get("urls", {}).get("Source")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_index(text, source)}
