"""The protocol: what `edgeexit bench` does, in order.

    snapshot ─ accuracy pass ─ [process 1] ─ [process 2] ─ ... ─ [energy] ─ cache ─ snapshot ─ verdict

Each process is fresh and runs early exit, the backbone and every forced exit interleaved (`worker.py`). Passes are separate, because
what measures one thing disturbs another; that all passes take the same decisions is checked. Ctrl-C ends the running process and
keeps those that ended.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import edgeexit
from edgeexit.data import Dataset, make_dataset
from edgeexit.errors import EdgeExitError, InputError
from edgeexit.hardware import combine_findings
from edgeexit.hardware.power.external import CsvRecorder
from edgeexit.hardware.power.recorder import Recorder
from edgeexit.hardware.validity import Finding
from edgeexit.measure.accuracy import decide
from edgeexit.measure.cache.measurement import measure_runner_cache
from edgeexit.measure.cache.sweep import sweep_cache
from edgeexit.measure.energy.measurement import measure_runner_energy
from edgeexit.measure.energy.report import EnergyReport
from edgeexit.measure.processes import ProcessResult, run_process, wait_until_cool
from edgeexit.measure.result.assembly import (
    RawMeasurement,
    audit_findings,
    build_against_report,
    build_audit_report,
    build_cold_report,
    build_latency_report,
    build_paced_report,
    collect_notes,
    collect_raw_arrays,
    find_measurement_faults,
)
from edgeexit.measure.result.bench_result import BenchResult, CacheFindings
from edgeexit.measure.result.parts import (
    ColdCacheLatency,
    ComparedRunner,
    PacedLatency,
    SystemUnderTest,
    Tool,
    ValidityReport,
    Workload,
)
from edgeexit.measure.scenarios import Pace
from edgeexit.measure.suites import Suite, load_suite
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
_ENERGY_TRIALS = 3
_CACHE_SAMPLES = 200
_SHORTEST_AUDIT_S, _AUDIT_SHARE = 0.3, 0.1
_FLUSH_BYTES = 64 * 2**20
"""More than the last-level cache of every board in `devices/`; a server's may be larger, and the result says how much was streamed."""


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
    suite = _adjust_suite(
        load_suite(preset), energy or (True if power_log else energy), cache or (True if cache_device else cache)
    )
    external = None if power_log is None else CsvRecorder(power_log)
    if external is not None:
        external.start()  # says at once when the log is not there or not understood
    given = make_dataset(name, inputs, labels, model_info(runner.bundle))
    if labels is not None and given.labels is not None and int(given.labels.max()) >= runner.classes:
        msg = f"labels go up to {int(given.labels.max())}, but the network has {runner.classes} classes (0 to {runner.classes - 1})."
        raise InputError(msg)
    data = _choose_samples(given, suite.samples, seed)
    session = _Session(runner, suite, data, given, seed, pace, against, cache_device, external, audit, progress)
    return session.run()


def _adjust_suite(suite: Suite, energy: bool | None, cache: bool | None) -> Suite:
    trials = suite.energy_trials if energy is None else energy * max(_ENERGY_TRIALS, suite.energy_trials)
    return replace(suite, energy_trials=trials, cache=suite.cache if cache is None else cache)


def _choose_samples(data: Dataset, most: int, seed: int) -> Dataset:
    """At most `most` samples, drawn by the seed and kept in their order; 0 for all."""
    if most == 0 or len(data) <= most:
        return data
    return data.take(np.sort(np.random.default_rng(seed).choice(len(data), most, replace=False)))


@dataclass(frozen=True)
class _Extras:
    """Energy and cache, or why not."""

    energy: EnergyReport | None = None
    energy_reason: str | None = "interrupted"
    cache: CacheFindings | None = None
    cache_reason: str | None = "interrupted"


