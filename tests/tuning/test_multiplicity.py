"""As how many independent candidates those of a run count."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from edgeexit.calibration import ReplayTable, parse_target
from edgeexit.calibration.margins import TimingErrors, tighten_target
from edgeexit.calibration.solver.problem import build_problem
from edgeexit.calibration.uncertainty import compute_z
from edgeexit.tuning.multiplicity import count_independent_candidates

TAIL = 0.00125


def test_candidates_that_err_on_the_same_samples_count_as_one_and_independent_ones_all() -> None:
    """Nearly all: two that are beyond at once count once; those that never lose count as none."""
    rng = np.random.default_rng(0)
    lost = (rng.random((3000, 12)) < 0.1).astype(np.int8)
    assert count_independent_candidates(lost, TAIL) == pytest.approx(12, rel=0.02)
    assert count_independent_candidates(lost[:, [0] * 12], TAIL) == pytest.approx(1)
    assert count_independent_candidates(np.zeros((100, 12)), TAIL) == 1
    assert count_independent_candidates(lost[:, :1], TAIL) == 1


def test_the_number_agrees_with_draws_of_all_deviations() -> None:
    """The probability that any candidate is beyond, counted in a million plain draws, over that of one."""
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((2000, 1))
    losses = 0.8 * shared + 0.6 * rng.standard_normal((2000, 5))
    root = np.linalg.cholesky(np.corrcoef(losses.T))
    beyond = (rng.standard_normal((1_000_000, 5)) @ root.T) > compute_z(
        1, 0.005 / 0.02
    )  # a tail of 2 %, of which there are enough
    assert count_independent_candidates(losses, 0.02) == pytest.approx(
        beyond.any(axis=1).mean() / beyond.mean(), rel=0.05
    )


def test_whichever_counted_candidate_is_taken_looks_too_good_no_more_often_than_one_alone() -> None:
    """Candidates that all lie at the bound and lose on much the same samples: the one that chance favours most, drawn 3,000 times anew, is
    beyond the room for their number as seldom as the tail says; beyond the room of a single one it is more often.
    """
    rng, tail, samples = np.random.default_rng(2), 0.05, 400
    hard = rng.random((3000, samples, 1)) < 0.5
    losses = (hard & (rng.random((3000, samples, 6)) < 0.2)).astype(np.float64)
    counted = count_independent_candidates(losses[0], tail)
    luck = (0.1 - losses.mean(axis=1)).max(axis=1) / (0.1 * 0.9 / samples) ** 0.5
    beyond = [np.mean(luck > -NormalDist().inv_cdf(tail / number)) for number in (counted, 1.0)]
    assert beyond[0] <= tail + 3 * (tail / 3000) ** 0.5
    assert beyond[1] > 2 * tail


@pytest.mark.parametrize("samples", [400, 2000, 10_000])
def test_several_candidates_never_keep_less_room_than_one_alone(samples: int) -> None:
    """Whether the room is the half width that is judged with, or fewer standard errors because of few samples."""
    rng = np.random.default_rng(samples)
    score = rng.random((samples, 1))
    correct = np.column_stack([rng.random(samples) < 0.9 + 0.1 * score[:, 0], rng.random(samples) < 0.98])
    table = ReplayTable.from_arrays(scores=score, correct=correct, cost_s=[0.001, 0.003])
    problem = build_problem(table, parse_target("drop<=1"))
    errors = TimingErrors(0.01, 0.01)
    limits = [tighten_target(problem, errors, samples, m).bounds[0].limit for m in (1.0, 2.0, 5.0, 30.0)]
    assert limits[0] == max(limits)
