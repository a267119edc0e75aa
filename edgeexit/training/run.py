"""A recipe carried out phase by phase, with a checkpoint after every epoch and the figures at the end.

out/checkpoint.pt     where the run stands; `resume=True` goes on from it and gives what an uninterrupted run gives
out/<phase>.pt        weights of the network at the end of each phase       (state_dict)
out/metrics.json      schema edgeexit.training/1
out/recipe.json       the recipe
out/features          features of a frozen network, while heads are trained on them
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeexit.data import TrainingData, TrainingParts, check_labels, load_data
from edgeexit.errors import InputError
from edgeexit.nets.attach import NetworkWithExits
from edgeexit.training.checkpoint import Checkpoint, FitState
from edgeexit.training.determinism import derive_seed, seed_torch, use_deterministic_algorithms
from edgeexit.training.earlier_runs import take_phases, take_plain_networks
from edgeexit.training.feature_phase import FOLDER, explain_no_features, open_feature_phase
from edgeexit.training.loop import Evaluate, TrainingSetup, fit
from edgeexit.training.loss_options import resolve_words
from edgeexit.training.losses import Loss, loss
from edgeexit.training.metrics import describe_new_collapse, make_evaluation
from edgeexit.training.outcome import Parts, TrainingResult, finish_run
from edgeexit.training.phase_networks import NetworkSource, PhaseNetworks, load_matching_weights
from edgeexit.training.process_group import ProcessGroup, join_process_group
from edgeexit.training.recipe import TrainingRecipe, check_recipe
from edgeexit.training.run_folder import CHECKPOINT, begin_run, check_inputs, open_checkpoint
from edgeexit.util.progress import Progress, show_nothing


@dataclass(frozen=True)
class _TrainingRun:
    """A recipe under way in a folder."""

    recipe: TrainingRecipe
    out: Path
    networks: PhaseNetworks
    checkpoint: Checkpoint
    setting: TrainingSetup
    parts: Parts
    progress: Progress

    @property
    def example(self) -> Tensor:
        """One input of zeros, on the device."""
        return torch.zeros(1, *self.setting.data.shape, device=self.setting.group.device)

    def save(self) -> None:
        """The checkpoint, by the process that leads; the others wait, so that none is ahead of it."""
        if self.setting.group.is_main:
            self.checkpoint.save(self.out / CHECKPOINT)
        self.setting.group.wait()


def train(
    recipe: TrainingRecipe,
    out: Path,
    *,
    resume: bool = False,
    earlier: Path | None = None,
    plain: Path | None = None,
    network: NetworkSource | None = None,
    parts: Parts | TrainingParts | None = None,
    threads: int | None = None,
    progress: Progress = show_nothing,
) -> TrainingResult:
    """Carry out a recipe.

    Args:
        recipe: what to train.
        out: folder of the run, made if missing, once nothing is left to refuse.
        resume: go on from the folder's checkpoint.
        earlier: folder of an earlier run, of which the phases are taken that are the same there: same data, network, seed and training,
            and from the same start.
        plain: weights of a plain network that is trained already (a state_dict), instead of the first phase of a network without exits.
            Of the folder of an earlier run all phases of such networks are taken, and must be the same.
        network: the network of every phase, instead of the one that the recipe names: a module, of which each phase trains a copy and
            whose weights are its fresh ones, or a function of the network's options that makes one.
        parts: the `train`, `calibration` and `test` sets, as `edgeexit.data.open_training_parts` gives them or by name; otherwise
            those that the recipe names.
        threads: number of torch's CPU threads, set for this process; with the same number results repeat bit for bit.
        progress: watches the steps.

    Raises:
        InputError: the folder holds another run, or there is nothing to resume, or the data and the network do not fit.
    """
    check_recipe(recipe, f"recipe {recipe.name!r}")
    if threads is not None:
        torch.set_num_threads(threads)
    began = time.perf_counter()
    with join_process_group() as group, use_deterministic_algorithms():
        checkpoint = open_checkpoint(recipe, out, resume=resume, leads=group.is_main)
        parts, notes = _open_parts(recipe, parts)
        networks = PhaseNetworks(recipe, network, shape=parts["train"].shape, classes=_count_classes(recipe, parts))
        networks.check()
        inputs = {"train": parts["train"].sha256, "network": networks.compute_digest()}
        check_inputs(checkpoint.inputs, inputs, out)
        checkpoint.inputs = inputs
        _take_trained(checkpoint, networks, earlier, plain)
        setting = _make_setup(recipe, parts["train"], group)
        shown = progress if group.is_main else show_nothing
        run = _TrainingRun(recipe, out, networks, checkpoint, setting, parts, shown)
        if group.is_main and not resume:
            begin_run(recipe, out)
        for name in recipe.phases:
            if name not in checkpoint.finished:
                _run_phase(name, run)
        if group.is_main:
            shutil.rmtree(out / FOLDER, ignore_errors=True)
        seconds = time.perf_counter() - began
        return finish_run(networks, checkpoint, parts, out, notes=notes, leads=group.is_main, seconds=seconds)


def _open_parts(recipe: TrainingRecipe, given: Parts | TrainingParts | None) -> tuple[Parts, tuple[str, ...]]:
    """The data by part, and what is to be recorded of how it became so."""
    if isinstance(given, TrainingParts):
        return given.by_name, given.notes
    return given or _load_parts(recipe), ()


def _load_parts(recipe: TrainingRecipe) -> Parts:
    if not recipe.data:
        msg = f"recipe {recipe.name!r} names no data: write `data` into it, or give the parts to train on"
        raise InputError(msg)
    return {part: load_data(f"{recipe.data}:{part}") for part in ("train", "calibration", "test")}


def _take_trained(checkpoint: Checkpoint, networks: PhaseNetworks, earlier: Path | None, plain: Path | None) -> None:
    """Phases of an earlier run count as finished, unless this run has finished or begun them itself."""
    taken = take_plain_networks(networks, plain) if plain is not None else {}
    taken |= take_phases(networks, earlier, checkpoint.inputs) if earlier is not None else {}
    for name, state in taken.items():
        if name != checkpoint.phase:
            checkpoint.finished.setdefault(name, state)


def _count_classes(recipe: TrainingRecipe, parts: Parts) -> int:
    """The recipe's number, which all labels must fit; otherwise of the classes that the data names, and at least those of its labels."""
    given = recipe.options.get("classes")
    if given is None:
        return max(max(len(data.class_names), 1 + int(data.y.max())) for data in parts.values())
    for data in parts.values():
        check_labels(data, given)
    return int(given)


