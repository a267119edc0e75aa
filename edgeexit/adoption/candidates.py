"""Candidates for exits: places of a network, each with the kinds of heads that could stand there, as one network to be tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.nets.attach import ExitPlace, MakeHead, NetworkWithExits
from edgeexit.nets.attach.heads import make_head
from edgeexit.nets.attach.logits import Read
from edgeexit.nets.attach.places import Survey, choose_places, list_worthwhile_places

MOST_PLACES = 8
"""More places of a deep network are thinned to so many, spread by cost: neighbours differ little, and each takes time to try."""


@dataclass(frozen=True)
class Candidate:
    """A place, and the head that would stand there.

    Attributes:
        place: place of the network.
        head: name of the head, or the user's function.
    """

    place: ExitPlace
    head: str | MakeHead

    def __str__(self) -> str:
        return self.place.name if callable(self.head) else f"{self.place.name} ({self.head})"


def list_candidates(survey: Survey, head: str | MakeHead) -> list[Candidate]:
    """The candidates, from input to output; with `head="auto"` several heads at places that have several axes.

    Raises:
        ModelError: there is no place before the end of the network.
    """
    worthwhile = list_worthwhile_places(survey)
    if not worthwhile:
        msg = "the network has no part before its end through which everything passes: there is no place for an exit"
        raise ModelError(msg)
    places = choose_places(survey, min(MOST_PLACES, len(worthwhile)))
    return [Candidate(place, kind) for place in places for kind in _list_kinds(place, head)]


def _list_kinds(place: ExitPlace, head: str | MakeHead) -> tuple[str | MakeHead, ...]:
    return ("pool", "reduce") if head == "auto" and place.kind == "feature map" else (head,)


def build_trial(
    module: nn.Module, candidates: Sequence[Candidate], classes: int, read: Read | None
) -> NetworkWithExits:
    """The network with a fresh head of every candidate, several at one place perhaps."""
    heads = [make_head(c.head, c.place, classes) for c in candidates]
    network = NetworkWithExits(module, [c.place for c in candidates], heads, read=read)
    like = next((p for p in module.parameters() if p.is_floating_point()), None)
    return network if like is None else network.to(like.device, like.dtype)


def add_peeks(trial: NetworkWithExits, classes: int) -> NetworkWithExits:
    """The same with another exit before those: at the place of each, one that costs next to nothing. What it takes is the way there."""
    peeks = [Peek(classes) for _ in trial.places]
    return NetworkWithExits(trial.backbone, (*trial.places, *trial.places), [*peeks, *trial.heads], read=trial.read)


class Peek(nn.Module):
    """The first numbers of the features as logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, ...] -> [b, classes]."""
        flat = x.flatten(1)
        short = self.classes - flat.shape[1]
        return flat[:, : self.classes] if short <= 0 else torch.nn.functional.pad(flat, (0, short))
