"""The options of an energy measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeexit.errors import InputError
from edgeexit.hardware.power import PowerMeter
from edgeexit.hardware.power.recorder import Recorder
from edgeexit.measure.energy.windows import EnergySchedule, SystemClock, TimeSource

_UPDATES, _IDLE_UPDATES = 200, 10
"""A loop and an idle window last at least this many updates of the slowest meter."""


@dataclass(frozen=True, kw_only=True)
class EnergyOptions:
    """With which meters energy is measured, how long and how often.

    Attributes:
        meter: power meter to read; None uses every meter of this machine: the report is that of the best one that measured, the
            others stand beside it.
        recorder: used instead of sampling `meter` by another process: an external meter's log, or a test's simulation.
        also: more recorders of the same work; their reports stand beside the first one that measured and are never added to it.
        seconds: length of every loop; longer where the meter needs it (200 of its updates).
        idle_s: mean length of the idle windows, seconds.
        trials: how often all calls are measured.
        seed: random seed of the order of the calls.
        clock: clock of the recorder's time stamps.

    Raises:
        InputError: a length is not positive, or there is no trial.
    """

    meter: PowerMeter | None = None
    recorder: Recorder | None = None
    also: Sequence[Recorder] = ()
    seconds: float = 10.0
    idle_s: float = 5.0
    trials: int = 5
    seed: int = 0
    clock: TimeSource = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        """Check the values, before anything is measured."""
        if min(self.seconds, self.idle_s) <= 0 or self.trials < 1:
            msg = f"seconds ({self.seconds}) and idle_s ({self.idle_s}) must be positive, trials ({self.trials}) at least 1."
            raise InputError(msg)

    def make_schedule(self, recorders: Sequence[Recorder]) -> EnergySchedule:
        """The lengths of loops and idle windows that these recorders need, at least those asked for."""
        update_s = max(max(r.capability.interval_s or 0.0, 1.0 / r.capability.rate_hz) for r in recorders)
        return EnergySchedule(
            max(self.seconds, _UPDATES * update_s),
            max(self.idle_s, _IDLE_UPDATES * update_s),
            trials=self.trials,
            seed=self.seed,
        )
