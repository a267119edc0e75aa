"""Policy networks (chapter 4): can the exit be predicted from the input? And, once it is, does asking first beat thresholds?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.papers.frame.estimates import compare_samples
from benchmarks.papers.frame.parts import BySeed, Findings, Request
from benchmarks.papers.frame.training import Run, Runs, Variant
from benchmarks.papers.overthinking.answers import CRITERION, REDUCED, Answers, load_small_recipe
from benchmarks.papers.overthinking.labels import (
    LEVELS,
    PRICE,
    ExitLabels,
    describe_labels,
    draw_labels,
    draw_policy,
    judge_by_label,
    spread_over_all,
    sweep_prices,
)
from edgeexit.analysis import choose_exit_labels, compute_frequency_share, compute_searched_curve
from edgeexit.calibration import ReplayTable, replay_table
from edgeexit.criteria import softmax
from edgeexit.data import Dataset
from edgeexit.data.maxmin_mnist import MaxMinImages, make_maxmin_images, make_maxmin_part
from edgeexit.data.named import load_data
from edgeexit.report.plot.figure import Axis, Bar, BarFigure, choose_exit_tone
from edgeexit.training import TrainingRecipe, load_recipe, train
from edgeexit.training.metrics import RecordedExits, count_macs, record_exits
from edgeexit.training.outcome import Parts
from edgeexit.training.policy import make_policy_data
from edgeexit.training.run_folder import CHECKPOINT

# ---------------------------------------------------------------- the networks


def list_maxmin(request: Request) -> Mapping[str, Variant]:
    """MSDNet on Max-Min MNIST."""
    parts = make_digits_parts() if request.quick else None
    return {"maxmin": Variant(load_small_recipe(request, "maxmin-mnist"), parts=parts)}


def make_digits_parts() -> Parts:
    """A short Max-Min set of the digits that edgeexit ships."""
    return {part: _as_dataset(make_digits_images(part), part) for part in ("train", "calibration", "test")}


@lru_cache(maxsize=3)
def make_digits_images(part: str) -> MaxMinImages:
    """The images of a part of it, with their levels."""
    digits = load_data(f"digits:{part}")
    pixels = (digits.x[:, 0] * 255).astype(np.uint8)
    return make_maxmin_images(pixels, digits.y, 120, seed=len(part))


def _as_dataset(made: MaxMinImages, part: str) -> Dataset:
    return Dataset(f"maxmin-digits:{part}", made.pixels.astype(np.float32) / np.float32(255), made.labels)


# ---------------------------------------------------------------- the policy


@dataclass(frozen=True, eq=False)
class TrainedPolicy:
    """A policy and what it says of every test sample of the network.

    Attributes:
        network: it.
        chances: predicted probability of each exit, float32 [n, P].
        taught: the exit that should answer, of the samples that it was trained on.
        tested: the same of every test sample.
        macs: its multiply-accumulates.
    """

    network: nn.Module
    chances: NDArray[np.float32]
    taught: ExitLabels
    tested: ExitLabels
    macs: int

    def judge(self) -> dict[str, NDArray[Any]]:
        """Right predictions on D_ee's test part; the same with every label weighing as much; what each is by chance; by label and level."""
        kept = self.tested.kept
        truth = self.tested.places[kept]
        right = self.chances[kept].argmax(-1) == truth
        kinds = np.unique(truth)
        return {
            "policy": right,
            "commonest label": truth == self.taught.commonest,
            "policy, labels weighing alike": np.mean([spread_over_all(right, truth == k) for k in kinds], axis=0),
            "chance": np.full(len(truth), 1 / len(kinds)),
            **dict(judge_by_label(right, self.tested, self.taught)),
        }


Levels: TypeAlias = Mapping[str, NDArray[np.int64]]
"""Difficulty of every sample by part of the data; empty where they have none."""


NO_LEVELS: Levels = MappingProxyType({})

POLICIES = {"resnet8": "ResNet-8", "light": "EENet-8"}
"""Networks of policies: the recipe's, and one that costs a fifteenth of it, so that asking it can pay."""


def load_policy_recipe(request: Request, kind: str) -> TrainingRecipe:
    """The recipe of a policy; in the short version that of a light one."""
    recipe = load_recipe("exit-policy", preset="quick,small")
    if kind == "light" or request.quick:
        recipe = replace(recipe, network="eenet8", options={"filters": 2 if request.quick else 4, "exits": False})
    return replace(recipe.with_epochs(1), precision="float32") if request.quick else recipe


