"""The command line: the commands of this package, and the entry to those of the other parts."""
