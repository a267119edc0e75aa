"""Results and calibrations as one self-contained HTML page: no script, no font, no file from anywhere else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from edgeexit.calibration import Calibration
from edgeexit.calibration.result import PolicyPerformance
from edgeexit.measure import BenchResult
from edgeexit.measure.result.parts import Accuracy
from edgeexit.report.bench_figures import plot_result
from edgeexit.report.calibration_figures import plot_calibration
from edgeexit.report.calibration_tables import compute_quality_interval, make_calibration_tables
from edgeexit.report.html import (
    CONTENTS,
    render_box,
    render_cards,
    render_document,
    render_figures,
    render_heading,
    render_pill,
    render_statements,
    render_table,
)
from edgeexit.report.plot.figure import Picture
from edgeexit.report.reasons import explain_speed
from edgeexit.report.several import make_comparison_title, render_comparison
from edgeexit.report.sources import Item
from edgeexit.report.table import Table
from edgeexit.report.tables import (
    compute_speedup,
    format_accuracy_change,
    format_interval,
    format_samples_needed,
    format_share_range,
    make_result_tables,
)
from edgeexit.report.validity_reasons import sort_by_gravity
from edgeexit.util import units


def render_report(items: Sequence[tuple[str, Item]], vary: Collection[str] = ()) -> str:
    """The page of one or several results and calibrations.

    Args:
        items: name (a file's) and result or calibration, at least one; several results are compared with the first of them.
        vary: see `write_report`.
    """
    several = len(items) > 1
    sections = [
        _render_section(name, item, several=several)
        if isinstance(item, BenchResult)
        else _render_calibration(name, item, several=several)
        for name, item in items
    ]
    compared = render_comparison(items, vary) if several else ""
    title = make_comparison_title(items) if several else make_item_title(items[0][1])
    footer = "Times are wall-clock, batch 1; nothing is subtracted. What was not measured is shown as n/a, never as 0."
    return render_document(f"edgeexit · {title}", f"{compared}{''.join(sections)}", footer)


def plot_item(item: Item) -> list[Picture]:
    """The pictures of a result or a calibration."""
    return plot_result(item) if isinstance(item, BenchResult) else plot_calibration(item)


def make_item_tables(item: Item) -> list[Table]:
    """The tables of a result or a calibration."""
    return make_result_tables(item) if isinstance(item, BenchResult) else make_calibration_tables(item)


def make_item_title(item: Item) -> str:
    """Title and subject of a page."""
    if isinstance(item, BenchResult):
        return f"Benchmark of {item.subject.bundle}: early exit against its backbone"
    return f"Calibration for {item.target}"


def _render_calibration(name: str, calibration: Calibration, *, several: bool) -> str:
    verdict = f"target {calibration.verdict.bounds}"
    predicted, measured = calibration.predicted, calibration.measured or calibration.predicted
    what = "measured" if calibration.measured else "predicted"
    quality = "accuracy" if measured.accuracy is not None else "agreement with the backbone"
    shown = (
        (
            f"as fast as the backbone, in the mean, {what}",
            units.ratio(calibration.speedup),
            f"target: {calibration.target}",
        ),
        (f"mean latency, {what}", units.seconds(measured.mean_s), f"predicted {units.seconds(predicted.mean_s)}"),
        (f"p99 latency, {what}", units.seconds(measured.p99_s), f"predicted {units.seconds(predicted.p99_s)}"),
        (
            f"{quality}, {what}",
            units.percent(_get_quality(measured)),
            f"95 %: {format_share_range(compute_quality_interval(measured))}, of {measured.samples} samples; "
            f"predicted {units.percent(_get_quality(predicted))}",
        ),
    )
    remarks = [*(found.text for found in calibration.findings), *(remark.text for remark in calibration.verdicts)]
    title = f"{name}: calibration for {calibration.target}" if several else make_item_title(calibration)
    return (
        f"{render_heading(2 if several else 1, title, render_pill(verdict))}"
        f'<p class="sub">{escape("" if several else f"{name} · ")}{escape(calibration.criterion)} · '
        f"{escape(_format_setting(calibration))}</p>{'' if several else CONTENTS}{render_cards(shown)}"
        f"{_list_statements(calibration)}{render_box('What to do', calibration.verdict.advice, 'notes')}{_render_headroom(calibration)}"
        f"{_render_doubts(calibration.validity, calibration.reasons)}{render_box('Remarks', remarks, 'notes')}"
        f"{render_figures(plot_calibration(calibration))}{''.join(map(render_table, make_calibration_tables(calibration)))}"
    )


def _render_headroom(calibration: Calibration) -> str:
    """What a perfect exit rule would gain, and how much of it the policy gets; nothing where it is not known."""
    found = calibration.headroom
    return "" if found is None else f'<p class="note">{escape(found.describe())}</p>'


def _list_statements(calibration: Calibration) -> str:
    """The three statements: bounds, prediction and machine."""
    verdict = calibration.verdict
    words = (verdict.bounds, verdict.prediction, verdict.machine)
    each = zip(verdict.lines(), words, strict=True)
    return render_statements([(what, word, _strip_verdict(word, text)) for (what, text), word in each])


def _strip_verdict(word: str, sentence: str) -> str:
    """A sentence without the judging word that it begins with."""
    rest = sentence[len(word) :] if sentence.lower().startswith(word) else sentence
    return rest.lstrip(":; ")


def _get_quality(figures: PolicyPerformance) -> float | None:
    return figures.agreement if figures.accuracy is None else figures.accuracy


def _format_setting(calibration: Calibration) -> str:
    """The settings and the machine as text."""
    s = calibration.settings
    parts = [str(s[name]) for name in ("backend", "mode", "precision") if name in s]
    threads = [units.format_count(int(s["threads"]), "thread")] if isinstance(s.get("threads"), int) else []
    machine = calibration.device.get("board") or calibration.device.get("cpu") or calibration.key
    return f"{', '.join([*parts, *threads])} · {machine}"


def _render_section(name: str, result: BenchResult, *, several: bool) -> str:
    subject, workload, verdict = result.subject, result.workload, result.latency.against_backbone.verdict
    title = f"{name}: {subject.bundle}" if several else make_item_title(result)
    return (
        f"{render_heading(2 if several else 1, title, render_pill(verdict))}"
        f'<p class="sub">{escape(subject.criterion)} on {escape(workload.data)}, {workload.n} samples · '
        f"{escape(subject.backend)}, {escape(subject.mode)}, {escape(subject.precision)}, "
        f"{units.format_count(subject.threads, 'thread')} · "
        f"{escape(result.device.facts.get('board') or result.device.facts.get('cpu') or result.device.key)}</p>"
        f"{'' if several else CONTENTS}{render_cards(_make_cards(result))}"
        f'<p class="note">Why: {escape(explain_speed(result))}</p>{_render_doubts(result.validity.status, result.validity.reasons)}'
        f"{render_box('Why the verdict is not plainer', result.latency.against_backbone.reasons)}"
        f"{render_box('Notes', result.notes, 'notes')}"
        f"{render_figures(plot_result(result))}{''.join(map(render_table, make_result_tables(result)))}"
    )


def _make_cards(result: BenchResult) -> tuple[tuple[str, str, str], ...]:
    mixture, backbone, accuracy = result.latency.mixture, result.latency.backbone, result.accuracy
    mean = result.latency.against_backbone.mean.ci95
    faster = "n/a" if mean is None else f"{units.ratio(1 / mean.high)} … {units.ratio(1 / mean.low)}"
    p99, straight = mixture.percentile(99.0), backbone.percentile(99.0)
    bound = (
        f"≤ {units.seconds(p99.upper_c99_s)} at 99 % confidence"
        if p99.upper_c99_s is not None
        else format_samples_needed(p99)
    )
    return (
        ("as fast as the backbone, in the mean", units.ratio(compute_speedup(result)), f"95 %: {faster}"),
        (
            f"mean latency; backbone {units.seconds(backbone.mean_s)}",
            units.seconds(mixture.mean_s),
            f"95 %: {format_interval(mixture.mean_ci95)}",
        ),
        (f"p99 latency; backbone {units.seconds(straight.value_s)}", units.seconds(p99.value_s), bound),
        _make_accuracy_card(accuracy),
        (
            "leave early",
            units.percent(sum(e.share for e in accuracy.per_exit[:-1]), 1),
            f"at exit 1: {units.percent(accuracy.per_exit[0].share, 1)}",
        ),
    )


def _make_accuracy_card(accuracy: Accuracy) -> tuple[str, str, str]:
    if accuracy.overall is None:
        around = f"95 %: {format_share_range(accuracy.agreement_ci95)}"
        return "agreement with the backbone; no labels", units.percent(accuracy.agreement), around
    around = (
        f"95 %: {format_share_range(accuracy.overall_ci95)}; {format_accuracy_change(accuracy)} against the backbone"
    )
    return f"accuracy; backbone {units.percent(accuracy.backbone)}", units.percent(accuracy.overall), around


def _render_doubts(status: str, reasons: Sequence[str]) -> str:
    words = f"This measurement is {render_pill(status)}"
    several = "; what disturbs it most stands first" if len(reasons) > 1 else ""
    return render_box(words + several, sort_by_gravity(reasons), "bad" if status == "invalid" else "")
