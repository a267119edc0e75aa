"""Clocks and temperatures during a run, read by a process of its own: what the snapshots before and after cannot show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgeexit.hardware.clocks import (
    find_clock_files,
    find_cooling_files,
    find_event_counter_files,
    find_temperature_files,
)
from edgeexit.hardware.identity import ROOT
from edgeexit.hardware.power.base import Capability, Channel
from edgeexit.hardware.power.files import FileMeter, Sensor
from edgeexit.hardware.sampler import Sampler
from edgeexit.hardware.validity import Finding, Validity, combine_findings
from edgeexit.util import units

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
    """Recorded state between `start` and `stop`: clocks in Hz, temperatures in °C, cooling states, counters in events."""

    series: tuple[Series, ...]

    def select(self, kind: str) -> tuple[Series, ...]:
        """The series of a kind: `clock`, `temperature`, `cooling` or `counter`."""
        return tuple(series for series in self.series if series.kind == kind)

    def cut_to_spans(self, spans: Sequence[tuple[float, float]]) -> Timeline:
        """The readings in any of some spans of time (start and end, on the monotonic clock)."""
        return Timeline(tuple(_cut_series(series, spans) for series in self.series))

    def judge(self, fixed: Collection[str] = ()) -> Validity:
        """Findings that make a measurement taken during this time suspect.

        A clock that moved by more than 2 % (standard deviation over mean) makes it suspect, as a clock left to its governor does; one
        that had been fixed was pulled down by something, and a cooling device that slowed something down in between has done so even
        if both snapshots find it idle: either makes it invalid.

        Args:
            fixed: names of the clocks whose governor had no choice.
        """
        return combine_findings(
            [*_find_moved_clocks(self.select("clock"), fixed), *_find_active_cooling(self.select("cooling"))]
        )

    def to_document(self) -> dict[str, dict[str, float]]:
        """Smallest, mean and largest value of every series; the series themselves belong into an .npz."""
        return {s.name: _summarize_values(s.values) for s in self.series if s.values}


class StateRecorder:
    """Records the state of the machine between `start` and `stop`, ten times a second."""

    def __init__(self, root: Path = ROOT, cpu: int | None = None) -> None:
        self._channels = list_state_channels(root)
        self._sampler = Sampler({"kind": "state", "root": str(root)}, _RATE_HZ, cpu) if self._channels else None

    def start(self) -> None:
        """Begin; a machine that shows nothing costs nothing."""
        if self._sampler is not None:
            self._sampler.start()

    def stop(self) -> Timeline:
        """End, and give what was recorded; readings that failed are left out of their series."""
        records = self._sampler.stop() if self._sampler is not None else []
        return Timeline(tuple(_make_series(records, i, *named) for i, named in enumerate(self._channels)))


def list_state_channels(root: Path) -> list[tuple[str, str]]:
    """Name and kind of everything that can be recorded, in the order of the records."""
    return [(name, kind) for name, kind, _ in _list_sensors(root)]


@contextmanager
def open_state_reader(root: Path) -> Iterator[Callable[[], tuple[float, ...]]]:
    """For the sampling process: opens the files, gives a callable that reads one record."""
    sensors = _list_sensors(root)
    channels = tuple(Channel(name, kind) for name, kind, _ in sensors)
    with FileMeter(Capability("state", "device", "sampled", channels), [sensor for _, _, sensor in sensors]) as meter:

        def read() -> tuple[float, ...]:
            reading = meter.read()
            return (reading.time_s, reading.cost_s, *reading.values)

        yield read


def _list_sensors(root: Path) -> list[tuple[str, str, Sensor]]:
    clocks = [(name, "clock", Sensor((path,), unit)) for name, (path, unit) in sorted(find_clock_files(root).items())]
    temperatures = [
        (name, "temperature", Sensor((path,), 1e-3)) for name, path in sorted(find_temperature_files(root).items())
    ]
    cooling = [(name, "cooling", Sensor((path,), 1.0)) for name, path in sorted(find_cooling_files(root).items())]
    counters = [
        (name, "counter", Sensor((path,), 1.0)) for name, path in sorted(find_event_counter_files(root).items())
    ]
    return clocks + temperatures + cooling + counters


def _make_series(records: list[tuple[float, ...]], column: int, name: str, kind: str) -> Series:
    kept = [(record[0], record[2 + column]) for record in records if not math.isnan(record[2 + column])]
    return Series(name, kind, tuple(time_s for time_s, _ in kept), tuple(value for _, value in kept))


def _cut_series(series: Series, spans: Sequence[tuple[float, float]]) -> Series:
    pairs = zip(series.times_s, series.values, strict=True)
    kept = [(at, value) for at, value in pairs if any(start <= at <= end for start, end in spans)]
    return series._replace(times_s=tuple(at for at, _ in kept), values=tuple(value for _, value in kept))


def _find_moved_clocks(clocks: Sequence[Series], fixed: Collection[str]) -> Iterator[Finding]:
    for clock in clocks:
        if _compute_variation(clock.values) > _MAX_CLOCK_VARIATION:
            low, high = min(clock.values) / 1e6, max(clock.values) / 1e6
            moved = f"moved between {units.fixed(low, 0)} and {units.fixed(high, 0)} MHz during the run"
            if clock.name in fixed:
                yield "invalid", f"clock {clock.name}, which was fixed, {moved}"
            else:
                yield "suspect", f"clock {clock.name} {moved}"


def _find_active_cooling(devices: Sequence[Series]) -> Iterator[Finding]:
    for device in devices:
        before = int(device.values[0]) if device.values else 0
        highest = int(max(device.values, default=0))
        if highest > max(0, before):
            yield "invalid", f"cooling device {device.name} rose from state {before} to {highest}"


def _compute_variation(values: tuple[float, ...]) -> float:
    mean = statistics.fmean(values) if values else 0.0
    return statistics.pstdev(values) / mean if mean else 0.0


def _summarize_values(values: tuple[float, ...]) -> dict[str, float]:
    return {"min": min(values), "mean": statistics.fmean(values), "max": max(values)}
