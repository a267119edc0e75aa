"""A Monitor counts what a Runner answers; a Snapshot is what it has counted by now."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgeexit.calibration.online.drift import FALSE_ALARM, WINDOW
from edgeexit.errors import InputError
from edgeexit.monitor.counters import AnswerCounters, CountersOfClones
from edgeexit.monitor.drift_watch import DriftReading, DriftWatch
from edgeexit.runtime import Runner
from edgeexit.util.arguments import as_numbers, as_share, as_whole

BUCKETS_S = (*(m * 10.0**e for e in range(-5, 0) for m in (1, 2, 3, 5, 7)), 1.0, 2.0, 5.0)
"""Upper ends of the buckets of latencies, 10 µs to 5 s, at most a factor of 2.5 apart."""


@dataclass(frozen=True)
class Snapshot:
    """All that a Monitor has counted since it was made.

    Attributes:
        bundle: name of what is watched.
        buckets_s: upper ends of the buckets of latencies, seconds; a last one has no end.
        latency: answers per exit (from exit 1) and bucket.
        latency_s: total latency per exit, seconds.
        late: answers that came after their deadline.
        fallbacks: answers given because a remote stage gave none.
        escalations: what has become of requests to remote stages: `answered`, `failed`, `too often`, `server gone`.
        calibration: name of the calibration in use; None without one.
        drift: what is known of drift.
    """

    bundle: str
    buckets_s: tuple[float, ...]
    latency: tuple[tuple[int, ...], ...]
    latency_s: tuple[float, ...]
    late: int = 0
    fallbacks: int = 0
    escalations: Mapping[str, int] = field(default_factory=dict)
    calibration: str | None = None
    drift: DriftReading = field(default_factory=DriftReading)

    @property
    def exits(self) -> tuple[int, ...]:
        """Answers per exit, from exit 1."""
        return tuple(sum(row) for row in self.latency)


class Monitor:
    """Watches a Runner, and the clones that are made of it from now on.

    Each call adds to plain counters. `snapshot`, which the exporters call, sums them up and tests for drift: what came from one reading to
    a later one, at least `window` answers, is compared with the calibration data, exits and scores, by a two-sample chi-square test.
    The k-th test has the level 6·false_alarm/(πk)², so that an unchanged stream raises an alarm with a probability of at most
    `false_alarm`, however long it is, as far as the chi-square distribution fits, and when it is read does not depend on what was seen.

    Args:
        runner: the Runner.
        name: what its metrics are labelled with; None takes the name of the bundle's folder.
        buckets_s: rising upper ends of the buckets of latencies, seconds.
        window: fewest inferences that are tested for drift at once.
        false_alarm: probability of a false alarm of drift, over an endless stream.

    Raises:
        InputError: buckets that do not rise, a window or a probability that is none, a Runner that is closed.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> from edgeexit.monitor import Monitor
        >>> x = load_data("digits:test").inputs
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     monitor = Monitor(runner)
        ...     for i in range(100):
        ...         label = runner(x[i : i + 1]).label
        ...     seen = monitor.snapshot()
        >>> sum(seen.exits), seen.late, seen.drift.raised
        (100, 0, False)
    """

    def __init__(
        self,
        runner: Runner,
        *,
        name: str | None = None,
        buckets_s: Sequence[float] = BUCKETS_S,
        window: int = WINDOW,
        false_alarm: float = FALSE_ALARM,
    ) -> None:
        self.name = runner.bundle.path.stem if name is None else name
        self.buckets_s = _check_buckets(buckets_s)
        self._runner = runner
        self._counters = CountersOfClones(self.buckets_s, runner.criterion.sign)
        self._drift = DriftWatch(
            runner,
            self._counters.set_edges,
            window=as_whole("window", window, 1, 10**9),
            false_alarm=as_share("false_alarm", false_alarm),
        )
        self._lock = threading.Lock()
        self.snapshot()  # cells are counted from the first answer on
        self._stop = runner.observe(self._counters.make_observer(), for_clone=self._counters.make_observer)

    def snapshot(self) -> Snapshot:
        """Everything counted by now; tests for drift where enough has come since the last test. From any thread."""
        with self._lock:
            found = self._counters.sum()
            found.grow(self._runner.exits, len(self.buckets_s) + 1)
            return self._describe(found, self._drift.read(found.cells))

    def stop(self) -> None:
        """Count no more answers of the Runner; clones that exist are counted on."""
        self._stop()

    def _describe(self, found: AnswerCounters, drift: DriftReading) -> Snapshot:
        remote = getattr(self._runner, "remote", None)
        return Snapshot(
            bundle=self.name,
            buckets_s=self.buckets_s,
            latency=tuple(tuple(row) for row in found.latency),
            latency_s=tuple(found.latency_s),
            late=found.late,
            fallbacks=found.fallbacks,
            escalations={} if remote is None else dict(remote.gate.counts),
            calibration=self._runner.calibration_name,
            drift=drift,
        )


def _check_buckets(buckets_s: object) -> tuple[float, ...]:
    found = tuple(as_numbers(buckets_s))
    if not found or not all(a < b for a, b in zip((0.0, *found), found, strict=False)):
        msg = f"buckets_s must be rising numbers of seconds above 0, not {buckets_s!r}."
        raise InputError(msg)
    return found
