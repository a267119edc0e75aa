"""Interface of power meters: a capability, and readings of its channels while it is open.

    with find_power_meter() as meter:      INA3221/INA238 (Jetson) | RAPL | NVML | Raspberry Pi 5 | NoPowerMeter
        reading = meter.read()             W for a sampled meter, J for a counter; raw and signed

A meter only reads. Sampling runs in a process of its own (`recorder`); `edgeexit.measure.energy.measurement` turns readings into joules.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, NamedTuple, TypeAlias

from edgeexit.errors import HardwareMissing

NAN = math.nan
_COMPUTING = ("cpu+gpu", "cpu", "gpu")
"""Roles of rails that computing moves, the widest first."""

Kind: TypeAlias = Literal["sampled", "counter"]


@dataclass(frozen=True)
class Channel:
    """One column of the readings.

    Attributes:
        name: the label that the hardware gives.
        role: what it feeds: see `edgeexit.hardware.profiles.ROLES`.
        range_j: for counters: the energy at which it starts again from 0, J.
    """

    name: str
    role: str
    range_j: float | None = None


@dataclass(frozen=True)
class Capability:
    """Capability of a meter.

    Attributes:
        name: name of the adapter.
        scope: what the total covers; joules of different scopes are never compared.
        kind: `sampled` readings are W, `counter` readings are J since some start.
        channels: channels in the order of the readings.
        total: names of the channels whose sum is the scope's; () when no sum is.
        step: smallest change of the total: W when sampled, J when a counter; None when not known.
        interval_s: how often the hardware makes a new value; None when not known.
        rate_hz: at which to poll it without disturbing what is measured.
        notes: what a reader of the numbers must know.
    """

    name: str
    scope: str
    kind: Kind
    channels: tuple[Channel, ...]
    total: tuple[str, ...] = ()
    step: float | None = None
    interval_s: float | None = None
    rate_hz: float = 50.0
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The channels' names, in the order of the readings."""
        return tuple(channel.name for channel in self.channels)

    @property
    def subject(self) -> tuple[str, ...]:
        """The channels whose sum is reported: the total, else the one rail that computing moves, else none."""
        rails = {channel.role: channel.name for channel in reversed(self.channels)}
        rail = next((rails[role] for role in _COMPUTING if role in rails), None)
        return self.total or ((rail,) if rail else ())

    @property
    def subject_scope(self) -> str:
        """What the measured channels cover, as text."""
        return self.scope if self.total or not self.subject else f"rail {self.subject[0]} only"

    def subject_value(self, values: tuple[float, ...]) -> float:
        """The sum of the subject's channels in one reading; NaN if one of them did not answer."""
        wanted = set(self.subject)
        return sum(value for name, value in zip(self.names, values, strict=True) if name in wanted) if wanted else NAN


class PowerReading(NamedTuple):
    """All channels at one moment: monotonic time in s, how long reading took, values in W or J; NaN where one did not answer."""

    time_s: float
    cost_s: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class RejectedMeter:
    """A kind of meter that this machine does not offer: which, why, and what would mend it."""

    name: str
    why: str


class PowerMeter(ABC):
    """A power meter. Nothing is opened before `with`."""

    def __init__(self, capability: Capability, rejected: tuple[RejectedMeter, ...] = ()) -> None:
        self.capability = capability
        self.rejected = rejected
        self.adapter = ""  # set by `find_power_meter`: the name under which another process finds the same meter
        self._is_open = False

    def __enter__(self) -> PowerMeter:  # noqa: PYI034 - Self is of Python 3.11
        self._open()
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        self._close()

    @property
    def present(self) -> bool:
        """Whether there is anything to read."""
        return bool(self.capability.channels)

    def read(self) -> PowerReading:
        """Read every channel once.

        Raises:
            HardwareMissing: the meter is not open.
        """
        if not self._is_open:
            msg = f"the power meter {self.capability.name} is not open: use it in a `with` statement."
            raise HardwareMissing(msg)
        start_s = time.monotonic()
        values = self._read()
        end_s = time.monotonic()
        return PowerReading((start_s + end_s) / 2, end_s - start_s, values)

    def _open(self) -> None:  # noqa: B027 - most meters have nothing to open
        """Open files and libraries."""

    def _close(self) -> None:  # noqa: B027
        """Close them."""

    @abstractmethod
    def _read(self) -> tuple[float, ...]:
        """One value per channel, NaN where one does not answer."""


class NoPowerMeter(PowerMeter):
    """The absence of a power meter, with the reasons. It has no channels, so every energy is None and never 0."""

    def __init__(self, rejected: tuple[RejectedMeter, ...] = ()) -> None:
        super().__init__(Capability("none", "none", "sampled", ()), rejected)

    def _read(self) -> tuple[float, ...]:
        return ()


class FakePowerMeter(PowerMeter):
    """A meter whose readings are given, for tests: each `read` takes the next; after the last, the last again."""

    def __init__(self, capability: Capability, readings: list[tuple[float, ...]]) -> None:
        super().__init__(capability)
        self._readings = readings
        self._next = 0

    def _read(self) -> tuple[float, ...]:
        values = self._readings[min(self._next, len(self._readings) - 1)]
        self._next += 1
        return values
