"""The end of a run: its networks, evaluated and written."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import edgeexit
from edgeexit.criteria import criterion as find_criterion
from edgeexit.data import Fingerprint, TrainingData, compute_fingerprint
from edgeexit.data.reference import DataRecord, DataReference, describe_samples
from edgeexit.training.checkpoint import Checkpoint, save_tensors
from edgeexit.training.metrics import count_macs, describe_early_exit, record_exits, summarize_early_exit
from edgeexit.training.phase_networks import PhaseNetworks
from edgeexit.training.recipe import TrainingRecipe
from edgeexit.util.atomic import write_bytes

SCHEMA = "edgeexit.training/1"

Parts = Mapping[str, TrainingData]


@dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Attributes:
        networks: the network of every phase that trains, by the phase's name.
        roles: the phases whose networks are `model` and `plain`, as far as there are.
        example: one input of zeros, [1, ...].
        metrics: the document of metrics.json.
        fingerprint: fingerprint of the training data, for the metadata of exported files.
        leads: whether this process is the one that writes, of several that trained together.
        calibration: the calibration part's statistics, which exported files carry.
    """

    networks: Mapping[str, nn.Module]
    roles: Mapping[str, str]
    example: torch.Tensor
    metrics: dict[str, Any]
    fingerprint: Fingerprint
    leads: bool = True
    calibration: DataReference | None = None

    @property
    def model(self) -> nn.Module | None:
        """The network that is exported as the model; None where the recipe has none."""
        return self.networks.get(self.roles.get("model", ""))

    @property
    def plain(self) -> nn.Module | None:
        """The plain network that it is compared with; None where the recipe trains none."""
        return self.networks.get(self.roles.get("plain", ""))

    def metadata(self, phase: str) -> dict[str, str]:
        """Metadata of an exported network: statistics of the calibration part, and the accuracy of its last exit there.

        Args:
            phase: name of the phase that trained it.
        """
        result = self.metrics["results"].get(phase)
        if self.calibration is None or result is None:
            return {}
        reference = replace(self.calibration, accuracy=result["calibration_accuracy"][-1])
        return DataRecord(reference=reference).as_metadata()


def finish_run(
    networks: PhaseNetworks,
    checkpoint: Checkpoint,
    parts: Parts,
    out: Path,
    *,
    notes: Sequence[str],
    leads: bool,
    seconds: float,
) -> TrainingResult:
    """Evaluate every network that was trained, and write weights and metrics.

    Args:
        networks: what makes them.
        checkpoint: the run, every phase finished.
        parts: the data.
        out: folder of the run.
        notes: how the data became parts, in words.
        leads: whether this process writes.
        seconds: duration of this call.
    """
    recipe = networks.recipe
    trained = [name for name, phase in recipe.phases.items() if phase.epochs]
    modules = {name: networks.build_with_weights(name, checkpoint.finished[name]) for name in trained}
    metrics = {
        "schema": SCHEMA,
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "recipe_sha256": recipe.sha256,
        "seed": recipe.seed,
        "roles": recipe.roles,
        "data": {part: {"name": d.name, "samples": len(d), "sha256": d.sha256} for part, d in parts.items()},
        "data_notes": list(notes),
        "loss_options": checkpoint.options,
        "features": checkpoint.features,
        "results": {name: _evaluate_network(module, recipe, parts) for name, module in modules.items()},
        "history": {name: history for name, history in checkpoint.history.items() if history},
        "seconds_of_this_call": round(seconds, 3),
        "made_with": _collect_versions(),
    }
    if leads:
        _write(out, modules, metrics)
    example = torch.zeros(1, *parts["train"].shape)
    fingerprint, reference = compute_fingerprint(parts["train"]), describe_samples(parts["calibration"], "train")
    return TrainingResult(modules, recipe.roles, example, metrics, fingerprint, leads, reference)


def _evaluate_network(module: nn.Module, recipe: TrainingRecipe, parts: Parts) -> dict[str, Any]:
    """Parameters, accuracy of each exit on calibration and test, and leaving early where there are exits to leave at."""
    chosen_on, used_on = (record_exits(module, parts[part]) for part in ("calibration", "test"))
    result: dict[str, Any] = {
        "parameters": sum(p.numel() for p in module.parameters()),
        "calibration_accuracy": chosen_on.accuracies,
        "test_accuracy": used_on.accuracies,
    }
    if len(used_on.accuracies) == 1:
        return result
    macs = count_macs(module, parts["test"])
    rule = find_criterion(recipe.criterion)
    result["exit_macs"] = macs
    result["early_exit"] = [summarize_early_exit(chosen_on, used_on, rule, macs, drop=d) for d in (0.0, 0.001, 0.005)]
    if recipe.thresholds:
        result["recipe_thresholds"] = describe_early_exit(used_on, macs, rule, recipe.thresholds)
    return result


def _collect_versions() -> dict[str, str | int]:
    return {
        "edgeexit": edgeexit.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }


def _write(out: Path, modules: Mapping[str, nn.Module], metrics: Mapping[str, Any]) -> None:
    for name, module in modules.items():
        save_tensors(module.state_dict(), out / f"{name}.pt")
    write_bytes(out / "metrics.json", (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode())
