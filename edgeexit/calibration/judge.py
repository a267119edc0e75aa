"""Whether the device confirms what was chosen: every bound of a target, predicted beside measured, with the room that noise takes."""

from __future__ import annotations

import math

import numpy as np

from edgeexit.calibration.device import Trial
from edgeexit.calibration.problem import limit_s
from edgeexit.calibration.replay import Floats, ReplayTable
from edgeexit.calibration.result import Check, Figures
from edgeexit.calibration.targets import Bound, Target
from edgeexit.calibration.verdicts import binomial_interval
from edgeexit.measure.statistics import Interval

TRACKING = 0.02
NOISE_FACTOR = 1.25
_Z = 1.959964


def tolerance_of(noise_floor: float, sampling_error: float) -> float:
    """How far measured may be from predicted, relative: the larger of 2 %, 1.25 noise floors, and the sampling error of both parts."""
    return max(TRACKING, NOISE_FACTOR * noise_floor, sampling_error)


def accuracy_interval(measured: Figures) -> Interval | None:
    """95 % interval of the measured accuracy; None without labels."""
    return None if measured.accuracy is None else binomial_interval(measured.accuracy, measured.samples)


def checks_of(
    table: ReplayTable,
    target: Target,
    predicted: Figures,
    run: tuple[Figures, ReplayTable, Trial] | None,
    tolerance: float,
) -> tuple[Check, ...]:
    """Every bound held against the prediction and, where there was one, the run on the device (figures, validation table, trial)."""
    return tuple(_check(table, bound, predicted, run, tolerance) for bound in target.bounds)


def _check(
    table: ReplayTable,
    bound: Bound,
    predicted: Figures,
    run: tuple[Figures, ReplayTable, Trial] | None,
    tolerance: float,
) -> Check:
    limit = (
        limit_s(table, bound) if bound.metric == "mean" else bound.of.tail if bound.of.tail is not None else bound.limit
    )
    assert limit is not None
    foreseen = _value(bound, predicted, table)
    if bound.of.tail is not None:
        foreseen = float(np.dot(predicted.exit_rates, table.over(bound.limit)))
    if run is None:
        return Check(str(bound), limit, foreseen, None, 0.0, met=True)
    measured, validation, trial = run
    value = _value(bound, measured, validation)
    if bound.of.tail is not None:
        value = _tail_of_run(bound.limit, trial)
    room = _room(bound, limit, measured, validation, tolerance)
    beyond = value - limit if bound.of.sign == "<=" else limit - value
    return Check(str(bound), limit, foreseen, value, room, met=beyond <= room)


def _value(bound: Bound, figures: Figures, table: ReplayTable) -> float:
    if bound.metric == "rate":
        assert bound.exit is not None
        return figures.exit_rates[bound.exit - 1]
    if bound.metric == "drop":
        assert table.correct is not None
        assert figures.accuracy is not None
        return 100 * (float(table.correct[:, -1].mean()) - figures.accuracy)
    names = {"mean": figures.mean_s, "energy": figures.energy_j, "macs": figures.macs, "accuracy": figures.accuracy}
    value = {**names, "agreement": figures.agreement}.get(bound.metric, 0.0)
    assert value is not None
    return value


def _tail_of_run(limit: float, trial: Trial) -> float:
    """Share of the run's inferences over the limit."""
    latencies: Floats = trial.latency_s
    return float((latencies > limit).mean())


def _room(bound: Bound, limit: float, measured: Figures, validation: ReplayTable, tolerance: float) -> float:
    """Noise and sampling error of a measured value, in its own unit: 95 % for shares, the tolerance for means."""
    n = measured.samples
    if bound.metric in ("mean", "energy", "macs"):
        return limit * tolerance
    if bound.of.tail is not None or bound.metric in ("rate", "accuracy", "agreement"):
        return _Z * math.sqrt(max(limit * (1 - limit), 1 / n) / n)
    assert validation.correct is not None
    differing = float((validation.correct != validation.correct[:, -1:]).any(axis=1).mean())
    return 100 * _Z * math.sqrt(max(differing, 1 / n) / n)
