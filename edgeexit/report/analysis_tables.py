"""The tables of an analysis: the terminal and the page print these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeexit.analysis.network import NetworkAnalysis, OverthoughtSample
from edgeexit.calibration.headroom import Headroom
from edgeexit.report.table import Table
from edgeexit.util import units

_LISTED = 8
"""Samples that overthink in the table; the page shows all that the result lists."""
_POLICIES = {
    "calibrated": "the calibrated thresholds",
    "given": "the thresholds given",
    "chosen": "the cheapest thresholds that lose nothing on the samples that chose, guarded against chance as in calibrate",
}


def make_analysis_tables(analysis: NetworkAnalysis) -> list[Table]:
    """Exits, the perfect rule, accuracy within budgets, overthinking, who leaves where, confidence, classes, samples."""
    return [
        _make_exits_table(analysis),
        *(_make_headroom_table(analysis, found) for found in analysis.headroom),
        *(_make_budget_table(analysis, found.unit) for found in analysis.headroom),
        _make_overthinking_table(analysis),
        _make_assignment_table(analysis),
        _make_ranks_table(analysis),
        _make_class_table(analysis),
        _make_sample_table(analysis),
    ]


def describe_policy(analysis: NetworkAnalysis) -> str:
    """Whose thresholds they are, in words."""
    return _POLICIES.get(analysis.policy, analysis.policy)


def format_cost(value: float | None, unit: str) -> str:
    """Seconds or multiply-accumulates as text."""
    return units.seconds(value) if unit == "s" else units.format_number(value)


def _name_cost(unit: str) -> str:
    return "mean" if unit == "s" else "MACs"


def _make_exits_table(analysis: NetworkAnalysis) -> Table:
    rows = tuple(
        (
            str(e.exit),
            units.percent(e.accuracy),
            units.percent_range(e.interval.low, e.interval.high),
            units.format_number(e.macs),
            units.seconds(e.mean_s),
            units.percent(e.rate, 1),
        )
        for e in analysis.exits
    )
    columns = ("exit", "accuracy", "95 %", "MACs", "mean", "leave here")
    return Table(
        "Exits: if all samples left there, and the policy", columns, rows, f"Policy: {describe_policy(analysis)}."
    )


def _make_headroom_table(analysis: NetworkAnalysis, found: Headroom) -> Table:
    """The last exit, the policy and both bounds."""
    skipping = next(o for o in analysis.oracles if o.unit == found.unit and o.skip_hopeless)
    saved = found.last_cost - found.oracle_cost
    each = (
        ("last exit", found.last_accuracy, found.last_cost),
        ("policy", found.accuracy, found.cost),
        ("perfect rule", found.oracle_accuracy, found.oracle_cost),
        ("perfect, and skips", skipping.accuracy, skipping.cost),
    )
    rows = tuple(
        (
            name,
            units.percent(accuracy),
            format_cost(cost, found.unit),
            units.percent(cost / found.last_cost, 1),
            units.percent((found.last_cost - cost) / saved, 0) if saved > 0 else "n/a",
        )
        for name, accuracy, cost in each
    )
    columns = ("leaves by", "accuracy", _name_cost(found.unit), "of last exit", "of the saving")
    note = (
        "A perfect rule leaves at the cheapest exit that is right; samples that none has right go to the last exit,"
        " or are skipped and cost nothing."
    )
    return Table(f"What a perfect exit rule would bring ({_name_cost(found.unit)})", columns, rows, note)


def _make_budget_table(analysis: NetworkAnalysis, unit: str) -> Table:
    """The best accuracy of each curve within the cost of each exit."""
    curves = {c.name: c for c in analysis.curves if c.unit == unit}
    anytime = curves["anytime"]

    def find_best(name: str, budget: float) -> str:
        curve = curves[name]
        within = [a for a, c in zip(curve.accuracy, curve.cost, strict=True) if c <= budget * (1 + 1e-9)]
        return units.percent(max(within, default=None))

    rows = tuple(
        (f"exit {k}", format_cost(cost, unit), *(find_best(name, cost) for name in ("anytime", "budgeted", "searched")))
        for k, cost in enumerate(anytime.cost, 1)
    )
    columns = ("within the cost of", _name_cost(unit), "one exit", "algorithm 1", "our search")
    note = (
        f"Thresholds chosen on {analysis.chosen_samples} other samples. Algorithm 1 is MSDNet's; the search is that of calibrate,"
        " without its guard against chance."
    )
    return Table(f"Best accuracy within a budget ({_name_cost(unit)})", columns, rows, note)


def _make_overthinking_table(analysis: NetworkAnalysis) -> Table:
    found = analysis.overthinking
    exits = range(1, len(analysis.exits) + 1)
    rows = tuple(
        (f"exit {i} right", *("" if i == j else units.percent(found.pairs[i - 1][j - 1]) for j in exits)) for i in exits
    )
    note = (
        f"Above the diagonal later exits hurt: {units.percent(found.any_pair)} of the samples overthink "
        f"(95 %: {units.percent_range(found.interval.low, found.interval.high)}), {units.percent(found.last_only)} at the last exit."
        " Below it they mend."
    )
    return Table("Overthinking", ("", *(f"exit {j} wrong" for j in exits)), rows, note)


def _make_assignment_table(analysis: NetworkAnalysis) -> Table:
    exits = range(1, len(analysis.exits) + 1)
    rows = tuple(
        (f"exit {i}", *(units.percent(share, 1) for share in row))
        for i, row in enumerate(analysis.assigned_accuracy, 1)
    )
    note = "A policy that chooses well has each diagonal value above those over it."
    return Table(
        "Accuracy of each exit on the samples that leave at each",
        ("accuracy of", *(f"leave at {j}" for j in exits)),
        rows,
        note,
    )


def _make_ranks_table(analysis: NetworkAnalysis) -> Table:
    rows = tuple(
        (f"{r.first} and {r.second}", "n/a" if r.spearman is None else units.fixed(r.spearman, 3))
        for r in analysis.ranks
    )
    note = "1: both are sure about the same samples; 0: what one finds hard says nothing about the other."
    return Table("Confidence: rank correlation of two exits", ("exits", "Spearman"), rows, note)


def _make_class_table(analysis: NetworkAnalysis) -> Table:
    exits = range(1, len(analysis.exits) + 1)
    rows = tuple(
        (
            c.name or str(c.label),
            str(c.samples),
            *(units.percent(rate, 1) for rate in c.exit_rates),
            units.percent(c.overthinking, 1),
        )
        for c in analysis.classes
    )
    return Table("Classes", ("class", "samples", *(f"leave at {j}" for j in exits), "overthink"), rows)


def _make_sample_table(analysis: NetworkAnalysis) -> Table:
    listed = analysis.overthought[:_LISTED]
    rows = tuple(
        (str(s.sample), name_class(analysis, s.label), *describe_answers(analysis, s), str(s.exit)) for s in listed
    )
    more = analysis.samples_overthinking - len(listed)
    note = f"And {units.format_count(more, 'other')}." if more else ""
    columns = ("sample", "right answer", *(f"exit {e.exit}" for e in analysis.exits), "leaves at")
    return Table("Samples that overthink", columns, rows, note)


def name_class(analysis: NetworkAnalysis, label: int | None) -> str:
    """The name of a class, or its number where it has none."""
    names = {c.label: c.name for c in analysis.classes}
    return "n/a" if label is None else names.get(label, "") or str(label)


def describe_answers(analysis: NetworkAnalysis, sample: OverthoughtSample) -> Iterator[str]:
    """What each exit answers, wrong answers marked; right or wrong where answers are not known."""
    given: Sequence[int | None] = sample.answers or [None] * len(sample.correct)
    for answer, right in zip(given, sample.correct, strict=True):
        mark = "✓" if right else "✗"
        yield mark if answer is None else f"{name_class(analysis, answer)} {mark}"
