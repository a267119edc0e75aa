"""The state of a run on disk: replaced whole after every epoch, loaded without unpickling code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from edgeexit.errors import InputError
from edgeexit.nets.weights import read_tensors
from edgeexit.util.atomic import replace_atomically

SCHEMA = "edgeexit.checkpoint/1"

State: TypeAlias = "dict[str, Tensor]"


@dataclass
class Checkpoint:
    """State of a training run.

    Attributes:
        recipe_sha256: SHA-256 of the recipe that it belongs to.
        phase: the phase under way; empty before the first and after the last.
        epoch: epochs of that phase that are done.
        model, optimizer: their states after that epoch.
        finished: the network's weights at the end of each phase that is done.
        history: per phase, one record per epoch.
    """

    recipe_sha256: str
    phase: str = ""
    epoch: int = 0
    model: State = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    finished: dict[str, State] = field(default_factory=dict)
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Replace the file at `path`; a kill at any moment leaves the old one or this one."""
        with replace_atomically(path) as scratch:
            torch.save({"schema": SCHEMA, **vars(self)}, scratch)

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
