"""How often requests may go up, and when a server counts as gone; one for all clones of a Runner."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from edgeexit.errors import InputError
from edgeexit.util.arguments import as_float, as_whole

_LONGEST_S = 86_400.0


@dataclass(frozen=True)
class RemoteLimits:
    """What a remote stage may cost.

    Attributes:
        timeout_s: longest time for a request, connecting included; a shorter `deadline_s` of a call holds too.
        max_per_s: most times per second that something goes up, over all clones, one after a pause of 1/max_per_s; a batch counts once, and
            what goes on from one remote stage to the next does not count again.
        failures: failures in a row after which the server counts as gone.
        pause_s: seconds until it is tried again then.
        max_batch: most samples in a request.

    Example:
        >>> import edgeexit
        >>> edgeexit.RemoteLimits(timeout_s=0.2, max_per_s=10).pause_s
        5.0
    """

    timeout_s: float = 1.0
    max_per_s: float = math.inf
    failures: int = 3
    pause_s: float = 5.0
    max_batch: int = 64

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("timeout_s", "max_per_s", "pause_s"):
            value = as_float(getattr(self, name))
            if not value > 0 or (value > _LONGEST_S and name != "max_per_s"):
                msg = f"{name} must be a positive number, of seconds at most {_LONGEST_S:.0f}, not {getattr(self, name)!r}."
                raise InputError(msg)
        for name in ("failures", "max_batch"):
            as_whole(name, getattr(self, name), 1, 1 << 20)


class Gate:
    """Lets requests up: at most so many a second, and none while the server counts as gone (a circuit breaker).

    Attributes:
        limits: the limits.
        counts: what has become of requests: `answered`, `failed`, `too often`, `server gone`.
    """

    def __init__(self, limits: RemoteLimits, clock: Callable[[], float] = monotonic) -> None:
        self.limits = limits
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._lock = threading.Lock()
        self._next_s = self._closed_until_s = -math.inf
        self._failures = 0

    def pass_one(self) -> str:
        """Why no request may go up now; empty where one may. While the server counts as gone, one at a time tries it again."""
        with self._lock:
            now = self._clock()
            reason = "server gone" if now < self._closed_until_s else "too often" if now < self._next_s else ""
            if reason:
                self.counts[reason] += 1
                return reason
            self._next_s = now + 1 / self.limits.max_per_s
            if self._failures >= self.limits.failures:
                self._closed_until_s = now + self.limits.pause_s
            return ""

    def note(self, *, answered: bool) -> None:
        """Note what has become of a request that was let up."""
        with self._lock:
            self.counts["answered" if answered else "failed"] += 1
            self._failures = 0 if answered else self._failures + 1
            gone = self._failures >= self.limits.failures
            self._closed_until_s = self._clock() + self.limits.pause_s if gone else -math.inf
