"""What the losses are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexit.errors import InputError
from edgeexit.nets.outputs import ExitTensors

Loss: TypeAlias = Callable[[Sequence[ExitTensors], Tensor], Tensor]
"""Exits and labels int64 [b] in, scalar out."""

TINY = 1e-12
"""Least probability whose logarithm is taken."""


def sum_terms(terms: Iterable[Tensor]) -> Tensor:
    """The sum of scalars, as one operation."""
    return torch.stack(list(terms)).sum()


def compute_nll(p: Tensor, labels: Tensor, floor: float = TINY) -> Tensor:
    """Mean negative log-likelihood of the labels under probabilities [b, classes]."""
    return F.nll_loss(p.clamp_min(floor).log(), labels)


def read_confidence(e: ExitTensors) -> Tensor:
    """The exit's own score as a probability [b].

    Raises:
        InputError: it has none.
    """
    if e.score is None:
        msg = f"exit {e.name!r} has no score of its own, which this loss trains; use a network with learned confidences (eenet)"
        raise InputError(msg)
    return e.score.reshape(len(e.score)).clamp(0.0, 1.0)


def check_numbers(what: str, values: Sequence[float] | str, exits: Sequence[ExitTensors]) -> None:
    """Raise an error unless there is one number for every exit.

    Raises:
        InputError: another number of values, or a word that `edgeexit.training.train` replaces by numbers.
    """
    if isinstance(values, str):
        msg = f"{what} = {values!r} is a word of recipes, which training replaces by numbers; this loss needs the {len(exits)} numbers"
        raise InputError(msg)
    if len(values) != len(exits):
        shown = ", ".join(map(str, values))
        msg = f"the loss has {len(values)} {what} ({shown}) and the network has {len(exits)} exits"
        raise InputError(msg)


def check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    """Raise an error for a reading that does not exist.

    Raises:
        InputError: with those that do.
    """
    if value not in choices:
        msg = f"{what} must be {' or '.join(map(repr, choices))}, not {value!r}"
        raise InputError(msg)
