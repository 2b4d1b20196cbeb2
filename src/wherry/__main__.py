"""``python -m wherry``: the command line, where its script is not in PATH."""

from wherry.cli import main

main()