@dataclass(frozen=True)
class _Session:
    """One measurement on its way."""

    runner: Runner
    suite: Suite
    data: Dataset
    given: Dataset
    seed: int
    pace: Pace | None
    against: Runner | None
    cache_device: str | None
    external: Recorder | None
    audit: bool
    progress: Progress

    def run(self) -> BenchResult:
        watch = MachineMonitor(threads=self.runner.settings.threads)
        samples = split_samples(self.data.inputs)
        with self.runner.backbone() as backbone:
            decisions = decide(self.runner, backbone, self.data, samples, self.progress)
        answers = None if self.against is None else [self.against(sample) for sample in samples]
        with watch.recording():
            replicates, interrupted = self._processes(watch)
        other = None if answers is None else np.array([answer.exit for answer in answers], np.int64)
        measured = RawMeasurement(decisions, replicates, self.seed, other)
        extras = _Extras() if interrupted else self._extras(samples)
        return self._with_against(self._result(measured, watch, extras, interrupted), measured, answers)

    def _processes(self, watch: MachineMonitor) -> tuple[list[ProcessResult], bool]:
        pool, found = self._pool(), list[ProcessResult]()
        try:
            with make_scratch_folder() as folder:
                for p in range(self.suite.processes):
                    wait_until_cool(watch.before, self.suite.cooldown_s)
                    trace = np.random.default_rng([self.seed, p]).integers(len(pool), size=self.suite.trace)
                    job = self._job(p, _write_inputs(folder / f"inputs{p}.npz", self.data.take(pool), trace))
                    arrays = run_process(job, folder, self.progress, p, self.suite.processes)
                    found.append(ProcessResult(arrays, pool[trace]))
                    watch.note()
        except KeyboardInterrupt:
            if not found:
                raise
            return found, True
        return found, False

    def _extras(self, samples: Sequence[Any]) -> _Extras:
        """Energy and cache, each a pass of its own; Ctrl-C keeps what was measured before."""
        found = _Extras()
        try:
            energy, reason = self._energy(samples)
            found = _Extras(energy, reason)
            return _Extras(energy, reason, self._cache(samples), None)
        except KeyboardInterrupt:
            return found

    def _energy(self, samples: Sequence[Any]) -> tuple[EnergyReport | None, str | None]:
        if self.suite.energy_trials == 0:
            return None, f"not part of preset {self.suite.name} (--energy)"
        trace = np.random.default_rng(self.seed).integers(len(samples), size=self.suite.trace)
        try:
            report = measure_runner_energy(
                self.runner,
                [samples[i] for i in trace],
                pace=self.pace,
                also=() if self.external is None else (self.external,),
                trials=self.suite.energy_trials,
                seed=self.seed,
                progress=self.progress,
            )
        except EdgeExitError as error:  # everything else has been measured by now
            return None, str(error)
        return (None, report.reason) if report.reason else (report, None)

    def _cache(self, samples: Sequence[Any]) -> CacheFindings:
        some, full = samples[:_CACHE_SAMPLES], self.suite.cache
        report = measure_runner_cache(
            self.runner, some, device=self.cache_device, simulated=full, progress=self.progress
        )
        swept = sweep_cache(self.runner, some, device=self.cache_device, progress=self.progress) if full else None
        return CacheFindings(report, swept)

    def _pool(self) -> NDArray[np.int64]:
        """The samples that traces draw from: all, or as many as fit into 256 MiB."""
        arrays = list(self.data.inputs.values()) if isinstance(self.data.inputs, dict) else [self.data.inputs]
        most = max(1, _MOST_POOL_BYTES * len(self.data) // max(1, sum(array.nbytes for array in arrays)))
        order = np.random.default_rng(self.seed).permutation(len(self.data))[:most]
        return np.sort(order).astype(np.int64)

    def _job(self, process: int, inputs: Path) -> Job:
        paced_s = (self.suite.paced_s or self.suite.seconds) if self.pace else 0.0
        return Job(
            subject=RunnerSpec.of(self.runner),
            inputs=str(inputs),
            seconds=self.suite.seconds,
            warmup_s=self.suite.warmup_s,
            seed=self.seed * 1000 + process,
            rate_hz=self.pace.rate_hz if self.pace else None,
            arrivals=self.pace.arrivals if self.pace else "fixed",
            paced_s=paced_s,
            cold=self.suite.cold,
            flush_bytes=_FLUSH_BYTES,
            against=None if self.against is None else RunnerSpec.of(self.against),
            audit_s=max(_SHORTEST_AUDIT_S, _AUDIT_SHARE * self.suite.seconds) if self.audit else 0.0,
        )

    def _result(
        self, measured: RawMeasurement, watch: MachineMonitor, extras: _Extras, interrupted: bool
    ) -> BenchResult:
        report, (device, seen) = build_latency_report(measured), watch.device(measured.replicates)
        done = f"{len(measured.replicates)} of {self.suite.processes} processes"
        stopped: list[Finding] = [("suspect", f"interrupted after {done}")] if interrupted else []
        audit = build_audit_report(measured.replicates) if self.audit else None
        validity = (
            combine_findings([*stopped, *find_measurement_faults(measured, report), *audit_findings(audit)]) & seen
        )
        if validity.status == "invalid":
            invalid = replace(report.against_backbone, verdict="INVALID", reasons=validity.reasons)
            report = replace(report, against_backbone=invalid)
        return BenchResult(
            run_id=secrets.token_hex(6),
            created=make_timestamp(),
            tool=Tool(edgeexit.__version__, _read_git_commit()),
            device=device,
            subject=_describe_subject(self.runner),
            workload=self._workload(),
            validity=ValidityReport(validity.status, validity.reasons),
            notes=tuple(collect_notes(measured, report)),
            accuracy=measured.decisions.accuracy(),
            latency=report,
            paced=self._paced(measured.replicates),
            paced_reason=None if self.pace else "no rate was asked for (--rate)",
            cold=self._cold(measured),
            cold_reason=None if self.suite.cold else f"not part of preset {self.suite.name}",
            energy=extras.energy,
            energy_reason=extras.energy_reason,
            cache=extras.cache,
            cache_reason=extras.cache_reason,
            audit=audit,
            raw=collect_raw_arrays(measured) | watch.raw(measured.replicates),
        )

    def _with_against(
        self, result: BenchResult, measured: RawMeasurement, answers: Sequence[Prediction] | None
    ) -> BenchResult:
        found = build_against_report(measured, result.latency)
        if found is None or self.against is None or answers is None:
            return result
        labels = self.data.labels
        right = None if labels is None else float((np.array([a.label for a in answers]) == labels).mean())
        latency, comparison = found
        if result.validity.status == "invalid":
            comparison = replace(comparison, verdict="INVALID", reasons=result.validity.reasons)
        return replace(result, against=ComparedRunner(_describe_subject(self.against), right, latency, comparison))

    def _paced(self, replicates: Sequence[ProcessResult]) -> PacedLatency | None:
        if self.pace is None:
            return None
        deadline_s = self.pace.deadline_s or 1.0 / self.pace.rate_hz
        return build_paced_report(replicates, self.pace.arrivals, self.pace.rate_hz, deadline_s)

    def _cold(self, measured: RawMeasurement) -> ColdCacheLatency | None:
        return build_cold_report(measured, _FLUSH_BYTES) if self.suite.cold else None

    def _workload(self) -> Workload:
        return Workload(
            data=self.given.name,
            data_sha256=self.given.sha256,
            n_given=len(self.given),
            n=len(self.data),
            order="random with replacement",
            seed=self.seed,
            scenario="single-stream",
            batch=1,
            preset=self.suite.name,
            processes=self.suite.processes,
            seconds_per_process=self.suite.seconds,
        )


def _write_inputs(path: Path, pool: Dataset, trace: NDArray[np.int64]) -> Path:
    inputs = pool.inputs if isinstance(pool.inputs, Mapping) else {"": pool.inputs}
    arrays = {f"input.{key}": array for key, array in inputs.items()}
    np.savez(path, allow_pickle=False, trace=trace, **arrays)
    return path


def _describe_subject(runner: Runner) -> SystemUnderTest:
    bundle, settings, manifest = runner.bundle, runner.settings, runner.bundle.manifest
    return SystemUnderTest(
        bundle=Path(bundle.path).name,
        manifest_sha256=hashlib.sha256((Path(bundle.path) / "manifest.json").read_bytes()).hexdigest(),
        model_sha256=manifest.files[manifest.model].sha256,
        backend=settings.backend,
        mode=settings.mode,
        precision=settings.precision,
        threads=settings.threads,
        spin=settings.spin,
        exits=runner.exits,
        classes=runner.classes,
        criterion=runner.criterion.name,
        threshold_unit=runner.criterion.unit,
        thresholds=tuple(runner.thresholds),
        calibrated=runner.calibration is not None,
        target=None if runner.calibration is None else runner.calibration.target,
        options=settings.options,
        source=manifest.source.name,
        source_sha256=manifest.source.sha256,
        calibration=runner.calibration_name,
    )


def _read_git_commit() -> str | None:
    """The commit of the checkout that edgeexit runs from, or None for an installed one."""
    root = Path(edgeexit.__file__).resolve().parent.parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
