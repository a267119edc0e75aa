"""The network of recipe `add-exits`: the user's own classifier with exits added to it, by the recipe's options."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from edgeexit.nets.attach import add_exits
from edgeexit.training.named import make_named
from edgeexit.training.phase_networks import NetworkSource

NETWORK = "add-exits"
"""What a recipe names as its network where exits are added to the user's."""


def make_exit_source(module: nn.Module, shape: Sequence[int]) -> NetworkSource:
    """What makes the network of each phase: a copy of a trained classifier with fresh exits.

    Args:
        module: the classifier with its weights.
        shape: shape of one sample, without the batch.

    Returns:
        a function of the recipe's options, which are those of `edgeexit.add_exits`: `after`, `count`, `head`, `freeze`.

    Example:
        >>> from edgeexit.training import load_recipe
        >>> source = make_exit_source(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10)), (1, 8, 8))
        >>> len(source(after=["0"]).heads)
        1
    """
    example = torch.zeros(1, *shape)

    def make(**options: object) -> nn.Module:
        return make_named("network", {NETWORK: add_exits}, NETWORK, options, copy.deepcopy(module), example)

    return make
