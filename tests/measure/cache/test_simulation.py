"""Caches simulated by valgrind, one mode each: a simulation takes seconds."""

from __future__ import annotations

import errno
import json
import platform
import shutil
from itertools import pairwise

import numpy as np
import pytest

from edgeexit.hardware import find_profile
from edgeexit.measure.cache.measurement import measure_runner_cache
from edgeexit.measure.cache.simulation import Region, build_simulated_geometry, simulate
from edgeexit.measure.cache.sweep import sweep_cache
from edgeexit.runtime import Runner
from tests.measure.cache.test_cache import ORIN_NANO, refusing
from tests.networks import SIDE

pytestmark = pytest.mark.skipif(
    shutil.which("valgrind") is None or platform.machine() != "x86_64", reason="needs valgrind on x86-64"
)


@pytest.fixture
def samples() -> list[np.ndarray]:
    inputs = np.random.default_rng(0).standard_normal((6, 3, SIDE, SIDE)).astype(np.float32)
    return [inputs[i : i + 1] for i in range(len(inputs))]


@pytest.mark.parametrize("runner", ["staged"], indirect=True)
def test_simulation_repeats_and_deeper_exits_miss_more(runner: Runner, samples: list[np.ndarray]) -> None:
    """Instructions of two runs agree within 0.5 %, misses within 3 % (addresses differ between runs); deeper exits execute more."""
    first, second = (
        measure_runner_cache(runner, samples, device=ORIN_NANO, opener=refusing(errno.ENOENT)).simulated
        for _ in range(2)
    )

    assert first is not None
    assert second is not None
    for name in ("exit 1", "exit 3", "mix", "backbone"):
        assert first.find_call(name).instructions == pytest.approx(second.find_call(name).instructions, rel=0.005)
        assert first.find_call(name).level("L1D").misses == pytest.approx(
            second.find_call(name).level("L1D").misses, rel=0.03, abs=2
        )
    assert (
        (first.find_call("exit 1").instructions or 0)
        < (first.find_call("exit 2").instructions or 0)
        < (first.find_call("exit 3").instructions or 0)
    )
    assert "simulated" == first.source
    assert ORIN_NANO == first.device
    assert "simulated, not measured" in first.validity.reasons


@pytest.mark.parametrize("runner", ["fused"], indirect=True)
def test_misses_fall_as_the_threshold_loosens(runner: Runner, samples: list[np.ndarray]) -> None:
    """Figure 6 of BranchyNet: from no early leaver to all, misses per inference fall, to within the repeatability of 3 %."""
    before = runner.inner_thresholds
    sweep = sweep_cache(runner, samples, points=4, device=ORIN_NANO)
    misses = [point.cache.level("L1D").misses for point in sweep.points if point.cache]

    assert "simulated" == sweep.source
    assert 4 == len(misses)
    assert all(later <= earlier * 1.03 + 2 for earlier, later in pairwise(misses))
    assert 1.0 == sweep.points[-1].shares[0]
    assert 1.0 == sweep.points[0].shares[-1]
    assert before == runner.inner_thresholds
    assert json.loads(json.dumps(sweep.to_document(), allow_nan=False))["points"][0]["thresholds"][0] in ("inf", "-inf")


@pytest.mark.parametrize("runner", ["fused"], indirect=True)
def test_the_first_region_finds_the_inputs_in_the_cache_as_the_next_does(runner: Runner) -> None:
    """An input is read once before anything is counted; reading one costs 12 lines, which the strictest threshold alone would pay."""
    inputs = list(np.random.default_rng(0).standard_normal((60, 1, 3, SIDE, SIDE)).astype(np.float32))
    twice = [Region("first", "forced", 1), Region("second", "forced", 1)]

    first, second = simulate(runner, inputs, twice, build_simulated_geometry(find_profile(ORIN_NANO).cache))

    assert first.level("LL").misses == pytest.approx(second.level("LL").misses, abs=3)
