"""What a paper prints, as data: values and orderings, and the table that puts what was found beside them.

`printed/<paper>.toml` has two lists, `PrintedValue` and `PrintedOrdering` say what their fields mean, and a reason for the rows of a part
that have none of their own:

    [[value]]
    part = "lambda"
    key = "lambda 0.95: accuracy"
    printed = 0.9748
    where = "Table 4.2"

    [[ordering]]
    part = "mnist"
    says = "Firm is more accurate than Soft at threshold 0.6"
    larger = "firm-p2: accuracy"
    smaller = "soft-p2: accuracy"
    where = "figure 7"

    [why]
    lambda = "6 epochs here, 20 there"
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgeexit.report.table import Table
from edgeexit.util import units
from edgeexit.util.documents import parse_document
from edgeexit.util.resources import read_toml

Unit: TypeAlias = Literal["percent", "number", "seconds", "MAC"]


@dataclass(frozen=True)
class PrintedValue:
    """A number of a table or of the text.

    Attributes:
        part: the part that finds it.
        key: of the part's values or samples.
        printed: the number.
        unit: how it is written: `percent` of a share, `number`, `seconds`, `MAC`.
        where: table, figure or section.
        why: what explains a difference; ours, not the paper's.
    """

    part: str
    key: str
    printed: float
    unit: Unit = "percent"
    where: str = ""
    why: str = ""


@dataclass(frozen=True)
class PrintedOrdering:
    """A sentence of the paper that one figure is above another.

    Attributes:
        part: the part that finds the figures.
        says: the sentence.
        larger: key of the samples whose mean is said to be larger.
        smaller: key of the others.
        unit: of both figures.
        where: table, figure or section.
        why: what explains that it is otherwise; ours, not the paper's.
    """

    part: str
    says: str
    larger: str
    smaller: str
    unit: Unit = "percent"
    where: str = ""
    why: str = ""


@dataclass(frozen=True)
class Printed:
    """What a paper prints.

    Attributes:
        value: numbers.
        ordering: orderings.
        why: by part, what explains differences that no row of its own explains.
    """

    value: tuple[PrintedValue, ...] = ()
    ordering: tuple[PrintedOrdering, ...] = field(default=())
    why: Mapping[str, str] = field(default_factory=dict)

    def take_part(self, part: str) -> Printed:
        """What belongs to one part."""
        return Printed(
            tuple(v for v in self.value if v.part == part),
            tuple(o for o in self.ordering if o.part == part),
            {name: why for name, why in self.why.items() if name == part},
        )


def load_printed(paper: str) -> Printed:
    """The printed values of a paper.

    Raises:
        InputError: every fault of the file at once.
    """
    path = Path(__file__).parent.parent / "printed" / f"{paper}.toml"
    return parse_document(Printed, read_toml(path), str(path))


_FORMATS: Mapping[Unit, Callable[[float], str]] = {
    "percent": units.percent,
    "number": lambda value: units.significant(value, 4),
    "seconds": units.seconds,
    "MAC": units.format_number,
}


def _format_difference(value: float, unit: Unit) -> str:
    if unit == "percent":
        return units.points(value)
    return ("+" if value > 0 else "") + _FORMATS[unit](value)


def format_estimate(found: Mapping[str, Any], show: Callable[[float], str]) -> str:
    """A mean with its interval in brackets, from a record."""
    if found["low"] is None:
        return show(found["mean"])
    return f"{show(found['mean'])} ({show(found['low'])} to {show(found['high'])})"


NOT_KNOWN = "not known"
_FEW = 3
"""Seeds whose differences are shown one by one: the interval over two or three is so wide that it decides little."""


def make_tables(printed: Printed, record: Mapping[str, Any]) -> list[Table]:
    """The tables "printed | here | difference | why" of one part.

    A row has the reason that is given for it; where it has none and differs, that of its part, or says that none is known. A value differs
    where its interval does not hold the printed one, or it has no interval; an ordering where it is refuted.

    Args:
        printed: what the paper prints of the part.
        record: what the part recorded.
    """
    part, columns = record["part"], ("", "printed", "here", "difference", "why")
    otherwise = printed.why.get(part, NOT_KNOWN)
    values = [row for v in printed.value if (row := _make_value_row(v, record["values"], otherwise))]
    orderings = [row for o in printed.ordering if (row := _make_ordering_row(o, record["orderings"], otherwise))]
    mark = "quick, not to be quoted" if record["quick"] else ""
    note = "In brackets: 95 % intervals, of values over the seeds (of one seed: over the samples), of orderings paired by seed and sample."
    tables = (
        Table(f"{part}: printed values", columns, tuple(values), note, mark),
        Table(f"{part}: orderings", columns, tuple(orderings), note, mark),
    )
    return [table for table in tables if table.rows]


def _make_value_row(value: PrintedValue, found: Mapping[str, Any], otherwise: str) -> tuple[str, ...] | None:
    if value.key not in found:
        return None
    here = found[value.key]
    difference = _format_difference(here["mean"] - value.printed, value.unit)
    show = _FORMATS[value.unit]
    why = value.why or ("" if _holds(here, value.printed) else otherwise)
    return (_name_row(value.key, value.where), show(value.printed), format_estimate(here, show), difference, why)


def _holds(here: Mapping[str, Any], printed: float) -> bool:
    """Whether the interval, or the value where it has none, holds the printed value."""
    low, high = (here["mean"] if here[end] is None else here[end] for end in ("low", "high"))
    return bool(low <= printed <= high) or math.isclose(printed, low) or math.isclose(printed, high)


def _make_ordering_row(
    ordering: PrintedOrdering, found: Sequence[Mapping[str, Any]], otherwise: str
) -> tuple[str, ...] | None:
    here = next((f for f in found if f["says"] == ordering.says), None)
    if here is None:
        return None
    seeds = [*here["per_seed"].values()]
    difference = format_estimate(here, lambda value: _format_difference(value, ordering.unit))
    if 1 < len(seeds) <= _FEW:
        difference += "; by seed " + ", ".join(_format_difference(value, ordering.unit) for value in seeds)
    if ordering.unit == "percent":
        difference = difference.replace(" points", "") + " points"
    verdict = here["verdict"] if "seeds" in here["over"] else f"{here['verdict']} (one seed)"
    why = ordering.why or (otherwise if here["verdict"] == "refuted" else "")
    return (ordering.where, ordering.says, verdict, difference, why)


def _name_row(key: str, where: str) -> str:
    return f"{key} ({where})" if key and where else key or where
