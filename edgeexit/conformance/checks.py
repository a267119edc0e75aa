"""The checks that every backend must pass, in every mode it has. Each is a rule, and a function of a case and an open Runner.

The reference is the unsplit model in ONNX Runtime and the criteria's NumPy code: neither the split, nor the appended criterion, nor the
backend has a part in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends import Settings
from edgeexit.backends.base import Array
from edgeexit.backends.self_check import SelfCheck
from edgeexit.bundle import Bundle
from edgeexit.choices import MODES
from edgeexit.compiler.probe import open_model
from edgeexit.compiler.tolerances import TOLERANCES, Tolerance, name_arithmetic
from edgeexit.criteria import criterion
from edgeexit.errors import EdgeExitError, InputError
from edgeexit.graph import find_exits, read_model
from edgeexit.graph.cost import count_costs_to_reach
from edgeexit.leaving import find_leaves
from edgeexit.measure.timing import time_interleaved
from edgeexit.runtime import Prediction, Runner
from edgeexit.runtime.loading import open_runner
from edgeexit.util.samples import split_samples
from edgeexit.util.units import percent
from edgeexit.util.units import seconds as as_time

_SAME = TOLERANCES["float32"].rounding
"""Distance of a score from its threshold that counts as equal in lower precisions, where not all decisions need to agree."""

_FORCED_SAMPLES = 16
_SHARES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class ReferenceOutputs:
    """Answers of the unsplit model: logits [n, N, classes] and inner scores [n, N] under the criterion, logits of its own last exit
    [n, classes].
    """

    logits: NDArray[np.float32]
    scores: NDArray[np.float32]
    last: NDArray[np.float32]


@dataclass(frozen=True)
class ConformanceCase:
    """One network to prove a backend with; `labels` [n] where it is a trained one."""

    bundle: Bundle
    settings: Settings
    inputs: dict[str, Array]
    reference: ReferenceOutputs
    labels: NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        """Number of inputs."""
        return len(self.reference.scores)

    @property
    def exits(self) -> int:
        """Number of exits."""
        return self.bundle.manifest.exits

    @property
    def tolerance(self) -> Tolerance:
        """What answers may differ by."""
        return TOLERANCES[name_arithmetic(self.settings.precision, self.settings.backend)]

    @property
    def edge(self) -> float:
        """Distance of a score from its threshold at which either exit is right."""
        return self.tolerance.rounding if self.tolerance.agreement == 1 else _SAME

    def sample(self, index: int) -> dict[str, Array]:
        """One input."""
        return {name: a[index : index + 1] for name, a in self.inputs.items()}

    def thresholds(self, share: float) -> tuple[float, ...]:
        """Inner thresholds at which about this share of the inputs would leave at each exit; midpoints between scores, as a search sets."""
        ordered = np.sort(self.reference.scores[:, :-1], axis=0)
        at = min(max(round((1 - share) * self.count), 1), self.count - 1)
        return tuple(float(np.float32(t)) for t in (ordered[at - 1] + ordered[at]) / 2)


CheckFunction: TypeAlias = Callable[[ConformanceCase, Runner], SelfCheck]


def run_reference(model: Path, bundle: Bundle, inputs: dict[str, Array]) -> ReferenceOutputs:
    """Run the unsplit model in ONNX Runtime on every input, in the precision it came in."""
    net = read_model(model)
    names = [exit.logits for exit in find_exits(net)]
    costs = count_costs_to_reach(net, names)
    run = open_model(net, names)
    rows = [run(sample) for sample in split_samples(inputs)]
    logits = np.stack([np.concatenate([row[name] for row in rows]) for name in names], axis=1)
    rule = criterion(bundle.manifest.criterion)
    answers = rule.answers(logits, costs)
    scores, last = np.asarray(rule.sign * answers.scores, np.float32), np.asarray(logits[:, -1], np.float32)
    return ReferenceOutputs(np.asarray(answers.logits, np.float32), scores, last)


def check_logits(case: ConformanceCase, runner: Runner) -> SelfCheck:
    """Forced to each exit, the logits are those of the unsplit model, and the exit is the one asked for."""
    worst, strays = 0.0, 0
    for i in range(min(case.count, _FORCED_SAMPLES)):
        for exit in range(1, case.exits + 1):
            answer = runner.forced(case.sample(i), exit=exit)
            worst = _find_larger_error(worst, _compute_distance(answer.logits, case.reference.logits[i, exit - 1]))
            strays += answer.exit != exit
    limit = case.tolerance.conversion
    detail = f"largest error {worst:.1e} of the largest logit, allowed {limit:.0e}; {strays} left at another exit"
    return SelfCheck("logits are the model's", worst <= limit and not strays, detail, {"logit_error": worst})


def check_scores(case: ConformanceCase, runner: Runner) -> SelfCheck:
    """At every exit the score is the criterion of the unsplit model's logits."""
    worst = 0.0
    for i in range(min(case.count, _FORCED_SAMPLES)):
        for exit in range(1, case.exits + 1):
            inner = runner.criterion.inner(runner.forced(case.sample(i), exit=exit).score)
            worst = _find_larger_error(worst, abs(inner - float(case.reference.scores[i, exit - 1])))
    limit = case.tolerance.conversion * 10  # a score moves with differences of logits
    return SelfCheck("scores are the criterion's", worst <= limit, f"largest error {worst:.1e}", {"score_error": worst})


