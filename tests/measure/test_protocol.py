"""What a measurement holds, end to end, in fresh processes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edgeexit
from edgeexit.errors import HardwareMissing, InputError
from edgeexit.measure import BenchOptions, BenchResult
from edgeexit.measure import suites as suites_module
from edgeexit.measure.options import FLUSH_BYTES
from edgeexit.measure.processes import run_process
from edgeexit.measure.result.assembly import find_audit_faults
from edgeexit.measure.verdict import Processes, compare_processes
from edgeexit.measure.worker import Job, RunnerSpec
from edgeexit.runtime import Runner
from edgeexit.util.progress import show_nothing
from tests.support.measured import open_bundle


def test_every_exit_and_both_sides_are_measured(result: BenchResult) -> None:
    """Strata first: each exit in the mixture and forced, then the mixture, then the backbone."""
    assert [1, 2, 3] == [e.exit for e in result.latency.per_exit]
    assert all(e.forced.n > 0 for e in result.latency.per_exit)
    assert result.latency.mixture.n > 0
    assert result.latency.backbone.n > 0
    assert 2 == result.latency.processes


def test_decisions_are_the_same_in_every_pass(result: BenchResult) -> None:
    """Otherwise the result would be invalid and say so."""
    assert not any("left at another exit" in reason for reason in result.validity.reasons)
    assert "invalid" != result.validity.status


def test_shares_are_those_of_the_accuracy_pass(result: BenchResult, compiled: Path, balanced: list[float]) -> None:
    """The shares add up to one, and each is the count of samples that left there."""
    assert pytest.approx(1.0) == sum(e.share for e in result.accuracy.per_exit)
    assert result.workload.n == sum(e.n for e in result.accuracy.per_exit)
    assert min(e.share for e in result.accuracy.per_exit) > 0.0


def test_the_mean_is_the_mixture_of_the_exits(result: BenchResult) -> None:
    """Σ share · mean of each exit, where each process timed some sample of every exit."""
    natural = [(e.share, e.natural.mean_s) for e in result.latency.per_exit if e.natural is not None]
    if len(natural) < len(result.latency.per_exit):
        assert any("too few samples of exit" in note for note in result.notes)
        return
    assert pytest.approx(result.latency.mixture.mean_s) == sum(share * mean_s for share, mean_s in natural)


def test_what_was_not_measured_is_null_with_a_reason(result: BenchResult) -> None:
    """Never zero."""
    assert result.energy is None
    assert "not part of preset tiny (--energy)" == result.energy_reason
    assert result.cache is not None
    assert result.cache.sweep is None
    assert result.paced_reason is None


def test_paced_latency_counts_from_the_scheduled_arrival(result: BenchResult) -> None:
    """So it is never less than the inference itself."""
    assert result.paced is not None
    for variant in (result.paced.mixture, result.paced.backbone):
        assert variant.n == 20
        assert variant.mean_s >= variant.service_mean_s


def test_cold_inferences_are_as_many_as_the_suite_says(result: BenchResult) -> None:
    """Of each side and process; the result says how much was streamed through before each."""
    assert result.cold is not None
    assert 3 * result.workload.processes == result.cold.mixture.n == result.cold.backbone.n
    assert FLUSH_BYTES == result.cold.flushed_bytes


def test_another_early_exit_is_timed_in_the_same_processes(result: BenchResult) -> None:
    """The comparison is paired, and names what it was against."""
    assert result.against is not None
    assert "staged" == result.against.subject.mode
    assert result.against.comparison.paired
    assert result.accuracy.overall == result.against.accuracy


def test_an_input_seen_again_is_timed_beside_inputs_in_turn(result: BenchResult) -> None:
    """Both forced to the last exit, so that only what is kept could tell them apart."""
    assert result.audit is not None
    assert 32 < result.audit.inputs <= 64
    assert result.audit.comparison.paired
    assert result.audit.same.n > 0
    assert result.audit.unique.n > 0


@pytest.mark.parametrize(("ratio", "doubts"), [(1.0, 0), (0.95, 0), (0.5, 1)])
def test_answers_that_come_sooner_the_second_time_are_doubted(result: BenchResult, ratio: float, doubts: int) -> None:
    """From a tenth on; less is what an input in the first-level cache saves."""
    assert result.audit is not None
    slow = (1e-5, 1.01e-5, 0.99e-5)
    fast = tuple(ratio * s for s in slow)
    comparison = compare_processes(Processes(slow, slow), Processes(fast, fast), paired=True)
    assert doubts == len(list(find_audit_faults(replace(result.audit, comparison=comparison))))


def test_few_samples_give_no_tail_bound(result: BenchResult) -> None:
    """p99.9 of a tenth of a second has no bound, and says how many samples it needs."""
    assert result.cold is not None
    tail = result.cold.mixture.percentile(99.9)
    assert tail.upper_c99_s is None
    assert 6636 == tail.needed


def test_raw_samples_are_kept_with_their_exits(result: BenchResult) -> None:
    """Enough to draw every picture again."""
    raw = result.raw
    assert len(raw["mixture_s"]) == len(raw["mixture_exit"]) == len(raw["mixture_process"])
    assert {1, 2, 3} == set(raw["forced_exit"].tolist())
    assert (result.workload.n, 3) == raw["scores"].shape == raw["hits"].shape


def test_every_raw_array_is_described_and_every_described_one_is_there(result: BenchResult) -> None:
    """The docstring is the only description of the .npz."""
    _, _, said = (BenchResult.__doc__ or "").partition("`raw` holds")
    described = set(re.findall(r"`(\w+)`", said)) - {"channels"}
    kept = {name for name in result.raw if not re.fullmatch(r"state_[1-9]\d*", name)}
    assert described - {"state_0"} == kept - {"state_0"}  # a machine may show no state


def test_an_interruption_keeps_the_processes_that_ended(
    compiled: Path, suites: Path, samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process of two is a result with a doubt; none at all is an interruption."""
    monkeypatch.setattr(suites_module, "find_data_dir", lambda kind: suites)
    calls = [0]

    def stops(*arguments: Any, **options: Any) -> dict[str, NDArray[Any]]:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return run_process(*arguments, **options)

    monkeypatch.setattr("edgeexit.measure.protocol.run_process", stops)
    runner = open_bundle(compiled, [-np.inf, 0.0])
    kept = edgeexit.bench(runner, samples, preset="tiny")
    assert "interrupted after 1 of 2 processes" in kept.validity.reasons
    assert "AMBIGUOUS" == kept.latency.against_backbone.verdict
    calls[0] = 1
    with pytest.raises(KeyboardInterrupt):
        edgeexit.bench(runner, samples, preset="tiny")


