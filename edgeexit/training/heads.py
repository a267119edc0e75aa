"""Train the heads of exits that were added to a trained network.

    frozen network, samples as they are    one pass over the data into a cache of features, then epochs over the cache      minutes
    augmentation, or fine-tuning           every epoch runs the whole network                                               hours

The run's folder: `checkpoint.pt` after every epoch, the cache until the heads are trained, and `heads.pt`, the weights of all.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeexit.data import TrainingData, check_labels
from edgeexit.errors import InputError, did_you_mean
from edgeexit.nets.attach import NetworkWithExits
from edgeexit.nets.state import evaluation_mode
from edgeexit.training.augment import Augment
from edgeexit.training.checkpoint import Checkpoint, FitState, save_tensors
from edgeexit.training.features import HeadsOnRows, cache_features
from edgeexit.training.loop import TrainingSetup, fit, use_deterministic_algorithms
from edgeexit.training.losses import loss
from edgeexit.training.phases import OptimizerSettings, ScheduleSettings, TrainingPhase
from edgeexit.training.process_group import ProcessGroup, join_process_group
from edgeexit.training.run_folder import CHECKPOINT
from edgeexit.util.atomic import make_output_folder
from edgeexit.util.progress import Progress, show_nothing

WEIGHTS = "heads.pt"
_NAME = "heads"


@dataclass(frozen=True)
class HeadTraining:
    """Heads that have been trained.

    Attributes:
        network: the network that was given, its heads trained.
        history: one record per epoch: loss, accuracy of each exit on the training data, seconds.
        features: what was kept of the features, in words; why they could not be used where they were not.
        weights: the file of weights.
    """

    network: NetworkWithExits
    history: list[dict[str, Any]]
    features: str
    weights: Path


@dataclass(frozen=True)
class HeadSettings:
    """How heads are trained.

    Attributes:
        phase: optimiser, loss and epochs; the loss sees every exit, the network's own as the last.
        augment: changes of the training images; any makes the features of an epoch other ones, so that none can be kept.
        seed: random seed of the order of samples, augmentation and dropout.
        keep_features: whether the cache stays in the folder when the heads are trained.
    """

    phase: TrainingPhase
    augment: Augment = field(default_factory=Augment)
    seed: int = 0
    keep_features: bool = False

    def compute_key(self, network: NetworkWithExits) -> str:
        """SHA-256 of what the result depends on besides data and weights."""
        phase, places = asdict(self.phase), [place.name for place in network.places]
        facts = [phase, asdict(self.augment), self.seed, places, network.frozen, repr(network.heads)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


EPOCHS = 15
HEAD_LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "both": ("distill", {"weight": 1.0, "temperature": 2.0}),
    "labels": ("sum", {}),
    "distillation": ("distill", {"share": 1.0, "temperature": 2.0}),
}
"""What heads can learn from, as losses and their options: labels, the answers of the network's own last exit, or both."""


def make_head_phase(*, epochs: int = EPOCHS, loss: str = "both") -> TrainingPhase:
    """The phase that trains heads where nothing else is said: Adam with a cosine schedule.

    Args:
        epochs: passes over the training data.
        loss: a name of `HEAD_LOSSES`.

    Raises:
        InputError: no such loss.
    """
    if loss not in HEAD_LOSSES:
        msg = f"heads cannot learn from {loss!r}.{did_you_mean(loss, HEAD_LOSSES)} They learn from: {', '.join(HEAD_LOSSES)}."
        raise InputError(msg)
    name, options = HEAD_LOSSES[loss]
    adam, cosine = OptimizerSettings("adam", rate=3e-3), ScheduleSettings("cosine")
    return TrainingPhase(epochs, name, options, batch=256, optimizer=adam, schedule=cosine)


