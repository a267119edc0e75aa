"""The protocol: what `edgeexit bench` does, in order.

    snapshot ─ accuracy pass ─ [process 1] ─ [process 2] ─ ... ─ [energy] ─ cache ─ snapshot ─ verdict

Each process is fresh and runs early exit, the backbone and every forced exit interleaved (`worker.py`). Passes are separate, because
what measures one thing disturbs another; that all passes take the same decisions is checked. Ctrl-C ends the running process and
keeps those that ended.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.data import Dataset, make_dataset
from edgeexit.errors import InputError
from edgeexit.hardware import combine_findings
from edgeexit.hardware.power.external import CsvRecorder
from edgeexit.hardware.validity import Finding, Validity
from edgeexit.measure.accuracy import run_accuracy_pass
from edgeexit.measure.energy_and_cache import EnergyAndCache, measure_energy_and_cache
from edgeexit.measure.options import BenchOptions
from edgeexit.measure.processes import ProcessResult, run_process, wait_until_cool
from edgeexit.measure.result.assembly import (
    RawMeasurement,
    build_against_report,
    build_audit_report,
    build_cold_report,
    build_latency_report,
    build_paced_report,
    collect_notes,
    collect_raw_arrays,
    find_audit_faults,
    find_measurement_faults,
)
from edgeexit.measure.result.bench_result import BenchResult
from edgeexit.measure.result.description import describe_subject, describe_tool, describe_workload
from edgeexit.measure.result.parts import ComparedRunner, SystemUnderTest, ValidityReport, Workload
from edgeexit.measure.scenarios import Pace
from edgeexit.measure.verdict import Comparison
from edgeexit.measure.watch import MachineMonitor
from edgeexit.measure.worker import Job, RunnerSpec
from edgeexit.runtime.inputs import model_info
from edgeexit.util.arguments import check_progress
from edgeexit.util.progress import Progress, show_in_notebooks
from edgeexit.util.samples import split_samples
from edgeexit.util.scratch import make_scratch_folder
from edgeexit.util.timestamps import make_timestamp

if TYPE_CHECKING:
    from edgeexit.runtime import Prediction, Runner

_MOST_POOL_BYTES = 256 * 2**20


def bench(
    runner: Runner,
    inputs: Any,
    labels: Any = None,
    *,
    preset: str = "quick",
    seed: int = 0,
    name: str = "data",
    pace: Pace | None = None,
    against: Runner | None = None,
    energy: bool | None = None,
    cache: bool | None = None,
    cache_device: str | None = None,
    power_log: Path | None = None,
    audit: bool = False,
    progress: Progress = show_in_notebooks,
) -> BenchResult:
    """Measure a bundle with the thresholds that its runner has now, against its own backbone.

    Args:
        runner: an open bundle; fresh processes open the same bundle with the same settings and thresholds.
        inputs: float32 [n, ...], or a mapping of input name to such an array.
        labels: [n] whole numbers from 0, or None; without them accuracy is null and the agreement with the backbone remains.
        preset: quick, standard, publish, or the path of a .toml file with the same keys.
        seed: random seed of the choice of samples, the trace, the order of the variants and every resampling.
        name: name of the data, recorded in the result.
        pace: also run paced requests.
        against: another runner (other bundle, mode or thresholds) for the same inputs, timed interleaved in the same processes: the
            way to see a difference of a few percent.
        energy: whether to measure energy; None leaves it to the preset.
        cache: whether to simulate caches and sweep thresholds; None leaves it to the preset.
        cache_device: a profile of `devices/` whose caches are simulated; None for those of this machine.
        power_log: CSV that an external power meter writes meanwhile: read beside the meters of this machine.
        audit: also time one input again and again beside inputs in turn: whether some layer caches inputs or outputs.
        progress: called with what is being done; by default a line that counts in a notebook, and nothing elsewhere.

    Raises:
        InputError: inputs, labels or power log do not fit, or there is no such preset.
        KeyboardInterrupt: interrupted before a single process had ended.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> digits = load_data("digits:test")
        >>> with edgeexit.load("lenet.eexit") as runner:  # short.toml: two processes of 0.2 s; use "quick" or more
        ...     result = edgeexit.bench(runner, digits.inputs, digits.labels, preset="short.toml")
        >>> result.latency.mixture.mean_s > 0
        True
    """
    check_progress(progress)
    options = BenchOptions.from_preset(
        preset,
        seed=seed,
        pace=pace,
        energy=energy,
        power_log=power_log,
        cache=cache,
        cache_device=cache_device,
        audit=audit,
    )
    data = make_dataset(name, inputs, labels, model_info(runner.bundle))
    return bench_dataset(runner, data, options, against=against, progress=progress)


def bench_dataset(
    runner: Runner,
    given: Dataset,
    options: BenchOptions,
    *,
    against: Runner | None = None,
    progress: Progress = show_in_notebooks,
) -> BenchResult:
    """Measure a bundle on a data set that was read for its network; see `bench`.

    Args:
        runner: an open bundle; fresh processes open the same bundle with the same settings and thresholds.
        given: inputs as the network takes them, and labels or None.
        options: what to measure, how long and in which order.
        against: another runner for the same inputs, timed interleaved in the same processes.
        progress: callback with what is being done.

    Raises:
        InputError: there is a label that the network has no class for, or the power meter's log cannot be read.
        KeyboardInterrupt: interrupted before a single process had ended.
    """
    meter_log = _open_meter_log(options.power_log)
    _check_labels(given, runner.classes)
    data = _choose_samples(given, options.suite.samples, options.seed)
    samples = split_samples(data.inputs)
    watch = MachineMonitor(threads=runner.settings.threads)
    with runner.backbone() as backbone:
        decisions = run_accuracy_pass(runner, backbone, data, samples, progress)
    answers = None if against is None else [against(sample) for sample in samples]
    job = Job(RunnerSpec.from_runner(runner), options, None if against is None else RunnerSpec.from_runner(against))
    with watch.recording():
        replicates, interrupted = _time_in_processes(job, data, watch, progress)
    other = None if answers is None else np.array([answer.exit for answer in answers], np.int64)
    measured = RawMeasurement(decisions, replicates, options.seed, other, interrupted)
    extras = EnergyAndCache()
    if not interrupted:
        extras = measure_energy_and_cache(runner, samples, options, meter_log, progress)
    workload = describe_workload(given, len(data), options)
    result = _make_result(options, measured, watch, extras, subject=describe_subject(runner), workload=workload)
    if against is None or answers is None:
        return result
    return replace(result, against=_compare_with(against, answers, data.labels, measured, result))


def _open_meter_log(path: str | None) -> CsvRecorder | None:
    """The log of an external power meter; an error says at once when it is not there or not understood."""
    if path is None:
        return None
    log = CsvRecorder(Path(path))
    log.start()
    return log


def _check_labels(data: Dataset, classes: int) -> None:
    most = None if data.labels is None else int(data.labels.max())
    if most is not None and most >= classes:
        msg = f"labels go up to {most}, but the network has {classes} classes (0 to {classes - 1})."
        raise InputError(msg)


def _choose_samples(data: Dataset, most: int, seed: int) -> Dataset:
    """At most `most` samples, drawn by the seed and kept in their order; 0 for all."""
    if most == 0 or len(data) <= most:
        return data
    return data.take(np.sort(np.random.default_rng(seed).choice(len(data), most, replace=False)))


def _time_in_processes(
    job: Job, data: Dataset, watch: MachineMonitor, progress: Progress
) -> tuple[list[ProcessResult], bool]:
    """What each process measured, and whether Ctrl-C ended the last one before its time."""
    suite, pool, found = job.options.suite, _choose_pool(data, job.options.seed), list[ProcessResult]()
    try:
        with make_scratch_folder() as folder:
            for p in range(suite.processes):
                wait_until_cool(watch.before, suite.cooldown_s)
                trace = np.random.default_rng([job.options.seed, p]).integers(len(pool), size=suite.trace)
                inputs = _write_inputs(folder / f"inputs{p}.npz", data.take(pool), trace)
                own = replace(job, process=p, inputs=str(inputs))
                arrays = run_process(own, folder, process=p, processes=suite.processes, progress=progress)
                found.append(ProcessResult(arrays, pool[trace]))
                watch.take_snapshot()
    except KeyboardInterrupt:
        if not found:
            raise
        return found, True
    return found, False


def _choose_pool(data: Dataset, seed: int) -> NDArray[np.int64]:
    """The samples that traces draw from: all, or as many as fit into 256 MiB."""
    arrays = list(data.inputs.values()) if isinstance(data.inputs, dict) else [data.inputs]
    most = max(1, _MOST_POOL_BYTES * len(data) // max(1, sum(array.nbytes for array in arrays)))
    return np.sort(np.random.default_rng(seed).permutation(len(data))[:most]).astype(np.int64)


def _write_inputs(path: Path, pool: Dataset, trace: NDArray[np.int64]) -> Path:
    inputs = pool.inputs if isinstance(pool.inputs, Mapping) else {"": pool.inputs}
    arrays = {f"input.{key}": array for key, array in inputs.items()}
    np.savez(path, allow_pickle=False, trace=trace, **arrays)
    return path


def _make_result(
    options: BenchOptions,
    measured: RawMeasurement,
    watch: MachineMonitor,
    extras: EnergyAndCache,
    *,
    subject: SystemUnderTest,
    workload: Workload,
) -> BenchResult:
    """Everything that was measured, with the verdict and its doubts."""
    pace, suite, replicates = options.pace, options.suite, measured.replicates
    report, (device, seen) = build_latency_report(measured), watch.describe_device(replicates)
    done = f"{len(replicates)} of {suite.processes} processes"
    stopped: list[Finding] = [("suspect", f"interrupted after {done}")] if measured.interrupted else []
    audit = build_audit_report(replicates) if options.audit else None
    faults = [*stopped, *find_measurement_faults(measured, report), *find_audit_faults(audit)]
    validity = combine_findings(faults) & seen
    if validity.status == "invalid":
        report = replace(report, against_backbone=_invalidate(report.against_backbone, validity))
    return BenchResult(
        run_id=secrets.token_hex(6),
        created=make_timestamp(),
        tool=describe_tool(),
        device=device,
        subject=subject,
        workload=workload,
        validity=ValidityReport(validity.status, validity.reasons),
        notes=tuple(collect_notes(measured, report)),
        accuracy=measured.decisions.compute_accuracy(),
        latency=report,
        paced=None if pace is None else build_paced_report(replicates, pace),
        paced_reason="no rate was asked for (--rate)" if pace is None else None,
        cold=build_cold_report(measured, options.flush_bytes) if suite.cold else None,
        cold_reason=None if suite.cold else f"not part of preset {suite.name}",
        energy=extras.energy,
        energy_reason=extras.energy_reason,
        cache=extras.cache,
        cache_reason=extras.cache_reason,
        audit=audit,
        raw=collect_raw_arrays(measured) | watch.collect_raw_arrays(replicates),
    )


def _invalidate(comparison: Comparison, validity: Validity | ValidityReport) -> Comparison:
    """The comparison without a verdict, which a measurement that is not valid does not have."""
    return replace(comparison, verdict="INVALID", reasons=validity.reasons)


def _compare_with(
    against: Runner,
    answers: Sequence[Prediction],
    labels: NDArray[np.int64] | None,
    measured: RawMeasurement,
    result: BenchResult,
) -> ComparedRunner | None:
    """The other early exit: its accuracy, its latency, and the measured one compared with it."""
    found = build_against_report(measured, result.latency)
    if found is None:
        return None
    latency, comparison = found
    right = None if labels is None else float((np.array([a.label for a in answers]) == labels).mean())
    if result.validity.status == "invalid":
        comparison = _invalidate(comparison, result.validity)
    return ComparedRunner(describe_subject(against), right, latency, comparison)
