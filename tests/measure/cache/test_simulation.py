"""Caches simulated by valgrind, in two processes for all rules: Python takes seconds to start in it."""

from __future__ import annotations

import errno
import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeexit.measure.cache.measurement import measure_runner_cache
from edgeexit.measure.cache.report import MIX, CacheReport, CallCache
from edgeexit.measure.cache.simulation import Region, simulate
from edgeexit.measure.cache.sweep import CacheSweep, sweep_cache
from edgeexit.runtime import Runner
from tests.measure.cache.test_cache import ORIN_NANO, refusing
from tests.networks import SIDE
from tests.support.measured import open_bundle

pytestmark = pytest.mark.skipif(
    shutil.which("valgrind") is None or platform.machine() != "x86_64", reason="needs valgrind on x86-64"
)


@dataclass(frozen=True)
class Simulated:
    """What two processes counted.

    Attributes:
        report: of the first: every exit, the mixture and the backbone.
        again: of the second: twice leaving at exit 1 (`first` and `second`), and of the report's calls some, by name.
        sweep: of the second as well.
        kept: whether the runner's thresholds were afterwards what they had been.
    """

    report: CacheReport
    again: dict[str, CallCache]
    sweep: CacheSweep
    kept: bool


@pytest.fixture(scope="module")
def simulated(compiled: Path) -> Simulated:
    """The bundle with thresholds that let some samples leave at each exit, in the fused mode, on inputs of which none comes twice."""
    inputs = list(np.random.default_rng(0).standard_normal((50, 1, 3, SIDE, SIDE)).astype(np.float32))
    again: dict[str, CallCache] = {}
    with open_bundle(compiled, [1.197, 1.18]) as runner, pytest.MonkeyPatch.context() as patch:
        before = runner.inner_thresholds
        more = (
            *(Region(name, "forced", 1) for name in ("first", "second")),
            Region(MIX, "mix", inner_thresholds=before),
        )

        def simulate_more(
            runner: Runner, inputs: Any, regions: Sequence[Region], *others: Any
        ) -> tuple[CallCache, ...]:
            counted = simulate(runner, inputs, [*more, *regions], *others)
            again.update((call.name, call) for call in counted[: len(more)])
            return counted[len(more) :]

        report = measure_runner_cache(runner, inputs, device=ORIN_NANO, opener=refusing(errno.ENOENT)).simulated
        patch.setattr("edgeexit.measure.cache.sweep.simulate", simulate_more)
        sweep = sweep_cache(runner, inputs, points=3, device=ORIN_NANO)
        assert report is not None
        return Simulated(report, again, sweep, before == runner.inner_thresholds)


def test_simulation_repeats_and_deeper_exits_miss_more(simulated: Simulated) -> None:
    """Instructions of two runs agree within 0.5 %, misses within 3 % (addresses differ between runs); deeper exits execute more."""
    report, again = simulated.report, simulated.again
    for name, repeated in {"exit 1": again["second"], MIX: again[MIX]}.items():
        call = report.find_call(name)
        assert call.instructions == pytest.approx(repeated.instructions, rel=0.005)
        assert call.level("L1D").misses == pytest.approx(repeated.level("L1D").misses, rel=0.03, abs=2)
    executed = [report.find_call(f"exit {k}").instructions or 0 for k in (1, 2, 3)]
    assert sorted({*executed}) == executed
    assert "simulated" == report.source
    assert ORIN_NANO == report.device
    assert "simulated, not measured" in report.validity.reasons


def test_misses_fall_as_the_threshold_loosens(simulated: Simulated) -> None:
    """Figure 6 of BranchyNet: from no early leaver to all, misses per inference fall, to within the repeatability of 3 %."""
    sweep = simulated.sweep
    misses = [point.cache.level("L1D").misses for point in sweep.points if point.cache]

    assert "simulated" == sweep.source
    assert 3 == len(misses)
    assert all(later <= earlier * 1.03 + 2 for earlier, later in pairwise(misses))
    assert 1.0 == sweep.points[-1].shares[0]
    assert 1.0 == sweep.points[0].shares[-1]
    assert simulated.kept
    assert json.loads(json.dumps(sweep.to_document(), allow_nan=False))["points"][0]["thresholds"][0] in ("inf", "-inf")


def test_the_first_region_finds_the_inputs_in_the_cache_as_the_next_does(simulated: Simulated) -> None:
    """An input is read once before anything is counted; reading one costs 12 lines, which the strictest threshold alone would pay."""
    first, second = (simulated.again[name].level("LL").misses for name in ("first", "second"))

    assert first == pytest.approx(second, abs=3)
