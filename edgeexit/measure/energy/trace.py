"""A recorded power meter, and mean power over a window of it.

A sampled meter gives W: the mean is the trapezoid over the samples, interpolated at the window's ends. A counter gives J and moves
in ticks: the mean is taken from the first tick in the window to the last, so that no partial tick is counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeexit.hardware.power import Capability, PowerReading

Floats = NDArray[np.float64]

_FEWEST_SAMPLES = 4


@dataclass(frozen=True)
class MeanPower:
    """Mean power over a window.

    Attributes:
        power_w: the mean.
        samples: readings (or ticks of a counter) it rests on.
        error_w: uncertainty from the moments of sampling alone.
        span_s: the time that the mean covers.
    """

    power_w: float
    samples: int
    error_w: float
    span_s: float


@dataclass(frozen=True)
class Trace:
    """Readings of one meter.

    Attributes:
        capability: capability of the meter.
        times_s: [n], monotonic clock.
        values: [n, channels], W or J, raw and signed; NaN where a channel did not answer.
        costs_s: [n], how long each reading took.
    """

    capability: Capability
    times_s: Floats
    values: Floats
    costs_s: Floats

    @property
    def poll_s(self) -> float:
        """Median time between readings, s; NaN below two."""
        return float(np.median(np.diff(self.times_s))) if len(self.times_s) > 1 else math.nan

    def sum_channels(self, names: Sequence[str]) -> tuple[Floats, Floats]:
        """Times [m] and the sum of some channels [m], readings with a NaN left out; counters are unwrapped, J since the first."""
        columns = [self.capability.names.index(name) for name in names]
        chosen = self.values[:, columns]
        answered = ~np.isnan(chosen).any(axis=1)
        times_s, chosen = self.times_s[answered], chosen[answered]
        if self.capability.kind == "counter":
            ranges = [self.capability.channels[c].range_j for c in columns]
            chosen = np.stack([unwrap(chosen[:, i], range_j) for i, range_j in enumerate(ranges)], axis=1)
        return times_s, chosen.sum(axis=1)

    def shift(self, seconds: float) -> Trace:
        """The same readings with `seconds` added to their times."""
        return replace(self, times_s=self.times_s + seconds)

    def compute_mean_power(self, names: Sequence[str], start_s: float, end_s: float) -> MeanPower | None:
        """Mean power of the sum of some channels in a window; None where too few readings lie in it."""
        times_s, values = self.sum_channels(names)
        measure = _average_counter if self.capability.kind == "counter" else _average_samples
        return measure(times_s, values, start_s, end_s)

    def find_smallest_step(self, names: Sequence[str]) -> float | None:
        """The smallest change that was seen, in the meter's unit; None where nothing changed."""
        _, values = self.sum_channels(names)
        changes = np.abs(np.diff(values))
        moved = changes[changes > 1e-9]
        return float(moved.min()) if moved.size else None


def build_trace(capability: Capability, readings: Sequence[PowerReading]) -> Trace:
    """A recorder's readings as arrays."""
    shape = (len(readings), len(capability.channels))
    return Trace(
        capability,
        np.array([reading.time_s for reading in readings], np.float64),
        np.array([reading.values for reading in readings], np.float64).reshape(shape),
        np.array([reading.cost_s for reading in readings], np.float64),
    )


def unwrap(counter: Floats, range_j: float | None) -> Floats:
    """Energy since the first reading [n] of a counter [n] that starts again from 0 at `range_j`.

    At most one start between two readings can be recognised, so a counter must be read more often than it wraps. Without a known range
    a fall counts as nothing.
    """
    steps = np.diff(counter)
    steps = np.where(steps < 0, steps + range_j if range_j is not None else 0.0, steps)
    return np.concatenate([[0.0], np.cumsum(steps)]) if counter.size else counter


def _average_samples(times_s: Floats, power_w: Floats, start_s: float, end_s: float) -> MeanPower | None:
    inside = (times_s >= start_s) & (times_s <= end_s)
    count, span_s = int(inside.sum()), end_s - start_s
    if count < _FEWEST_SAMPLES or span_s <= 0:
        return None
    every = _integrate_power(times_s, power_w, start_s, end_s)
    halves = [_integrate_power(times_s[i::2], power_w[i::2], start_s, end_s) for i in (0, 1)]
    return MeanPower(every / span_s, count, abs(halves[0] - halves[1]) / 2 / span_s, span_s)


def _integrate_power(times_s: Floats, power_w: Floats, start_s: float, end_s: float) -> float:
    """Energy between two moments, J; power is interpolated at them."""
    inside = (times_s > start_s) & (times_s < end_s)
    at = np.concatenate([[start_s], times_s[inside], [end_s]])
    power = np.concatenate(
        [np.interp([start_s], times_s, power_w), power_w[inside], np.interp([end_s], times_s, power_w)]
    )
    return float(np.sum(np.diff(at) * (power[1:] + power[:-1]) / 2))


def _average_counter(times_s: Floats, energy_j: Floats, start_s: float, end_s: float) -> MeanPower | None:
    ticks = np.flatnonzero(np.diff(energy_j) > 0) + 1
    ticks = ticks[(times_s[ticks] >= start_s) & (times_s[ticks] <= end_s)]
    if ticks.size < 2:
        return None
    first, last = int(ticks[0]), int(ticks[-1])
    span_s = float(times_s[last] - times_s[first])
    power_w = float(energy_j[last] - energy_j[first]) / span_s
    # Each end is known to within one poll, evenly spread: standard deviation poll / sqrt(12), twice.
    poll_s = float(np.median(np.diff(times_s)))
    return MeanPower(power_w, int(ticks.size), power_w * poll_s * math.sqrt(2 / 12) / span_s, span_s)
