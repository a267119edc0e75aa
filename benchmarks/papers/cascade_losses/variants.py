"""What the parts of the cascade losses share: the variants that are trained, the exit rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.papers.frame.parts import Request
from benchmarks.papers.frame.training import Run, Variant
from edgeexit.training import TrainingRecipe, load_recipe
from edgeexit.training.phases import TrainingPhase

THRESHOLD = 0.6
"""Section 5."""
SHOWN = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Thresholds whose figures are recorded with intervals."""
GRID = np.linspace(0, 1, 21)
"""Thresholds of the curves."""
LOSSES = ("sum", "soft", "firm")
PLACES = ("p2", "p1")
PRINTED_FIRM = {"alpha": 128.0, "penalty": 0.6, "elementwise": True, "last_gated": True}
READINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "soft-logits": ("soft", {"reading": "logits"}),
    "firm-printed": ("firm", PRINTED_FIRM),
    "firm-logits": ("firm", {**PRINTED_FIRM, "reading": "logits"}),
}
"""Other readings: the firm formula to the letter; P* given to a framework's cross-entropy as if it were logits."""
TRAINED_EXIT: Mapping[str, Mapping[str, Any]] = {
    "firm-trained": {"alpha": 128.0, "penalty": 0.6},
    "firm-logits-trained": READINGS["firm-logits"][1],
}
"""The firm loss from the weights of the network that `sum` has trained with its exit, instead of the base network's."""


# ---------------------------------------------------------------- what is trained


def list_loss_variants(request: Request, recipe: str, prefix: str, *, readings: bool) -> dict[str, Variant]:
    """The network without the exit, the three losses at both places; with one seed other readings of two of them."""
    found = {f"{prefix}-base": make_base_variant(request, recipe)}
    for place in PLACES:
        for loss in LOSSES:
            found[f"{prefix}-{loss}-{place}"] = make_loss_variant(request, recipe, prefix, loss, place)
    found[f"{prefix}-sum-started-p2"] = make_started_variant(request, recipe, prefix)
    for name, (loss, options) in READINGS.items() if readings else ():
        variant = make_loss_variant(request, recipe, prefix, loss, "p2")
        other = variant.recipe.with_phase("cascade", options=options)
        found[f"{prefix}-{name}-p2"] = replace(variant, recipe=other, seeds=1)
    for name, options in TRAINED_EXIT.items() if readings else ():
        found[f"{prefix}-{name}-p2"] = make_trained_exit_variant(request, recipe, prefix, options)
    return found


def make_started_variant(request: Request, recipe: str, prefix: str) -> Variant:
    """`sum` from the base network's weights, as long in all as the firm loss: what of the firm loss's gain is its start's."""
    whole = load_sized_recipe(request, recipe, ["sum"])
    return Variant(whole.with_phase("cascade", start="base"), earlier=f"{prefix}-base")


def make_trained_exit_variant(request: Request, recipe: str, prefix: str, options: Mapping[str, Any]) -> Variant:
    """A firm loss from a network whose exit is trained already."""
    first = make_loss_variant(request, recipe, prefix, "sum", "p2").recipe
    trained = first.phases["cascade"]
    firm = replace(trained, loss="firm-cascade", options=options, start="cascade")
    phases = {"cascade": replace(trained, role=""), "firm": firm}
    return Variant(replace(first, phases=phases), earlier=f"{prefix}-sum-p2")


def make_base_variant(request: Request, recipe: str) -> Variant:
    """The network without its exit."""
    return Variant(load_sized_recipe(request, recipe, ()).without_phase("cascade"))


def make_loss_variant(request: Request, recipe: str, prefix: str, loss: str, place: str) -> Variant:
    """One loss at one place: firm from the base network's weights, the others from fresh ones."""
    presets = ([] if loss == "firm" else [loss]) + ([] if place == "p2" else [place])
    whole = load_sized_recipe(request, recipe, presets)
    return Variant(whole, earlier=f"{prefix}-base") if loss == "firm" else Variant(whole.without_phase("base"))


