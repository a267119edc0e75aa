"""The verdict of a calibration: three statements, on the bounds, the prediction and the machine.

    bounds        met · not met · undecided             is the target kept
    prediction    confirmed · off · undecided · not run was the mean latency what the replay table predicted
    machine       quiet · noisy · not run               could times be measured at all

Only the bounds make a calibration a success or a failure. A device faster than predicted fails nothing, and on a noisy machine nothing
about time is decided.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeexit.util import units

MET, NOT_MET, UNDECIDED = "met", "not met", "undecided"
CONFIRMED, OFF, NOT_RUN = "confirmed", "off", "not run"
QUIET, NOISY = "quiet", "noisy"

NOISE_LIMIT = 0.05
"""A machine whose noise is larger than this, relative, decides nothing about time."""


@dataclass(frozen=True)
class CalibrationVerdict:
    """The three statements.

    Attributes:
        bounds: "met", "not met" or "undecided": of all bounds together.
        prediction: "confirmed"; "off" where the mean took longer than predicted, beyond the tolerance; "undecided" on a noisy machine; "not
            run" where another target was tuned from the curve.
        off_by: measured mean latency over the predicted one, less 1; None where nothing was run.
        machine: "quiet", "noisy" or "not run".
        noise: relative noise that was measured; None where nothing was run. noise_limit: above it a machine is noisy.
        reasons: why the machine is noisy.
        undecided: the bounds that are undecided, as written.
        missed: the bounds that are not met, as written.
        advice: what to do; empty where there is nothing to do.
    """

    bounds: str = UNDECIDED
    prediction: str = NOT_RUN
    off_by: float | None = None
    machine: str = NOT_RUN
    noise: float | None = None
    noise_limit: float = NOISE_LIMIT
    reasons: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether all bounds are met."""
        return self.bounds == MET

    def lines(self) -> tuple[tuple[str, str], ...]:
        """The three statements as sentences: (what, sentence)."""
        return (
            ("bounds", self.bounds_text()),
            ("prediction", self.prediction_text()),
            ("machine", self.machine_text()),
        )

    def bounds_text(self) -> str:
        """Of the bounds: `undecided: drop<=0.5`."""
        if self.bounds == MET:
            return "met"
        parts = [f"NOT MET: {', '.join(self.missed)}"] if self.missed else []
        return "; ".join(parts + ([f"undecided: {', '.join(self.undecided)}"] if self.undecided else []))

    def prediction_text(self) -> str:
        """Of the prediction: `off: the mean took 13.2 % longer than predicted`."""
        if self.off_by is None:
            return "not run on the device"
        way = "longer" if self.off_by > 0 else "less time"
        return f"{self.prediction}: the mean took {units.percent(abs(self.off_by), 1)} {way} than predicted"

    def machine_text(self) -> str:
        """Of the machine: `noisy: noise 12.1 % (limit 5.0 %); other processes used 1.0 cores`."""
        if self.noise is None:
            return "not measured"
        measured = f"noise {units.percent(self.noise, 1)} (limit {units.percent(self.noise_limit, 1)})"
        return f"{self.machine}: {'; '.join([measured, *self.reasons])}"

    def summary(self) -> str:
        """All three in one line."""
        target = {MET: "target met", NOT_MET: "target NOT MET", UNDECIDED: "target undecided"}[self.bounds]
        off = f" by {units.percent(abs(self.off_by), 1)}" if self.prediction == OFF and self.off_by is not None else ""
        return f"{target}; prediction {self.prediction}{off}; machine {self.machine}"


def combine_bound_states(states: Iterable[str]) -> str:
    """One word for several bounds: a single one that is not met decides, else a single undecided one."""
    found = set(states)
    return NOT_MET if NOT_MET in found else UNDECIDED if UNDECIDED in found else MET
