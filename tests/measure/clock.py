"""A clock that only goes on when something is said to take time, in place of `perf_counter_ns`."""

from __future__ import annotations


class SimulatedClock:
    """Time in whole nanoseconds.

    Args:
        tick_ns: how long one look at the clock takes.
    """

    def __init__(self, tick_ns: int = 0) -> None:
        self.now_ns, self._tick_ns = 0, tick_ns

    def __call__(self) -> int:
        self.now_ns += self._tick_ns
        return self.now_ns

    def spend(self, seconds: float) -> None:
        """Something takes so long."""
        self.now_ns += round(seconds * 1e9)
