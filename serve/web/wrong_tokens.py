"""Wrong tokens: counted by the address they come from, so that nobody guesses at full speed."""

from __future__ import annotations

import ipaddress
import math
import time

__all__ = ["WrongTokens"]

_PERIOD_S = 60.0
_MOST_ADDRESSES = 10_000  # beyond these the oldest is forgotten


class WrongTokens:
    """Counts wrong tokens of each address within a minute.

    Loopback addresses are not counted: there stands the machine's own proxy, behind which all callers look like one.

    Parameters
    ----------
    limit : int
        Wrong tokens of one address in a minute, after which it is refused until the minute is over. 0: no limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: dict[str, tuple[float, int]] = {}  # network -> the end of its minute, wrong tokens in it

    def wait_s(self, address: str) -> int:
        """Return for how many seconds an address is still refused; 0 for one that may call."""
        end, number = self._found.get(_network(address), (0.0, 0))
        left = end - time.monotonic()
        return math.ceil(left) if left > 0 and number >= self._limit else 0

    def note(self, address: str) -> None:
        """Count a wrong token."""
        network, now = _network(address), time.monotonic()
        if not self._limit or not network:
            return
        end, number = self._found.pop(network, (0.0, 0))
        self._found[network] = (end, number + 1) if end > now else (now + _PERIOD_S, 1)
        if len(self._found) > _MOST_ADDRESSES:
            del self._found[next(iter(self._found))]


def _network(address: str) -> str:
    """Return what is counted as one caller: an IPv4 address, 64 bits of an IPv6 one; empty for loopback."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # no address, such as that of a Unix socket: a proxy's
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    if found.is_loopback:
        return ""
    return str(found if found.version == 4 else ipaddress.ip_network((found, 64), strict=False))