def train_policy(
    request: Request,
    run: Run,
    answers: Answers,
    data: str,
    *,
    only: Sequence[int] | None = None,
    levels: Levels = NO_LEVELS,
    kind: str = "resnet8",
) -> TrainedPolicy:
    """Steps 3 and 4 of section 4.2: D_ee from the calibration part, which the network was not trained on, and the training.

    The trainer wants a calibration part for its history, which nothing is chosen by: 500 of the training samples.

    Args:
        request: where policies are kept, `<data>-policy-<seed>`.
        run: the network.
        answers: of it.
        data: its name in the folder.
        only: exits to choose between; None for all.
        levels: see `Levels`.
        kind: of POLICIES.
    """
    between = tuple(only or range(1, len(answers.macs) + 1))
    make = {"price": PRICE, "only": between}
    chosen: Dataset = run.load_part("calibration")
    used: Dataset = run.load_part("test")
    taught = make_policy_data(chosen, answers.chosen, answers.macs, **make)  # type: ignore[arg-type]
    tested = make_policy_data(used, answers.used, answers.macs, **make)  # type: ignore[arg-type]
    recipe = replace(load_policy_recipe(request, kind), seed=run.recipe.seed)
    folder = request.out / f"{data}-policy{'-light' if kind == 'light' else ''}-{run.recipe.seed}"
    parts = {"train": taught, "calibration": taught.take(slice(500)), "test": tested}
    resume = (folder / CHECKPOINT).exists()
    policy = train(recipe, folder, parts=parts, resume=resume, threads=request.threads).model
    assert policy is not None
    counted = count_macs(policy, used)
    assert counted is not None
    return TrainedPolicy(
        network=policy,
        chances=softmax(record_exits(policy, used).logits[:, -1]),
        taught=label_part(answers.chosen, answers.macs, between, levels.get("calibration")),
        tested=label_part(answers.used, answers.macs, between, levels.get("test")),
        macs=counted[-1],
    )


def label_part(
    exits: RecordedExits, macs: Sequence[int], between: tuple[int, ...], levels: NDArray[np.int64] | None
) -> ExitLabels:
    """Labels of every sample of a part, those that D_ee leaves out too."""
    places = choose_exit_labels(exits.logits, exits.labels, price=PRICE, macs=macs, only=between)
    return ExitLabels(places, between, levels)


# ---------------------------------------------------------------- what is found


def examine_maxmin(request: Request, runs: Runs) -> Findings:
    """Section 4.2.2, figures 4.4 to 4.6: on data with levels the exit can be predicted."""
    levels = find_levels(request)
    found = _examine(request, runs["maxmin"], "maxmin", levels=levels)
    values = dict(found.values)
    for seed, run in runs["maxmin"].items():
        right = Answers(run).right
        for level, name in enumerate(LEVELS):
            for k in range(right.shape[1]):
                share = float(right[levels["test"] == level, k].mean())
                values[f"exit {k + 1}, {name}"] = {**values.get(f"exit {k + 1}, {name}", {}), seed: share}
    notes = (
        "Three exits, half as wide, 20,000 training images and 3 epochs; the thesis has five exits and 80,000 images. "
        "The policy is a ResNet-8 "
        "trained for 8 epochs, there a ResNet-34 for 60. Digits do not overlap here.",
    )
    pictures = (_draw_levels(values), *found.pictures)
    return replace(found, values=values, notes=(*notes, *found.notes), pictures=pictures)


def find_levels(request: Request) -> Levels:
    """Difficulty of every image of Max-Min MNIST, of the parts that D_ee is made from."""
    make = make_digits_images if request.quick else make_maxmin_part
    return {part: make(part).levels for part in ("calibration", "test")}


def _draw_levels(values: Mapping[str, BySeed]) -> BarFigure:
    """Figure 4.4."""
    keys = [key for key in values if key.startswith("exit ")]
    bars = tuple(
        Bar(key, ((choose_exit_tone(int(key[5])), float(np.mean([*values[key].values()])), "right"),)) for key in keys
    )
    caption = "Later exits are better most of all on harder images."
    axis = Axis("accuracy (%)", 0.01, high=100.0)
    return BarFigure("overthinking-maxmin-levels", "Max-Min MNIST: each exit on each level", caption, axis, bars)


OUTER = (1, 3)
"""The exits of the binary variant."""


def examine_cifar10(request: Request, runs: Runs) -> Findings:
    """Section 4.2.3, the binary variant: on natural data, first exit or last?"""
    found = _examine(request, runs["msdnet"], "cifar10", only=OUTER)
    notes = (REDUCED, "The policy chooses between the first and the last exit. It is a ResNet-8, there a ResNet-34.")
    return replace(found, notes=(*notes, *found.notes))


