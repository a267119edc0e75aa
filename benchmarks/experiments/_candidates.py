"""A trained plain network with many candidate exits on it at once, none of which changes the trunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from edgeexit.nets.outputs import mark_exit

HEADS: Mapping[str, tuple[int, ...]] = {
    "fc": (),
    "1-conv": (64,),
    "2-conv": (64, 64),
    "2-conv-narrow": (48, 48),
    "3-conv": (32, 64, 128),
    "4-conv": (32, 64, 64, 64),
}
"""Channels of each candidate's 3x3 convolutions; the first of them halves the size, of three all do, of four a pool follows the first
and the third."""


class WithHeads(nn.Module):
    """The network as it is, and an exit wherever a head is hung on the input of one of its modules.

    The trunk keeps its weights and its evaluation mode: what is trained are the heads.

    Args:
        trunk: plain network; returns a list with the logits of its only exit.
        heads: {name of a module of the trunk: {name of the head: head}}.
    """

    def __init__(self, trunk: nn.Module, heads: Mapping[str, Mapping[str, nn.Module]]) -> None:
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        self.heads = nn.ModuleList(head for there in heads.values() for head in there.values())
        for place, there in heads.items():
            trunk.get_submodule(place).register_forward_pre_hook(self._hook(place, there))

    @staticmethod
    def _hook(place: str, heads: Mapping[str, nn.Module]) -> Any:
        def leave(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            for name, head in heads.items():
                mark_exit(f"{place}/{name}", head(inputs[0]))

        return leave

    def train(self, mode: bool = True) -> WithHeads:
        """The heads' mode; the trunk stays in evaluation mode, so that all of them see what the plain network computes."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """The trunk's logits; the candidates' are marked."""
        logits: Tensor = self.trunk(x)[-1]
        return logits


def make_heads(
    trunk: nn.Module, places: Sequence[str], example: Tensor, classes: int
) -> dict[str, dict[str, nn.Module]]:
    """Every candidate head with fresh weights, for every place."""
    shapes = _input_shapes(trunk, places, example)
    return {place: {name: _head(shapes[place], widths, classes) for name, widths in HEADS.items()} for place in places}


def _input_shapes(trunk: nn.Module, places: Sequence[str], example: Tensor) -> dict[str, torch.Size]:
    shapes: dict[str, torch.Size] = {}
    hooks = [
        trunk.get_submodule(p).register_forward_pre_hook(lambda _, xs, p=p: shapes.__setitem__(p, xs[0].shape[1:]))
        for p in places
    ]
    with torch.no_grad():
        trunk.eval()(example)
    for hook in hooks:
        hook.remove()
    return shapes


def _head(shape: torch.Size, widths: tuple[int, ...], classes: int) -> nn.Module:
    """Convolutions with batch normalisation, pooling to at most 4x4 (one pixel after three and more), one fully connected layer."""
    to_one_pixel = len(widths) > 2
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise((shape[0], *widths))):
        layers += [nn.Conv2d(a, b, 3, 2 if i == 0 or len(widths) == 3 else 1, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(b), nn.ReLU()]
        if len(widths) == 4 and i in (0, 2):
            layers += [nn.MaxPool2d(2, ceil_mode=True)]
    convolutions = nn.Sequential(*layers)
    with torch.no_grad():
        channels, side = convolutions.eval()(torch.zeros(1, *shape)).shape[1:3]
    window = side if to_one_pixel else max(side // 4, 1)
    pool = nn.AvgPool2d(window) if to_one_pixel else nn.MaxPool2d(window)
    return nn.Sequential(convolutions, pool, nn.Flatten(), nn.Linear(channels * (side // window) ** 2, classes))