def test_an_interruption_of_the_caches_keeps_the_energy(
    compiled: Path, suites: Path, samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the reason why there is none, which is not that it was interrupted."""
    monkeypatch.setattr(suites_module, "find_data_dir", lambda kind: suites)

    def stops(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeexit.measure.energy_and_cache.measure_runner_cache", stops)
    kept = edgeexit.bench(open_bundle(compiled, [0.0, 0.0]), samples, preset="single")
    assert "not part of preset single (--energy)" == kept.energy_reason
    assert (None, "interrupted") == (kept.cache, kept.cache_reason)


def test_a_breakdown_that_was_not_measured_is_null_with_its_reason(
    compiled: Path, suites: Path, samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latencies stay, and a note says it."""
    monkeypatch.setattr(suites_module, "find_data_dir", lambda kind: suites)

    def lacks(*arguments: Any, **options: Any) -> dict[str, NDArray[Any]]:
        return {**run_process(*arguments, **options), "parts.reason": np.array("out of memory")}

    monkeypatch.setattr("edgeexit.measure.protocol.run_process", lacks)
    kept = edgeexit.bench(open_bundle(compiled, [0.0, 0.0]), samples, preset="single")
    assert (None, "out of memory") == (kept.latency.breakdown, kept.latency.breakdown_reason)
    assert "where the time goes was not measured: out of memory" in kept.notes
    assert kept.latency.mixture.n > 0


def test_a_fault_of_the_energy_pass_keeps_what_was_timed(
    compiled: Path, suites: Path, samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes had ended; energy is null with the fault as its reason."""
    monkeypatch.setattr(suites_module, "find_data_dir", lambda kind: suites)

    def fails(*_: Any, **__: Any) -> None:
        msg = "the sampling process did not start"
        raise HardwareMissing(msg)

    monkeypatch.setattr("edgeexit.measure.energy_and_cache.measure_runner_energy", fails)
    kept = edgeexit.bench(open_bundle(compiled, [0.0, 0.0]), samples, preset="single", energy=True)
    assert (None, "the sampling process did not start") == (kept.energy, kept.energy_reason)
    assert kept.cache is not None


def test_without_labels_there_is_no_accuracy_but_agreement(
    compiled: Path, suites: Path, samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agreement with the backbone needs no labels."""
    monkeypatch.setattr(suites_module, "find_data_dir", lambda kind: suites)
    runner = open_bundle(compiled, [-np.inf, -np.inf])
    accuracy = edgeexit.bench(runner, samples, preset="single").accuracy
    assert accuracy.overall is None
    assert "the data has no labels" == accuracy.reason
    assert 1.0 == accuracy.agreement  # no entropy is at most -inf: the last exit answers


def test_labels_out_of_range_are_refused(compiled: Path, samples: NDArray[np.float32]) -> None:
    """Before anything is measured."""
    runner = open_bundle(compiled, [0.0, 0.0])
    with pytest.raises(InputError, match="labels go up to"):
        edgeexit.bench(runner, samples, np.full(len(samples), runner.classes))


def test_an_unknown_preset_names_the_near_miss(compiled: Path, samples: NDArray[np.float32]) -> None:
    """All shipped suites load, and a misspelt one is refused."""
    assert ["adopt", "publish", "quick", "standard"] == suites_module.list_suites()
    for name in suites_module.list_suites():
        assert name == suites_module.load_suite(name).name
    with pytest.raises(InputError, match="Did you mean 'quick'"):
        edgeexit.bench(open_bundle(compiled, [0.0, 0.0]), samples, preset="quik")


def test_a_faulty_suite_says_every_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All faults of a file come in one message."""
    (tmp_path / "bad.toml").write_text('description = "x"\nprocesses = "five"\nsecond = 1.0\n', encoding="utf-8")
    monkeypatch.setattr(suites_module, "find_data_dir", lambda kind: tmp_path)
    with pytest.raises(InputError) as caught:
        suites_module.load_suite("bad")
    assert all(part in str(caught.value) for part in ("processes", "second is unknown", "trace is missing"))


def test_a_decision_that_changes_between_passes_makes_the_result_invalid(
    compiled: Path, suites: Path, samples: NDArray[np.float32], balanced: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here because the processes are told other thresholds than the accuracy pass had."""
    monkeypatch.setattr(suites_module, "find_data_dir", lambda kind: suites)
    monkeypatch.setattr("edgeexit.measure.protocol.RunnerSpec.from_runner", _never_early)
    changed = edgeexit.bench(open_bundle(compiled, balanced), samples, preset="single")
    assert "invalid" == changed.validity.status
    assert "left at another exit" in changed.validity.reasons[0]
    assert "INVALID" == changed.latency.against_backbone.verdict


def test_what_a_process_refuses_is_the_users_message(compiled: Path, tmp_path: Path) -> None:
    """Its own error and nothing around it: no exit code, no lines of a traceback."""
    gone = RunnerSpec(str(tmp_path / "gone.eexit"), {}, ("inf", "inf"))
    job = Job(gone, BenchOptions.from_preset("quick"), inputs=str(tmp_path / "inputs.npz"))
    with pytest.raises(InputError, match=r"gone\.eexit") as caught:
        run_process(job, tmp_path, process=0, processes=1, progress=show_nothing)
    assert "Traceback" not in str(caught.value)
    assert "a measuring process" not in str(caught.value)


def _never_early(runner: Runner) -> RunnerSpec:
    settings = {name: getattr(runner.settings, name) for name in ("backend", "mode", "threads", "spin")}
    return RunnerSpec(str(runner.bundle.path), settings, ("inf", "inf"))