def list_printed_variants(request: Request, recipe: str, prefix: str) -> dict[str, Variant]:
    """The network without the exit and the three losses at p2, as long as the paper trains them."""
    short = {f"{prefix}-base": make_base_variant(request, recipe)}
    short |= {f"{prefix}-{loss}-p2": make_loss_variant(request, recipe, prefix, loss, "p2") for loss in LOSSES}
    printed = load_recipe(recipe).phases["base"]
    return {name: variant if request.quick else _with_schedule(variant, printed) for name, variant in short.items()}


def _with_schedule(variant: Variant, like: TrainingPhase) -> Variant:
    """Every phase with the epochs and the step size of another."""
    recipe = variant.recipe
    for name in recipe.phases:
        recipe = recipe.with_phase(name, epochs=like.epochs, optimizer=like.optimizer)
    return replace(variant, recipe=recipe)


def load_sized_recipe(request: Request, recipe: str, presets: Sequence[str]) -> TrainingRecipe:
    """The recipe with the short schedule; the quick one is trained on the digits that edgeexit ships."""
    names = [*presets, "quick" if request.quick else "short"]
    found = load_recipe(recipe, preset=",".join(names))
    return replace(found.with_epochs(2), data="digits") if request.quick else found


# ---------------------------------------------------------------- the paper's exit rule


@dataclass(frozen=True)
class Answers:
    """What a network with one early exit says about every test sample.

    Attributes:
        confidence: highest probability of the early exit, float32 [n].
        right: whether each exit is right, bool [n, 2].
    """

    confidence: NDArray[np.float32]
    right: NDArray[np.bool_]

    def find_leaving(self, threshold: float) -> NDArray[np.bool_]:
        """Which samples leave early, bool [n]: those whose confidence is *above* the threshold, as section 3.1 has it.

        edgeexit's `max_softmax` leaves at the threshold, too; at 1.0 a probability that float32 rounds to 1 would leave.
        """
        return self.confidence > threshold

    def judge(self, threshold: float) -> NDArray[np.bool_]:
        """Which samples are answered rightly, bool [n]."""
        return np.where(self.find_leaving(threshold), self.right[:, 0], self.right[:, 1])


def read_answers(run: Run, part: str = "test") -> Answers:
    """The answers of a trained network."""
    recorded = run.record_exits(part)
    table = recorded.make_table("max_softmax", run.list_macs())
    return Answers(table.scores[:, 0], recorded.logits.argmax(-1) == recorded.labels[:, None])


def record_thresholds(answers: Mapping[str, Mapping[int, Answers]], shown: Sequence[float] = SHOWN) -> dict[str, Any]:
    """Right answers and early exits of every sample at some thresholds, by key and seed."""
    samples: dict[str, dict[int, Any]] = {}
    for name, by_seed in answers.items():
        for t in shown:
            samples[f"{name}: accuracy at {t:g}"] = {seed: a.judge(t) for seed, a in by_seed.items()}
            samples[f"{name}: early at {t:g}"] = {seed: a.find_leaving(t) for seed, a in by_seed.items()}
        for exit in (1, 2):
            samples[f"{name}: exit {exit}"] = {seed: a.right[:, exit - 1] for seed, a in by_seed.items()}
    return samples


def average_curves(by_seed: Mapping[int, Answers]) -> dict[str, list[float]]:
    """Accuracy and early share against the threshold, means over the seeds, over `GRID`."""
    accuracy = [[a.judge(t).mean() for t in GRID] for a in by_seed.values()]
    early = [[a.find_leaving(t).mean() for t in GRID] for a in by_seed.values()]
    return {"accuracy": np.mean(accuracy, axis=0).tolist(), "early": np.mean(early, axis=0).tolist()}
