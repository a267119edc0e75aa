"""The training loop: fit ─► run_epoch ─► train_step. Each level is a function, and the step is passed in."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from edgeexit.data import TrainingData
from edgeexit.errors import InputError
from edgeexit.nets.outputs import ExitTensors, run_exits
from edgeexit.training.augment import Augment, augment_images
from edgeexit.training.losses import Loss
from edgeexit.training.process_group import ProcessGroup
from edgeexit.training.recipe import TrainingPhase
from edgeexit.training.tensors import TensorBatches, open_batches
from edgeexit.util.progress import Progress, show_nothing

Record: TypeAlias = "dict[str, Any]"
"""Measurements of an epoch: loss, accuracy per exit on the training data as it was trained on, seconds."""

Step: TypeAlias = Callable[[Tensor, Tensor], "dict[str, Tensor]"]
"""One batch in; `loss`, its mean, and `correct` [exits], the number of right answers of each exit, out."""

AfterEpoch: TypeAlias = Callable[[int, Record, torch.optim.Optimizer], None]
"""Called with the number of epochs done, what the last one measured, and the optimiser."""


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


def derive_seed(*parts: object) -> int:
    """A seed for one purpose, such as (7, "joint", 3): the same parts give the same seed everywhere."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "big")


def fit(
    module: nn.Module,
    loss: Loss,
    phase: TrainingPhase,
    setting: TrainingSetup,
    *,
    name: str,
    done: int = 0,
    optimizer_state: Mapping[str, Any] | None = None,
    after_epoch: AfterEpoch,
    progress: Progress = show_nothing,
) -> None:
    """Train `module` in place from epoch `done` to the end of the phase.

    Raises:
        InputError: the loss is no longer a number.
    """
    optimizer = make_optimizer(module, phase)
    if optimizer_state:
        optimizer.load_state_dict(dict(optimizer_state))
    step = _step(setting.group.wrap_model(module), loss, optimizer, setting)
    steps = math.ceil(len(setting.data) / phase.batch)
    for epoch in range(done, phase.epochs):

        def advance(i: int, epoch: int = epoch) -> None:
            set_rate(optimizer, compute_learning_rate(phase, epoch + i / steps))
            progress(f"train {name}", epoch * steps + i, phase.epochs * steps)

        with seed_torch(derive_seed(setting.seed, name, epoch, "network", *_make_process_seed(setting.group))):
            module.train()
            record = run_epoch(
                step, _iterate_batches(setting, phase.batch, (setting.seed, name, epoch), advance), setting.group
            )
        if not math.isfinite(record["loss"]):
            msg = f"the loss of phase {name!r} is {record['loss']} after epoch {epoch + 1}; a lower rate than {phase.rate:g} may train"
            raise InputError(msg)
        after_epoch(epoch + 1, record, optimizer)
        progress(f"train {name}", (epoch + 1) * steps, phase.epochs * steps)


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
    shares = [setting.group.select_share(order[i : i + size]) for i in range(0, len(order), size)]
    for i, (x, y) in enumerate(setting.batches([where for where in shares if len(where)])):
        advance(i)
        changed = augment_images(x, setting.augment, draws)
        yield changed.contiguous(memory_format=torch.channels_last) if setting.channels_last else changed, y


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


# ---------------------------------------------------------------- optimiser and its step size


def make_optimizer(module: nn.Module, phase: TrainingPhase) -> torch.optim.Optimizer:
    """The phase's optimiser over all parameters of the module."""
    parameters, rate, decay = module.parameters(), phase.rate, phase.weight_decay
    if phase.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=phase.betas[0], weight_decay=decay, nesterov=True)
    kind: type[torch.optim.Adam] = torch.optim.Adam if phase.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, rate, betas=phase.betas, weight_decay=decay)


def compute_learning_rate(phase: TrainingPhase, epoch: float) -> float:
    """The step size after this many epochs, whole or not."""
    if epoch < phase.warmup:
        return phase.rate * max(epoch / phase.warmup, 1e-3)
    share = epoch / phase.epochs
    if phase.schedule == "cosine":
        return phase.rate * (1 + math.cos(math.pi * share)) / 2
    if phase.schedule == "steps":
        return phase.rate * (1.0 if share < 0.5 else 0.1 if share < 0.75 else 0.01)
    return phase.rate


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the step size of every parameter."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@contextmanager
def seed_torch(seed: int) -> Iterator[None]:
    """Torch's global numbers (dropout, fresh weights) from this seed in the body, and as they were after it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def use_deterministic_algorithms() -> Iterator[None]:
    """Only algorithms that give the same result every time, in the body."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
