"""The HTTP interface: routes, bodies, refusals, and its own description."""
