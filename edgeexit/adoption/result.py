"""What adding exits to a classifier has brought, as a value and as a file; schema `edgeexit.adoption/1`."""

from __future__ import annotations

from dataclasses import dataclass

from edgeexit.evaluate import DeviceEvaluation

SCHEMA = "edgeexit.adoption/1"


@dataclass(frozen=True)
class DataPart:
    """One part of the data.

    Attributes:
        name: name of the data.
        samples: number of samples.
        used: number of samples that were looked at; fewer where all would not fit into memory.
        purpose: what they were used for.
    """

    name: str
    samples: int
    used: int
    purpose: str


@dataclass(frozen=True)
class TriedExit:
    """One candidate for an exit.

    Attributes:
        place: the part of the network after which it would stand.
        head: name of the head.
        share: multiply-accumulates up to there, as a share of the network's.
        way_s: seconds from the input to there on this device.
        head_s: seconds that the head takes.
        accuracy: share of right answers of a head that was trained for a moment.
        chosen: whether it became an exit.
    """

    place: str
    head: str
    share: float
    way_s: float
    head_s: float
    accuracy: float
    chosen: bool


@dataclass(frozen=True)
class AddedExit:
    """One exit that was added: the part it stands after, its head, and the share of the network's multiply-accumulates up to there."""

    place: str
    head: str
    share: float


@dataclass(frozen=True)
class HeadTrainingRecord:
    """How the heads were trained.

    Attributes:
        epochs: passes over the training part.
        seconds: wall time of all epochs, in all calls.
        features: what was kept of the network's features, or why nothing could be.
        frozen: whether the network itself stayed as it was.
    """

    epochs: int
    seconds: float
    features: str
    frozen: bool


@dataclass(frozen=True, kw_only=True)
class ExitsOnDevice:
    """What leaving early brings on this machine, as metrics of a training have it.

    Attributes:
        evaluation: the calibration, and the measurement on samples never seen.
        plain_accuracy: share of right answers of the network as it was given, on the same samples.
        ratio_low, ratio_high: 95 % interval of how many times as fast leaving early is in the mean.
        pays: whether leaving early is faster here beyond doubt, and within the target as far as can be told.
        conclusion: what it brings, in one sentence.
    """

    evaluation: DeviceEvaluation
    plain_accuracy: float
    ratio_low: float | None
    ratio_high: float | None
    pays: bool
    conclusion: str

    @property
    def verdict(self) -> str:
        """`pays`, `does not pay`, or `undecided` where the measurement cannot tell both times apart."""
        if self.evaluation.verdict in ("AMBIGUOUS", "INVALID"):
            return "undecided"
        return "pays" if self.pays else "does not pay"


@dataclass(frozen=True, kw_only=True)
class AdoptionResult:
    """What adding exits has brought on this machine.

    Attributes:
        schema: `edgeexit.adoption/1`.
        target: what was asked for.
        seed: random seed of everything.
        data: the parts of the data and what each was used for.
        tried: candidates for exits; empty where places were named.
        plain_s: seconds of the network without exits where candidates were timed; None where places were named.
        expected_s: mean latency that the choice of places expected; None likewise.
        exits: the exits that were added; empty where none pays.
        training: how the heads were trained; None where there are none.
        evaluation: what leaving early brings, measured; None where no exit was added.
        plain_accuracy: share of right answers of the network as it was given, on the same samples as the evaluation's; None likewise.
        ratio_low, ratio_high: 95 % interval of how many times as fast leaving early is in the mean; None where not measured.
        pays: whether leaving early is faster here beyond doubt, and within the target as far as can be told.
        conclusion: what it brings, in one sentence.
        files: files that were written.
    """

    schema: str = SCHEMA
    target: str
    seed: int
    data: tuple[DataPart, ...]
    tried: tuple[TriedExit, ...]
    plain_s: float | None
    expected_s: float | None
    exits: tuple[AddedExit, ...]
    training: HeadTrainingRecord | None
    evaluation: DeviceEvaluation | None
    plain_accuracy: float | None
    ratio_low: float | None
    ratio_high: float | None
    pays: bool
    conclusion: str
    files: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """That of `on_device`; `does not pay` where no exit was added."""
        return "does not pay" if self.on_device is None else self.on_device.verdict

    @property
    def on_device(self) -> ExitsOnDevice | None:
        """What was measured; None where no exit was added."""
        if self.evaluation is None or self.plain_accuracy is None:
            return None
        return ExitsOnDevice(
            evaluation=self.evaluation,
            plain_accuracy=self.plain_accuracy,
            ratio_low=self.ratio_low,
            ratio_high=self.ratio_high,
            pays=self.pays,
            conclusion=self.conclusion,
        )
