"""All criteria on one network at equal cost: accuracy of each, and its difference to the first with a paired interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.calibration import ReplayTable, Target, optimise, replay_table
from edgeexit.calibration.from_logits import read_labels, read_logits
from edgeexit.calibration.kept import load_active_calibration
from edgeexit.calibration.solver.search import Effort
from edgeexit.calibration.targets import Bound
from edgeexit.criteria import criterion, list_criteria
from edgeexit.data import make_dataset, split_calibration
from edgeexit.data.model import ModelInfo
from edgeexit.errors import InputError, TargetNotMet
from edgeexit.measure.records import Record, make_data_frame
from edgeexit.measure.statistics import NORMAL_95
from edgeexit.runtime import Runner
from edgeexit.util.documents import to_document
from edgeexit.util.progress import Progress, show_nothing

SCHEMA = "edgeexit.criteria/1"
_SAME_ORDER = ("normalized_entropy",)
"""Decides as `entropy` does; compared where it is asked for."""


@dataclass(frozen=True)
class CriterionPoint:
    """One criterion within one budget.

    Attributes:
        criterion: its name.
        budget: limit of the mean cost, in the comparison's unit, that the thresholds were chosen for.
        cost: mean cost on the samples that judge, in the same unit.
        accuracy: share of right answers on them.
        change: accuracy less that of the first criterion within the same budget, a share.
        low, high: 95 % interval of that difference, paired by sample; both 0 for the first criterion itself.
        exit_rates: share leaving at each exit.
        thresholds: in the criterion's own unit.
    """

    criterion: str
    budget: float
    cost: float
    accuracy: float
    change: float
    low: float
    high: float
    exit_rates: tuple[float, ...]
    thresholds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class CriteriaComparison:
    """Criteria on one network at equal cost.

    Attributes:
        schema: `edgeexit.criteria/1`.
        network: its name. data: name of the samples.
        chosen_samples, samples: numbers of samples that thresholds were chosen on, and that every figure is of.
        unit: of costs: "s" where latencies were measured, else "MAC".
        first: the criterion that others are compared with.
        last_cost, last_accuracy: of the last exit for all samples.
        points: each criterion within each budget, budgets in ascending order.
        left_out: criteria that could not be compared, with the reason.
    """

    schema: str = SCHEMA
    network: str
    data: str
    chosen_samples: int
    samples: int
    unit: str
    first: str
    last_cost: float
    last_accuracy: float
    points: tuple[CriterionPoint, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def criteria(self) -> tuple[str, ...]:
        """Names of the criteria that were compared, the first one first."""
        return tuple(dict.fromkeys(one.criterion for one in self.points))

    def to_document(self) -> dict[str, Any]:
        """Convert to JSON values."""
        document: dict[str, Any] = to_document(self)
        return document

    def to_records(self) -> list[Record]:
        """One flat record for each criterion and budget; costs in `unit`."""
        return [_make_record(self, one) for one in self.points]

    def to_pandas(self) -> Any:
        """The records as a pandas.DataFrame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return make_data_frame(self.to_records())


def _make_record(found: CriteriaComparison, one: CriterionPoint) -> Record:
    columns: Record = {"network": found.network, "data": found.data, "samples": found.samples, "unit": found.unit}
    columns |= {
        name: getattr(one, name) for name in ("criterion", "budget", "cost", "accuracy", "change", "low", "high")
    }
    columns |= {f"exit{k}_rate": rate for k, rate in enumerate(one.exit_rates, 1)}
    return columns | {f"threshold{k}": value for k, value in enumerate(one.thresholds, 1)}


