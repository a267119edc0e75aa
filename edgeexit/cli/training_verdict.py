"""The end of `edgeexit train`: what the exits that were trained bring on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from edgeexit.adoption.result import ExitsOnDevice
    from edgeexit.data import TrainingParts
    from edgeexit.training import TrainingRecipe, TrainingResult
    from edgeexit.util.progress import Progress

NOTHING = "none"
"""The preset that measures nothing."""
TARGET = "drop<=0.5"


@dataclass(frozen=True)
class Verdict:
    """What is to be measured when a network has been trained.

    Attributes:
        preset: of the measurement; `none` for none.
        target: what to calibrate for.
    """

    preset: str
    target: str

    @classmethod
    def from_options(cls, preset: str | None, target: str | None, recipe: TrainingRecipe) -> Verdict:
        """What the options say, or else the recipe: exits that are added to a network are measured, and any where a target is given.

        Raises:
            InputError: the target is none, or the recipe exports no network with exits.
        """
        from edgeexit.adoption.measurement import PRESET
        from edgeexit.calibration import parse_target
        from edgeexit.errors import InputError
        from edgeexit.training.added_exits import NETWORK

        adds = recipe.network == NETWORK
        found = cls(preset or (PRESET if adds or target is not None else NOTHING), target or TARGET)
        parse_target(found.target)
        if found.preset != NOTHING and "model" not in recipe.roles:
            msg = f"recipe {recipe.name!r} exports no network with exits: there is nothing to measure"
            raise InputError(msg)
        return found

    def measure(
        self,
        trained: TrainingResult,
        module: nn.Module | None,
        parts: TrainingParts | None,
        out: Path,
        progress: Progress,
    ) -> ExitsOnDevice | None:
        """What the exits bring, which is then in metrics.json, too; None where nothing is to be measured.

        Args:
            trained: the run, its model exported.
            module: the user's network as it was given.
            parts: the user's data; None for the recipe's.
            out: folder of the run.
            progress: watches.
        """
        from edgeexit.adoption.measurement import draw_unseen, measure_exits, measure_plain_accuracy
        from edgeexit.calibration import parse_target
        from edgeexit.nets.attach import NetworkWithExits
        from edgeexit.util.atomic import write_text
        from edgeexit.util.documents import to_document

        if self.preset == NOTHING:
            return None
        recipe, model = trained.metrics["recipe"], trained.model
        parts, seed = parts or _load_parts(recipe["data"]), int(recipe["seed"])
        tuned = module is not None and isinstance(model, NetworkWithExits) and not model.frozen
        plain = (
            measure_plain_accuracy(module.eval(), draw_unseen(parts, seed)) if module is not None and tuned else None
        )
        record = measure_exits(
            out / "model.onnx",
            out,
            parts,
            parse_target(self.target),
            criterion=recipe["criterion"],
            preset=self.preset,
            seed=seed,
            plain_accuracy=plain,
            progress=progress,
        ).make_record()
        trained.metrics["on_device"] = to_document(record)
        write_text(out / "metrics.json", json.dumps(trained.metrics, indent=2, allow_nan=False) + "\n")
        return record


def _load_parts(name: str) -> TrainingParts:
    from edgeexit.data import TrainingParts, load_data

    return TrainingParts(load_data(f"{name}:train"), load_data(f"{name}:calibration"), load_data(f"{name}:test"))


def list_places(trained: TrainingResult) -> str:
    """After which parts the exits stand that were added to a network; empty for other networks."""
    from edgeexit.nets.attach import NetworkWithExits

    return ", ".join(p.name for p in trained.model.places) if isinstance(trained.model, NetworkWithExits) else ""
