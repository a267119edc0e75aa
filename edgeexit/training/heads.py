"""How the heads of added exits are trained where nothing else is said: the recipe `add-exits`."""

from __future__ import annotations

from dataclasses import replace

from edgeexit.errors import InputError, did_you_mean
from edgeexit.training.recipe import TrainingRecipe, load_recipe

PHASE = "heads"
"""The phase of the recipe, and the name of the file of weights at its end."""

HEAD_LOSSES: dict[str, tuple[str, ...]] = {"both": (), "labels": ("labels",), "distillation": ("distillation",)}
"""What heads can learn from, as presets of the recipe: labels, the answers of the network's own last exit, or both."""


def make_head_recipe(
    *, epochs: int | None = None, loss: str = "both", fine_tune: bool = False, seed: int = 0
) -> TrainingRecipe:
    """The recipe that trains the heads of exits that were added to a network.

    Args:
        epochs: passes over the training data; None takes the recipe's.
        loss: a name of `HEAD_LOSSES`.
        fine_tune: the network learns, too, at a lower rate.
        seed: random seed of the fresh heads and of the order of samples.

    Raises:
        InputError: no such loss.

    Example:
        >>> make_head_recipe(epochs=3, loss="labels").phases["heads"].epochs
        3
    """
    if loss not in HEAD_LOSSES:
        msg = f"heads cannot learn from {loss!r}.{did_you_mean(loss, HEAD_LOSSES)} They learn from: {', '.join(HEAD_LOSSES)}."
        raise InputError(msg)
    presets = [*HEAD_LOSSES[loss], *(["fine-tune"] if fine_tune else [])]
    recipe = replace(load_recipe("add-exits", preset=",".join(presets) or None), seed=seed)
    return recipe if epochs is None else recipe.with_epochs(epochs)
