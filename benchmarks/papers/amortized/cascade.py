"""Table 2 and figures 2 to 4: error against multiply-accumulates, policies alone and jointly, who is assigned where, the ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.papers.amortized.policies import (
    Cascade,
    Decisions,
    Setting,
    decide,
    find_threshold,
    fit_alone,
    name_joint,
    record_cascade,
    take,
    with_policies,
)
from benchmarks.papers.frame.parts import Findings, Request
from benchmarks.papers.frame.training import Run, Runs
from edgeexit.analysis import compute_assigned_accuracy
from edgeexit.criteria import softmax
from edgeexit.report.plot.figure import (
    BACKBONE,
    CRITERION,
    POLICY,
    WARN,
    Axis,
    Bar,
    BarFigure,
    Figure,
    Line,
    Picture,
    Points,
    choose_exit_tone,
)
from edgeexit.training.metrics import RecordedExits

NOTES = (
    "Three classifiers instead of five, so that the largest static network here is ResNet-32 and the claim is tested against that one.",
    "Policies are fitted on half of the calibration part, which no classifier was trained on; alpha is chosen on the other half.",
    "Joint training runs the classifiers for more epochs than they have alone; the control trains them on by their own losses for as long, "
    "with the same step sizes, and has policies fitted on them as the classifiers have.",
    "A sample stops where the stopping probability reaches 0.5; the paper does not say how it stops at test time.",
)


@dataclass
class Found:
    """What is found seed by seed."""

    samples: dict[str, dict[int, NDArray[Any]]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    points: dict[str, dict[int, list[tuple[float, float]]]] = field(default_factory=dict)

    def put(self, key: str, seed: int, values: NDArray[Any]) -> None:
        """Keep one number per test sample."""
        self.samples.setdefault(key, {})[seed] = values

    def put_point(self, series: str, seed: int, done: Decisions) -> None:
        """Keep a point of figure 2: multiply-accumulates and error."""
        self.points.setdefault(series, {}).setdefault(seed, []).append(
            (float(done.macs.mean()), 1 - float(done.right.mean()))
        )


def examine_cascade(request: Request, runs: Runs, setting: Setting) -> Findings:  # noqa: ARG001 - one signature for all
    """Table 2 and figures 2 to 4 of one setting."""
    found, figure_3 = Found(), list[BarFigure]()
    for seed, run in runs[f"{setting.prefix}classifiers"].items():
        cascade = record_cascade(run)
        _put_static(found, seed, cascade)
        own = fit_fixed(cascade, setting.alphas, seed)
        for alpha, recorded in own.test.items():
            done = decide(recorded, cascade.reach)
            _put_decisions(found, f"policies, alpha {alpha:g}", seed, done)
            found.put_point("policies alone", seed, done)
        chosen = _choose_alpha(cascade, own.known)
        _put_chosen(found, seed, cascade, own.test[chosen], chosen)
        control = record_cascade(runs[f"{setting.prefix}control"][seed])
        _put_static(found, seed, control, "control, ")
        fixed = {
            "policies": own,
            "control": fit_fixed(control, [*setting.joint.values()], seed),
        }
        joint = {preset: runs[f"{setting.prefix}{name_joint(preset)}"][seed] for preset in setting.joint}
        _put_joint(found, seed, fixed, runs=joint, setting=setting)
        if not figure_3:
            figure_3 += draw_examples(setting, own.test[chosen], cascade.reach)
    notes = NOTES if setting.prefix == "" else NOTES[1:]
    pictures = [*_draw(setting, found), *figure_3]
    return Findings(samples=found.samples, details=found.details, notes=notes, pictures=pictures)


@dataclass(frozen=True, eq=False)
class Fixed:
    """Classifiers that stay as they are, with policies fitted on half of the calibration part at several alphas.

    Attributes:
        cascade: the classifiers' answers.
        known: with the policies' scores on the calibration part, by alpha.
        test: on the test part.
    """

    cascade: Cascade
    known: Mapping[float, RecordedExits]
    test: Mapping[float, RecordedExits]


def fit_fixed(cascade: Cascade, alphas: Sequence[float], seed: int) -> Fixed:
    """Policies at each alpha."""
    fitted = {alpha: fit_alone(cascade, alpha, seed) for alpha in alphas}
    known, test = (
        {alpha: with_policies(part, policies) for alpha, policies in fitted.items()}
        for part in (cascade.known, cascade.test)
    )
    return Fixed(cascade, known, test)


def _put_static(found: Found, seed: int, cascade: Cascade, prefix: str = "") -> None:
    """Each classifier by itself, without a policy."""
    right = cascade.test.logits.argmax(-1) == cascade.test.labels[:, None]
    series = "one classifier, trained as long" if prefix else "one classifier"
    for k, cost in enumerate(cascade.costs):
        found.put(f"{prefix}classifier {k + 1}: error", seed, ~right[:, k])
        found.put(f"{prefix}classifier {k + 1}: MAC", seed, np.full(len(right), 1e6 * cost))
        found.points.setdefault(series, {}).setdefault(seed, []).append((1e6 * cost, 1 - float(right[:, k].mean())))


def _put_decisions(found: Found, name: str, seed: int, done: Decisions) -> None:
    found.put(f"{name}: error", seed, ~done.right)
    found.put(f"{name}: error of the last answer", seed, ~done.right_alone)
    found.put(f"{name}: MAC", seed, done.macs)


def _choose_alpha(cascade: Cascade, alone: Mapping[float, RecordedExits]) -> float:
    """The highest alpha at which the cascade is no worse than its largest classifier on the half that no policy was fitted on."""
    limit = float((cascade.chosen.logits[:, -1].argmax(-1) != cascade.chosen.labels).mean())
    errors = {a: 1 - _decide_chosen(cascade, recorded).right.mean() for a, recorded in alone.items()}
    fitting = [alpha for alpha, error in errors.items() if error <= limit]
    return max(fitting) if fitting else min(errors, key=lambda alpha: errors[alpha])


def _decide_chosen(cascade: Cascade, recorded: RecordedExits, threshold: float = 0.5) -> Decisions:
    return decide(take(recorded, cascade.choose_on), cascade.reach, threshold)


def _put_chosen(found: Found, seed: int, cascade: Cascade, test: RecordedExits, alpha: float) -> None:
    """The claim at the chosen alpha, figure 4, and the gain of the ensemble."""
    done = decide(test, cascade.reach)
    _put_decisions(found, "chosen", seed, done)
    for k in range(len(cascade.costs)):
        found.put(f"chosen: stops at {k + 1}", seed, done.stops == k)
    found.put("chosen: stops before the last", seed, done.stops < len(cascade.costs) - 1)
    found.put("half of the samples", seed, np.full(len(done.stops), 0.5))
    table = test.make_table("learned", cascade.reach.tolist())
    assigned = compute_assigned_accuracy(table, done.stops)
    later = np.flatnonzero(done.stops > 0)
    assert table.correct is not None, "test samples have labels"
    if len(later) > 1:
        found.put("assigned later: right there", seed, table.correct[later, done.stops[later]])
        found.put("assigned later: right one before", seed, table.correct[later, done.stops[later] - 1])
    found.details[f"chosen alpha, seed {seed}"] = alpha
    found.details[f"figure 4, seed {seed}"] = {
        "accuracy of classifier i (row) on samples assigned to j": [
            [None if np.isnan(a) else round(float(a), 4) for a in row] for row in assigned.accuracy
        ],
        "shares": assigned.shares.tolist(),
    }
    found.details[f"figure 3, seed {seed}"] = _list_examples(test, done)


EXAMPLES = 2
"""Samples of each classifier in figure 3."""


def _choose_examples(stops: NDArray[np.int64], exits: int) -> Iterator[tuple[int, int]]:
    """The first samples that stop at each classifier, as (classifier, sample)."""
    return ((k, int(i)) for k in range(exits) for i in np.flatnonzero(stops == k)[:EXAMPLES])


def _list_examples(test: RecordedExits, done: Decisions) -> list[dict[str, Any]]:
    """The first samples of each classifier, with the three likeliest classes that those up to it saw."""
    p = softmax(test.logits)
    rows = []
    for k, i in _choose_examples(done.stops, p.shape[1]):
        seen = [{int(c): round(float(p[i, j, c]), 3) for c in np.argsort(-p[i, j])[:3]} for j in range(k + 1)]
        rows.append({"sample": i, "label": int(test.labels[i]), "stops at": k + 1, "probabilities": seen})
    return rows


def draw_examples(setting: Setting, test: RecordedExits, reach: NDArray[np.float64]) -> list[BarFigure]:
    """Figure 3: what every classifier that was asked says of a sample, the right class and its strongest rival."""
    p, bars = softmax(test.logits), list[Bar]()
    for k, i in _choose_examples(decide(test, reach).stops, p.shape[1]):
        label = int(test.labels[i])
        for j in range(k + 1):
            others = np.where(np.arange(p.shape[2]) == label, -1.0, p[i, j])
            rival = int(others.argmax())
            parts = ((POLICY, float(p[i, j, label]), "right class"), (WARN, float(p[i, j, rival]), "strongest rival"))
            bars.append(Bar(f"sample {i} (class {label}, or {rival}?), classifier {j + 1}", parts))
    return [
        BarFigure(
            f"amortized-{setting.prefix or 'cifar10-'}figure-3",
            f"{_name_data(setting)}: samples, and what the classifiers that saw them say",
            f"Test part: the first {EXAMPLES} samples that stop at each classifier.",
            Axis("probability, %", scale=0.01, high=100.0),
            tuple(bars),
        )
    ]


def _put_joint(
    found: Found, seed: int, fixed: Mapping[str, Fixed], *, runs: Mapping[str, Run], setting: Setting
) -> None:
    """Joint training beside policies on fixed classifiers at the same alpha, and at the same multiply-accumulates."""
    for preset, run in runs.items():
        name, alpha, joint = name_joint(preset), setting.joint[preset], record_cascade(run)
        done = decide(joint.test, joint.reach)
        _put_decisions(found, name, seed, done)
        found.put_point("jointly trained", seed, done)
        budget = float(_decide_chosen(joint, joint.known).macs.mean())
        for whose, one in fixed.items():
            half = take(one.known[alpha], one.cascade.choose_on)
            same = decide(one.test[alpha], one.cascade.reach, find_threshold(half, one.cascade.reach, budget))
            found.put(f"{whose} at the MAC of {name}: error", seed, ~same.right)
            found.put(f"{whose} at the MAC of {name}: MAC", seed, same.macs)
            found.put(f"{name}: gain over {whose}", seed, done.right.astype(float) - same.right)


_TONES = {
    "one classifier": BACKBONE,
    "one classifier, trained as long": BACKBONE,
    "policies alone": CRITERION,
    "jointly trained": POLICY,
}


def _name_data(setting: Setting) -> str:
    return "MNIST" if setting.prefix else "CIFAR-10"


def _draw(setting: Setting, found: Found) -> list[Picture]:
    """Figure 2 with each series' mean over the seeds, and the shares of figure 4."""
    marks: list[Line | Points] = []
    for series, by_seed in found.points.items():
        points = np.mean([sorted(rows) for rows in by_seed.values()], axis=0)
        xs, ys = points[:, 0], 1 - points[:, 1]
        dashed, thick = series.endswith("as long"), not series.startswith("one classifier")
        marks.append(Line(xs, ys, _TONES[series], series, dashed=dashed, thick=thick))
    title = _name_data(setting)
    name = f"amortized-{setting.prefix or 'cifar10-'}"
    shares = [float(np.mean([v.mean() for v in found.samples[f"chosen: stops at {k}"].values()])) for k in (1, 2, 3)]
    bars = tuple(Bar(f"classifier {k}", ((choose_exit_tone(k, 3), s, ""),)) for k, s in enumerate(shares, 1))
    return [
        Figure(
            f"{name}figure-2",
            f"{title}: accuracy against operations",
            "Test part; each classifier by itself, and the cascade at several alphas. Means over the seeds.",
            Axis("mean multiply-accumulates, M", scale=1e6),
            Axis("accuracy, %", scale=0.01),
            tuple(marks),
        ),
        BarFigure(
            f"{name}figure-4",
            f"{title}: samples that each classifier answers",
            "At the alpha that is chosen on calibration samples.",
            Axis("share of the test samples, %", scale=0.01),
            bars,
        ),
    ]
