"""Training of multi-exit networks: recipes, losses of the papers, a loop that can be interrupted and gives the same result."""

from __future__ import annotations

from edgeexit.errors import MissingExtra

try:
    import torch as _torch  # noqa: F401 - so that a missing torch is one clear message
except ImportError as error:
    raise MissingExtra("torch", "torch") from error

from edgeexit.training.heads import make_head_recipe
from edgeexit.training.losses import LOSSES, loss
from edgeexit.training.outcome import TrainingResult
from edgeexit.training.phases import TrainingPhase
from edgeexit.training.recipe import TrainingRecipe, find_recipe, load_recipe
from edgeexit.training.run import train

__all__ = [
    "LOSSES",
    "TrainingPhase",
    "TrainingRecipe",
    "TrainingResult",
    "find_recipe",
    "load_recipe",
    "loss",
    "make_head_recipe",
    "train",
]
