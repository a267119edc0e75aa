"""Sensor files of the kernel kept open: `pread` from the start gives a fresh value without opening the file again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexit.hardware.power.base import NAN, Capability, PowerMeter


@dataclass(frozen=True)
class Sensor:
    """A channel's files and the unit of their product.

    One file holds the power or energy itself; of two, voltage and current, the product is the power.

    Attributes:
        paths: files to read.
        unit: what 1 in every file means, in W or J: 1e-6 for mV times mA, 1e-3 for mW, 1e-6 for µW and µJ.
    """

    paths: tuple[Path, ...]
    unit: float


class FileMeter(PowerMeter):
    """A meter whose channels are files."""

    def __init__(self, capability: Capability, sensors: Sequence[Sensor]) -> None:
        super().__init__(capability)
        self.sensors = tuple(sensors)
        self._files: list[list[int]] = []

    def _open(self) -> None:
        self._files = [[os.open(path, os.O_RDONLY) for path in sensor.paths] for sensor in self.sensors]

    def _close(self) -> None:
        for file in (file for files in self._files for file in files):
            os.close(file)
        self._files = []

    def _read(self) -> tuple[float, ...]:
        return tuple(_read_product(files, sensor.unit) for files, sensor in zip(self._files, self.sensors, strict=True))


def read_once(sensor: Sensor) -> float:
    """The sensor's value now, NaN if a file does not answer: a probe must read a value, not merely find a file."""
    try:
        files = [os.open(path, os.O_RDONLY) for path in sensor.paths]
    except OSError:
        return NAN
    try:
        return _read_product(files, sensor.unit)
    finally:
        for file in files:
            os.close(file)


def _read_product(files: Sequence[int], unit: float) -> float:
    """Files are read one after the other, so that voltage and current are as near in time as can be."""
    product = unit
    try:
        for file in files:
            product *= int(os.pread(file, 64, 0))
    except (OSError, ValueError):
        return NAN
    return product