def check_decisions(case: ConformanceCase, runner: Runner) -> SelfCheck:
    """At three settings of the thresholds each input leaves at the reference's exit, unless a score lies at its threshold."""
    wrong, close, taken = 0, 0, np.zeros(case.exits, np.int64)
    for share in _SHARES:
        thresholds = case.thresholds(share)
        runner.inner_thresholds = thresholds
        for i in range(case.count):
            answer = runner(case.sample(i))
            taken[answer.exit - 1] += 1
            same, at_edge = _is_same_decision(case, i, thresholds, answer)
            close += at_edge
            wrong += not (same or at_edge)
    total = case.count * len(_SHARES)
    agreement = 1 - wrong / total
    needed = case.tolerance.agreement
    detail = f"{total - wrong} of {total}; {close} with a score at a threshold; left at exits {taken.tolist()}"
    return SelfCheck("decisions are the reference's", agreement >= needed, detail, {"agreement": agreement})


def _is_same_decision(
    case: ConformanceCase, i: int, thresholds: tuple[float, ...], answer: Prediction
) -> tuple[bool, bool]:
    """Whether exit and label are the reference's, and whether a score lies so near its threshold that either exit is right."""
    expected, label = _compute_expected(case, i, thresholds)
    at_edge = bool((np.abs(case.reference.scores[i, :-1] - np.asarray(thresholds)) <= case.edge).any())
    return answer.exit == expected and answer.label == label, at_edge


def _compute_expected(case: ConformanceCase, i: int, thresholds: tuple[float, ...]) -> tuple[int, int]:
    """Exit and label of the reference."""
    exit = int(find_leaves(case.reference.scores[[i], :-1].T, np.asarray(thresholds, np.float32))[0]) + 1
    return exit, int(case.reference.logits[i, exit - 1].argmax())


def check_accuracy(case: ConformanceCase, runner: Runner) -> SelfCheck:
    """With half of the inputs leaving at each exit, as many are right as by the reference; in lower precision, nearly as many."""
    assert case.labels is not None
    thresholds = case.thresholds(0.5)
    runner.inner_thresholds = thresholds
    mine = [runner(case.sample(i)).label for i in range(case.count)]
    reference = [_compute_expected(case, i, thresholds)[1] for i in range(case.count)]
    hits, expected = (int((np.asarray(labels) == case.labels).sum()) for labels in (mine, reference))
    allowed = round(case.tolerance.accuracy * case.count)
    accuracy = hits / case.count
    detail = f"{percent(accuracy)}, the model's {percent(expected / case.count)}, allowed difference {allowed} of {case.count}"
    return SelfCheck("accuracy is the model's", abs(hits - expected) <= allowed, detail, {"accuracy": accuracy})


def check_extreme_thresholds(case: ConformanceCase, runner: Runner) -> SelfCheck:
    """-inf leaves at once, +inf never, and a score that equals its threshold leaves."""
    x = case.sample(0)
    runner.inner_thresholds = (-math.inf,) * (case.exits - 1)
    first = runner(x)
    runner.inner_thresholds = (math.inf,) * (case.exits - 1)
    last = runner(x)
    own = runner.criterion.inner(first.score)
    runner.inner_thresholds = (own, *([math.inf] * (case.exits - 2)))
    equal = runner(x)
    just_above = float(np.nextafter(np.float32(own), np.float32(np.inf)))
    runner.inner_thresholds = (just_above, *([math.inf] * (case.exits - 2)))
    above = runner(x)
    found = [first.exit, last.exit, equal.exit, above.exit]
    expected = [1, case.exits, 1, case.exits]
    return SelfCheck("thresholds hold at their ends", found == expected, f"exits {found}, expected {expected}")


def check_no_leftover_state(case: ConformanceCase, runner: Runner) -> SelfCheck:
    """The same input gives the same bits after other inputs have left at other exits."""
    runner.inner_thresholds = case.thresholds(0.5)
    order = [*range(min(case.count, 8)), *reversed(range(min(case.count, 8)))]
    answers: dict[int, Prediction] = {}
    changed = 0
    for i in order:
        answer = runner(case.sample(i))
        before = answers.setdefault(i, answer)
        changed += answer.exit != before.exit or not np.array_equal(answer.logits, before.logits)
    return SelfCheck("nothing is left over from the input before", not changed, f"{changed} of {len(order)} changed")


