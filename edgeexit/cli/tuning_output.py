"""What `edgeexit tune` prints: the front of what was tried, what each dimension brings, the last two measured, and the conclusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeexit.cli.printing import print_list, print_tables, print_verdict
from edgeexit.report.table import Table
from edgeexit.util import units

if TYPE_CHECKING:
    from edgeexit.tuning.result import Contribution, Finalist, TriedCandidate, TunedSetup, TuningResult

_ROWS = 8


def print_tuning(result: TuningResult) -> None:
    """Tables, what was not tried, and the conclusion last."""
    tables = [_make_tried_table(result), _make_finalist_table(result)]
    tables += [_make_contribution_table(result)] if result.contributions else []
    print_tables(tables)
    print_list(_list_not_tried(result), heading="Not tried, or not to the end:")
    for statement in result.chosen.statements:
        print_verdict(*statement.split(": ", 1))
    print_verdict("PAYS" if result.pays else "DOES NOT PAY", f"{result.conclusion}.")
    print_list([result.bundle], heading="Written:")


def _list_not_tried(result: TuningResult) -> list[str]:
    """What could not be tried, each with its reason; of what was left behind only how much it was."""
    lines = [f"{one.what}: {one.reason}" for one in result.not_tried if not one.timed]
    slower = sum(one.timed for one in result.not_tried)
    if slower:
        how = "timed for a moment, behind the best; --json has the reason of each"
        lines.append(f"{units.format_count(slower, 'combination')} of precision, backend, mode and threads: {how}")
    return lines


def _make_tried_table(result: TuningResult) -> Table:
    """The front; the best candidates fill it up where the front is short."""
    known = [one for one in result.tried if one.meets]
    shown = [one for one in known if one.on_front][:_ROWS]
    shown += [one for one in known if one not in shown][: _ROWS - len(shown)]
    title = (
        f"{units.format_count(len(result.tried), 'candidate')} for {result.target}: predicted on {result.choose:,} samples, best first;"
        f" 1 × is {units.seconds(result.reference_s)}"
    )
    rows = tuple((*_describe(result, one.setup), *_format_tried(one)) for one in shown)
    return Table(title, ("runs as", "leaves by", "exits", "mean", _name_quality(result), ""), rows)


def _format_tried(one: TriedCandidate) -> tuple[str, ...]:
    quality = one.accuracy if one.accuracy is not None else one.agreement
    return units.ratio(one.ratio), units.percent(quality), "front" if one.on_front else ""


def _name_quality(result: TuningResult) -> str:
    return "agreement" if result.tried[0].accuracy is None else "accuracy"


def _describe(result: TuningResult, setup: TunedSetup) -> tuple[str, str, str]:
    """How it runs, with the backend where several were tried; criterion; exits."""
    several = len({one.setup.backend for one in result.tried}) > 1
    backend = f" {setup.backend}" if several else ""
    return f"{setup.precision}{backend} {setup.mode} t{setup.threads}", setup.criterion, ", ".join(setup.exits)


def _make_finalist_table(result: TuningResult) -> Table:
    title = f"The last candidates, on {result.validate:,} samples that chose nothing"
    rows = tuple((*_describe(result, one.setup), *_format_finalist(one)) for one in result.finalists)
    return Table(title, ("runs as", "leaves by", "exits", "mean", "95 % interval", _name_quality(result), ""), rows)


def _format_finalist(one: Finalist) -> tuple[str, ...]:
    quality = one.accuracy if one.accuracy is not None else one.agreement
    interval = one.state
    if one.ratio_low is not None and one.ratio_high is not None:
        interval = f"{units.fixed(one.ratio_low, 2)} to {units.fixed(one.ratio_high, 2)}"
    return units.ratio(one.ratio), interval, units.percent(quality), "chosen" if one.chosen else ""


def _make_contribution_table(result: TuningResult) -> Table:
    rows = tuple(map(_make_contribution_row, result.contributions))
    return Table("What each choice brings, as predicted", ("choice", "usual", "chosen", "usual takes"), rows)


def _make_contribution_row(one: Contribution) -> tuple[str, ...]:
    return one.dimension, one.usual, one.chosen, "not met" if one.times is None else units.ratio(one.times)
