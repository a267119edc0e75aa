"""Tables of what EENet's parts found, from their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeexit.report.table import Table
from edgeexit.util import units


def show_exits(record: Mapping[str, Any]) -> Sequence[Table]:
    """Per network accuracy, where samples leave, and the mean cost in both units; means over the seeds."""
    values = {key: value["mean"] for key, value in record["values"].items()}
    rows = tuple(_make_row(name, values) for name in record["details"]["exits"])
    columns = ("", "accuracy", "leave at exit 1, 2, …", "cost, parameters", "cost, MACs", "collapsed")
    collapsed = {name: any(found["collapsed_at"].values()) for name, found in record["details"]["exits"].items()}
    marked = tuple((*row, "yes" if collapsed[row[0]] else "") for row in rows)
    return [
        Table(
            f"{record['part']}: at threshold 0.5",
            columns,
            marked,
            mark="quick, not to be quoted" if record["quick"] else "",
        )
    ]


def _make_row(name: str, values: Mapping[str, float]) -> tuple[str, ...]:
    accuracy = units.percent(values[f"{name}: accuracy"])
    if f"{name}: cost" not in values:
        return name, accuracy, "", "1", "1"
    rates = [value for key, value in values.items() if key.startswith(f"{name}: exit ")]
    costs = (units.significant(values[f"{name}: {cost}"], 3) for cost in ("cost", "cost in MACs"))
    return name, accuracy, " · ".join(f"{100 * rate:.1f}" for rate in rates) + " %", *costs


def show_criteria(record: Mapping[str, Any]) -> Sequence[Table]:
    """Accuracy under each criterion at each mean cost, one table per network and seed."""
    tables = []
    for name, found in record["details"].items():
        criteria = [*found["accuracy"]]
        costs = [units.percent(budget / found["each_exit"]["cost"][-1], 0) for budget in found["budgets"]]
        rows = zip(costs, *([units.percent(a) for a in found["accuracy"][c]] for c in criteria), strict=True)
        title = f"{record['part']}: {name}, accuracy at a mean cost of so much of the last exit's"
        note = "Thresholds searched on the calibration part. The last row has the mean cost of the learned confidence's threshold 0.5."
        tables.append(
            Table(
                title, ("cost", *criteria), tuple(rows), note, mark="quick, not to be quoted" if record["quick"] else ""
            )
        )
    return tables
