"""The command line: ``wherry URL`` and its commands.

It uses the client's public names only, and needs the extra ``wherry[cli]`` (click and rich).
"""

import gc
import importlib.util
import sys

from wherry.cli import standard_streams

__all__ = ("main",)


def main() -> None:
    """What the console script runs."""
    standard_streams.prepare()
    if importlib.util.find_spec("click") is None or importlib.util.find_spec("rich") is None:
        sys.exit("wherry: the command line needs click and rich: pip install 'wherry[cli]'")
    try:
        gc.disable()  # what is loaded here stays; wherry/__init__.py says more
        from wherry.cli.app import run_cli

        gc.freeze()
        gc.enable()
        run_cli()
    except KeyboardInterrupt:
        # While it starts, or where an answer is read; loops have their own way.
        sys.exit(130)
