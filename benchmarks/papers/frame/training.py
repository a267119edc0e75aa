"""Trainings of a part: every variant with every seed, each in a folder of its own that a later call takes up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch

from edgeexit.cli.progress import open_progress_display
from edgeexit.data import Dataset, load_data
from edgeexit.errors import InputError, did_you_mean
from edgeexit.training import TrainingRecipe, train
from edgeexit.training.metrics import RecordedExits, record_exits
from edgeexit.training.outcome import Parts
from edgeexit.training.phase_networks import PhaseNetworks
from edgeexit.training.run_folder import CHECKPOINT, read_run_recipe

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Variant:
    """A network that a part trains.

    Attributes:
        recipe: with any seed; each run has its own.
        earlier: another variant whose phases are taken where they are the same, such as a base network that all start from.
        seeds: at most so many of the seeds that are asked for; None for all.
        parts: `train`, `calibration` and `test` sets instead of those that the recipe names.
    """

    recipe: TrainingRecipe
    earlier: str | None = None
    seeds: int | None = None
    parts: Parts | None = None


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: what `edgeexit train` writes.
        recipe: with the seed of this run.
        parts: the data where the recipe does not name them.
    """

    folder: Path
    recipe: TrainingRecipe
    parts: Parts | None = None

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The document of metrics.json."""
        found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        return found

    def choose_phase(self, phase: str | None) -> str:
        """The phase of that name, or the one whose network is the model."""
        return phase or self.recipe.roles["model"]

    def load_network(self, phase: str | None = None) -> nn.Module:
        """The network at the end of a phase, in evaluation mode; of the phase that is the model where none is named."""
        name, test = self.choose_phase(phase), self.load_part("test")
        classes = self.recipe.options.get("classes", 1 + int(test.y.max()))
        networks = PhaseNetworks(self.recipe, shape=test.shape, classes=classes)
        return networks.build_with_weights(name, torch.load(self.folder / f"{name}.pt", weights_only=True))

    def load_part(self, part: str) -> Any:
        """`train`, `calibration` or `test` data."""
        return self.parts[part] if self.parts else load_named_part(f"{self.recipe.data}:{part}")

    def record_exits(self, part: str, phase: str | None = None) -> RecordedExits:
        """What every exit says about every sample of a part of the data."""
        return record_exits(self.load_network(phase), self.load_part(part))

    def list_history(self, phase: str | None = None) -> list[dict[str, Any]]:
        """The figures after each epoch of a phase."""
        return list(self.metrics["history"][self.choose_phase(phase)])

    def list_macs(self, phase: str | None = None) -> list[int]:
        """Multiply-accumulates of leaving at each exit, [N]."""
        return list(self.metrics["results"][self.choose_phase(phase)]["exit_macs"])


Runs: TypeAlias = Mapping[str, Mapping[int, Run]]
"""Finished trainings by variant and seed."""


class TrainingRequest(Protocol):
    """What of a request concerns trainings."""

    @property
    def out(self) -> Path:
        """Folder of the runs."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds asked for."""

    @property
    def resume(self) -> bool:
        """Whether runs that are there are gone on with."""

    @property
    def only(self) -> tuple[str, ...]:
        """Names of the variants to train; empty for all."""

    @property
    def threads(self) -> int:
        """Of torch."""


@lru_cache(maxsize=3)
def load_named_part(name: str) -> Dataset:
    """A part of a named set; the last three are kept."""
    return load_data(name)


def train_variants(variants: Mapping[str, Variant], request: TrainingRequest) -> dict[str, dict[int, Run]]:
    """Train every variant with every seed, or those that are asked for and what they start from.

    Raises:
        InputError: an unknown variant is asked for; or as `edgeexit.training.train`, such as a folder that holds another run.
    """
    chosen = list(_choose_variants(variants, request.only))
    found: dict[str, dict[int, Run]] = {}
    for name in chosen:
        variant = variants[name]
        seeds = request.seeds[: variant.seeds]
        found[name] = {seed: _train_once(name, seed, variants, request) for seed in seeds}
    return found


def _choose_variants(variants: Mapping[str, Variant], only: tuple[str, ...]) -> Iterator[str]:
    for name in only:
        if name not in variants:
            msg = f"this part trains no {name!r}.{did_you_mean(name, variants)} It trains: {', '.join(variants)}."
            raise InputError(msg)
    wanted = {*(only or variants)}
    wanted |= {earlier for name in wanted if (earlier := variants[name].earlier)}
    return (name for name in variants if name in wanted)


def _train_once(name: str, seed: int, variants: Mapping[str, Variant], request: TrainingRequest) -> Run:
    variant = variants[name]
    run = Run(request.out / f"{name}-{seed}", replace(variant.recipe, seed=seed), variant.parts)
    if request.resume and _is_finished(run):
        return run
    earlier = request.out / f"{variant.earlier}-{seed}" if variant.earlier else None
    resume = request.resume and (run.folder / CHECKPOINT).exists()
    with open_progress_display() as progress:
        train(
            run.recipe,
            run.folder,
            resume=resume,
            earlier=earlier,
            parts=variant.parts,
            threads=request.threads,
            progress=progress,
        )
    return run


def _is_finished(run: Run) -> bool:
    """Whether the folder holds this very training, to its end."""
    return (run.folder / "metrics.json").exists() and read_run_recipe(run.folder).sha256 == run.recipe.sha256
