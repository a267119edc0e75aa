"""The numbers of the pictures that a calibration deserves; drawing them is `report`'s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeexit.calibration.replay import Floats, ReplayTable
from edgeexit.calibration.result import Calibration
from edgeexit.calibration.solver.baselines import BASELINES
from edgeexit.calibration.solver.families import compute_rank_key
from edgeexit.calibration.solver.pareto_front import Front
from edgeexit.calibration.solver.problem import build_problem
from edgeexit.calibration.solver.search import Policy, make_policy
from edgeexit.calibration.targets import Bound, Target
from edgeexit.calibration.verdicts import compute_sampling_error
from edgeexit.measure.shares import share_interval
from edgeexit.measure.statistics import Interval


@dataclass(frozen=True)
class PolicyPoint:
    """A policy in the accuracy-latency plane, with its 95 % box."""

    name: str
    mean_s: float
    quality: float
    mean_box: Interval
    quality_box: Interval


@dataclass(frozen=True, eq=False)
class FrontPicture:
    """The front [points], the chosen policy, and what baselines choose within the same mean."""

    means_s: Floats
    qualities: Floats
    chosen: PolicyPoint
    baselines: tuple[PolicyPoint, ...]


@dataclass(frozen=True, eq=False)
class ThresholdPicture:
    """BranchyNet's Figure 4 for one exit: what its threshold alone does, all others never leaving.

    Attributes:
        exit: from 1. thresholds: inner, rising [points].
        rate: share leaving there. quality: of the whole. own_quality: of those that leave there (NaN where nobody does).
    """

    exit: int
    thresholds: Floats
    rate: Floats
    quality: Floats
    own_quality: Floats


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """Inner scores of one early exit in bins, split by whether the exit is right: edges [bins + 1], counts [bins]."""

    exit: int
    edges: Floats
    right: Floats
    wrong: Floats


@dataclass(frozen=True)
class PredictedMeasured:
    """One quantity, predicted and measured, with the room that noise takes; in the unit of its bound."""

    name: str
    predicted: float
    measured: float
    room: float


def build_front_picture(
    table: ReplayTable, path: Front, chosen: Policy, names: Sequence[str] = tuple(BASELINES)
) -> FrontPicture:
    """The front of a table with the chosen policy and the baselines that can stay within its mean."""
    target = Target((Bound("mean", chosen.mean_s * (1 + 1e-9)),))
    problem = build_problem(table, target)
    others = []
    for name in names:
        found = BASELINES[name](problem)
        if compute_rank_key(problem, found)[0] >= 0:
            others.append(_make_policy_point(table, name, make_policy(problem, found, None)))
    return FrontPicture(path.means_s, path.qualities, _make_policy_point(table, "chosen", chosen), tuple(others))


def build_threshold_pictures(table: ReplayTable, points: int = 100) -> tuple[ThresholdPicture, ...]:
    """One picture per early exit."""
    return tuple(_build_threshold_picture(table, k, points) for k in range(table.exits - 1))


def score_histograms(table: ReplayTable, bins: int = 40) -> tuple[ScoreHistogram, ...]:
    """One histogram per early exit."""
    flags = table.correct if table.correct is not None else table.agreement
    assert flags is not None
    made = []
    for k, scores in enumerate(table.scores.T):
        edges = np.histogram_bin_edges(scores.astype(np.float64), bins)
        right, wrong = (np.histogram(scores[mask], edges)[0].astype(np.float64) for mask in (flags[:, k], ~flags[:, k]))
        made.append(ScoreHistogram(k + 1, edges, right, wrong))
    return tuple(made)


def pair_predicted_and_measured(result: Calibration) -> tuple[PredictedMeasured, ...]:
    """The mean latency and every bound that was measured; empty where nothing was run."""
    if result.measured is None:
        return ()
    mean = PredictedMeasured(
        "mean latency", result.predicted.mean_s, result.measured.mean_s, result.tolerance * result.predicted.mean_s
    )
    bounds = (
        PredictedMeasured(c.bound, c.predicted, c.measured, c.room) for c in result.checks if c.measured is not None
    )
    return (mean, *bounds)


def _build_threshold_picture(table: ReplayTable, k: int, points: int) -> ThresholdPicture:
    flags = table.correct if table.correct is not None else table.agreement
    assert flags is not None
    scores = table.scores[:, k]
    thresholds = np.unique(np.quantile(scores.astype(np.float64), np.linspace(0, 1, points)))
    leaving = scores[None, :] >= thresholds[:, None].astype(np.float32)
    counts = leaving.sum(axis=1)
    own = (leaving & flags[None, :, k]).sum(axis=1)
    rest = (~leaving & flags[None, :, -1]).sum(axis=1)
    with np.errstate(invalid="ignore"):
        own_quality = own / counts
    return ThresholdPicture(k + 1, thresholds, counts / len(table), (own + rest) / len(table), own_quality)


def _make_policy_point(table: ReplayTable, name: str, policy: Policy) -> PolicyPoint:
    half = policy.mean_s * compute_sampling_error(table, policy)
    box = Interval(policy.mean_s - half, policy.mean_s + half)
    return PolicyPoint(name, policy.mean_s, policy.quality, box, share_interval(policy.quality, len(table)))
