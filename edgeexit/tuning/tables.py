"""The tables of a result of tuning: the front of what was tried, the last candidates measured, and what each choice brings."""

from __future__ import annotations

from edgeexit.report.table import Table
from edgeexit.tuning.result import Contribution, Finalist, TriedCandidate, TunedSetup, TuningResult
from edgeexit.util import units

_ROWS = 8


def make_tuning_tables(result: TuningResult, rows: int = _ROWS) -> tuple[Table, ...]:
    """All of them; of what was tried, the front and the best, `rows` in all."""
    tables = (_make_tried_table(result, rows), _make_finalist_table(result), _make_contribution_table(result))
    return tuple(table for table in tables if table.rows)


def list_not_tried(result: TuningResult) -> list[str]:
    """What could not be tried, each with its reason; of what was left behind only how much it was."""
    lines = list_untimed(result)
    slower = sum(one.timed for one in result.not_tried)
    if slower:
        how = "timed for a moment, behind the best; the page and the JSON document have the reason of each"
        lines.append(
            f"{units.format_count(slower, 'combination')} of precision, backend, mode, threads and criterion: {how}"
        )
    return lines


def list_untimed(result: TuningResult) -> list[str]:
    """What could not be tried or was never timed, each with its reason."""
    return [f"{one.what}: {one.reason}" for one in result.not_tried if not one.timed]


def make_slower_table(result: TuningResult) -> Table:
    """Setups that were timed for a moment and left behind."""
    rows = tuple((one.what, one.reason) for one in result.not_tried if one.timed)
    return Table("Timed for a moment and left behind", ("runs as", "why"), rows)


def describe_setup(setup: TunedSetup, *, several_backends: bool) -> tuple[str, str, str]:
    """How it runs, with the backend where several were tried; the rule that it leaves by; exits."""
    backend = f" {setup.backend}" if several_backends else ""
    return f"{setup.precision}{backend} {setup.mode} t{setup.threads}", describe_rule(setup), ", ".join(setup.exits)


def describe_rule(setup: TunedSetup) -> str:
    """Criterion, and whether temperatures scale the logits before it."""
    return f"{setup.criterion}, temperatures" if setup.temperatures else setup.criterion


def _make_tried_table(result: TuningResult, rows: int) -> Table:
    """The front; the best candidates fill it up where the front is short."""
    known = [one for one in result.tried if one.meets]
    shown = [one for one in known if one.on_front][:rows]
    shown += [one for one in known if one not in shown][: rows - len(shown)]
    title = (
        f"{units.format_count(len(result.tried), 'candidate')} for {result.target}: predicted on {result.choose:,} samples, best first;"
        f" 1 × is {units.seconds(result.reference_s)}"
    )
    cells = tuple((*_describe(result, one.setup), *_format_tried(one)) for one in shown)
    return Table(title, ("runs as", "leaves by", "exits", "mean", _name_quality(result), ""), cells)


def _format_tried(one: TriedCandidate) -> tuple[str, ...]:
    quality = one.accuracy if one.accuracy is not None else one.agreement
    return units.ratio(one.ratio), units.percent(quality), "front" if one.on_front else ""


def _name_quality(result: TuningResult) -> str:
    return "agreement" if result.tried[0].accuracy is None else "accuracy"


def _describe(result: TuningResult, setup: TunedSetup) -> tuple[str, str, str]:
    return describe_setup(setup, several_backends=len({one.setup.backend for one in result.tried}) > 1)


def _make_finalist_table(result: TuningResult) -> Table:
    title = f"The last candidates, on {result.validate:,} samples that chose nothing"
    if result.measured_at:
        title = f"The best candidate, predicted from measurements of {result.measured_at}; answers on {result.validate:,} other samples"
    rows = tuple((*_describe(result, one.setup), *_format_finalist(one)) for one in result.finalists)
    return Table(title, ("runs as", "leaves by", "exits", "mean", "95 % interval", _name_quality(result), ""), rows)


def _format_finalist(one: Finalist) -> tuple[str, ...]:
    quality = one.accuracy if one.accuracy is not None else one.agreement
    interval = one.state
    if one.ratio_low is not None and one.ratio_high is not None:
        interval = f"{units.format_ratio(one.ratio_low)} to {units.format_ratio(one.ratio_high)}"
    ratio = one.predicted_ratio if one.ratio is None and one.chosen else one.ratio
    return units.ratio(ratio), interval, units.percent(quality), "chosen" if one.chosen else ""


def _make_contribution_table(result: TuningResult) -> Table:
    title = "What each choice brings: the best predicted candidate beside the same with the usual value, from recorded answers and times"
    columns = ("choice", "usual", "chosen", "usual takes", f"{_name_quality(result)} gained", "")
    return Table(title, columns, tuple(map(_make_contribution_row, result.contributions)))


def _make_contribution_row(one: Contribution) -> tuple[str, ...]:
    if one.times is None:
        return one.dimension, one.usual, one.chosen, "n/a", "n/a", one.reason
    return one.dimension, one.usual, one.chosen, units.ratio(one.times), units.points(one.points), one.reason


def describe_choice(one: Contribution) -> str:
    """What is chosen instead of what."""
    if one.dimension in ("exits", "temperatures"):
        return one.chosen if one.dimension == "exits" else one.dimension
    return f"{one.chosen} instead of {one.usual}{' threads' if one.dimension == 'threads' else ''}"


def describe_contribution(one: Contribution) -> str:
    """In a few words: what is chosen, and how many times as fast it is or how many points it gains."""
    what = describe_choice(one)
    if one.times is None:
        return f"{what} (not compared: {one.reason})"
    gained = "" if one.points is None or abs(one.points) < 5e-5 else f", {units.points(one.points)}"
    return f"{what} {units.ratio(one.times)}{gained}"