def train_heads(
    network: NetworkWithExits,
    data: TrainingData,
    out: Path,
    settings: HeadSettings,
    *,
    resume: bool = False,
    progress: Progress = show_nothing,
) -> HeadTraining:
    """Train the heads of `network` in place; with `network.frozen` false, the whole network with them.

    Args:
        network: as `edgeexit.add_exits` returns it.
        data: training data, a `Dataset` or anything that is read batch by batch.
        out: folder of the run, made if missing.
        settings: how.
        resume: go on from the folder's checkpoint; the weights get the same bits as without the interruption.
        progress: watches the passes.

    Raises:
        InputError: the folder holds another run, or there is nothing to resume; the data does not fit the network; the loss is no
            longer a number.
    """
    checkpoint = _open(out, settings.compute_key(network), resume=resume)
    why_not = _explain_no_cache(network, settings.augment)
    about = f"none: {why_not}" if why_not else "kept until the heads were trained"
    if _NAME not in checkpoint.finished:
        with use_deterministic_algorithms(), join_process_group() as group:
            run = _HeadRun(network.to(group.device), settings, out, checkpoint, progress)
            about = run.run_on_samples(data, group, why_not) if why_not else run.run_on_features(data, group)
    network.load_state_dict(checkpoint.finished[_NAME])
    save_tensors(checkpoint.finished[_NAME], out / WEIGHTS)
    return HeadTraining(network.eval(), checkpoint.history[_NAME], about, out / WEIGHTS)


def _explain_no_cache(network: NetworkWithExits, augment: Augment) -> str:
    """Why features cannot be computed once for all epochs; empty where they can."""
    if not network.frozen:
        return "the network itself is trained too, so its features change with every step"
    return "" if augment == Augment() else "the images are changed at random, so that every epoch has other features"


@dataclass(frozen=True)
class _HeadRun:
    """The training of heads under way in a folder."""

    network: NetworkWithExits
    settings: HeadSettings
    out: Path
    checkpoint: Checkpoint
    progress: Progress

    def run_on_features(self, data: TrainingData, group: ProcessGroup) -> str:
        """Train on features that are computed once; says what was kept of them."""
        cache = cache_features(self.network, data, self.out, progress=self.progress)
        setup = TrainingSetup(cache, self.settings.augment, self.settings.seed, group)
        self._fit(HeadsOnRows(self.network, cache.layout), setup)
        if self.settings.keep_features:
            return f"{cache}, kept in {self.out}"
        cache.remove()
        return f"{cache}, removed when the heads were trained"

    def run_on_samples(self, data: TrainingData, group: ProcessGroup, why: str) -> str:
        """Train on the samples, running the whole network for each."""
        check_labels(data, _count_classes(self.network, data))
        self._fit(self.network, TrainingSetup(data, self.settings.augment, self.settings.seed, group))
        return f"none: {why}"

    def _fit(self, module: nn.Module, setup: TrainingSetup) -> None:
        checkpoint, phase = self.checkpoint, self.settings.phase
        if checkpoint.phase:
            module.load_state_dict(checkpoint.model)

        def after_epoch(state: FitState) -> None:
            checkpoint.put_state(_NAME, module, state)
            checkpoint.save(self.out / CHECKPOINT)

        fit(
            module,
            loss(phase.loss, **phase.options),
            phase,
            setup,
            name=_NAME,
            state=checkpoint.take_state(_NAME),
            after_epoch=after_epoch,
            progress=self.progress,
        )
        checkpoint.finish_phase(_NAME, self.network)
        checkpoint.save(self.out / CHECKPOINT)


def _count_classes(network: NetworkWithExits, data: TrainingData) -> int:
    inputs, _ = next(iter(data.batches([np.arange(1)])))
    with evaluation_mode(network), torch.no_grad():
        return int(network(torch.from_numpy(inputs).to(next(network.parameters()).device))[-1].shape[1])


def _open(out: Path, key: str, *, resume: bool) -> Checkpoint:
    """The state of the folder's run, or a new one."""
    path = out / CHECKPOINT
    if path.exists() != resume:
        msg = (
            f"there is nothing to resume in {out}: it has no {CHECKPOINT}"
            if resume
            else f"{out} already holds a run; go on with it by resume, or take another folder"
        )
        raise InputError(msg)
    make_output_folder(out)
    checkpoint = Checkpoint.load(path) if resume else Checkpoint(key)
    if checkpoint.recipe_sha256 != key:
        msg = f"{out} was begun with other places, heads or settings; use the same, or take another folder"
        raise InputError(msg)
    return checkpoint
