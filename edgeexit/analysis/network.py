"""Everything that a table says of a network in one value: what `edgeexit analyse` prints, writes as JSON and draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from edgeexit.analysis.assignment import compute_assigned_accuracy
from edgeexit.analysis.checks import check_same_network, require_correct
from edgeexit.analysis.confidence import compare_confidence
from edgeexit.analysis.curves import (
    AccuracyCurve,
    compute_anytime_curve,
    compute_budgeted_curve,
    compute_searched_curve,
)
from edgeexit.analysis.oracle import compute_oracle
from edgeexit.analysis.overthinking import compute_overthinking
from edgeexit.calibration.from_logits import read_labels
from edgeexit.calibration.headroom import Headroom, compute_headroom, find_overthinking
from edgeexit.calibration.replay import Floats, Indices, ReplayTable
from edgeexit.calibration.solver.cross_validation import choose_policy
from edgeexit.calibration.solver.optimum import optimise
from edgeexit.errors import InputError
from edgeexit.measure.shares import share_interval
from edgeexit.measure.statistics import Interval
from edgeexit.util.documents import to_document

SCHEMA = "edgeexit.analysis/1"
SHOWN = 24
"""Samples that overthink which are listed one by one."""
_DIVISIBLE = 20
"""Samples from which on thresholds are chosen by cross-validation; with fewer its parts are too small, and may be empty."""


@dataclass(frozen=True)
class ExitFigures:
    """One exit, were all samples to leave there.

    Attributes:
        exit: number, from 1.
        accuracy: share of right answers. interval: its 95 % interval.
        macs, mean_s: cost of leaving there; None where not known.
        rate: share of the samples that the policy lets leave there.
    """

    exit: int
    accuracy: float
    interval: Interval
    macs: float | None
    mean_s: float | None
    rate: float


@dataclass(frozen=True)
class CurveFigures:
    """Accuracy against mean cost; see `AccuracyCurve`.

    Attributes:
        name: `anytime`, `budgeted` or `searched`.
        unit: of the costs, "s" or "MAC".
        cost, accuracy: of each point.
        exit_rates: share leaving at each exit, by point.
    """

    name: str
    unit: str
    cost: tuple[float, ...]
    accuracy: tuple[float, ...]
    exit_rates: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class OracleFigures:
    """An upper bound; see `OracleBound`.

    Attributes:
        unit: of the cost, "s" or "MAC".
        skip_hopeless: whether samples that no exit has right are not run at all (the thesis's oracle) or go to the last exit (realistic).
        cost, accuracy: of the perfect choice of the exit.
        exit_rates: share leaving at each exit.
    """

    unit: str
    skip_hopeless: bool
    cost: float
    accuracy: float
    exit_rates: tuple[float, ...]


@dataclass(frozen=True)
class OverthinkingFigures:
    """Shares of the samples; see `Overthinking`.

    Attributes:
        any_pair: some exit is right and some later one wrong. interval: its 95 % interval.
        last_only: the last exit is wrong and some earlier one right.
        pairs: row i, column j: exit i is right and exit j wrong.
    """

    any_pair: float
    interval: Interval
    last_only: float
    pairs: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class RankFigures:
    """Whether two exits are sure about the same samples: Spearman's coefficient, None where an exit is equally sure of all."""

    first: int
    second: int
    spearman: float | None


@dataclass(frozen=True)
class ClassFigures:
    """One class.

    Attributes:
        label: its number. name: its name, empty where not known.
        samples: number of samples.
        exit_rates: share of them that the policy lets leave at each exit.
        overthinking: share of them that overthink.
    """

    label: int
    name: str
    samples: int
    exit_rates: tuple[float, ...]
    overthinking: float


@dataclass(frozen=True)
class OverthoughtSample:
    """A sample that some exit has right and a later one wrong.

    Attributes:
        sample: its place in the data as they were given, from 0.
        label: the right answer; None where labels were not given apart from the table.
        answers: what each exit answers; empty where not known.
        correct: whether each exit is right.
        exit: at which the policy lets it leave, from 1.
    """

    sample: int
    label: int | None
    answers: tuple[int, ...]
    correct: tuple[bool, ...]
    exit: int


@dataclass(frozen=True)
class NetworkAnalysis:
    """What a network with exits could do and where it goes wrong.

    Attributes:
        schema: `edgeexit.analysis/1`.
        network: name of the bundle or network.
        chosen_on, used_on: names of the data that thresholds were chosen on, and that every figure is of.
        chosen_samples, samples: their numbers of samples.
        policy: `calibrated`: the bundle's thresholds; `given`; or `chosen`: as cheap as possible at no loss on the samples that chose, by
            the guarded choice of `calibrate`.
        inner_thresholds: those of the policy, [N-1]; higher means more confident.
        exits: every exit.
        headroom: the policy beside a perfect exit rule, per unit of cost: multiply-accumulates, and seconds where they are known.
        curves: anytime, budgeted batch and our search, per unit.
        oracles: both upper bounds, per unit.
        overthinking: in each sense.
        assigned_accuracy: row i, column j: share that exit i has right of the samples that leave at exit j; None where none does.
        ranks: every pair of early exits.
        classes: every class; empty where labels were not given apart from the table.
        samples_overthinking: how many overthink. overthought: the first of them.
    """

    schema: str
    network: str
    chosen_on: str
    used_on: str
    chosen_samples: int
    samples: int
    policy: str
    inner_thresholds: tuple[float, ...]
    exits: tuple[ExitFigures, ...]
    headroom: tuple[Headroom, ...]
    curves: tuple[CurveFigures, ...]
    oracles: tuple[OracleFigures, ...]
    overthinking: OverthinkingFigures
    assigned_accuracy: tuple[tuple[float | None, ...], ...]
    ranks: tuple[RankFigures, ...]
    classes: tuple[ClassFigures, ...]
    samples_overthinking: int
    overthought: tuple[OverthoughtSample, ...]

    def to_document(self) -> dict[str, Any]:
        """Convert to JSON values; infinite thresholds become "inf" and "-inf"."""
        document: dict[str, Any] = to_document(self)
        return document


@dataclass(frozen=True)
class AnalysisNames:
    """What a network, its data and its classes are called in the result."""

    network: str = "network"
    chosen_on: str = "chosen on"
    used_on: str = "used on"
    classes: tuple[str, ...] = ()


def analyse_network(
    chosen_on: ReplayTable,
    used_on: ReplayTable,
    *,
    thresholds: Sequence[float] | None = None,
    policy: str = "given",
    labels: ArrayLike | None = None,
    answers: Indices | None = None,
    names: AnalysisNames | None = None,
) -> NetworkAnalysis:
    """Every analysis of this package, for a network of which two tables are at hand.

    Args:
        chosen_on: the samples that thresholds are chosen on, with labels.
        used_on: the samples that every figure is of, with labels.
        thresholds: inner thresholds [N-1] of the policy. None: the cheapest that lose no accuracy on `chosen_on`, by the guarded choice of
            `calibrate`.
        policy: what to call it.
        labels: true classes of `used_on`, int [M], for figures per class.
        answers: int [M, N], the class that each exit gives each sample, to be listed.
        names: what network, data and classes are called.

    Raises:
        InputError: the tables are not of one network, lack labels, or have neither multiply-accumulates nor seconds in common.

    Example:
        >>> table = ReplayTable.from_arrays(
        ...     scores=[[0.9], [0.8], [0.3], [0.2]], correct=[[1, 1], [1, 0], [0, 1], [1, 1]], cost_s=None, macs=[1e6, 3e6]
        ... )
        >>> found = analyse_network(table, table)
        >>> found.overthinking.any_pair, found.headroom[0].unit, [row.accuracy for row in found.exits]
        (0.25, 'MAC', [0.75, 0.75])
    """
    check_same_network(chosen_on, used_on)
    called = names or AnalysisNames()
    if thresholds is None:
        thresholds, policy = _choose_thresholds(chosen_on), "chosen"
    leaves = used_on.leaves_at(thresholds)
    views = [(a, b) for a, b in zip(_list_views(chosen_on), _list_views(used_on), strict=True)]
    assigned = compute_assigned_accuracy(used_on, leaves)
    return NetworkAnalysis(
        schema=SCHEMA,
        network=called.network,
        chosen_on=called.chosen_on,
        used_on=called.used_on,
        chosen_samples=len(chosen_on),
        samples=len(used_on),
        policy=policy,
        inner_thresholds=tuple(float(t) for t in thresholds),
        exits=_describe_exits(used_on, leaves),
        headroom=tuple(found for _, used in views if (found := compute_headroom(used, leaves))),
        curves=tuple(curve for chosen, used in views for curve in _trace_curves(chosen, used)),
        oracles=tuple(bound for _, used in views for bound in _describe_oracles(used)),
        overthinking=_describe_overthinking(used_on),
        assigned_accuracy=_as_rows(assigned.accuracy),
        ranks=tuple(_rank_pairs(used_on)),
        classes=_describe_classes(used_on, leaves, labels, called.classes),
        **_list_overthought(used_on, leaves, labels, answers),
    )


def _choose_thresholds(table: ReplayTable) -> tuple[float, ...]:
    """The cheapest that lose nothing, guarded against chance where there are samples enough to be divided."""
    if len(table) < _DIVISIBLE:
        return optimise(table, "drop<=0").thresholds
    return choose_policy(table, "drop<=0")[0].thresholds


def _list_views(table: ReplayTable) -> list[ReplayTable]:
    """The table in multiply-accumulates, and in seconds, as far as they are known."""
    return [*([table.without_seconds()] if table.macs is not None else []), *([table] if table.timed else [])]


def _describe_exits(table: ReplayTable, leaves: Indices) -> tuple[ExitFigures, ...]:
    correct = require_correct(table)
    rates = np.bincount(leaves, minlength=table.exits) / len(table)
    return tuple(
        ExitFigures(
            exit=k + 1,
            accuracy=float(correct[:, k].mean()),
            interval=share_interval(float(correct[:, k].mean()), len(table)),
            macs=None if table.macs is None else float(table.macs[k]),
            mean_s=float(table.mean_cost_s[k]) if table.timed else None,
            rate=float(rates[k]),
        )
        for k in range(table.exits)
    )


def _trace_curves(chosen_on: ReplayTable, used_on: ReplayTable) -> Iterator[CurveFigures]:
    yield _describe_curve("anytime", compute_anytime_curve(used_on))
    yield _describe_curve("budgeted", compute_budgeted_curve(chosen_on, used_on))
    yield _describe_curve("searched", compute_searched_curve(chosen_on, used_on))


def _describe_curve(name: str, curve: AccuracyCurve) -> CurveFigures:
    rates = tuple(tuple(row) for row in curve.exit_rates.tolist())
    return CurveFigures(name, curve.unit, tuple(curve.cost.tolist()), tuple(curve.accuracy.tolist()), rates)


def _describe_oracles(table: ReplayTable) -> Iterator[OracleFigures]:
    for skip in (False, True):
        bound = compute_oracle(table, skip_hopeless=skip)
        yield OracleFigures(bound.unit, skip, bound.cost, bound.accuracy, tuple(bound.exit_rates.tolist()))


def _describe_overthinking(table: ReplayTable) -> OverthinkingFigures:
    found = compute_overthinking(table)
    pairs = tuple(tuple(row) for row in found.pairs.tolist())
    return OverthinkingFigures(found.any_pair, share_interval(found.any_pair, len(table)), found.last_only, pairs)


def _as_rows(matrix: Floats) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(None if np.isnan(x) else float(x) for x in row) for row in matrix)


