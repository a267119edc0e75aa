"""Plain counters of answers, one set for each Runner and clone, so that no thread waits for another."""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edgeexit.calibration.online.drift import BINS
from edgeexit.runtime.observing import Observer
from edgeexit.runtime.prediction import Prediction

Counts = list[list[int]]


@dataclass
class AnswerCounters:
    """Counts of answers; each only rises.

    Attributes:
        latency: answers per exit and bucket of latencies.
        latency_s: total latency per exit.
        cells: answers per exit and quarter of the calibrated scores there.
        late: answers after their deadline.
        fallbacks: answers given because a remote stage gave none.
    """

    latency: Counts = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)
    cells: Counts = field(default_factory=list)
    late: int = 0
    fallbacks: int = 0

    def grow(self, exits: int, buckets: int) -> None:
        """Make room for so many exits."""
        for _ in range(exits - len(self.latency)):
            self.cells.append([0] * BINS)
            self.latency.append([0] * buckets)
            self.latency_s.append(0.0)

    def add(self, other: AnswerCounters) -> None:
        """Add the counts of another one, which may be counting meanwhile."""
        if other.latency:
            self.grow(len(other.latency_s), len(other.latency[0]))
        for mine, theirs in ((self.latency, other.latency), (self.cells, other.cells)):
            for row, added in zip(mine, theirs, strict=False):
                row[:] = [a + b for a, b in zip(row, added, strict=True)]
        for place, seconds in enumerate(other.latency_s):
            self.latency_s[place] += seconds
        self.late += other.late
        self.fallbacks += other.fallbacks


class CountersOfClones:
    """AnswerCounters of a Runner and all its clones; those of clones that are gone stay in the sum.

    Args:
        buckets_s: rising upper ends of the buckets of latencies.
        sign: of the criterion.
    """

    def __init__(self, buckets_s: Sequence[float], sign: int) -> None:
        self._edges: list[list[float]] = []
        self._buckets_s, self._sign = tuple(buckets_s), sign
        self._gone = AnswerCounters()
        self._live: list[tuple[weakref.ref[Observer], AnswerCounters]] = []
        self._lock = threading.Lock()

    def set_edges(self, edges: list[list[float]]) -> None:
        """Count by these inner scores between the cells of each exit from now on."""
        self._edges[:] = edges

    def make_observer(self) -> Observer:
        """A callback for `Runner.observe` with counters of its own."""
        counters = AnswerCounters()
        observer = self._make_observer(counters)
        with self._lock:
            self._keep_gone()
            self._live.append((weakref.ref(observer), counters))
        return observer

    def sum(self) -> AnswerCounters:
        """All of them together."""
        with self._lock:
            self._keep_gone()
            total = AnswerCounters()
            for counters in self._list_all():
                total.add(counters)
            return total

    def _list_all(self) -> Iterator[AnswerCounters]:
        yield self._gone
        yield from (counters for _, counters in self._live)

    def _keep_gone(self) -> None:
        live = []
        for reference, counters in self._live:
            if reference() is None:  # asked once: it may go at any moment
                self._gone.add(counters)
            else:
                live.append((reference, counters))
        self._live = live

    def _make_observer(self, counters: AnswerCounters) -> Observer:
        """The function that every call pays for: each look-up in it is about a tenth of a microsecond on a cold cache."""
        latency, latency_s, cells = counters.latency, counters.latency_s, counters.cells
        buckets_s, edges, sign, buckets = self._buckets_s, self._edges, self._sign, len(self._buckets_s) + 1
        plain, find, find_cell = Prediction, bisect_left, bisect_right  # quicker than names of the module

        def count(prediction: Prediction, seconds: float) -> None:
            _, exit, score, _, late = prediction
            place = exit - 1
            try:
                latency[place][find(buckets_s, seconds)] += 1
            except IndexError:  # the first answer of this exit
                counters.grow(exit, buckets)
                latency[place][find(buckets_s, seconds)] += 1
            latency_s[place] += seconds
            if place < len(edges):
                cells[place][find_cell(edges[place], sign * score)] += 1
            if late:
                counters.late += 1
            if prediction.__class__ is not plain:
                counters.fallbacks += prediction.fallback

        return count
