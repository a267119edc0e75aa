"""Plain counters of answers, one set for each Runner and clone, so that no thread waits for another's calls."""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
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
        """Make room for so many exits; `latency_s` last, whose length tells other threads how many there are."""
        for _ in range(exits - len(self.latency)):
            self.cells.append([0] * BINS)
            self.latency.append([0] * buckets)
            self.latency_s.append(0.0)

    def add(self, other: AnswerCounters) -> None:
        """Add the counts of another one, which may be counting meanwhile."""
        exits = len(other.latency_s)
        if exits:
            self.grow(exits, len(other.latency[0]))
        for place in range(exits):
            for mine, theirs in ((self.latency, other.latency), (self.cells, other.cells)):
                mine[place][:] = [a + b for a, b in zip(mine[place], theirs[place], strict=True)]
            self.latency_s[place] += other.latency_s[place]
        self.late += other.late
        self.fallbacks += other.fallbacks


class AnswerTape:
    """Answers of one Runner: a call writes down what is to be counted, and every 128th counts what stands there.

    Right after an engine has run, what Python touches is no longer in the caches, and each look-up costs about a tenth of a microsecond.
    Counting many answers at once pays that once. 128, so that the call which counts, a few tens of microseconds longer, is not among
    those that a p99 tells of. There is no lock: each answer is taken by the one thread that counts it.

    Args:
        buckets_s: rising upper ends of the buckets of latencies.
        edges: inner scores between the cells of each exit; shared, and replaced in place.
        sign: of the criterion.

    Attributes:
        counters: what the calls have counted.
    """

    LENGTH = 128

    def __init__(self, buckets_s: tuple[float, ...], edges: list[list[float]], sign: int) -> None:
        self.counters = AnswerCounters()
        self._buckets_s, self._edges, self._sign = buckets_s, edges, sign
        self._waiting: deque[tuple[int, float, float]] = deque()

    def make_observer(self) -> Observer:
        """The callback for `Runner.observe`, which every call pays for; of one Runner, so that no two calls run it at once."""
        waiting, write, length, count = self._waiting, self._waiting.append, self.LENGTH, self.count
        counters, plain = self.counters, Prediction  # quicker than names of the module

        def note(prediction: Prediction, seconds: float) -> None:
            write((prediction[1], prediction[2], seconds))  # by number: a name costs twice as much
            if prediction[4] or prediction.__class__ is not plain:
                counters.late += prediction.late
                counters.fallbacks += prediction.fallback
            if len(waiting) >= length:
                count(counters)

        return note

    def count(self, counters: AnswerCounters) -> None:
        """Count what is written down by now, each answer once, in counters that only this thread adds to; more may be written meanwhile."""
        buckets_s, edges, sign = self._buckets_s, self._edges, self._sign
        latency, latency_s, cells = counters.latency, counters.latency_s, counters.cells
        find, find_cell, take = bisect_left, bisect_right, self._waiting.popleft
        for _ in range(len(self._waiting)):
            try:
                exit, score, seconds = take()
            except IndexError:
                return
            place = exit - 1
            if place >= len(latency_s):
                counters.grow(exit, len(buckets_s) + 1)
            latency[place][find(buckets_s, seconds)] += 1
            latency_s[place] += seconds
            if place < len(edges):
                cells[place][find_cell(edges[place], sign * score)] += 1


class CountersOfClones:
    """Answers of a Runner and all its clones, each with an AnswerTape; those of clones that are gone stay in the sum.

    Args:
        buckets_s: rising upper ends of the buckets of latencies.
        sign: of the criterion.
    """

    def __init__(self, buckets_s: Sequence[float], sign: int) -> None:
        self._edges: list[list[float]] = []
        self._buckets_s, self._sign = tuple(buckets_s), sign
        self._read = AnswerCounters()  # what was counted here, and not by calls
        self._live: list[tuple[weakref.ref[Observer], AnswerTape]] = []
        self._lock = threading.Lock()

    def set_edges(self, edges: list[list[float]]) -> None:
        """Count by these inner scores between the cells of each exit from now on."""
        with self._lock:
            self._count_waiting()  # what came until now, by what held until now
            self._edges[:] = edges

    def make_observer(self) -> Observer:
        """A callback for `Runner.observe` with counters of its own."""
        tape = AnswerTape(self._buckets_s, self._edges, self._sign)
        observer = tape.make_observer()
        with self._lock:
            self._count_waiting()
            self._live.append((weakref.ref(observer), tape))
        return observer

    def sum(self) -> AnswerCounters:
        """All of them together: every answer until now, but of a call that is counting in another thread, whose 128 come next time."""
        with self._lock:
            self._count_waiting()
            total = AnswerCounters()
            for counters in (self._read, *(tape.counters for _, tape in self._live)):
                total.add(counters)
            return total

    def _count_waiting(self) -> None:
        """Count what is written down, and keep the counts of clones that are gone."""
        live = []
        for reference, tape in self._live:
            gone = reference() is None  # asked once: it may go at any moment
            tape.count(self._read)
            if gone:
                self._read.add(tape.counters)
            else:
                live.append((reference, tape))
        self._live = live
