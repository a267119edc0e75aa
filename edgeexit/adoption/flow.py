"""Early exits for a classifier that has none, in one go: places, heads, export, compile, calibrate, measure.

The folder holds each step's result, so that an interrupted call goes on where it stopped:

    places.json                     the places that were chosen, and every candidate's figures
    checkpoint.pt, heads.pt         the training of the heads, and the weights of all at its end
    model.onnx, network.eexit       the network with its exits, and its bundle, calibrated on this machine
    bench.json, adoption.json       the measurement beside the network without exits, and the result
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from edgeexit.adoption.places import PlaceSearch, PlacesFound, find_places
from edgeexit.adoption.result import AddedExit, AdoptionResult, DataPart, HeadTrainingRecord, TriedExit
from edgeexit.adoption.samples import draw_samples
from edgeexit.calibration import Target, parse_target
from edgeexit.calibration.decision import NOT_MET
from edgeexit.data import Dataset, TrainingParts
from edgeexit.data.fingerprint import KEY, compute_fingerprint
from edgeexit.data.reference import DataRecord
from edgeexit.errors import InputError
from edgeexit.evaluate import DeviceEvaluation, evaluate_on_device
from edgeexit.exporter import export
from edgeexit.measure import BenchResult
from edgeexit.nets.attach import MakeHead, NetworkWithExits, add_exits
from edgeexit.nets.attach.logits import Read, read_logits
from edgeexit.training.heads import WEIGHTS, HeadSettings, HeadTraining, make_head_phase, train_heads
from edgeexit.training.loop import derive_seed, seed_torch
from edgeexit.training.metrics import record_exits
from edgeexit.training.run_folder import CHECKPOINT
from edgeexit.util.atomic import make_output_folder, write_text
from edgeexit.util.documents import dumps, parse_document, read_json
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.scratch import make_scratch_folder
from edgeexit.util.units import percent, ratio, seconds

PLACES, MODEL, BUNDLE, MEASUREMENT, RESULT = (
    "places.json",
    "model.onnx",
    "network.eexit",
    "bench.json",
    "adoption.json",
)
_PLACE_SAMPLES = 3000
_PLACE_TESTED = 2000
_PLACE_SHARE = 0.2
_MOST_SAMPLES = 20_000
_BATCH = 250
_ANSWERS = ("drop", "accuracy", "agreement")


@dataclass(frozen=True)
class AdoptionPlan:
    """What is asked for.

    Attributes:
        target: what to calibrate for.
        after: names of the parts after which exits stand; empty searches them.
        budget: most exits that the search adds.
        head: name of the heads, or the user's function; "auto" tries several kinds.
        criterion: name of the exit criterion.
        training: how the heads are trained.
        freeze: whether the network itself stays as it is.
        preset: preset of the measurement.
        place_seconds: wall time of the timing of candidates.
        seed: random seed of everything but the parts of the data.
        threads: number of torch's CPU threads, set for this process; None leaves it.
        read: takes the logits out of what forward returns.
    """

    target: Target = field(default_factory=lambda: parse_target("drop<=0.5"))
    after: tuple[str, ...] = ()
    budget: int = 2
    head: str | MakeHead = "auto"
    criterion: str = "entropy"
    training: HeadSettings = field(default_factory=lambda: HeadSettings(make_head_phase()))
    freeze: bool = True
    preset: str = "adopt"
    place_seconds: float = 5.0
    seed: int = 0
    threads: int | None = None
    read: Read | None = None


@dataclass(frozen=True)
class FoundPlaces:
    """The search for places as it is kept; seconds."""

    tried: tuple[TriedExit, ...]
    plain_s: float
    expected_s: float


@dataclass(frozen=True)
class _Adoption:
    """An adoption under way in a folder."""

    module: nn.Module
    parts: TrainingParts
    out: Path
    plan: AdoptionPlan
    resume: bool
    progress: Progress

    @property
    def example(self) -> torch.Tensor:
        """One input of zeros, [1, ...]."""
        return torch.zeros(1, *self.parts.train.shape)

    @property
    def place_samples(self) -> int:
        """How many samples of the calibration part the search for places takes; thresholds are chosen on the others."""
        return 0 if self.plan.after else min(_PLACE_TESTED, 1 + int(_PLACE_SHARE * len(self.parts.calibration)))


def adopt_exits(
    module: nn.Module,
    parts: TrainingParts,
    out: Path,
    plan: AdoptionPlan | None = None,
    *,
    record: DataRecord | None = None,
    resume: bool = False,
    progress: Progress = show_nothing,
) -> AdoptionResult:
    """Add exits to a trained classifier, train their heads, and measure on this machine what leaving early brings.

    Args:
        module: the classifier, with its weights, in evaluation mode.
        parts: heads are trained on `train`; places and thresholds are chosen on `calibration`; `test` is for the final figures only. The
            network was not trained on the last two.
        out: folder for everything that is written, made if missing.
        plan: what is asked for.
        record: preprocessing and class names, kept in the exported file.
        resume: go on with what is in the folder.
        progress: watches.

    Returns:
        What it brings. Where no exit pays, `exits` is empty, or `pays` is false: the result says so, nothing is raised.

    Raises:
        InputError: the folder holds another run, the data does not fit the network.
        ModelError: no exit can be added to the network.
        TargetNotMet: no thresholds meet the target, and which nearest one some do.
    """
    adoption = _Adoption(module, parts, out, plan or AdoptionPlan(), resume, progress)
    if adoption.plan.threads is not None:
        torch.set_num_threads(adoption.plan.threads)
    _open_folder(out, resume=resume)
    found = None if adoption.plan.after else _find_places(adoption)
    heads = _name_heads(adoption.plan, found)
    if not heads:
        return _finish(adoption, found)
    unseen = draw_samples(parts.test, _MOST_SAMPLES, adoption.plan.seed)
    plain_accuracy = None if adoption.plan.freeze else _measure_plain(adoption, unseen)  # before training changes it
    network = _make_network(adoption, heads)
    begun = (out / CHECKPOINT).exists()
    trained = train_heads(network, parts.train, out, adoption.plan.training, resume=begun, progress=progress)
    measured = _measure(adoption, network, unseen, record)
    return _finish(adoption, found, trained, measured, plain_accuracy)


def _open_folder(out: Path, *, resume: bool) -> None:
    begun = (out / PLACES).exists() or (out / CHECKPOINT).exists()
    if begun and not resume:
        msg = f"{out} already holds a run; go on with --resume, or take another folder"
        raise InputError(msg)
    make_output_folder(out)


def _find_places(adoption: _Adoption) -> FoundPlaces:
    """The places, as an earlier call found them or searched now."""
    path = adoption.out / PLACES
    if path.exists():
        return parse_document(FoundPlaces, read_json(path, "places"), str(path))
    plan, parts = adoption.plan, adoption.parts
    search = PlaceSearch(
        plan.budget, plan.head, plan.criterion, _keep_answers(plan.target), plan.place_seconds, seed=plan.seed
    )
    known = draw_samples(parts.train, _PLACE_SAMPLES, plan.seed)
    unseen = draw_samples(parts.calibration, adoption.place_samples, plan.seed)
    with make_scratch_folder(adoption.out) as folder:
        places = find_places(
            adoption.module,
            adoption.example,
            known,
            unseen,
            search,
            folder=folder,
            read=plan.read,
            progress=adoption.progress,
        )
    found = _record_places(places)
    write_text(path, dumps(found))
    return found


def _keep_answers(target: Target) -> Target:
    """What places are chosen for: the bounds on the answers, or a drop of half a point where there are none."""
    bounds = tuple(bound for bound in target.bounds if bound.metric in _ANSWERS)
    return Target(bounds) if bounds else parse_target("drop<=0.5")


def _record_places(places: PlacesFound) -> FoundPlaces:
    trial = places.trial
    tried = tuple(
        TriedExit(
            candidate.place.name,
            _name_head(candidate.head),
            candidate.place.share,
            float(trial.way_s[i]),
            float(trial.head_s[i]),
            trial.accuracy[i],
            i in places.choice.chosen,
        )
        for i, candidate in enumerate(trial.candidates)
    )
    return FoundPlaces(tried, trial.full_s, places.choice.mean_s)


def _name_heads(plan: AdoptionPlan, found: FoundPlaces | None) -> dict[str, str | MakeHead]:
    """The head of each exit, by the name of its place."""
    if found is None:
        return dict.fromkeys(plan.after, plan.head)
    return {t.place: plan.head if callable(plan.head) else t.head for t in found.tried if t.chosen}


def _make_network(adoption: _Adoption, heads: Mapping[str, str | MakeHead]) -> NetworkWithExits:
    plan = adoption.plan
    with seed_torch(derive_seed(plan.seed, "heads")):
        return add_exits(
            adoption.module, adoption.example, after=list(heads), head=heads, read=plan.read, freeze=plan.freeze
        )


# ---------------------------------------------------------------- measuring, and the result


@dataclass(frozen=True)
class _Measured:
    """What leaving early brings, and on how many samples it was calibrated and measured."""

    evaluation: DeviceEvaluation
    bench: BenchResult
    known: int
    unseen: int


def _measure_plain(adoption: _Adoption, unseen: Dataset) -> float:
    """Share of right answers of the network as it was given."""
    read = adoption.plan.read

    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = adoption.module

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [read_logits(self.whole(x), read)]

    return record_exits(Single(), unseen, batch=_BATCH).accuracies[-1]


def _measure(adoption: _Adoption, network: NetworkWithExits, unseen: Dataset, record: DataRecord | None) -> _Measured:
    out, plan, parts = adoption.out, adoption.plan, adoption.parts
    metadata = {KEY: compute_fingerprint(parts.train).as_text()} | ({} if record is None else record.as_metadata())
    export(network.cpu(), adoption.example, out / MODEL, metadata=metadata)
    known = draw_samples(parts.calibration, _MOST_SAMPLES, plan.seed, skip=adoption.place_samples)
    evaluation, bench = evaluate_on_device(
        out / MODEL,
        out / BUNDLE,
        known,
        unseen,
        plan.target,
        criterion=plan.criterion,
        preset=plan.preset,
        seed=plan.seed,
        progress=adoption.progress,
    )
    bench.save(out / MEASUREMENT)
    return _Measured(evaluation, bench, len(known), len(unseen))


def _finish(
    adoption: _Adoption,
    found: FoundPlaces | None,
    trained: HeadTraining | None = None,
    measured: _Measured | None = None,
    plain_accuracy: float | None = None,
) -> AdoptionResult:
    plan, out = adoption.plan, adoption.out
    evaluation = None if measured is None else measured.evaluation
    interval = None if measured is None else measured.bench.latency.against_backbone.mean.ci95
    if plain_accuracy is None and evaluation is not None:
        plain_accuracy = evaluation.backbone_accuracy
    pays, conclusion = conclude(evaluation, found, plain_accuracy)
    names = (PLACES, WEIGHTS, MODEL, BUNDLE, MEASUREMENT)
    result = AdoptionResult(
        target=str(plan.target),
        seed=plan.seed,
        data=_describe_parts(adoption, measured),
        tried=() if found is None else found.tried,
        plain_s=None if found is None else found.plain_s,
        expected_s=None if found is None else found.expected_s,
        exits=() if trained is None else _list_exits(trained.network, plan, found),
        training=None if trained is None else _describe_training(trained),
        evaluation=evaluation,
        plain_accuracy=plain_accuracy,
        ratio_low=None if interval is None else 1 / interval.high,
        ratio_high=None if interval is None else 1 / interval.low,
        pays=pays,
        conclusion=conclusion,
        files=tuple(str(out / name) for name in (*names, RESULT) if name == RESULT or (out / name).exists()),
    )
    write_text(out / RESULT, dumps(result))
    return result


def conclude(
    evaluation: DeviceEvaluation | None, found: FoundPlaces | None, plain_accuracy: float | None
) -> tuple[bool, str]:
    """Whether leaving early pays here, and what it brings, in one sentence."""
    if evaluation is None:
        assert found is not None, "without a search there are exits"
        saved = percent(1 - found.expected_s / found.plain_s, 1)
        return False, (
            f"no exit is expected to pay here: the best place would save {saved} of {seconds(found.plain_s)}, less than can be told from "
            "noise. The network is best used as it is"
        )
    lost = "" if plain_accuracy is None else f" for {_format_drop(plain_accuracy - evaluation.accuracy)}"
    within = evaluation.target_state != NOT_MET
    if evaluation.verdict == "FASTER" and within:
        state = "" if evaluation.target_met else " (whether the target is met these samples cannot tell)"
        return True, f"the network with exits is {ratio(evaluation.speedup)} as fast in the mean{lost}{state}"
    if evaluation.verdict == "FASTER":
        return False, f"it is {ratio(evaluation.speedup)} as fast in the mean{lost}, and the target is not met"
    if evaluation.verdict == "SLOWER":
        return False, f"the exits make the network slower here: {ratio(evaluation.speedup)} as fast in the mean{lost}"
    return False, f"no gain can be told from noise here: the comparison is {evaluation.verdict}"


def _format_drop(share: float) -> str:
    words = "fewer" if share >= 0 else "more"
    return f"{abs(100 * share):.2f} points {words} right answers"


def _list_exits(network: NetworkWithExits, plan: AdoptionPlan, found: FoundPlaces | None) -> tuple[AddedExit, ...]:
    heads = _name_heads(plan, found)
    return tuple(AddedExit(p.name, _name_head(heads[p.name]), p.share) for p in network.places)


def _name_head(head: str | MakeHead) -> str:
    return head if isinstance(head, str) else "own"


def _describe_training(trained: HeadTraining) -> HeadTrainingRecord:
    history = trained.history
    return HeadTrainingRecord(
        len(history), sum(epoch["seconds"] for epoch in history), trained.features, trained.network.frozen
    )


def _describe_parts(adoption: _Adoption, measured: _Measured | None) -> tuple[DataPart, ...]:
    parts, places = adoption.parts, adoption.place_samples
    train = DataPart(parts.train.name, len(parts.train), len(parts.train), "training of the heads")
    search = DataPart(parts.calibration.name, len(parts.calibration), places, "choice of the places")
    if measured is None:
        return train, search
    known = DataPart(parts.calibration.name, len(parts.calibration), measured.known, "choice of the thresholds")
    unseen = DataPart(parts.test.name, len(parts.test), measured.unseen, "final figures only")
    return (train, *((search,) if places else ()), known, unseen)
