"""Clocks and temperatures during a run, read by a process of its own: what the snapshots before and after cannot show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgeexit.hardware.clocks import clock_files, event_counter_files, temperature_files
from edgeexit.hardware.identity import ROOT
from edgeexit.hardware.power.base import Capability, Channel
from edgeexit.hardware.power.files import FileMeter, Sensor
from edgeexit.hardware.sampler import Sampler
from edgeexit.hardware.validity import Finding, Validity, verdict

_RATE_HZ = 10.0
_MAX_CLOCK_VARIATION = 0.02


class Series(NamedTuple):
    """One channel over time."""

    name: str
    kind: str
    times_s: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Timeline:
    """What happened between `start` and `stop`: clocks in Hz, temperatures in °C, counters in events."""

    series: tuple[Series, ...]

    def of(self, kind: str) -> tuple[Series, ...]:
        """The series of a kind: `clock`, `temperature` or `counter`."""
        return tuple(series for series in self.series if series.kind == kind)

    def judge(self) -> Validity:
        """Suspect where a clock moved by more than 2 % (standard deviation over mean), as a clock left to its governor does."""
        findings: list[Finding] = []
        for clock in self.of("clock"):
            variation = _variation(clock.values)
            if variation > _MAX_CLOCK_VARIATION:
                low, high = min(clock.values) / 1e6, max(clock.values) / 1e6
                findings.append(
                    ("suspect", f"clock {clock.name} moved between {low:.0f} and {high:.0f} MHz during the run")
                )
        return verdict(findings)

    def as_json(self) -> dict[str, dict[str, float]]:
        """Smallest, mean and largest value of every series; the series themselves belong into an .npz."""
        return {s.name: _summary(s.values) for s in self.series if s.values}


class StateRecorder:
    """Records the state of the machine between `start` and `stop`, ten times a second."""

    def __init__(self, root: Path = ROOT, cpu: int | None = None) -> None:
        self._channels = state_channels(root)
        self._sampler = Sampler({"kind": "state", "root": str(root)}, _RATE_HZ, cpu) if self._channels else None

    def start(self) -> None:
        """Begin; a machine that shows nothing costs nothing."""
        if self._sampler is not None:
            self._sampler.start()

    def stop(self) -> Timeline:
        """End, and give what was recorded; readings that failed are left out of their series."""
        records = self._sampler.stop() if self._sampler is not None else []
        return Timeline(tuple(_series(records, i, *named) for i, named in enumerate(self._channels)))


def state_channels(root: Path) -> list[tuple[str, str]]:
    """Name and kind of everything that can be recorded, in the order of the records."""
    return [(name, kind) for name, kind, _ in _sensors(root)]


@contextmanager
def state_reader(root: Path) -> Iterator[Callable[[], tuple[float, ...]]]:
    """For the sampling process: opens the files, gives a callable that reads one record."""
    sensors = _sensors(root)
    channels = tuple(Channel(name, kind) for name, kind, _ in sensors)
    with FileMeter(Capability("state", "device", "sampled", channels), [sensor for _, _, sensor in sensors]) as meter:

        def read() -> tuple[float, ...]:
            reading = meter.read()
            return (reading.time_s, reading.cost_s, *reading.values)

        yield read


def _sensors(root: Path) -> list[tuple[str, str, Sensor]]:
    clocks = [(name, "clock", Sensor((path,), unit)) for name, (path, unit) in sorted(clock_files(root).items())]
    temperatures = [
        (name, "temperature", Sensor((path,), 1e-3)) for name, path in sorted(temperature_files(root).items())
    ]
    counters = [(name, "counter", Sensor((path,), 1.0)) for name, path in sorted(event_counter_files(root).items())]
    return clocks + temperatures + counters


def _series(records: list[tuple[float, ...]], column: int, name: str, kind: str) -> Series:
    kept = [(record[0], record[2 + column]) for record in records if not math.isnan(record[2 + column])]
    return Series(name, kind, tuple(time_s for time_s, _ in kept), tuple(value for _, value in kept))


def _variation(values: tuple[float, ...]) -> float:
    mean = statistics.fmean(values) if values else 0.0
    return statistics.pstdev(values) / mean if mean else 0.0


def _summary(values: tuple[float, ...]) -> dict[str, float]:
    return {"min": min(values), "mean": statistics.fmean(values), "max": max(values)}
