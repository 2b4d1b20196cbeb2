"""Drop-in mode: a program's `import aiohttp` finds wherry's client; `python -m wherry.dropin
PROGRAM.py` runs one so.
"""

from __future__ import annotations

import sys

from wherry.compat.aiohttp.dropin import install, report, run

__all__ = ("install", "report")

if __name__ == "__main__":
    run(sys.argv[1:])
