"""``python -m xraytransfer``."""

from xraytransfer.cli.entry import main

main()