def _make_setup(recipe: TrainingRecipe, train_set: TrainingData, group: ProcessGroup) -> TrainingSetup:
    return TrainingSetup(train_set, recipe.augment, recipe.seed, group, bfloat16=recipe.precision == "bfloat16")


def _run_phase(name: str, run: _TrainingRun) -> None:
    """Train one phase from where the checkpoint says that it stands."""
    module = _build_phase_network(name, run)
    if run.recipe.phases[name].epochs:
        _fit_phase(name, module, run)
    run.checkpoint.finish_phase(name, module)
    run.save()


@dataclass(frozen=True)
class _Fitting:
    """What a phase fits, on which samples, and what it is evaluated by."""

    module: nn.Module
    setting: TrainingSetup
    evaluate: Evaluate


def _fit_phase(name: str, module: nn.Module, run: _TrainingRun) -> None:
    recipe, checkpoint, phase = run.recipe, run.checkpoint, run.recipe.phases[name]
    criterion = _make_loss(name, module, run)
    fitting = _prepare_fitting(name, module, criterion, run)
    if checkpoint.phase == name:
        module.load_state_dict(checkpoint.model)

    def after_epoch(state: FitState) -> None:
        checkpoint.put_state(name, module, state)
        run.save()
        if collapse := describe_new_collapse(state.history):
            run.progress(f"phase {name}, epoch {len(state.history)}: {collapse}", 1, 1)

    fit(
        fitting.module,
        criterion,
        phase,
        fitting.setting,
        name=name,
        state=checkpoint.take_state(name),
        evaluate=fitting.evaluate,
        evaluate_every=recipe.evaluate_every,
        after_epoch=after_epoch,
        progress=run.progress,
    )


def _prepare_fitting(name: str, module: nn.Module, criterion: Loss, run: _TrainingRun) -> _Fitting:
    """The network on its samples; where only heads of added exits are trained, those on the features of the network."""
    recipe, setting, known = run.recipe, run.setting, run.parts["calibration"]
    evaluate = partial(
        make_evaluation, module, known, criterion=recipe.criterion, thresholds=recipe.thresholds, loss=criterion
    )
    why_not = explain_no_features(module, recipe.phases[name], recipe.augment)
    if why_not:
        run.checkpoint.features[name] = f"none: {why_not}"
    if why_not != "" or not isinstance(module, NetworkWithExits):
        return _Fitting(module, setting, evaluate())
    watched = {"calibration": known} if recipe.evaluate_every and setting.group.is_main else {}
    parts = {"train": setting.data, **watched}
    run.save()  # computing features may take minutes, and an interruption then is gone on with like any other
    features = open_feature_phase(module, parts, run.out / FOLDER, setting.group, run.progress)
    train_rows = features.parts["train"]
    run.checkpoint.features[name] = f"{train_rows}, removed when the heads were trained"
    return _Fitting(
        features.heads, replace(setting, data=train_rows), evaluate(features=features.parts.get("calibration"))
    )


def _make_loss(name: str, module: nn.Module, run: _TrainingRun) -> Loss:
    """The phase's loss. What words stand for is kept in the checkpoint: a latency measured again would be another one."""
    phase, group, known = run.recipe.phases[name], run.setting.group, run.checkpoint.options
    if name not in known:
        found = resolve_words(phase.options, module, run.example, run.setting.data.y) if group.is_main else {}
        found = group.share_from_main(found)
        known |= {name: found} if found else {}
    return loss(phase.loss, **{**phase.options, **known.get(name, {})})


def _build_phase_network(name: str, run: _TrainingRun) -> nn.Module:
    """The phase's network; weights that its start has are taken from there, the others (such as its branches) are new."""
    start = run.recipe.phases[name].start
    with seed_torch(derive_seed(run.recipe.seed, name, "weights")):
        module = run.networks.build(name)
    if start in run.checkpoint.finished:
        load_matching_weights(module, run.checkpoint.finished[start], name, start)
    module = module.to(run.setting.group.device)
    if run.setting.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