def _examine(
    request: Request,
    runs: Mapping[int, Run],
    name: str,
    *,
    only: Sequence[int] | None = None,
    levels: Levels = NO_LEVELS,
) -> Findings:
    samples: dict[str, dict[int, Any]] = {}
    values: dict[str, dict[int, float]] = {}
    details: dict[str, Any] = {}
    for seed, run in runs.items():
        answers = Answers(run)
        policy = train_policy(request, run, answers, name, only=only, levels=levels)
        for key, found in (*policy.judge().items(), *sweep_prices(answers)):
            samples.setdefault(key, {})[seed] = found
        deployed = compare_with_thresholds(answers, policy, only)
        details[str(seed)] = {"deployed": deployed, "labels": describe_labels(policy.taught, policy.tested)}
        for key, value in _list_values(policy, deployed):
            values.setdefault(key, {})[seed] = value
    notes = (
        f"Exit labels with a price of {PRICE:g}; samples that no exit has right are left out, as in the thesis. "
        "Deployed: the policy in front of the "
        "network at threshold 0.5, on all test samples, its own multiply-accumulates counted; beside it thresholds on "
        "the exits' confidence within "
        "the same mean multiply-accumulates, and within those that are left when the policy is for free. Costs are "
        "shares of the last exit's.",
    )
    first = details[str(min(runs))]["labels"]
    right = {key: float(np.mean([np.mean(v) for v in by_seed.values()])) for key, by_seed in samples.items()}
    pictures = [draw_labels(name, first), draw_policy(name, first, right)]
    return Findings(samples=samples, values=values, details=details, notes=notes, pictures=pictures)


def _list_values(policy: TrainedPolicy, deployed: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for part, labels in (("training", policy.taught), ("test", policy.tested)):
        for exit_, share in zip(labels.exits, labels.shares, strict=True):
            yield f"label {exit_}: share of the {part} set", float(share)
    for key in ("policy", "thresholds", "thresholds, policy free"):
        yield f"deployed: {key}", deployed[key]["accuracy"]
    yield "deployed: cost", deployed["policy"]["cost"]


def compare_with_thresholds(answers: Answers, policy: TrainedPolicy, only: Sequence[int] | None) -> dict[str, Any]:
    """The policy in front of the network, and thresholds at the same mean cost, on every test sample."""
    chosen, used = answers.tables
    exits = list(only or range(1, used.exits + 1))
    asked = _make_policy_table(answers, policy, exits)
    assert used.correct is not None
    leaves, rows = asked.leaves_at([0.5] * (asked.exits - 1)), np.arange(len(used))
    cost, last = float(asked.mean_cost[leaves].mean()), float(used.mean_cost[-1])
    found: dict[str, Any] = {"policy": {"accuracy": float(used.correct[rows, leaves].mean()), "cost": cost / last}}
    right = {"policy": used.correct[rows, leaves]}
    for name, budget in (("thresholds", cost), ("thresholds, policy free", cost - policy.macs)):
        curve = compute_searched_curve(chosen, used, budgets=[max(budget, float(chosen.mean_cost.min()))])
        assert curve.thresholds is not None
        right[name] = used.correct[rows, used.leaves_at(curve.thresholds[0])]
        found[name] = {"accuracy": float(curve.accuracy[0]), "cost": float(curve.cost[0]) / last}
        better = compare_samples({0: right[name]}, {0: right["policy"]})
        found[name] |= {"above the policy": better.mean, "low": better.low, "high": better.high}
    return {**found, "policy_macs": policy.macs, "last_macs": last}


def _make_policy_table(answers: Answers, policy: TrainedPolicy, exits: Sequence[int]) -> ReplayTable:
    """The test samples under the criterion `learned`, as `edgeexit.nets.WithPolicy` scores them."""
    macs = np.array(answers.macs, np.float64) + policy.macs
    so_far = [policy.chances[:, [i for i, e in enumerate(exits) if e <= k]].sum(axis=1) for k in range(1, len(macs))]
    scores = np.stack(so_far, axis=1)
    return replay_table(answers.used.logits, answers.used.labels, "learned", scores=scores, macs=macs)


# ---------------------------------------------------------------- appendix A


def examine_frequencies(request: Request, runs: Runs) -> Findings:
    """Appendix A: how many frequencies images need, by level and by the exit that is to answer."""
    values: dict[str, dict[int, float]] = {}
    spread: dict[str, float] = {}

    def put(key: str, seed: int, shares: NDArray[np.float64]) -> None:
        if len(shares):
            values.setdefault(key, {})[seed] = float(shares.mean())
            spread[key] = float(shares.std())

    levels = find_levels(request)["test"]
    for variant, by_seed in runs.items():
        for seed, run in by_seed.items():
            answers = Answers(run)
            shares = compute_frequency_share(run.load_part("test").x)
            for k in range(answers.right.shape[1]):
                first = answers.right[:, k] & ~answers.right[:, :k].any(axis=1)
                put(f"{variant}: first right at exit {k + 1}", seed, shares[first])
            put(f"{variant}: never right", seed, shares[~answers.right.any(axis=1)])
            for level, name in enumerate(LEVELS) if variant == "maxmin" else ():
                put(f"{variant}: {name}", seed, shares[levels == level])
    notes = (
        "Share of the cosine transform's coefficients, row by row, whose magnitudes reach 98 % of the sum of all; "
        f"{CRITERION} plays no part. The "
        "details have the standard deviations over the images.",
    )
    return Findings(values=values, details={"standard deviation": spread}, notes=notes)
