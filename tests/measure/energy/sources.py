"""Power sources whose joules are known, on a clock that is simulated: loops and sleeps cost no time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgeexit.hardware.power import Capability, Channel, PowerReading
from edgeexit.hardware.power.recorder import Recorder

IDLE_W = 4.0


class World:
    """A machine with a clock and a power that depends on what it does; its energy is known exactly.

    Args:
        idle_w: power when nothing runs.
    """

    def __init__(self, idle_w: float = IDLE_W) -> None:
        self.time_s, self.idle_w = 1000.0, idle_w
        self.edges: list[tuple[float, float]] = [(self.time_s, idle_w)]

    def now(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.spend(seconds, self.idle_w)

    def spend(self, seconds: float, power_w: float) -> None:
        """Time passes at a power."""
        if self.edges[-1][1] != power_w:
            self.edges.append((self.time_s, power_w))
        self.time_s += seconds

    def work(self, seconds: float, power_w: float) -> Callable[[int], None]:
        """An inference of that length at that power."""
        return lambda i: self.spend(seconds, power_w)

    def power_at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """The true power [n]."""
        starts = np.array([start for start, _ in self.edges])
        powers = np.array([power for _, power in self.edges])
        return np.asarray(powers[np.maximum(0, np.searchsorted(starts, times_s, side="right") - 1)], np.float64)

    def energy_at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """The true energy since the start [n]."""
        starts = np.array([*(start for start, _ in self.edges), self.time_s + 1e9])
        powers = np.array([power for _, power in self.edges])
        total = np.concatenate([[0.0], np.cumsum(np.diff(starts) * powers)])
        return np.asarray(np.interp(times_s, starts, total), np.float64)


class Simulated(Recorder):
    """Records a world through a meter with faults.

    Args:
        world: what is measured.
        kind: `sampled` or `counter`.
        step: of the meter: W or J.
        rate_hz: of polling.
        interval_s: of the meter's own updates.
        range_j: where a counter starts again.
        offset_w: added to every reading.
        fault: of the readings [n], for stuck codes and gaps.
        known_step: whether the meter's description has the step.
        dither_w: noise of the power itself, which lets a coarse meter average.
    """

    def __init__(
        self,
        world: World,
        kind: str = "sampled",
        step: float = 0.04,
        rate_hz: float = 50.0,
        interval_s: float = 0.0066,
        range_j: float | None = None,
        offset_w: float = 0.0,
        fault: Callable[[NDArray[np.float64]], NDArray[np.float64]] = lambda values: values,
        known_step: bool = True,
        dither_w: float = 0.0,
        clock_offset_s: float | None = None,
    ) -> None:
        channel = Channel("VDD_IN", "total", range_j)
        self.capability = Capability(
            "simulated",
            "module",
            "counter" if kind == "counter" else "sampled",
            (channel,),
            ("VDD_IN",),
            step if known_step else None,
            interval_s,
            rate_hz,
        )
        self.world, self.step, self.range_j, self.offset_w = world, step, range_j, offset_w
        self.fault, self.dither_w, self.start_s = fault, dither_w, world.now()
        self.aligned, self.clock_offset_s = clock_offset_s is None, clock_offset_s or 0.0

    def start(self) -> None:
        self.start_s = self.world.now()
        if not self.aligned:
            self.world.sleep(20.0)

    def stop(self) -> list[PowerReading]:
        if not self.aligned:
            self.world.sleep(20.0)
        period_s = 1.0 / self.capability.rate_hz
        count = int((self.world.now() - self.start_s) / period_s)
        times_s = (
            self.start_s + np.cumsum(np.random.default_rng(1).uniform(0.5, 1.5, count)) * period_s
        )  # as the sampler does
        times_s = times_s[times_s < self.world.now()]
        values = self.fault(self._counter(times_s) if self.capability.kind == "counter" else self._power(times_s))
        return [
            PowerReading(float(t) + self.clock_offset_s, 5e-4, (float(v),))
            for t, v in zip(times_s, values, strict=True)
        ]

    def _power(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        noise = np.random.default_rng(0).normal(0.0, self.dither_w, times_s.size)
        power = self.world.power_at(times_s) + self.offset_w + noise
        return np.asarray(np.round(power / self.step) * self.step, np.float64) if self.step else power

    def _counter(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        interval_s = self.capability.interval_s or 1e-3
        updated = np.floor(times_s / interval_s) * interval_s
        energy = np.floor(self.world.energy_at(updated) / self.step) * self.step
        return np.asarray(energy % self.range_j if self.range_j else energy, np.float64)


def stuck(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every reading is the first."""
    return np.full_like(values, values[0])


def gaps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every fifth reading fails."""
    return np.where(np.arange(values.size) % 5 == 0, math.nan, values)
