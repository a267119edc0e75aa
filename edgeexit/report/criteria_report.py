"""A comparison of criteria as table, picture, CSV and JSON."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from edgeexit.analysis.criteria_comparison import CriteriaComparison, CriterionPoint
from edgeexit.errors import InputError
from edgeexit.report.plot.figure import BACKBONE, Axis, Figure, Line, Mark, Points, choose_exit_tone, make_latency_axis
from edgeexit.report.plot.png import save_picture
from edgeexit.report.plot.svg import render_standalone
from edgeexit.report.table import Table
from edgeexit.util import units
from edgeexit.util.atomic import write_text
from edgeexit.util.documents import dumps

SUFFIXES = (".csv", ".json", ".svg", ".png", ".pdf")


def make_criteria_table(found: CriteriaComparison) -> Table:
    """One row for each budget and criterion."""
    what = "measured latency" if found.unit == "s" else "multiply-accumulates"
    title = f"Criteria at equal {what}, on {found.samples:,} samples; thresholds from {found.chosen_samples:,} others"
    columns = ("budget", "criterion", "mean", "accuracy", f"against {found.first}", "95 % interval")
    note = "; ".join(f"{name} is left out: {reason.rstrip('.')}" for name, reason in found.left_out.items())
    return Table(title, columns, tuple(_make_row(found, one) for one in found.points), note)


def _make_row(found: CriteriaComparison, one: CriterionPoint) -> tuple[str, ...]:
    show = units.seconds if found.unit == "s" else units.format_number
    cells = (show(one.budget), one.criterion, show(one.cost), units.percent(one.accuracy))
    if one.criterion == found.first:
        return (*cells, "", "")
    return (*cells, units.points(one.change), f"{100 * one.low:+.2f} to {100 * one.high:+.2f}")


def plot_criteria(found: CriteriaComparison) -> Figure:
    """Accuracy of each criterion against mean cost."""
    marks: list[Mark] = []
    for place, name in enumerate(found.criteria, 1):
        mine = [one for one in found.points if one.criterion == name]
        xs, ys = np.array([one.cost for one in mine]), np.array([one.accuracy for one in mine])
        marks.append(Line(xs, ys, choose_exit_tone(place, len(found.criteria)), name, thick=name == found.first))
    last = np.array([found.last_cost]), np.array([found.last_accuracy])
    marks.append(Points(*last, BACKBONE, note="last exit", large=True))
    x = (
        make_latency_axis("mean latency", found.last_cost)
        if found.unit == "s"
        else Axis("mean multiply-accumulates (M)", 1e6)
    )
    caption = f"On {found.samples:,} samples of {found.data}; thresholds: the best within each budget on {found.chosen_samples:,} others."
    return Figure("criteria", f"Criteria on {found.network}", caption, x, Axis("accuracy (%)", 0.01), tuple(marks))


def write_criteria(found: CriteriaComparison, path: Path) -> None:
    """Write the comparison in the form that the file's ending asks for: .csv, .json, .svg, .png or .pdf.

    Raises:
        InputError: another ending, or it cannot be written there.
        MissingExtra: .png or .pdf without matplotlib.
    """
    if path.suffix == ".json":
        write_text(path, dumps(found))
    elif path.suffix == ".csv":
        write_text(path, render_criteria_csv(found))
    elif path.suffix == ".svg":
        write_text(path, render_standalone(plot_criteria(found)))
    elif path.suffix in SUFFIXES:
        save_picture(plot_criteria(found), path)
    else:
        msg = f"{path}: a comparison of criteria is written as {', '.join(SUFFIXES)}."
        raise InputError(msg)


def render_criteria_csv(found: CriteriaComparison) -> str:
    """The records as CSV: one header, one row for each criterion and budget."""
    sink = io.StringIO()
    records = found.to_records()
    writer = csv.DictWriter(sink, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return sink.getvalue()
