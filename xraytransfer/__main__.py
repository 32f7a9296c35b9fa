"""``python -m xraytransfer``."""

from xraytransfer.cli import main

main()
