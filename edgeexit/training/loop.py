"""The training loop: fit ─► run_epoch ─► train_step. Each level is a function, and the step is passed in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from edgeexit.data import TrainingData
from edgeexit.errors import InputError
from edgeexit.nets.outputs import ExitTensors, run_exits
from edgeexit.training.augment import Augment, augment_images
from edgeexit.training.checkpoint import FitState, Record
from edgeexit.training.determinism import derive_seed, seed_torch
from edgeexit.training.early_stopping import find_best_epoch, has_stopped_improving
from edgeexit.training.freezing import set_training_mode, train_only
from edgeexit.training.losses import Loss
from edgeexit.training.optimizers import LearningRates, make_optimizer
from edgeexit.training.phases import TrainingPhase
from edgeexit.training.process_group import ProcessGroup
from edgeexit.training.tensors import TensorBatches, open_batches
from edgeexit.util.progress import Progress, show_nothing

Step: TypeAlias = Callable[[Tensor, Tensor], "dict[str, Tensor]"]
"""One batch in; `loss`, its mean, and `correct` [exits], the number of right answers of each exit, out."""

Evaluate: TypeAlias = Callable[[nn.Module], "dict[str, Any]"]
"""Figures of the network as it is after an epoch, such as its accuracy on the calibration part, by name."""


AfterEpoch: TypeAlias = Callable[[FitState], None]
"""Called after every epoch with where the phase stands."""


@dataclass(frozen=True)
class TrainingSetup:
    """Setup shared by all phases of a run.

    Attributes:
        data: training data.
        augment: changes of the inputs.
        seed: random seed of the run; epochs and purposes draw their own from it, so that a resumed run sees the same numbers.
        group: the processes that train together.
        bfloat16: mixed precision; images then lie channels last, as the matrix units of GPUs and of newer CPUs want them.
    """

    data: TrainingData
    augment: Augment
    seed: int
    group: ProcessGroup
    bfloat16: bool = False

    @cached_property
    def batches(self) -> TensorBatches:
        """Batches of the data on the device, by the places of their samples."""
        return open_batches(self.data, self.group.device)

    @property
    def channels_last(self) -> bool:
        """Whether the inputs are images in that layout."""
        return self.bfloat16 and len(self.data.shape) == 3

    def arrange(self, x: Tensor) -> Tensor:
        """Inputs in that layout, where it is theirs."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x


def keep_nothing(state: FitState) -> None:
    """For phases that are not resumed."""


def fit(
    module: nn.Module,
    loss: Loss,
    phase: TrainingPhase,
    setting: TrainingSetup,
    *,
    name: str,
    state: FitState | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    after_epoch: AfterEpoch = keep_nothing,
    progress: Progress = show_nothing,
) -> FitState:
    """Train `module` in place to the end of the phase, or until it stops improving.

    Args:
        module: any network whose outputs `run_exits` reads, on the device of the setup's group.
        loss: what is minimised.
        phase: how; its `start` and `network` are the caller's matter.
        setting: samples, seed, processes.
        name: name of the phase; its random numbers depend on it.
        state: where an interrupted phase stood; `module` then has the weights of that moment.
        evaluate: figures for the history, with which early stopping can be decided. One process calls it for all.
        evaluate_every: epochs from one evaluation to the next; the last epoch has one as well, and 0 means none.
        after_epoch: called with where the phase stands.
        progress: watches the steps.

    Returns:
        where the phase stands at its end.

    Raises:
        InputError: the loss is no longer a number, a pattern of the phase matches no parameter, or there is nothing to train.
    """
    state = state or FitState()
    with train_only(module, phase.train):
        optimizer = make_optimizer(module, phase)
        if state.optimizer:
            optimizer.load_state_dict(state.optimizer)
        rates = LearningRates(optimizer, phase, [n for n, p in module.named_parameters() if p.requires_grad])
        step = _step(setting.group.wrap_model(module), loss, optimizer, setting)
        steps = math.ceil(len(setting.data) / phase.batch)
        for epoch in range(len(state.history), phase.epochs):
            if phase.stop and has_stopped_improving(phase.stop, state.history):
                break

            def advance(i: int, epoch: int = epoch) -> None:
                rates.set(epoch + i / steps)
                progress(f"train {name}", epoch * steps + i, phase.epochs * steps)

            set_training_mode(module, phase.train)
            record = _train_epoch(step, phase, setting, (name, epoch), advance)
            if evaluate and evaluate_every and ((epoch + 1) % evaluate_every == 0 or epoch + 1 == phase.epochs):
                record |= _evaluate_once(evaluate, module, setting, (name, epoch))
            _add_epoch(record, module, optimizer, phase, state)
            after_epoch(state)
            progress(f"train {name}", (epoch + 1) * steps, phase.epochs * steps)
    if state.best:
        module.load_state_dict(state.best)
    return state


