"""What the parts of the amortized cascades share: the cascades that are trained, their recorded answers, policies fitted on them.

Costs are millions of multiply-accumulates, as alpha's range in the paper supposes; those of the policies are counted in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.papers.frame.parts import Request
from benchmarks.papers.frame.training import Run, Variant
from edgeexit.cascades import PolicyNetwork, PolicySettings, fit_policies
from edgeexit.criteria import softmax
from edgeexit.data.splits import split_calibration
from edgeexit.training import load_recipe
from edgeexit.training.metrics import RecordedExits

THRESHOLD = 0.5
"""Stopping probability at which a sample stops; the paper does not print how it stops at test time."""


@dataclass(frozen=True)
class Setting:
    """A cascade that is trained.

    Attributes:
        prefix: of the variants' names.
        recipe: of edgeexit.
        preset: of its size.
        alphas: of the policies that are fitted alone.
        joint: alpha of each jointly trained variant, by preset; cheap ones first.
    """

    prefix: str
    recipe: str
    preset: str
    alphas: tuple[float, ...]
    joint: Mapping[str, float]


CIFAR10 = Setting(
    "", "cascade-cifar10", "quick", (1e-4, 3e-4, 1e-3, 3e-3, 5e-3, 1e-2), {"cheap": 3e-3, "": 1e-3, "accurate": 3e-4}
)
MNIST = Setting(
    "mnist-", "amortized-mnist", "", (2e-3, 6e-3, 2e-2, 6e-2, 1e-1, 2e-1), {"cheap": 6e-2, "": 2e-2, "accurate": 6e-3}
)


def list_variants(request: Request, setting: Setting) -> dict[str, Variant]:
    """The classifiers, and the same trained on jointly with their policies at each price of computation."""
    found = {f"{setting.prefix}classifiers": _make_variant(request, setting, "classifiers")}
    for preset in setting.joint:
        name = f"{setting.prefix}{name_joint(preset)}"
        found[name] = replace(_make_variant(request, setting, preset), earlier=f"{setting.prefix}classifiers")
    return found


def list_with_control(request: Request, setting: Setting) -> dict[str, Variant]:
    """These, and the classifiers trained on by their own losses for as long as jointly with policies."""
    found = list_variants(request, setting)
    joint = found[f"{setting.prefix}joint"]
    recipe = joint.recipe.without_phase("policies").with_phase(
        "joint", start="classifiers", train=("classifiers.*",), groups={}, loss="sum", options={}
    )
    return {**found, f"{setting.prefix}control": replace(joint, recipe=recipe)}


def list_classifiers(request: Request, setting: Setting) -> dict[str, Variant]:
    """Only the classifiers."""
    return dict([next(iter(list_variants(request, setting).items()))])


def name_joint(preset: str) -> str:
    """Name of a jointly trained variant."""
    return f"joint-{preset}" if preset else "joint"


def _make_variant(request: Request, setting: Setting, preset: str) -> Variant:
    """The quick one: the small cascade on the digits that edgeexit ships, an epoch a phase."""
    presets = ",".join(name for name in (setting.preset, preset) if name)
    if not request.quick:
        return Variant(load_recipe(setting.recipe, preset=presets or None))
    small = load_recipe(MNIST.recipe, preset=preset or None)
    small = replace(small, data="digits", options={**small.options, "filters": [2, 4, 8]})
    for name, phase in small.phases.items():
        small = small.with_phase(name, epochs=min(phase.epochs, 1) * (5 if name == "classifiers" else 1), batch=32)
    return Variant(small)


# ---------------------------------------------------------------- recorded answers


@dataclass(frozen=True, eq=False)
class Cascade:
    """What a trained cascade says about the calibration and the test part, and what its classifiers cost.

    Attributes:
        known: answers on the calibration part.
        test: answers on the test part.
        reach: multiply-accumulates of stopping at each classifier, [K].
        fit_on, choose_on: halves of the calibration part: policies are fitted on one, thresholds and alpha are chosen on the other.
    """

    known: RecordedExits
    test: RecordedExits
    reach: NDArray[np.float64]
    fit_on: NDArray[np.int64]
    choose_on: NDArray[np.int64]

    @property
    def costs(self) -> list[float]:
        """Of each classifier by itself, in millions of multiply-accumulates."""
        alone: list[float] = (np.diff(self.reach, prepend=0.0) / 1e6).tolist()
        return alone

    @property
    def chosen(self) -> RecordedExits:
        """Answers that thresholds and alpha are chosen on."""
        return take(self.known, self.choose_on)


def record_cascade(run: Run) -> Cascade:
    """The answers of a run's network, kept in its folder."""
    known, test = (_record_part(run, part) for part in ("calibration", "test"))
    halves = split_calibration(len(known.labels), 0, (0.5, 0.5))
    return Cascade(known, test, np.asarray(run.list_macs(), np.float64), *halves)