def _rank_pairs(table: ReplayTable) -> Iterator[RankFigures]:
    for second in range(2, table.exits):
        for first in range(1, second):
            yield RankFigures(first, second, compare_confidence(table, first, second).spearman)


def _describe_classes(
    table: ReplayTable, leaves: Indices, labels: ArrayLike | None, names: Sequence[str]
) -> tuple[ClassFigures, ...]:
    if labels is None:
        return ()
    truth = read_labels(labels, len(table), np.iinfo(np.int64).max)
    overthought = find_overthinking(require_correct(table))
    found = []
    for label in np.unique(truth).tolist():
        its = truth == label
        rates = np.bincount(leaves[its], minlength=table.exits) / its.sum()
        name = names[label] if label < len(names) else ""
        shares = tuple(rates.tolist())
        found.append(ClassFigures(label, name, int(its.sum()), shares, float(overthought[its].mean())))
    return tuple(found)


def _list_overthought(
    table: ReplayTable, leaves: Indices, labels: ArrayLike | None, answers: Indices | None
) -> dict[str, Any]:
    """How many samples overthink, and the first of them."""
    correct = require_correct(table)
    places = np.flatnonzero(find_overthinking(correct))
    truth = None if labels is None else np.asarray(labels)
    if answers is not None and answers.shape != correct.shape:
        msg = f"answers must be [{correct.shape[0]}, {correct.shape[1]}], as the table's samples and exits, not {list(answers.shape)}."
        raise InputError(msg)
    listed = tuple(
        OverthoughtSample(
            sample=int(i),
            label=None if truth is None else int(truth[i]),
            answers=() if answers is None else tuple(answers[i].tolist()),
            correct=tuple(correct[i].tolist()),
            exit=int(leaves[i]) + 1,
        )
        for i in places[:SHOWN]
    )
    return {"samples_overthinking": len(places), "overthought": listed}