def check_clones(case: ConformanceCase, runner: Runner) -> SelfCheck:
    """A clone has buffers of its own: using it changes nothing of what the first holds."""
    last = case.exits
    with runner.clone() as other:
        mine = runner.forced(case.sample(0), exit=last)
        theirs = other.forced(case.sample(1 % case.count), exit=last)
        again = runner.forced(case.sample(0), exit=last)
        alike = other.forced(case.sample(0), exit=last)
    same = np.array_equal(mine.logits, again.logits) and np.array_equal(mine.logits, alike.logits)
    different = case.count < 2 or not np.array_equal(mine.logits, theirs.logits)
    return SelfCheck("clones are apart", same and different)


def check_batches(case: ConformanceCase, runner: Runner) -> SelfCheck:
    """Many at once leave where each alone leaves, with the same label."""
    runner.inner_thresholds = case.thresholds(0.5)
    count = min(case.count, 32)
    many = runner.batch({name: a[:count] for name, a in case.inputs.items()})
    alone = [runner(case.sample(i)) for i in range(count)]
    edge = [
        bool((np.abs(case.reference.scores[i, :-1] - runner.inner_thresholds) <= case.edge).any()) for i in range(count)
    ]
    wrong = sum(not e and (a.exit, a.label) != (b.exit, b.label) for a, b, e in zip(many, alone, edge, strict=True))
    allowed = int((1 - case.tolerance.agreement) * count)
    return SelfCheck("batches give the same answers", wrong <= allowed, f"{count - wrong} of {count}")


def check_backbone(case: ConformanceCase, runner: Runner) -> SelfCheck:
    """The backbone gives the network's own last logits, whatever criteria that combine exits make of them."""
    worst = 0.0
    with runner.backbone() as backbone:
        for i in range(min(case.count, _FORCED_SAMPLES)):
            worst = _find_larger_error(
                worst, _compute_distance(backbone(case.sample(i)).logits, case.reference.last[i])
            )
    limit = case.tolerance.conversion
    return SelfCheck(
        "the backbone is the last exit", worst <= limit, f"largest error {worst:.1e}", {"logit_error": worst}
    )


def check_closed_runner(case: ConformanceCase, runner: Runner) -> SelfCheck:
    """After `close`, which may be called twice, a call is an InputError."""
    other = runner.clone()
    other.close()
    other.close()
    try:
        other(case.sample(0))
    except InputError:
        return SelfCheck("a closed runner refuses", True)
    except EdgeExitError as error:
        return SelfCheck("a closed runner refuses", False, f"{type(error).__name__} instead of InputError")
    return SelfCheck("a closed runner refuses", False, "it answered")


CHECKS: dict[str, CheckFunction] = {
    "logits are the model's": check_logits,
    "scores are the criterion's": check_scores,
    "decisions are the reference's": check_decisions,
    "accuracy is the model's": check_accuracy,
    "thresholds hold at their ends": check_extreme_thresholds,
    "nothing is left over from the input before": check_no_leftover_state,
    "clones are apart": check_clones,
    "batches give the same answers": check_batches,
    "the backbone is the last exit": check_backbone,
    "a closed runner refuses": check_closed_runner,
}
"""Every check by name, in the order in which they run."""


def check_times(case: ConformanceCase, seconds: float) -> SelfCheck:
    """Median time of leaving at each exit in both modes and of the backbone, in turn; figures only."""
    staged, fused = (open_runner(case.bundle, case.settings.with_mode(m)) for m in ("staged", "fused"))
    with staged, fused, staged.backbone() as backbone:
        calls: dict[str, Callable[[int], object]] = {
            f"{runner.settings.mode}_{exit}": partial(_run_forced, case, runner, exit)
            for exit in range(1, case.exits + 1)
            for runner in (staged, fused)
        }
        calls["backbone"] = lambda i: backbone(case.sample(i % case.count))
        found = time_interleaved(calls, seconds=seconds)
    medians = {name: samples.median_s for name, samples in found.items()}
    text = "; ".join(
        f"{mode} " + " / ".join(as_time(medians[f"{mode}_{k}"]) for k in range(1, case.exits + 1)) for mode in MODES
    )
    values = {f"{name}_s": median for name, median in medians.items()}
    return SelfCheck("times", None, f"{text}; backbone {as_time(medians['backbone'])}", values)


def _run_forced(case: ConformanceCase, runner: Runner, exit: int, i: int) -> object:
    return runner.forced(case.sample(i % case.count), exit=exit)


def _find_larger_error(worst: float, error: float) -> float:
    """The larger error; NaN, which compares with nothing, is the largest."""
    return math.inf if math.isnan(error) else max(worst, error)


def _compute_distance(found: Array, expected: Array) -> float:
    scale = max(float(np.abs(expected).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(found - expected).max()) / scale