def _train_epoch(
    step: Step,
    phase: TrainingPhase,
    setting: TrainingSetup,
    seed: tuple[str, int],
    advance: Callable[[int], None],
) -> Record:
    name, epoch = seed
    with seed_torch(derive_seed(setting.seed, name, epoch, "network", *_make_process_seed(setting.group))):
        batches = _iterate_batches(setting, phase.batch, (setting.seed, name, epoch), advance)
        record = run_epoch(step, batches, setting.group)
    if not math.isfinite(record["loss"]):
        rate = phase.optimizer.rate
        msg = f"the loss of phase {name!r} is {record['loss']} after epoch {epoch + 1}; a lower rate than {rate:g} may train"
        raise InputError(msg)
    return record


def _evaluate_once(
    evaluate: Evaluate, module: nn.Module, setting: TrainingSetup, seed: tuple[str, int]
) -> dict[str, Any]:
    """The figures of the process that leads, for all: early stopping is decided alike, whatever their rounding."""
    with seed_torch(derive_seed(setting.seed, *seed, "evaluation")):
        figures = evaluate(module) if setting.group.is_main else {}
    return setting.group.share_from_main(figures)


def _add_epoch(
    record: Record, module: nn.Module, optimizer: torch.optim.Optimizer, phase: TrainingPhase, state: FitState
) -> None:
    state.history.append({"epoch": len(state.history) + 1, **record})
    state.optimizer = optimizer.state_dict()
    if phase.stop and phase.stop.keep_best and find_best_epoch(phase.stop, state.history) == len(state.history):
        state.best = {k: v.detach().clone() for k, v in module.state_dict().items()}


def run_epoch(step: Step, batches: Iterable[tuple[Tensor, Tensor]], group: ProcessGroup) -> Record:
    """One pass over the training data."""
    began, sums = time.perf_counter(), torch.zeros(2, dtype=torch.float64)
    correct = torch.zeros(1)
    for x, y in batches:
        out = step(x, y)
        sums += torch.tensor([float(out["loss"]) * len(y), len(y)], dtype=torch.float64)
        correct = correct + out["correct"]
    loss, n = group.sum_over_processes(sums).tolist()
    accuracy = [float(c) / n for c in group.sum_over_processes(correct)]
    return {"loss": loss / n, "accuracy": accuracy, "seconds": round(time.perf_counter() - began, 3)}


def _iterate_batches(
    setting: TrainingSetup, size: int, seed: tuple[object, ...], advance: Callable[[int], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The part of every batch that this process trains on, in an order given by the seed, inputs changed as the recipe says."""
    generator = torch.Generator().manual_seed(derive_seed(*seed))
    order = torch.randperm(len(setting.data), generator=generator)
    draws = (
        generator
        if setting.group.is_main
        else torch.Generator().manual_seed(derive_seed(*seed, *_make_process_seed(setting.group)))
    )
    shares = [setting.group.select_share(batch) for batch in torch.split(order, size)]
    for i, (x, y) in enumerate(setting.batches([where for where in shares if len(where)])):
        advance(i)
        yield setting.arrange(augment_images(x, setting.augment, draws)), y


def _make_process_seed(group: ProcessGroup) -> tuple[int, ...]:
    """Seed parts that distinguish the other processes from the first one."""
    return () if group.is_main else (group.rank,)


def _step(module: nn.Module, loss: Loss, optimizer: torch.optim.Optimizer, setting: TrainingSetup) -> Step:
    device = setting.group.device.type

    def train_step(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=setting.bfloat16):
            exits = [_convert_to_float32(e) for e in run_exits(module, x)]
        value = loss(exits, y)
        torch.autograd.backward(value)
        optimizer.step()
        correct = torch.stack([(e.logits.detach().argmax(-1) == y).sum() for e in exits])
        return {"loss": value.detach(), "correct": correct.cpu()}

    return train_step


def _convert_to_float32(e: ExitTensors) -> ExitTensors:
    # A softmax of bfloat16 rounds a sure answer to 1, which then has no gradient.
    return ExitTensors(e.name, e.logits.float(), e.score if e.score is None else e.score.float())
