"""``python -m wherry.cli``."""

from wherry.cli import main

main()
