"""Where the time goes: stages, gates, overhead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeexit.backends import Settings, find_backend
from edgeexit.backends.host import HostStaged
from edgeexit.bundle import Bundle
from edgeexit.errors import HardwareMissing
from edgeexit.measure import BenchOptions, load_suite
from edgeexit.measure.breakdown import open_stage_files, summarize_breakdown, time_parts
from edgeexit.measure.processes import ProcessResult
from edgeexit.measure.worker import Job, RunnerSpec, measure
from edgeexit.util.samples import split_samples
from tests.support.measured import open_bundle


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_every_part_of_every_exit_is_measured(compiled: Path, samples: NDArray[np.float32], mode: str) -> None:
    """A fused graph holds its gates; staged engines are timed with and without."""
    with open_bundle(compiled, [0.0, 0.0], mode) as runner:
        parts = time_parts(runner, split_samples(samples), seconds=0.2, seed=0)
    costs = summarize_breakdown([parts, parts])

    assert [1, 2, 3] == [cost.exit for cost in costs.exits]
    assert all(cost.stage_s > 0 for cost in costs.exits) or mode == "fused"
    assert (mode == "staged") == all(cost.gate_s is not None for cost in costs.exits)
    assert (mode == "staged") == (costs.reason is None)


def test_without_their_criteria_the_stages_answer_the_same(compiled: Path, samples: NDArray[np.float32]) -> None:
    """Only the score is gone."""
    bundle, settings = Bundle.open(compiled), Settings(mode="staged")
    whole, bare = (open_stage_files(bundle, settings, scored=scored) for scored in (True, False))
    for program in (whole, bare):
        next(iter(program.inputs.values()))[...] = samples[:1]
        program.run((np.inf, np.inf))

    for k in (1, 2, 3):
        assert np.array_equal(whole.logits(k), bare.logits(k))
        assert 0.0 != whole.score(k)
        assert 0.0 == bare.score(k)


def test_what_was_opened_is_closed_where_a_later_chain_cannot_be_built(
    compiled: Path, samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engines hold memory, of which there may be too little: then the last one opened is closed first."""
    closed: list[str] = []

    def stages(bundle: Bundle, settings: Settings, *, scored: bool) -> HostStaged:
        if not scored:
            msg = "out of memory"
            raise HardwareMissing(msg)
        program = open_stage_files(bundle, settings, scored=scored)
        monkeypatch.setattr(program, "close", lambda: closed.append("scored"))
        return program

    def open_staged(bundle: Bundle, settings: Settings) -> HostStaged:
        program = open_stage_files(bundle, settings, scored=True)
        monkeypatch.setattr(program, "close", lambda: closed.append("engine"))
        return program

    monkeypatch.setattr("edgeexit.measure.breakdown.open_stage_files", stages)
    with open_bundle(compiled, [0.0, 0.0], "staged") as runner:
        backend = find_backend("onnxruntime")
        monkeypatch.setattr(backend, "open_staged", open_staged)
        monkeypatch.setattr("edgeexit.measure.breakdown.find_backend", lambda name: backend)
        with pytest.raises(HardwareMissing, match="out of memory"):
            time_parts(runner, split_samples(samples), seconds=0.2, seed=0)

    assert ["scored", "engine"] == closed


@pytest.mark.slow
def test_a_breakdown_that_fails_keeps_the_latencies(
    compiled: Path, suites: Path, samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its engines are opened once more, for which a device may lack the memory; when the last pass ended is noted all the same."""

    def fails(*_: object) -> None:
        msg = "the engines need more memory than there is"
        raise HardwareMissing(msg)

    monkeypatch.setattr("edgeexit.measure.worker.time_parts", fails)
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, allow_pickle=False, trace=np.arange(8), **{"input.": samples[:8]})
    with open_bundle(compiled, [0.0, 0.0]) as runner:
        options = BenchOptions(suite=load_suite(str(suites / "tiny.toml")), flush_bytes=1024)
        job = Job(RunnerSpec.from_runner(runner), options, inputs=str(inputs))
    found = ProcessResult(measure(job, import_s=0.0), np.arange(8))

    assert "the engines need more memory than there is" == found.parts
    assert len(found.samples("mixture")) > 0
    assert found.arrays["rounds_s"][-1] < found.span[1]


def test_the_median_over_processes_is_reported() -> None:
    """One process that stalled does not move it; what is not told apart is None, never 0."""
    processes = [
        {"stage_s": np.array([s]), "gate_s": np.array([np.nan]), "overhead_s": np.array([1e-6])}
        for s in (1e-5, 2e-5, 1e-3)
    ]
    cost = summarize_breakdown(processes).exits[0]

    assert (2e-5, None, 1e-6) == (cost.stage_s, cost.gate_s, cost.overhead_s)
