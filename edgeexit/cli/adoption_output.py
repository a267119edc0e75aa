"""What `edgeexit adopt` prints: candidates, exits, and early exit beside the network without exits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeexit.cli.printing import print_list, print_tables, print_text, print_verdict
from edgeexit.report.table import Table
from edgeexit.report.tables import format_share_with_interval
from edgeexit.util import units

if TYPE_CHECKING:
    from edgeexit.adoption import AdoptionResult
    from edgeexit.adoption.result import ExitsOnDevice
    from edgeexit.evaluate import DeviceEvaluation


def print_adoption(result: AdoptionResult) -> None:
    """Tables, what limits the measurement, and the conclusion last."""
    tables = [_make_data_table(result)]
    tables += [_make_candidate_table(result)] if result.tried else []
    if (record := result.on_device) is not None:
        tables.append(_make_comparison(record, ", ".join(f"{e.place} ({e.head})" for e in result.exits)))
    print_tables(tables)
    if result.training is not None:
        how = "the network stayed as it was" if result.training.frozen else "the network was trained with them"
        trained = f"{units.format_count(result.training.epochs, 'epoch')} in {units.duration(result.training.seconds)}"
        print_text(f"Heads: {trained}, {how}. Features kept: {result.training.features}.")
    if result.evaluation is not None:
        _print_statements(result.evaluation)
    print_list(result.files, heading="Written:")
    print_verdict(result.verdict.upper(), f"{result.conclusion}.")


def print_exits_on_device(record: ExitsOnDevice, places: str) -> None:
    """The comparison of a network that was trained, what limits it, and the conclusion last."""
    print_tables([_make_comparison(record, places)])
    _print_statements(record.evaluation)
    print_verdict(record.verdict.upper(), f"{record.conclusion}.")


def _print_statements(evaluation: DeviceEvaluation) -> None:
    print_list(evaluation.notes, heading="What limits this measurement:", style="yellow")
    for statement in evaluation.statements:
        print_verdict(*statement.split(": ", 1))
    print_list(evaluation.advice)


def _make_data_table(result: AdoptionResult) -> Table:
    rows = tuple((p.purpose, p.name, f"{p.used:,}", f"{p.samples:,}") for p in result.data)
    return Table("Data", ("used for", "part", "samples", "of"), rows)


def _make_candidate_table(result: AdoptionResult) -> Table:
    rows = tuple(
        (
            t.place,
            t.head,
            units.percent(t.share, 1),
            units.seconds(t.way_s),
            units.seconds(t.head_s),
            units.percent(t.accuracy, 1),
            "exit" if t.chosen else "",
        )
        for t in result.tried
    )
    title = f"Candidates, timed on this machine; the network takes {units.seconds(result.plain_s)}"
    return Table(title, ("after", "head", "cost share", "way there", "head takes", "accuracy, tried", ""), rows)


def _make_comparison(record: ExitsOnDevice, places: str) -> Table:
    found = record.evaluation
    accuracies = (found.accuracy, record.plain_accuracy)
    rows = (
        ("accuracy", *(format_share_with_interval(a, found.samples) for a in accuracies)),
        ("drop", f"{units.fixed(found.drop_points, 2)} ± {units.fixed(found.drop_room_points, 2)} points", ""),
        ("mean latency", units.seconds(found.test_mean_s), units.seconds(found.backbone_mean_s)),
        ("p99 latency", units.seconds(found.test_p99_s), units.seconds(found.backbone_p99_s)),
        ("leave at each exit", " · ".join(units.percent(r, 1) for r in found.exit_rates), ""),
        ("thresholds", f"{', '.join(map(units.significant, found.thresholds))} {found.unit} ({found.criterion})", ""),
        ("how many times as fast", _format_ratio(record), "1"),
    )
    after = f"Exits after {places}" if places else "With exits"
    title = f"{after}, on {found.samples:,} samples never seen, {found.device}"
    return Table(title, ("", "with exits", "without"), rows)


def _format_ratio(record: ExitsOnDevice) -> str:
    speedup = units.format_ratio(record.evaluation.speedup)
    if record.ratio_low is None or record.ratio_high is None:
        return speedup
    return f"{speedup} ({units.format_ratio(record.ratio_low)} to {units.format_ratio(record.ratio_high)})"
