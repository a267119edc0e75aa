"""The state of a run on disk: replaced whole after every epoch, loaded without unpickling code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from edgeexit.errors import InputError
from edgeexit.nets.weights import read_tensors
from edgeexit.util.atomic import replace_atomically

SCHEMA = "edgeexit.checkpoint/1"

State: TypeAlias = "dict[str, Tensor]"


Record: TypeAlias = "dict[str, Any]"
"""Measurements of an epoch: loss, accuracy per exit on the training data as it was trained on, seconds."""


@dataclass
class FitState:
    """Where a phase stands: with the module's weights, all that is needed to go on with it.

    Attributes:
        history: the figures of every epoch that is done.
        optimizer: the optimiser's state after the last one.
        best: the weights of the best epoch so far, where the phase keeps them.
    """

    history: list[Record] = field(default_factory=list)
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Checkpoint:
    """State of a training run.

    Attributes:
        recipe_sha256: SHA-256 of the recipe that it belongs to.
        phase: the phase under way; empty before the first and after the last.
        epoch: epochs of that phase that are done.
        model, optimizer: their states after that epoch.
        best: the model's state after the best epoch of that phase, where it keeps it.
        inputs: digests of what the run began with besides the recipe: `train`, the training data, and `network`, one that the recipe does
            not name.
        options: per phase, what the words in its loss's options stand for.
        finished: the network's weights at the end of each phase that is done.
        history: per phase, one record per epoch.
        features: per phase that trains added exits, what was kept of the network's features, or why nothing could be.
    """

    recipe_sha256: str
    phase: str = ""
    epoch: int = 0
    model: State = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: State = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    finished: dict[str, State] = field(default_factory=dict)
    history: dict[str, list[Record]] = field(default_factory=dict)
    features: dict[str, str] = field(default_factory=dict)

    def take_state(self, name: str) -> FitState:
        """Where a phase stands: where the checkpoint has it under way, else at its beginning."""
        history = self.history.get(name, [])
        return FitState(history, self.optimizer, self.best) if self.phase == name else FitState()

    def put_state(self, name: str, module: nn.Module, state: FitState) -> None:
        """Note where a phase stands after an epoch, with the module's weights."""
        self.phase, self.epoch, self.history[name] = name, len(state.history), state.history
        self.model, self.optimizer, self.best = module.state_dict(), state.optimizer, state.best

    def finish_phase(self, name: str, module: nn.Module) -> None:
        """Keep the module's weights as those at the end of the phase, which is no longer under way."""
        self.finished[name] = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
        self.phase, self.epoch, self.model, self.optimizer, self.best = "", 0, {}, {}, {}

    def save(self, path: Path) -> None:
        """Replace the file at `path`; a kill at any moment leaves the old one or this one."""
        save_tensors({"schema": SCHEMA, **vars(self)}, path)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read what `save` wrote.

        Raises:
            InputError: missing, damaged, or written by a newer edgeexit.
        """
        raw = read_tensors(path)
        schema = raw.pop("schema", None)
        if schema != SCHEMA:
            msg = f"{path} has schema {schema!r}; this edgeexit reads {SCHEMA!r}"
            raise InputError(msg)
        return cls(**raw)


def save_tensors(values: Mapping[str, Any], path: Path) -> None:
    """Write what `torch.load(weights_only=True)` reads, such as a state_dict; a kill at any moment leaves the old file or this one."""
    with replace_atomically(path) as scratch:
        torch.save(values, scratch)
