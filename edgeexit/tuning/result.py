"""What tuning has found, as a value and as a file; schema `edgeexit.tuning/1`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeexit.measure.records import Record, make_data_frame

SCHEMA = "edgeexit.tuning/1"


@dataclass(frozen=True)
class TunedSetup:
    """How a network runs.

    Attributes:
        precision: precision of the engines. backend: name of the backend. mode: `staged` or `fused`. threads: worker threads.
        criterion: name of the exit criterion.
        exits: names of the exits that are kept, the last included.
        temperatures: what their logits are divided by before the criterion takes them; empty where they are not scaled.
    """

    precision: str
    backend: str
    mode: str
    threads: int
    criterion: str
    exits: tuple[str, ...]
    temperatures: tuple[float, ...] = ()


@dataclass(frozen=True)
class TriedCandidate:
    """One candidate as predicted on the choose part.

    Attributes:
        setup: how it runs.
        meets: whether thresholds that meet the target were found.
        mean_s: predicted mean latency, seconds; None where nothing meets the target, like what follows.
        ratio: `mean_s` over that of the network in its own precision without exits.
        accuracy: share of right answers; None without labels.
        agreement: share of the answers of the network in its own precision.
        on_front: whether no other candidate is both faster and at least as good.
    """

    setup: TunedSetup
    meets: bool
    mean_s: float | None
    ratio: float | None
    accuracy: float | None
    agreement: float | None
    on_front: bool


@dataclass(frozen=True)
class Finalist:
    """One of the last candidates: compiled, calibrated, and run beside the others on samples that chose nothing.

    Attributes:
        setup: how it runs.
        thresholds: thresholds in the criterion's own unit.
        state: of the bounds as its calibration judged them: "met", "not met" or "undecided"; "infeasible" where nothing met them;
            "predicted" where it was chosen from an earlier run's measurements (`--from-tune`) and not run.
        statements: sentences of that calibration.
        predicted_ratio: mean latency over the reference's, as the choose part predicted it.
        ratio, ratio_low, ratio_high: the same measured, with its 95 % interval; None where it could not be calibrated, like what follows,
            or was not run.
        mean_s: mean latency, seconds.
        accuracy: share of right answers; None without labels.
        agreement: share of the answers of the network in its own precision.
        exit_rates: share leaving at each exit.
        chosen: whether it is the result.
    """

    setup: TunedSetup
    thresholds: tuple[float, ...]
    state: str
    statements: tuple[str, ...]
    predicted_ratio: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    mean_s: float | None
    accuracy: float | None
    agreement: float | None
    exit_rates: tuple[float, ...]
    chosen: bool

    @property
    def is_undecided(self) -> bool:
        """Whether it was measured, and the interval of its time holds that of the reference."""
        return self.ratio_low is not None and self.ratio_high is not None and self.ratio_low < 1 <= self.ratio_high


@dataclass(frozen=True)
class Contribution:
    """What one choice brings: the best candidate beside the same with this dimension at its usual value, thresholds searched anew.

    Attributes:
        dimension: `precision`, `backend`, `mode`, `threads`, `criterion`, `temperatures`, or `exits` (one entry for each exit dropped).
        usual: its value without tuning.
        chosen: its value in the best candidate.
        times: predicted mean latency with the usual value, over that of the best candidate; None where it was not timed or meets no target.
        points: quality of the best candidate (accuracy, or agreement without labels) less that with the usual value, a share; None
            likewise.
        reason: why there is no value, or what limits it; empty for nothing.
    """

    dimension: str
    usual: str
    chosen: str
    times: float | None
    points: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class NotTried:
    """Something that was not tried to the end, and why.

    Attributes:
        what: what it is. reason: why.
        timed: whether it was timed for a moment and left behind, and not impossible here.
    """

    what: str
    reason: str
    timed: bool = False


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    """The whole policy chosen on this device.

    Attributes:
        schema: `edgeexit.tuning/1`.
        created: UTC, ISO 8601.
        target: what was asked for; absolute_target: the same with limits in seconds.
        device: key of this machine.
        data: name of the data. choose, validate: number of samples that chose, and that only judged.
        seed: random seed of everything.
        seconds: wall time in all.
        reference: the network in its own precision without exits, whose mean latency `reference_s` is 1 ×.
        tried: candidates whose thresholds were searched, best first.
        finalists: those that were measured once more, the chosen one first.
        contributions: what each choice of the best candidate brings, as predicted; dimensions at their usual value are not listed.
        not_tried: what was not tried, or not to the end, and why.
        state: of the bounds on the chosen one: "met", "not met", "undecided", or "predicted" with `--from-tune`.
        pays: whether the chosen one is faster than the reference beyond doubt.
        conclusion: one sentence.
        bundle: folder of the bundle that was written.
        spread: how much longer the reference took in its slow blocks than in its fast ones, relative: the noise of the machine.
        measured_at: when what was chosen from was measured, UTC, where that was another run (`--from-tune`); empty for this one.
        independent_candidates: as how many independent candidates those tried count, of which the same samples chose one: bounds are kept
            and judged with more room for it.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> digits = load_data("digits:calibration")
        >>> space = edgeexit.TuningSpace(("onnxruntime",), ("float32",), ("staged",), (1,), ("entropy",))
        >>> result = edgeexit.tune(
        ...     "lenet-digits.onnx", "small.eexit", digits.inputs, digits.labels, target="drop<=5", space=space, seconds=1
        ... )
        >>> result.reference.precision, result.chosen.setup.mode, len(result.tried)
        ('float32', 'staged', 2)
    """

    schema: str = SCHEMA
    created: str
    target: str
    absolute_target: str
    device: str
    data: str
    choose: int
    validate: int
    seed: int
    seconds: float
    reference: TunedSetup
    reference_s: float
    tried: tuple[TriedCandidate, ...]
    finalists: tuple[Finalist, ...]
    contributions: tuple[Contribution, ...]
    not_tried: tuple[NotTried, ...]
    state: str
    pays: bool
    conclusion: str
    bundle: str
    spread: float = 0.0
    measured_at: str = ""
    independent_candidates: float = 1.0

    def to_records(self) -> list[Record]:
        """One flat record for each candidate that was tried; times in seconds."""
        return [_make_record(one) for one in self.tried]

    def to_pandas(self) -> Any:
        """The records as a pandas.DataFrame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return make_data_frame(self.to_records())

    @property
    def verdict(self) -> str:
        """`pays`, `does not pay`, or `undecided` where the measurement cannot tell the chosen one's time from the reference's."""
        if self.chosen.is_undecided:
            return "undecided"
        return "pays" if self.pays else "does not pay"

    @property
    def chosen(self) -> Finalist:
        """The result among the finalists."""
        return next(one for one in self.finalists if one.chosen)


def _make_record(one: TriedCandidate) -> Record:
    setup = one.setup
    columns: Record = {name: getattr(setup, name) for name in ("precision", "backend", "mode", "threads", "criterion")}
    columns |= {"exits": " ".join(setup.exits), "temperatures": " ".join(f"{t:.6g}" for t in setup.temperatures)}
    return columns | {
        name: getattr(one, name) for name in ("meets", "mean_s", "ratio", "accuracy", "agreement", "on_front")
    }