def _record_part(run: Run, part: str) -> RecordedExits:
    """From the file that an earlier call has left, where there is one: minutes for large networks."""
    path = run.folder / f"{part}-answers.npz"
    if path.exists():
        with np.load(path) as kept:
            return RecordedExits(kept["logits"], kept["scores"], kept["labels"])
    found = run.record_exits(part)
    with path.open("wb") as file:
        np.savez(file, logits=found.logits, scores=found.scores, labels=found.labels)  # type: ignore[arg-type]  # policies give scores
    return found


def take(recorded: RecordedExits, places: NDArray[np.int64]) -> RecordedExits:
    """The answers about some of the samples."""
    scores = None if recorded.scores is None else recorded.scores[places]
    return RecordedExits(recorded.logits[places], scores, recorded.labels[places])


def fit_alone(cascade: Cascade, alpha: float, seed: int) -> tuple[PolicyNetwork, ...]:
    """Policies for classifiers that stay as they are, "Ours (S)": by `edgeexit.cascades.fit_policies`, as `edgeexit cascade` does."""
    part = take(cascade.known, cascade.fit_on)
    wrong = part.logits.argmax(-1) != part.labels[:, None]
    return fit_policies(softmax(part.logits), wrong, cascade.costs, alpha=alpha, settings=PolicySettings(seed=seed))


def with_policies(recorded: RecordedExits, policies: Sequence[PolicyNetwork]) -> RecordedExits:
    """The same answers with these policies' stopping probabilities as scores."""
    p = softmax(recorded.logits)
    scores = np.stack([policy.compute_stopping(p[:, k]) for k, policy in enumerate(policies)], axis=1)
    return replace(recorded, scores=scores.astype(np.float32))


# ---------------------------------------------------------------- what a policy does


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a policy does with every sample.

    Attributes:
        stops: classifier at which it stops, from 0, [n].
        right: whether the answers so far, weighted by their stopping probabilities, are right, [n].
        right_alone: whether the answer of the classifier that it stops at is, [n].
        macs: what it has cost, [n].
    """

    stops: NDArray[np.int64]
    right: NDArray[np.bool_]
    right_alone: NDArray[np.bool_]
    macs: NDArray[np.float64]


def decide(recorded: RecordedExits, reach: NDArray[np.float64], threshold: float = THRESHOLD) -> Decisions:
    """Stop at the first classifier whose stopping probability reaches the threshold."""
    mean, alone = (recorded.make_table(rule, reach.tolist()) for rule in ("learned_mean", "learned"))
    stops = mean.leaves_at([threshold] * (mean.exits - 1))
    assert mean.correct is not None, "samples have labels"
    assert alone.correct is not None, "samples have labels"
    at = stops[:, None]
    return Decisions(
        stops,
        np.take_along_axis(mean.correct, at, axis=1)[:, 0],
        np.take_along_axis(alone.correct, at, axis=1)[:, 0],
        reach[stops],
    )


def find_threshold(recorded: RecordedExits, reach: NDArray[np.float64], macs: float) -> float:
    """The highest stopping probability at which samples cost no more than this in the mean; all early exits share it."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if decide(recorded, reach, middle).macs.mean() > macs:
            high = middle
        else:
            low = middle
    return low
