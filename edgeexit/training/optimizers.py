"""Optimisers by name, the parameter groups of a phase, and their step sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import nn

from edgeexit.errors import InputError
from edgeexit.training.freezing import matches_pattern, require_match
from edgeexit.training.named import make_named
from edgeexit.training.phases import OptimizerSettings, ParameterGroup, TrainingPhase
from edgeexit.training.schedules import Schedule, make_schedule

Groups: TypeAlias = "list[dict[str, Any]]"
"""Parameters with their `lr` and `weight_decay`, as torch's optimisers take them."""


def adam(groups: Groups, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""
    return torch.optim.Adam(groups, betas=_read_betas(betas), eps=eps)


def adamw(groups: Groups, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019); weight decay is apart from the gradient."""
    return torch.optim.AdamW(groups, betas=_read_betas(betas), eps=eps)


def sgd(groups: Groups, *, momentum: float = 0.9, nesterov: bool = False) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum, Nesterov's or not."""
    if not 0 <= momentum < 1 or (nesterov and not momentum):
        msg = f"optimizer 'sgd': momentum must be from 0 to below 1, and above 0 with nesterov, not {momentum!r}"
        raise InputError(msg)
    return torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=nesterov)


def _read_betas(betas: tuple[float, float]) -> tuple[float, float]:
    if len(betas) != 2 or not all(0 <= b < 1 for b in betas):
        msg = f"betas must be two numbers from 0 to below 1, not {list(betas)!r}"
        raise InputError(msg)
    return betas[0], betas[1]


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": adam, "adamw": adamw, "sgd": sgd}
"""Every optimiser by name. A new one is a function here and a line in this table."""


def make_optimizer(module: nn.Module, phase: TrainingPhase) -> torch.optim.Optimizer:
    """The phase's optimiser over the parameters of the module that are trained, each group with its settings.

    Raises:
        InputError: unknown optimiser or option, a pattern that no trained parameter matches, or two for one.
    """
    settings = phase.optimizer
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    names = _share_out(list(trained), phase.groups)
    groups = [
        {
            "params": [trained[name] for name in names[pattern]],
            "lr": own.rate or settings.rate,
            "weight_decay": settings.weight_decay if own.weight_decay is None else own.weight_decay,
        }
        for pattern, own in _list_groups(phase.groups)
        if names[pattern]
    ]
    return make_named("optimizer", OPTIMIZERS, settings.name, settings.options, groups)


def _list_groups(groups: Mapping[str, ParameterGroup]) -> list[tuple[str, ParameterGroup]]:
    """Those of the phase, and first the rest, which has no pattern."""
    return [("", ParameterGroup()), *groups.items()]


def _share_out(names: list[str], groups: Mapping[str, ParameterGroup]) -> dict[str, list[str]]:
    """The names of the trained parameters by pattern."""
    found: dict[str, list[str]] = {pattern: [] for pattern, _ in _list_groups(groups)}
    for pattern in groups:
        require_match("groups", pattern, names)
    for name in names:
        fitting = [pattern for pattern in groups if matches_pattern(name, pattern)]
        if len(fitting) > 1:
            msg = f"parameter {name!r} is in the groups {' and '.join(map(repr, fitting))}; a parameter has one group"
            raise InputError(msg)
        found[fitting[0] if fitting else ""].append(name)
    return found


class LearningRates:
    """The step sizes of an optimiser over a phase, group by group.

    Args:
        optimizer: as `make_optimizer` made it for `phase`.
        phase: the phase.
        names: names of the trained parameters, which say what groups there are.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, phase: TrainingPhase, names: list[str]) -> None:
        shared = _share_out(names, phase.groups)
        present = [own for pattern, own in _list_groups(phase.groups) if shared[pattern]]
        self._optimizer = optimizer
        self._epochs = phase.epochs
        self._courses: list[tuple[float, Schedule]] = [
            (own.rate or phase.optimizer.rate, make_schedule(own.schedule or phase.schedule)) for own in present
        ]

    def set(self, epoch: float) -> None:
        """Set those after this many epochs, whole or not."""
        for group, (rate, schedule) in zip(self._optimizer.param_groups, self._courses, strict=True):
            group["lr"] = rate * schedule(epoch, self._epochs)


def check_optimizer(settings: OptimizerSettings) -> None:
    """Raise what making it would raise, without a network.

    Raises:
        InputError: unknown optimiser or option, or a value out of its range.
    """
    one = TrainingPhase(epochs=1, optimizer=replace(settings))
    make_optimizer(nn.Linear(1, 1), one)