def compare_criteria(
    runner: Runner,
    inputs: Any,
    labels: Any,
    *,
    criteria: Sequence[str] | None = None,
    budgets: int = 8,
    seed: int = 0,
    name: str = "data",
    progress: Progress = show_nothing,
) -> CriteriaComparison:
    """All criteria on one bundle at equal mean cost: measured latency where a calibration of it is active here, else multiply-accumulates.

    The network runs once; every criterion is computed from its logits. What a criterion itself costs is not told apart.

    Args:
        runner: an open bundle that answers with the exits' own logits (not with `running_mean`, `learned_mean` or `most_confident`).
        inputs: float32 [n, ...], or arrays by input name; samples that the network was not trained on.
        labels: [n] whole numbers from 0.
        criteria: names; the others are compared with the first. None takes all that can be computed, `entropy` first.
        budgets: number of mean costs, between that of the first and that of the last exit.
        seed: of the halves of the samples: one half chooses thresholds, the other judges.
        name: name of the data, recorded.
        progress: called with what is being done.

    Raises:
        InputError: a bundle that answers otherwise, no labels, no such criterion, or unknown costs.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> digits = load_data("digits:test")
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     found = edgeexit.compare_criteria(runner, digits.inputs, digits.labels, criteria=["entropy", "margin"])
        >>> found.criteria, len(found.points)
        (('entropy', 'margin'), 16)
    """
    manifest = runner.bundle.manifest
    if not manifest.last_is_backbone:
        msg = f"{runner.bundle.path} answers with what several exits have computed: compile it with criterion='entropy' for this."
        raise InputError(msg)
    info = ModelInfo(str(runner.bundle.path), (), manifest.classes, manifest.class_names, manifest.preprocess)
    data = make_dataset(name, inputs, labels, info) if labels is not None else None
    if data is None:
        msg = "criteria are compared by accuracy, which needs labels."
        raise InputError(msg)
    scores, logits = runner.replay(data.inputs, progress)
    macs = [stage.macs for stage in manifest.stages]
    return compare_criteria_on(
        logits,
        data.y,
        cost_s=_find_measured_costs(runner),
        macs=None if None in macs else np.cumsum([float(m or 0) for m in macs]),
        scores=scores[:, :-1] if manifest.criterion == "learned" else None,
        criteria=criteria,
        budgets=budgets,
        seed=seed,
        names=(runner.bundle.path.name, name),
    )


def _find_measured_costs(runner: Runner) -> list[float] | None:
    try:
        calibration, _ = load_active_calibration(runner)
    except InputError:
        return None
    return [row.mean_s for row in calibration.exits]


def compare_criteria_on(
    logits: ArrayLike | Sequence[ArrayLike],
    labels: ArrayLike,
    *,
    cost_s: ArrayLike | None = None,
    macs: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    criteria: Sequence[str] | None = None,
    budgets: int = 8,
    seed: int = 0,
    names: tuple[str, str] = ("network", "data"),
) -> CriteriaComparison:
    """The same from recorded logits, of any network.

    Args:
        logits: of every exit: [n, N, classes], or N arrays [n, classes].
        labels: true classes, [n].
        cost_s: seconds of leaving at each exit, [N]; None compares at equal `macs`.
        macs: multiply-accumulates of leaving at each exit, [N].
        scores: the network's own scores of the early exits, [n, N-1]; None leaves out criteria that take them.
        criteria: see `compare_criteria`.
        budgets: see there.
        seed: see there.
        names: of the network and of the data, recorded.

    Raises:
        InputError: shapes that do not fit, no costs, or no criterion that can be computed.

    Example:
        >>> import numpy as np
        >>> from edgeexit.analysis import compare_criteria_on
        >>> labels = np.arange(400) % 4
        >>> noise = np.random.default_rng(0).normal(size=(400, 2, 4))
        >>> logits = noise + np.eye(4)[labels][:, None] * [[1.5], [4.0]]
        >>> found = compare_criteria_on(logits, labels, macs=[1e6, 4e6], criteria=["entropy", "margin"], budgets=2)
        >>> sorted({point.criterion for point in found.points})
        ['entropy', 'margin']
    """
    z = read_logits(logits)
    truth = read_labels(labels, len(z), z.shape[2])
    if cost_s is None and macs is None:
        msg = "give cost_s= or macs=, so that criteria are compared at equal cost."
        raise InputError(msg)
    chosen, used = split_calibration(len(z), seed, (0.5, 0.5))
    tables: dict[str, ReplayTable] = {}
    left_out: dict[str, str] = {}
    for name in criteria or [one for one in list_criteria() if one not in _SAME_ORDER]:
        rule = criterion(name)
        try:
            own = scores if rule.learned else None
            tables[rule.name] = replay_table(z, truth, rule, scores=own, cost_s=cost_s, macs=macs)
        except InputError as fault:
            left_out[rule.name] = str(fault)
    if not tables:
        raise InputError("no criterion can be compared: " + " ".join(left_out.values()))
    first = next(iter(tables))
    costs = np.asarray(tables[first].mean_cost, np.float64)
    points: list[CriterionPoint] = []
    for budget in np.linspace(costs[0], costs[-1], budgets + 1)[1:]:
        points += _compare_within(float(budget), tables, chosen, used)
    straight = z[used, -1].argmax(axis=-1) == truth[used]
    return CriteriaComparison(
        network=names[0],
        data=names[1],
        chosen_samples=len(chosen),
        samples=len(used),
        unit=tables[first].cost_unit,
        first=first,
        last_cost=float(costs[-1]),
        last_accuracy=float(straight.mean()),
        points=tuple(points),
        left_out=left_out,
    )


