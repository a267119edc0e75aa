"""The network of each phase of a recipe: of those that have a name, or a user's own."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from edgeexit.errors import InputError
from edgeexit.nets import build
from edgeexit.training.determinism import seed_torch
from edgeexit.training.recipe import TrainingRecipe

NetworkSource: TypeAlias = "nn.Module | Callable[..., nn.Module]"
"""A module, of which every phase trains a copy, or a function that makes one of the network's options."""


class PhaseNetworks:
    """What makes the network of each phase.

    Args:
        recipe: the recipe.
        source: a network of the user's; None for the one that the recipe names.
        shape: of one sample, for a network that the recipe names; None takes the network's own.
        classes: how many, for such a network; None takes the network's own number.

    Raises:
        InputError: the recipe names no network, and there is none.
    """

    def __init__(
        self,
        recipe: TrainingRecipe,
        source: NetworkSource | None = None,
        *,
        shape: tuple[int, ...] | None = None,
        classes: int | None = None,
    ) -> None:
        if source is None and not recipe.network:
            msg = f"recipe {recipe.name!r} names no network: write `network` into it, or give one to train"
            raise InputError(msg)
        self.recipe = recipe
        self._source = source
        self._shape, self._classes = shape, classes

    def build(self, phase: str) -> nn.Module:
        """The network of a phase with fresh weights, drawn from torch's global generator; of a module, a copy.

        Raises:
            InputError: no network has the recipe's name, it lacks an option or cannot take the samples, or options are given for a module.
        """
        options = self.recipe.list_network_options(phase)
        if self._source is None:
            return build(self.recipe.network, **{"shape": self._shape, "classes": self._classes, **options})
        if not isinstance(self._source, nn.Module):
            return self._source(**options)
        if options:
            named = ", ".join(options)
            msg = f"phase {phase!r} has options of the network ({named}), and the network is a module: give a function that makes it"
            raise InputError(msg)
        return copy.deepcopy(self._source)

    def check(self) -> None:
        """Build each phase's network once, where the recipe names it, so that what cannot be built is refused before anything is written.

        Raises:
            InputError: as `build`.
        """
        for name in self.recipe.phases if self._source is None else ():
            self.describe(name)

    def with_recipe(self, recipe: TrainingRecipe) -> PhaseNetworks:
        """The networks of another recipe's phases, from the same source."""
        return PhaseNetworks(recipe, self._source, shape=self._shape, classes=self._classes)

    def build_with_weights(self, phase: str, state: Mapping[str, Tensor]) -> nn.Module:
        """The network of a phase with these weights, in evaluation mode."""
        module = self.build(phase)
        module.load_state_dict(dict(state))
        return module.eval()

    def compute_digest(self) -> str:
        """SHA-256 of the user's own network as it is before training; empty for one that the recipe names, which its seed determines."""
        if self._source is None:
            return ""
        text, weights = self.describe(next(iter(self.recipe.phases)))
        digest = hashlib.sha256(text.encode())
        for name, value in weights.items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def describe(self, phase: str) -> tuple[str, dict[str, Tensor]]:
        """What tells the network of a phase from others: its modules with their settings, and its weights from one seed."""
        with seed_torch(0):
            module = self.build(phase)
        return repr(module), dict(module.state_dict())


def load_matching_weights(module: nn.Module, state: Mapping[str, Tensor], name: str, start: str) -> None:
    """Put the weights of an earlier phase into what the module shares with that phase's network.

    Raises:
        InputError: they share nothing, or not in its shape.
    """
    own = module.state_dict()
    shared = {k: v for k, v in state.items() if k in own}
    other = next((k for k, v in shared.items() if v.shape != own[k].shape), None)
    if other is not None:
        msg = f"phase {name!r} starts from {start!r}, whose {other} is {list(shared[other].shape)} and not {list(own[other].shape)}"
        raise InputError(msg)
    if not shared:
        msg = f"phase {name!r} starts from {start!r}, and their networks share no parameter"
        raise InputError(msg)
    module.load_state_dict(shared, strict=False)
