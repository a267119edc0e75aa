"""Early exits for a classifier that has none, in one go: places, heads, export, compile, calibrate, measure.

The folder holds each step's result, so that an interrupted call goes on where it stopped:

    places.json                     the places that were chosen, and every candidate's figures
    checkpoint.pt, heads.pt, ...    the training of the heads (`edgeexit.training.train`), and the weights of all at its end
    model.onnx, network.eexit       the network with its exits, and its bundle, calibrated on this machine
    bench.json, adoption.json       the measurement beside the network without exits, and the result
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from edgeexit.adoption.measurement import (
    BUNDLE,
    MEASUREMENT,
    PRESET,
    MeasuredExits,
    draw_unseen,
    measure_exits,
    measure_plain_accuracy,
)
from edgeexit.adoption.places import PlaceSearch, PlacesFound, find_places
from edgeexit.adoption.result import AddedExit, AdoptionResult, DataPart, HeadTrainingRecord, TriedExit
from edgeexit.adoption.samples import draw_samples
from edgeexit.calibration import Target, parse_target
from edgeexit.data import TrainingParts
from edgeexit.data.fingerprint import KEY
from edgeexit.data.reference import DataRecord
from edgeexit.errors import InputError
from edgeexit.exporter import export
from edgeexit.nets.attach import MakeHead, NetworkWithExits, add_exits
from edgeexit.nets.attach.logits import Read
from edgeexit.training import TrainingRecipe, TrainingResult, make_head_recipe, train
from edgeexit.training.heads import PHASE
from edgeexit.training.run_folder import CHECKPOINT
from edgeexit.util.atomic import make_output_folder, write_text
from edgeexit.util.documents import dumps, parse_document, read_json
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.scratch import make_scratch_folder
from edgeexit.util.units import percent, seconds

PLACES, MODEL, RESULT = "places.json", "model.onnx", "adoption.json"
WEIGHTS = f"{PHASE}.pt"
_PLACE_SAMPLES = 3000
_PLACE_TESTED = 2000
_PLACE_SHARE = 0.2
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
        training: how the heads are trained: a recipe whose only phase is `heads`.
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
    training: TrainingRecipe = field(default_factory=make_head_recipe)
    freeze: bool = True
    preset: str = PRESET
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
    plan = plan or AdoptionPlan()
    adoption = _Adoption(module, parts, out, plan, resume, progress)
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    _open_folder(out, resume=resume)
    found = None if plan.after else _find_places(adoption)
    heads = _name_heads(plan, found)
    if not heads:
        return _finish(adoption, found)
    plain = None if plan.freeze else measure_plain_accuracy(module, draw_unseen(parts, plan.seed), plan.read)
    trained = _train_heads(adoption, heads)
    return _finish(adoption, found, trained, _measure(adoption, trained, record, plain))


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


def _train_heads(adoption: _Adoption, heads: Mapping[str, str | MakeHead]) -> TrainingResult:
    """The network with a head at each place, trained; goes on where an earlier call stopped."""
    plan, out = adoption.plan, adoption.out
    names = {place: _name_head(head) for place, head in heads.items()}
    recipe = replace(plan.training, seed=plan.seed, options={"head": names, "freeze": plan.freeze}, evaluate_every=0)

    def make(**_: object) -> nn.Module:
        module = copy.deepcopy(adoption.module)
        return add_exits(module, adoption.example, after=list(heads), head=heads, read=plan.read, freeze=plan.freeze)

    begun = (out / CHECKPOINT).exists()
    return train(recipe, out, network=make, parts=adoption.parts, resume=begun, progress=adoption.progress)


# ---------------------------------------------------------------- measuring, and the result


def _measure(
    adoption: _Adoption, trained: TrainingResult, record: DataRecord | None, plain_accuracy: float | None
) -> MeasuredExits:
    out, plan = adoption.out, adoption.plan
    metadata = {KEY: trained.fingerprint.as_text()} | ({} if record is None else record.as_metadata())
    export(_get_network(trained), trained.example, out / MODEL, metadata=metadata)
    return measure_exits(
        out / MODEL,
        out,
        adoption.parts,
        plan.target,
        criterion=plan.criterion,
        preset=plan.preset,
        seed=plan.seed,
        skip=adoption.place_samples,
        plain_accuracy=plain_accuracy,
        progress=adoption.progress,
    )


def _get_network(trained: TrainingResult) -> NetworkWithExits:
    network = trained.networks[PHASE]
    assert isinstance(network, NetworkWithExits), "add_exits made it"
    return network


def _finish(
    adoption: _Adoption,
    found: FoundPlaces | None,
    trained: TrainingResult | None = None,
    measured: MeasuredExits | None = None,
) -> AdoptionResult:
    plan, out = adoption.plan, adoption.out
    low, high = (None, None) if measured is None else measured.ratio_interval
    names = (PLACES, WEIGHTS, MODEL, BUNDLE, MEASUREMENT)
    result = AdoptionResult(
        target=str(plan.target),
        seed=plan.seed,
        data=_describe_parts(adoption, measured),
        tried=() if found is None else found.tried,
        plain_s=None if found is None else found.plain_s,
        expected_s=None if found is None else found.expected_s,
        exits=() if trained is None else _list_exits(_get_network(trained), plan, found),
        training=None if trained is None else _describe_training(trained),
        evaluation=None if measured is None else measured.evaluation,
        plain_accuracy=None if measured is None else measured.plain_accuracy,
        ratio_low=low,
        ratio_high=high,
        pays=measured is not None and measured.pays,
        conclusion=explain_no_exits(found) if measured is None else measured.conclusion,
        files=tuple(str(out / name) for name in (*names, RESULT) if name == RESULT or (out / name).exists()),
    )
    write_text(out / RESULT, dumps(result))
    return result


def explain_no_exits(found: FoundPlaces | None) -> str:
    """What is told where the search chose no place."""
    assert found is not None, "without a search there are exits"
    saved = percent(1 - found.expected_s / found.plain_s, 1)
    return (
        f"no exit is expected to pay here: the best place would save {saved} of {seconds(found.plain_s)}, less than can be told from "
        "noise. The network is best used as it is"
    )


def _list_exits(network: NetworkWithExits, plan: AdoptionPlan, found: FoundPlaces | None) -> tuple[AddedExit, ...]:
    heads = _name_heads(plan, found)
    return tuple(AddedExit(p.name, _name_head(heads[p.name]), p.share) for p in network.places)


def _name_head(head: str | MakeHead) -> str:
    return head if isinstance(head, str) else "own"


def _describe_training(trained: TrainingResult) -> HeadTrainingRecord:
    history = trained.metrics["history"][PHASE]
    seconds = sum(epoch["seconds"] for epoch in history)
    return HeadTrainingRecord(len(history), seconds, trained.metrics["features"][PHASE], _get_network(trained).frozen)


def _describe_parts(adoption: _Adoption, measured: MeasuredExits | None) -> tuple[DataPart, ...]:
    parts, places = adoption.parts, adoption.place_samples
    train = DataPart(parts.train.name, len(parts.train), len(parts.train), "training of the heads")
    search = DataPart(parts.calibration.name, len(parts.calibration), places, "choice of the places")
    if measured is None:
        return train, search
    known = DataPart(parts.calibration.name, len(parts.calibration), measured.known, "choice of the thresholds")
    unseen = DataPart(parts.test.name, len(parts.test), measured.unseen, "final figures only")
    return (train, *((search,) if places else ()), known, unseen)
