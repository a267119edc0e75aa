"""Remarks on a calibration: warnings with their reasons, none of them an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from edgeexit.calibration.replay import Indices, ReplayTable, find_falling_exits
from edgeexit.calibration.solver.problem import FEW_EXITS, build_problem
from edgeexit.calibration.solver.search import QUICK, Policy, find_best_boundaries, make_policy
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.leaving import find_collapse
from edgeexit.measure.statistics import NORMAL_95
from edgeexit.util import units

SMALL = 0.02
"""A sampling error of the mean latency above this is worth a word."""
GAIN_QUALITY = 0.0005
GAIN_MEAN = 0.01
"""Least gain, in accuracy or in relative mean latency, for which dropping heads is recommended."""


LOST_SAMPLES, LOST_SHARE = 3, 0.5
"""A class counts as lost where at least this number of its samples, and this share of those that the last exit has right, become wrong."""


@dataclass(frozen=True)
class Remark:
    """One remark.

    Attributes:
        code: stable name: does_not_pay, times_fall, one_exit, unused_exit, constant_scores, few_samples, lost_class, missing_classes,
            one_answer, drop_heads, single_classifier.
        text: the remark, a sentence.
    """

    code: str
    text: str


def find_remarks(table: ReplayTable, policy: Policy) -> tuple[Remark, ...]:
    """The remarks on a policy that a table alone allows."""
    return (*_check_payment(table, policy), *_check_exits(policy), *_check_scores(table), *_check_size(table, policy))


def compute_sampling_error(table: ReplayTable, policy: Policy, fresh: int | None = None) -> float:
    """Half width of the 95 % interval of the mean latency over its value, from who leaves where: 1.96·cv·√(1/M + 1/m).

    `fresh` is m, the number of samples it will be compared on; None for the world's mean.
    """
    rates, costs = np.asarray(policy.exit_rates), table.mean_cost_s
    spread = float(np.sqrt(np.dot(rates, (costs - policy.mean_s) ** 2))) / policy.mean_s
    return NORMAL_95 * spread * float(np.sqrt(1 / len(table) + (1 / fresh if fresh else 0.0)))


def _check_payment(table: ReplayTable, policy: Policy) -> Iterator[Remark]:
    falling = find_falling_exits(table.mean_cost_s)
    for k in falling:
        now_s, before_s = (units.seconds(float(table.mean_cost_s[i])) for i in (k - 1, k - 2))
        text = (
            f"leaving at exit {k} was measured as faster ({now_s}) than at exit {k - 1} ({before_s}), whose work it contains: nothing is "
            "advised from these times. Calibrate again on a quiet machine."
        )
        yield Remark("times_fall", text)
    if falling:
        return
    backbone_s = table.backbone_mean_s
    if policy.mean_s >= backbone_s:
        more = policy.mean_s / backbone_s - 1
        text = (
            f"early exit does not pay here: its mean of {units.seconds(policy.mean_s)} is {units.percent(more, 1)} above the backbone's "
            f"{units.seconds(backbone_s)}. Run the backbone, or loosen the bounds on the answers."
        )
        yield Remark("does_not_pay", text)


def _check_exits(policy: Policy) -> Iterator[Remark]:
    only = find_collapse(policy.exit_rates)
    if only is not None:
        rate = policy.exit_rates[only - 1]
        if rate == 1.0:
            text = f"all samples leave at exit {only}: a network that ends there does the same."
        else:
            text = (
                f"{units.percent(rate, 2)} of the samples leave at exit {only}, so that the other exits hardly take part: a network that "
                "ends there does nearly the same."
            )
        yield Remark("one_exit", text)
        if rate == 1.0:
            return
    unused = [k for k, rate in enumerate(policy.exit_rates[:-1], 1) if rate == 0]
    for k in unused:
        yield Remark("unused_exit", f"no sample leaves at exit {k}: its head costs time and is never used.")


def _check_scores(table: ReplayTable) -> Iterator[Remark]:
    for k, column in enumerate(table.scores.T, 1):
        if (column == column[0]).all():
            text = f"exit {k} gives every sample the score {column[0]:.4g}: no threshold can separate samples at this exit."
            yield Remark("constant_scores", text)


def _check_size(table: ReplayTable, policy: Policy) -> Iterator[Remark]:
    error = compute_sampling_error(table, policy)
    if error > SMALL:
        needed = int(np.ceil(len(table) * (error / SMALL) ** 2))
        text = (
            f"{len(table)} samples fix the mean latency to ±{units.percent(error, 1)} only; for ±{units.percent(SMALL, 0)} about {needed} "
            "are needed (they need no labels)."
        )
        yield Remark("few_samples", text)


def find_lost_classes(answers: Indices, labels: Indices, leaves: Indices) -> tuple[Remark, ...]:
    """A remark where classes that the last exit recognises are lost by leaving early, which the accuracy of all hides where they are rare.

    Args:
        answers: int64 [M, N], the label that each exit gives each sample.
        labels: int64 [M].
        leaves: int64 [M], the exit (from 0) where each sample leaves.
    """
    last, policy = answers[:, -1] == labels, answers[np.arange(len(labels)), leaves] == labels
    lost = []
    for label in np.unique(labels):
        of_class = labels == label
        before, after = int(last[of_class].sum()), int(policy[of_class].sum())
        if before - after >= LOST_SAMPLES and before - after >= LOST_SHARE * before:
            lost.append(
                f"{label} ({before} of {int(of_class.sum())} samples right at the last exit, {after} with these thresholds)"
            )
    if not lost:
        return ()
    shown = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
    text = f"leaving early loses whole classes: {shown}. Raise the thresholds, or give more samples of them."
    return (Remark("lost_class", text),)


def find_one_sided_data(answers: Indices, labels: Indices | None, classes: int) -> tuple[Remark, ...]:
    """Remarks where the samples show only a part of what the network knows, such as the first files of a sorted folder.

    Args:
        answers: int64 [M, N], the label that each exit gives each sample.
        labels: int64 [M], or None.
        classes: number of classes of the network.
    """
    if labels is None:
        if classes > 1 and (answers[:, -1] == answers[0, -1]).all():
            same = f"the last exit gives all {len(answers)} samples the same answer ({answers[0, -1]})"
            text = f"{same}: check that they come from the data the network was trained for."
            return (Remark("one_answer", text),)
        return ()
    present = len(np.unique(labels))
    if present > classes / 2 or len(labels) < 10 * classes:
        return ()
    few = f"the labels of {len(labels)} samples are of {present} of {classes} classes"
    text = f"{few}: draw samples at random from the data of the application."
    return (Remark("missing_classes", text),)


def recommend_heads(table: ReplayTable, target: str | Target, policy: Policy) -> Remark | None:
    """Which heads to compile without, where that gains accuracy or time; None where none does or head costs are not known."""
    if table.head_s is None or table.exits < 3 or find_falling_exits(table.mean_cost_s):
        return None
    parsed = parse_target(target)
    best: tuple[Sequence[int], Policy] | None = None
    for dropped in _list_candidates(policy):
        other = _find_policy_without(table, parsed, dropped)
        if other is not None and _is_gain(parsed, other, best[1] if best else policy):
            best = (dropped, other)
    if best is None:
        return None
    heads, other = best
    gained = f"accuracy {units.percent(policy.quality)} to {units.percent(other.quality)}"
    faster = f"mean {units.seconds(policy.mean_s)} to {units.seconds(other.mean_s)}"
    keep = [k for k in range(1, table.exits + 1) if k not in heads]
    text = (
        f"compile without the head{'s' * (len(heads) > 1)} of exit {', '.join(map(str, heads))} (keep exits {', '.join(map(str, keep))}): "
        f"{gained}, {faster}."
    )
    return Remark("drop_heads", text)


def find_single_classifier(table: ReplayTable, policy: Policy) -> Remark | None:
    """A remark where one classifier of a cascade, run by itself, is as accurate as the cascade and faster; None where none is.

    A sample that leaves at a later exit has paid for all classifiers before it. The cost of classifier k by itself is what leaving there
    costs more than leaving before it; of the last one it is measured: the backbone.

    Args:
        table: of a network whose exits are classifiers that share nothing; with labels and times.
        policy: chosen on it.
    """
    if table.correct is None or policy.accuracy is None or find_falling_exits(table.mean_cost_s):
        return None
    alone_s = np.diff(table.mean_cost_s, prepend=0.0)
    alone_s[-1] = table.backbone_mean_s
    accuracy = table.correct.mean(axis=0)
    accuracy[-1] = table.backbone_right.mean()
    # Where exits answer with what several classifiers have computed, those in between do not answer as they would by themselves.
    known = range(table.exits) if table.last_is_backbone else (0, table.exits - 1)
    better = [k for k in known if accuracy[k] >= policy.accuracy and alone_s[k] < policy.mean_s * (1 - GAIN_MEAN)]
    if not better:
        return None
    k = min(better, key=lambda i: alone_s[i])
    text = (
        f"classifier {k + 1} of the cascade by itself is as accurate ({units.percent(float(accuracy[k]))}, the cascade "
        f"{units.percent(policy.accuracy)}) and faster ({units.seconds(float(alone_s[k]))}, the cascade {units.seconds(policy.mean_s)}):"
        " for this target run it alone."
    )
    return Remark("single_classifier", text)


def _list_candidates(policy: Policy) -> list[tuple[int, ...]]:
    """Single heads, pairs, and all unused ones together; some exit before the last must stay.

    With many exits, whose pairs are hundreds: the unused ones, and the 1, 2, 4, ... that the fewest samples leave at.
    """
    rates = policy.exit_rates
    early = range(1, len(rates))
    unused = tuple(k for k in early if rates[k - 1] == 0)
    if len(rates) <= FEW_EXITS:
        sets = {(k,) for k in early} | set(combinations(early, 2)) | {unused}
    else:
        seldom = sorted(early, key=lambda k: rates[k - 1])
        sets = {tuple(sorted(seldom[: 2**i])) for i in range(len(rates).bit_length())} | {unused}
    return sorted(s for s in sets if 0 < len(s) < len(early))


def _find_policy_without(table: ReplayTable, target: Target, dropped: Sequence[int]) -> Policy | None:
    if any(b.kind.numbered for b in target.bounds):
        return None
    problem = build_problem(table.without_heads(dropped), target)
    found = find_best_boundaries(problem, QUICK)
    if not problem.is_kept_by(found):
        return None
    return make_policy(problem, found, None)


def _is_gain(target: Target, other: Policy, than: Policy) -> bool:
    faster = other.mean_s < than.mean_s * (1 - GAIN_MEAN)
    if target.minimises_mean:
        return faster
    return other.quality > than.quality + GAIN_QUALITY or (other.quality >= than.quality and faster)
