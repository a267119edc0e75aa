"""A user's data for training on the command line: its three parts, and how its pictures are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexit.cli.common import redirect_user_output
from edgeexit.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from edgeexit.data import TrainingParts
    from edgeexit.data.reference import DataRecord
    from edgeexit.training import TrainingRecipe
    from edgeexit.training.phase_networks import NetworkSource
    from edgeexit.util.progress import Progress


@dataclass(frozen=True)
class OwnTraining:
    """What a user brings to a recipe.

    Attributes:
        data: their data; None for the recipe's.
        network: what makes their network; None for the recipe's.
        checkpoint: its weights.
        options: arguments of what makes it.
    """

    data: str | None
    network: str | None
    checkpoint: Path | None
    options: Mapping[str, Any]

    def check(self, recipe: TrainingRecipe) -> None:
        """Raise an error for what does not go together.

        Raises:
            InputError: weights without a network, or a recipe that adds exits to a network without one or without data.
        """
        from edgeexit.training.added_exits import NETWORK

        if self.network is None and (self.checkpoint is not None or self.options):
            msg = "--checkpoint and --option belong to a network of your own: name what makes it with --network"
            raise InputError(msg)
        if recipe.network == NETWORK and (self.network is None or self.data is None):
            missing = "--network file.py:factory" if self.network is None else "--data"
            msg = f"recipe {recipe.name!r} adds exits to your own classifier; give {missing}"
            raise InputError(msg)

    def open(self, record: DataRecord, progress: Progress) -> tuple[nn.Module | None, TrainingParts | None, DataRecord]:
        """The network with its weights, the parts of the data, and the record with what both brought.

        Raises:
            InputError: the weights do not fit, or any fault of the data.
        """
        from edgeexit.nets.modules import load_module
        from edgeexit.nets.weights import load_weights

        with redirect_user_output():
            module = None if self.network is None else load_module(self.network, self.options)
            if module is not None and self.checkpoint is not None:
                load_weights(module, self.checkpoint)
        if self.data is None:
            return module, None, record
        record = find_preprocess(record, self.data, self.checkpoint, module)
        parts, record = open_parts(self.data, self.network or "the network", record, progress)
        return module, parts, record

    def make_source(
        self, recipe: TrainingRecipe, module: nn.Module | None, parts: TrainingParts | None
    ) -> NetworkSource | None:
        """What makes the network of each phase; None for the recipe's own."""
        from edgeexit.training.added_exits import NETWORK, make_exit_source

        if module is None or parts is None or recipe.network != NETWORK:
            return module
        return make_exit_source(module.eval(), parts.train.shape)


def find_preprocess(record: DataRecord, data: str, checkpoint: Path | None, module: nn.Module | None) -> DataRecord:
    """The record with the preprocessing that came with the network, where the data is pictures and the user stated none.

    It is looked for on the module, in its checkpoint, and in configuration files beside that.

    Raises:
        InputError: several are stated, and contradict each other.
    """
    from edgeexit.data.preprocess_choice import choose_preprocess, find_stated_preprocess
    from edgeexit.nets.safetensors import is_safetensors
    from edgeexit.nets.weights import read_tensors

    if not Path(data).is_dir():
        return record
    tables: dict[str, Any] = {} if module is None else {"the network": module}
    if checkpoint is not None and not is_safetensors(checkpoint):
        tables[str(checkpoint)] = read_tensors(checkpoint)
    return replace(record, preprocess=choose_preprocess(record.preprocess, find_stated_preprocess(checkpoint, tables)))


def open_parts(data: str, network: str, record: DataRecord, progress: Progress) -> tuple[TrainingParts, DataRecord]:
    """The data as its parts, and the record with the class names that it brings. What was split off is said.

    Raises:
        InputError: see `edgeexit.data.open_training_parts`.
    """
    from edgeexit.cli.printing import print_note
    from edgeexit.data import ModelInfo, PartOptions, open_training_parts

    names = record.class_names
    model = ModelInfo(network, (), len(names) or None, names, record.preprocess)
    parts = open_training_parts(data, model, PartOptions(progress=progress))
    for note in parts.notes:
        print_note(note)
    return parts, replace(record, class_names=parts.class_names)
