"""The network that `edgeexit export` writes: of edgeexit, of the user's own code, or of a published repository."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexit.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from edgeexit.exporter.published import Repository
    from edgeexit.nets.weights import WeightsLocation


@dataclass(frozen=True)
class NetworkToExport:
    """A network with its weights.

    Attributes:
        module: its forward returns or marks every exit.
        weights: where in the checkpoint its weights were.
        inputs: shape of one sample per input, as `--input` takes them; empty where it is not known.
        recipe: recipe of the repository that it is of; None of any other.
        options: what it was built with by that recipe.
    """

    module: nn.Module
    weights: WeightsLocation
    inputs: tuple[str, ...] = ()
    recipe: Repository | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def choose_criterion(self, name: str | None) -> str | None:
        """The criterion asked for, else that of the paper."""
        return name or (None if self.recipe is None else self.recipe.criterion.name)

    def convert_thresholds(self, name: str | None, given: list[float] | None) -> list[float] | None:
        """The thresholds asked for, else those of the method; the authors' own numbers in the unit of the criterion."""
        from edgeexit.criteria import criterion

        if self.recipe is None or (name is not None and criterion(name).name != self.recipe.criterion.name):
            return given
        rule = self.recipe.criterion
        own = given if given is not None else [] if rule.threshold is None else [rule.threshold]
        return [rule.convert(t) for t in own] or None


@contextmanager
def open_network(
    target: str, options: Mapping[str, Any], checkpoint: Path | None, checkout: Path | None
) -> Iterator[NetworkToExport]:
    """Build a network and load its weights; in the body its code may import what lies beside it.

    Args:
        target: a network of edgeexit, `package.module:factory`, `file.py:factory`, or a recipe `NAME.toml` of a repository.
        options: arguments of its factory.
        checkpoint: file of its weights; None leaves it as it is built.
        checkout: folder of the repository, for a recipe; None takes the current one.

    Raises:
        InputError: nothing of that name; a checkout without a recipe; a checkpoint that does not fit.
        ModelError: the code fails, with its file and line.
    """
    if target.endswith(".toml"):
        from edgeexit.exporter.published import open_published, read_repository

        recipe = read_repository(target)
        with open_published(recipe, checkout or Path(), checkpoint, options) as made:
            yield NetworkToExport(made.module, made.weights, recipe.inputs, recipe, made.options)
        return
    if checkout is not None:
        msg = f"--checkout is for recipes of published repositories, such as msdnet.toml, and {target} is none."
        raise InputError(msg)
    yield _load_own(target, options, checkpoint)


def _load_own(target: str, options: Mapping[str, Any], checkpoint: Path | None) -> NetworkToExport:
    from edgeexit.nets import NETS
    from edgeexit.nets.modules import load_module
    from edgeexit.nets.weights import WeightsLocation, load_weights

    module = load_module(target, options)
    found = load_weights(module, checkpoint) if checkpoint is not None else WeightsLocation()
    shape = options.get("shape", NETS[target].input_shape) if target in NETS else None
    return NetworkToExport(module, found, () if shape is None else ("x".join(map(str, shape)),))
