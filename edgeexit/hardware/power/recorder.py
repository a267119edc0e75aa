"""Recording a power meter over a stretch of work: by a process of its own, or from an external meter's log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeexit.hardware.identity import ROOT
from edgeexit.hardware.power.base import Capability, PowerMeter, PowerReading
from edgeexit.hardware.power.find import find_power_meter
from edgeexit.hardware.sampler import Sampler, find_spare_cpu


class Recorder(ABC):
    """Something that records power between `start` and `stop`.

    Attributes:
        capability: capability of the meter.
        aligned: whether its readings carry the monotonic clock of this machine.
    """

    capability: Capability
    aligned = True

    @property
    def expected_offset_s(self) -> float | None:
        """For one that is not aligned: the seconds to add to its times if every clock were right; None when not known."""
        return None

    @abstractmethod
    def start(self) -> None:
        """Begin to record."""

    @abstractmethod
    def stop(self) -> list[PowerReading]:
        """End, and give every reading in order of time."""


class ProcessRecorder(Recorder):
    """A meter of this machine, sampled by another process on the last CPU that this one may use.

    Args:
        meter: as `find_power_meter` gave it.
        root: with which it was found.
    """

    def __init__(self, meter: PowerMeter, root: Path = ROOT) -> None:
        self.capability = meter.capability
        plan = {"kind": "power", "root": str(root), "adapter": meter.adapter}
        self._sampler = Sampler(plan, meter.capability.rate_hz, find_spare_cpu())

    def start(self) -> None:
        """Begin to record; returns when the first reading is there."""
        self._sampler.start()

    def stop(self) -> list[PowerReading]:
        """End the process, and give its readings."""
        return [PowerReading(record[0], record[1], record[2:]) for record in self._sampler.stop()]


@contextmanager
def open_power_reader(root: Path, adapter: str) -> Iterator[Callable[[], tuple[float, ...]]]:
    """For the sampling process: opens the meter of that name, gives a callable that reads one record."""
    with find_power_meter(root, only=adapter) as meter:

        def read() -> tuple[float, ...]:
            reading = meter.read()
            return (reading.time_s, reading.cost_s, *reading.values)

        yield read
