"""The commands, and the door to those of the other parts."""
