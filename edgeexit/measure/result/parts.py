"""Parts of a result: frozen values with their units in their names. Times are in seconds, exits are numbered from 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeexit.errors import InputError
from edgeexit.measure.statistics import Interval
from edgeexit.measure.verdict import Comparison, Processes

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True)
class Percentile:
    """One percentile of a latency.

    Attributes:
        q: which percentile, in percent.
        value_s: nearest rank.
        upper_c99_s: LoadGen's early-stopping bound at 99 % confidence, samples taken as independent; null with too few samples.
        needed: number of samples that the bound needs.
        ci95: two-sided, by a bootstrap over the interleaved blocks; null with too few blocks.
    """

    q: float
    value_s: float
    upper_c99_s: float | None
    needed: int
    ci95: Interval | None = None


@dataclass(frozen=True)
class Latency:
    """The latency of one variant, over all processes.

    Attributes:
        n: timed inferences.
        mean_s: over the data set: the exits' means weighted by the shares of the accuracy pass.
        mean_ci95: on this data set, by t over the processes.
        mean_new_data_ci95: on new data of the same kind: exit shares uncertain as well. Null for a single exit.
        typical_s: the exits' medians weighted by their shares: a stalled sample does not move it.
        min_s: the fastest.
        iqr_s: third minus first quartile.
        percentiles: p50, p90, p95, p99, p99.9.
        process_mean_s: `mean_s` of each process.
        process_typical_s: `typical_s` of each process.
        between_process_cv: standard deviation of the processes' typical latencies over their mean.
        lag1: correlation of a sample with the next one, within processes and exits.
        outliers_mild: samples beyond 1.5 interquartile ranges of their exit; counted, never dropped.
        outliers_severe: beyond 3.
    """

    n: int
    mean_s: float
    mean_ci95: Interval | None
    mean_new_data_ci95: Interval | None
    typical_s: float
    min_s: float
    iqr_s: float
    percentiles: tuple[Percentile, ...]
    process_mean_s: tuple[float, ...]
    process_typical_s: tuple[float, ...]
    between_process_cv: float | None
    lag1: float | None
    outliers_mild: int
    outliers_severe: int

    @property
    def processes(self) -> Processes:
        """The figures of each process, as `compare_processes` takes them."""
        return Processes(self.process_typical_s, self.process_mean_s)

    def percentile(self, q: float) -> Percentile:
        """The percentile of that q.

        Raises:
            InputError: it was not computed.
        """
        found = next((p for p in self.percentiles if p.q == q), None)
        if found is None:
            msg = f"p{q:g} is not among the percentiles of this result: {', '.join(f'p{p.q:g}' for p in self.percentiles)}."
            raise InputError(msg)
        return found


@dataclass(frozen=True)
class Tool:
    """Version of edgeexit that measured."""

    version: str
    git: str | None


@dataclass(frozen=True)
class MachineSnapshot:
    """The machine at the end of a process: seconds since the start, its hottest point, its fastest clock; null if unreadable."""

    at_s: float
    temperature_c: float | None
    clock_hz: float | None


@dataclass(frozen=True)
class StateChannel:
    """Readings of a recorder, ten per second, in the stretches that were timed; the readings are in the raw file.

    Attributes:
        name: name of the clock, thermal zone, cooling device or counter.
        kind: `clock` (Hz), `temperature` (°C), `cooling` (state, 0 is idle) or `counter` (events since boot).
        n: readings.
        low: the smallest; null without a reading.
        mean: mean of all readings.
        high: the largest.
    """

    name: str
    kind: str
    n: int
    low: float | None
    mean: float | None
    high: float | None


@dataclass(frozen=True)
class Device:
    """The machine: key, static facts, its state before and after (`edgeexit.hardware.DeviceState` as JSON), and in between.

    `timeline` is of snapshots between the processes, `channels` of the recorder that ran meanwhile; empty where nothing can be read.
    """

    key: str
    facts: dict[str, str]
    before: dict[str, Any]
    after: dict[str, Any]
    timeline: tuple[MachineSnapshot, ...] = ()
    channels: tuple[StateChannel, ...] = ()


@dataclass(frozen=True)
class SystemUnderTest:
    """The system under test. `threshold_unit` is the criterion's; `target` and `calibration` (its name) are null without one.

    `source` is the file name of the model that the bundle was compiled from and `source_sha256` its digest: two bundles of one model
    have it in common, whatever their criteria. Null in results of older versions.
    """

    bundle: str
    manifest_sha256: str
    model_sha256: str
    backend: str
    mode: str
    precision: str
    threads: int
    spin: bool
    exits: int
    classes: int
    criterion: str
    threshold_unit: str
    thresholds: tuple[float, ...]
    calibrated: bool
    target: str | None
    options: str = ""
    source: str | None = None
    source_sha256: str | None = None
    calibration: str | None = None


@dataclass(frozen=True)
class Workload:
    """Data and load: `n` samples were used of the `n_given` of the data set."""

    data: str
    data_sha256: str
    n_given: int
    n: int
    order: str
    seed: int
    scenario: str
    batch: int
    preset: str
    processes: int
    seconds_per_process: float


@dataclass(frozen=True)
class ValidityReport:
    """Whether the measurement can be believed (`valid`, `suspect` or `invalid`), and every reason."""

    status: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExitAccuracy:
    """Of the samples that left at one exit. `alone` is the accuracy of this exit on all samples. `_ci95` are 95 % intervals."""

    exit: int
    n: int
    share: float
    accuracy: float | None
    alone: float | None
    accuracy_ci95: Interval | None = None
    alone_ci95: Interval | None = None


@dataclass(frozen=True)
class Accuracy:
    """Each sample once. Accuracies are null without labels; agreement with the backbone needs none.

    The 95 % intervals are of new data of the same kind; that of the change (overall less backbone) is paired, sample by sample.
    """

    overall: float | None
    backbone: float | None
    agreement: float
    reason: str | None
    per_exit: tuple[ExitAccuracy, ...]
    overall_ci95: Interval | None = None
    backbone_ci95: Interval | None = None
    agreement_ci95: Interval | None = None
    change_ci95: Interval | None = None

    @property
    def change(self) -> float | None:
        """Accuracy of early exit less that of the backbone, a share; None without labels."""
        return None if self.overall is None or self.backbone is None else self.overall - self.backbone


@dataclass(frozen=True)
class ColdStart:
    """Of fresh processes, the median of each: importing, loading the bundle, the first inference."""

    import_s: float
    load_s: float
    first_s: float


@dataclass(frozen=True)
class ExitLatency:
    """One exit: its samples in the mixture (null if none left there while timed), and forced. `share` is the data set's."""

    exit: int
    share: float
    natural: Latency | None
    forced: Latency


