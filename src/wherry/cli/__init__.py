"""The command line: ``wherry URL`` and its commands.

It uses the client's public names only, and needs the extra ``wherry[cli]`` (click and rich).
"""

import importlib.util
import sys

__all__ = ("main",)


def main() -> None:
    """What the console script runs."""
    if importlib.util.find_spec("click") is None or importlib.util.find_spec("rich") is None:
        sys.exit("wherry: the command line needs click and rich: pip install 'wherry[cli]'")
    from wherry.cli.app import run_cli

    run_cli()
