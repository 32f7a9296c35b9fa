"""Films a second in the long run: counted from when everything is under way until the work is to end."""

from __future__ import annotations

import time

RAMP_S = 1.0


class SteadyRate:
    """Counts films; those of the first second, and those that are still under way at the end, are not in the rate.

    The first second is no ramp of one way alone: clients that all begin at once all send before anything can be
    scored, which a long run does once and a short one would count in full.

    Parameters
    ----------
    seconds : float
        How long it counts.

    Attributes
    ----------
    films : int
        All that were done, for what a film costs.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begin = time.monotonic() + RAMP_S
        self._counted = 0
        self.films = 0

    @property
    def goes_on(self) -> bool:
        """Whether the work is to go on."""
        return self.takes(time.monotonic())

    def takes(self, moment: float) -> bool:
        """Whether work that is due at a moment of `time.monotonic` still belongs to it."""
        return moment < self._begin + self._seconds

    @property
    def rate(self) -> float:
        """Films a second."""
        return self._counted / self._seconds

    def done(self) -> None:
        """Count a film; to be called by one thread at a time."""
        self.films += 1
        self._counted += self._begin <= time.monotonic() < self._begin + self._seconds