@dataclass(frozen=True)
class Closure:
    """Whether the parts explain the whole: Σ share · forced median beside the typical latency of the mixture."""

    predicted_s: float
    measured_s: float
    error: float


@dataclass(frozen=True)
class StageLatency:
    """Added time of one stage, and the time outside the engines of leaving at its exit; medians, each measured by itself.

    Attributes:
        exit: number of the exit that the stage ends in.
        stage_s: the network's own work from the exit before to this one.
        gate_s: the criterion that decides here; null where it cannot be taken out of the stage.
        overhead_s: end-to-end time of leaving here less all engines run: checking and copying the input, comparing, making the prediction.
    """

    exit: int
    stage_s: float
    gate_s: float | None
    overhead_s: float


@dataclass(frozen=True)
class Breakdown:
    """Where the time goes, exit by exit; `reason` says why criteria are not timed separately."""

    exits: tuple[StageLatency, ...]
    reason: str | None


@dataclass(frozen=True)
class LatencyReport:
    """Everything that was timed, batch 1, one request after the other, interleaved in each process.

    Attributes:
        harness_overhead_s: what the harness puts into each sample; not subtracted.
        processes: fresh processes that finished.
        cold_start: see `ColdStart`.
        mixture: early exit with the thresholds of the subject.
        backbone: the same network run directly to its last exit, no heads, no criteria, same settings.
        per_exit: latencies of each exit, from the first to the last.
        closure: see `Closure`.
        against_backbone: the mixture as candidate, the backbone as reference.
        noise_floor: the mixture against itself, even rounds against odd: what no difference looks like here.
        breakdown: stages, criteria and overhead; null if a process could not measure it, and in results of older versions.
        breakdown_reason: why a process could not.
    """

    harness_overhead_s: float
    processes: int
    cold_start: ColdStart
    mixture: Latency
    backbone: Latency
    per_exit: tuple[ExitLatency, ...]
    closure: Closure
    against_backbone: Comparison
    noise_floor: Comparison
    breakdown: Breakdown | None = None
    breakdown_reason: str | None = None


@dataclass(frozen=True)
class PacedSeries:
    """One variant under a schedule of arrivals; latency counts from the scheduled arrival, so waiting in line counts too.

    Attributes:
        n: requests.
        mean_s: mean latency.
        percentiles: percentiles of the latency.
        service_mean_s: mean from the start of an inference to its end.
        misses: requests later than the deadline.
        achieved_hz: requests per second that were finished.
        most_waiting: the longest line behind a request.
    """

    n: int
    mean_s: float
    percentiles: tuple[Percentile, ...]
    service_mean_s: float
    misses: int
    achieved_hz: float
    most_waiting: int


@dataclass(frozen=True)
class PacedLatency:
    """Requests at a rate of their own. `arrivals` is "fixed" or "poisson"."""

    arrivals: str
    rate_hz: float
    deadline_s: float
    mixture: PacedSeries
    backbone: PacedSeries


@dataclass(frozen=True)
class ColdCacheLatency:
    """Every inference after a buffer larger than the last-level cache was streamed through."""

    flushed_bytes: int
    mixture: Latency
    backbone: Latency


@dataclass(frozen=True)
class CachingAudit:
    """Whether an input that was just seen is answered sooner: MLPerf LoadGen's audit for caches of answers or inputs.

    Attributes:
        inputs: different inputs run in turn.
        unique: forced to the last exit, each input as rarely as can be.
        same: forced to the last exit, one input again and again.
        comparison: the same input as candidate, inputs in turn as reference.
    """

    inputs: int
    unique: Latency
    same: Latency
    comparison: Comparison


@dataclass(frozen=True)
class ComparedRunner:
    """Another early exit, interleaved in the same processes; the comparison has it as the reference."""

    subject: SystemUnderTest
    accuracy: float | None
    latency: Latency
    comparison: Comparison
