"""Table 2 and figures 2 to 4: error against multiply-accumulates, policies alone and jointly, who is assigned where, the ensemble."""

from __future__ import annotations

from collections.abc import Mapping
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
    "Joint training runs the classifiers for more epochs than they have alone.",
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
    found = Found()
    for seed, run in runs[f"{setting.prefix}classifiers"].items():
        cascade = record_cascade(run)
        _put_static(found, seed, cascade)
        fitted = {alpha: fit_alone(cascade, alpha, seed) for alpha in setting.alphas}
        alone = {alpha: with_policies(cascade.known, policies) for alpha, policies in fitted.items()}
        tests = {alpha: with_policies(cascade.test, policies) for alpha, policies in fitted.items()}
        for alpha, recorded in tests.items():
            done = decide(recorded, cascade.reach)
            _put_decisions(found, f"policies, alpha {alpha:g}", seed, done)
            found.put_point("policies alone", seed, done)
        chosen = _choose_alpha(cascade, alone)
        _put_chosen(found, seed, cascade, tests[chosen], chosen)
        joint = {preset: runs[f"{setting.prefix}{name_joint(preset)}"][seed] for preset in setting.joint}
        _put_joint(found, seed, cascade, runs=joint, setting=setting, alone=alone, tests=tests)
    notes = NOTES if setting.prefix == "" else NOTES[1:]
    return Findings(samples=found.samples, details=found.details, notes=notes, pictures=_draw(setting, found))


def _put_static(found: Found, seed: int, cascade: Cascade) -> None:
    """Each classifier by itself, without a policy."""
    right = cascade.test.logits.argmax(-1) == cascade.test.labels[:, None]
    for k, cost in enumerate(cascade.costs):
        found.put(f"classifier {k + 1}: error", seed, ~right[:, k])
        found.put(f"classifier {k + 1}: MAC", seed, np.full(len(right), 1e6 * cost))
        found.points.setdefault("one classifier", {}).setdefault(seed, []).append(
            (1e6 * cost, 1 - float(right[:, k].mean()))
        )


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
    places = cascade.choose_on
    assert recorded.scores is not None, "a cascade with policies has scores"
    part = RecordedExits(recorded.logits[places], recorded.scores[places], recorded.labels[places])
    return decide(part, cascade.reach, threshold)


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
    if len(later):
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


def _list_examples(test: RecordedExits, done: Decisions) -> list[dict[str, Any]]:
    """The first two samples of each classifier, with the three likeliest classes that those up to it saw."""
    p = softmax(test.logits)
    rows = []
    for k in range(p.shape[1]):
        for i in np.flatnonzero(done.stops == k)[:2]:
            seen = [{int(c): round(float(p[i, j, c]), 3) for c in np.argsort(-p[i, j])[:3]} for j in range(k + 1)]
            rows.append({"sample": int(i), "label": int(test.labels[i]), "stops at": k + 1, "probabilities": seen})
    return rows


def _put_joint(
    found: Found,
    seed: int,
    cascade: Cascade,
    *,
    runs: Mapping[str, Run],
    setting: Setting,
    alone: Mapping[float, RecordedExits],
    tests: Mapping[float, RecordedExits],
) -> None:
    """Joint training beside policies alone at the same alpha, and at the same multiply-accumulates."""
    for preset, run in runs.items():
        name, alpha, joint = name_joint(preset), setting.joint[preset], record_cascade(run)
        done = decide(joint.test, joint.reach)
        _put_decisions(found, name, seed, done)
        found.put_point("jointly trained", seed, done)
        budget = float(_decide_chosen(joint, joint.known).macs.mean())
        half = RecordedExits(*(_pick(alone[alpha], cascade.choose_on)))
        same = decide(tests[alpha], cascade.reach, find_threshold(half, cascade.reach, budget))
        found.put(f"policies at the MAC of {name}: error", seed, ~same.right)
        found.put(f"policies at the MAC of {name}: MAC", seed, same.macs)
        found.put(f"{name}: gain over policies", seed, done.right.astype(float) - same.right)


def _pick(recorded: RecordedExits, places: NDArray[np.int64]) -> tuple[Any, Any, Any]:
    assert recorded.scores is not None, "a cascade with policies has scores"
    return recorded.logits[places], recorded.scores[places], recorded.labels[places]


_TONES = {"one classifier": BACKBONE, "policies alone": CRITERION, "jointly trained": POLICY}


def _draw(setting: Setting, found: Found) -> list[Picture]:
    """Figure 2 with each series' mean over the seeds, and the shares of figure 4."""
    marks: list[Line | Points] = []
    for series, by_seed in found.points.items():
        points = np.mean([sorted(rows) for rows in by_seed.values()], axis=0)
        xs, ys = points[:, 0], 1 - points[:, 1]
        marks.append(Line(xs, ys, _TONES[series], series, thick=series != "one classifier"))
    title = "CIFAR-10" if not setting.prefix else "MNIST"
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