def _compare_within(
    budget: float, tables: Mapping[str, ReplayTable], chosen: NDArray[np.int64], used: NDArray[np.int64]
) -> list[CriterionPoint]:
    """Each criterion with the best thresholds within a budget; none of those that have no such thresholds."""
    found, first = [], None
    for name, table in tables.items():
        unit = "mean" if table.cost_unit == "s" else "macs"
        try:
            target = Target((Bound(unit, float(f"{budget:.6g}")),))
            policy = optimise(table.take(chosen), target, effort=Effort(work=0.0))
        except TargetNotMet:
            continue
        test = table.take(used)
        assert test.correct is not None
        leaves = test.leaves_at(policy.thresholds)
        right = test.correct[np.arange(len(leaves)), leaves].astype(np.float64)
        first = right if first is None else first
        gained = right - first
        room = NORMAL_95 * float(gained.std()) / len(gained) ** 0.5
        outcome = test.evaluate_leaves(leaves)
        rule = criterion(name)
        found.append(
            CriterionPoint(
                criterion=name,
                budget=budget,
                cost=outcome.mean_s if unit == "mean" else float(outcome.macs or 0.0),
                accuracy=float(right.mean()),
                change=float(gained.mean()),
                low=float(gained.mean()) - room,
                high=float(gained.mean()) + room,
                exit_rates=outcome.exit_rates,
                thresholds=tuple(rule.own(t) for t in policy.thresholds),
            )
        )
    return found


def make_sample_columns(table: ReplayTable) -> dict[str, Any]:
    """A replay table as plain columns, one row for each sample and exit: `pandas.DataFrame(columns)`, `polars.DataFrame(columns)`.

    Returns:
        `sample` (from 0), `exit` (from 1), `score` (inner; NaN at the last exit), `cost` (the mean of leaving at the exit, in
        `table.cost_unit`) and `correct` (where there are labels), arrays [M · N].

    Example:
        >>> import edgeexit
        >>> from edgeexit.analysis import make_sample_columns
        >>> table = edgeexit.replay_table([[[4.0, 0.0], [6.0, 0.0]]], [0], "max_softmax", macs=[1e6, 4e6])
        >>> {name: values.tolist() for name, values in make_sample_columns(table).items() if name != "score"}
        {'sample': [0, 0], 'exit': [1, 2], 'cost': [1000000.0, 4000000.0], 'correct': [True, True]}
    """
    samples, exits = len(table), table.exits
    scores = np.column_stack([table.scores, np.full(samples, np.nan, np.float32)])
    columns = {
        "sample": np.repeat(np.arange(samples), exits),
        "exit": np.tile(np.arange(1, exits + 1), samples),
        "score": scores.reshape(-1),
        "cost": np.tile(np.asarray(table.mean_cost, np.float64), samples),
    }
    return columns if table.correct is None else {**columns, "correct": table.correct.reshape(-1)}
