"""Where the time goes: stages, gates, overhead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeexit.backends import Settings
from edgeexit.bundle import Bundle
from edgeexit.measure.breakdown import breakdown_of, stages_of_files, time_parts
from edgeexit.measure.worker import split_samples
from tests.measure.conftest import open_bundle


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_every_part_of_every_exit_is_measured(compiled: Path, samples: NDArray[np.float32], mode: str) -> None:
    """A fused graph holds its gates; staged engines are timed with and without."""
    with open_bundle(compiled, [0.0, 0.0], mode) as runner:
        parts = time_parts(runner, split_samples(samples), seconds=0.2, seed=0)
    costs = breakdown_of([parts, parts])

    assert [1, 2, 3] == [cost.exit for cost in costs.exits]
    assert all(cost.stage_s > 0 for cost in costs.exits) or mode == "fused"
    assert (mode == "staged") == all(cost.gate_s is not None for cost in costs.exits)
    assert (mode == "staged") == (costs.reason is None)


def test_without_their_criteria_the_stages_answer_the_same(compiled: Path, samples: NDArray[np.float32]) -> None:
    """Only the score is gone."""
    bundle, settings = Bundle.open(compiled), Settings(mode="staged")
    whole, bare = (stages_of_files(bundle, settings, scored=scored) for scored in (True, False))
    for program in (whole, bare):
        next(iter(program.inputs.values()))[...] = samples[:1]
        program.run((np.inf, np.inf))

    for k in (1, 2, 3):
        assert np.array_equal(whole.logits(k), bare.logits(k))
        assert 0.0 != whole.score(k)
        assert 0.0 == bare.score(k)


def test_the_median_over_processes_is_reported() -> None:
    """One process that stalled does not move it; what is not told apart is None, never 0."""
    processes = [
        {"stage_s": np.array([s]), "gate_s": np.array([np.nan]), "overhead_s": np.array([1e-6])}
        for s in (1e-5, 2e-5, 1e-3)
    ]
    cost = breakdown_of(processes).exits[0]

    assert (2e-5, None, 1e-6) == (cost.stage_s, cost.gate_s, cost.overhead_s)
