"""One self-contained HTML page: no script, no font, no file from anywhere else. All text that comes from files is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

import edgeexit
from edgeexit import units
from edgeexit.calibration import Calibration
from edgeexit.errors import InputError
from edgeexit.measure import BenchResult, compare_results
from edgeexit.measure.parts import Accuracy
from edgeexit.report.calibrated import calibration_pictures, calibration_tables
from edgeexit.report.figure import Picture
from edgeexit.report.pictures import overlay, pictures_of
from edgeexit.report.sources import Item
from edgeexit.report.svg import draw, palette_css
from edgeexit.report.table import Table
from edgeexit.report.tables import comparison_table, interval_text, result_tables, speedup, verdict_text

_CSS = """
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,
'Segoe UI',Roboto,'DejaVu Sans',sans-serif}main{max-width:1360px;margin:0 auto;padding:40px 28px 64px}
h1{font-size:27px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}h2{font-size:21px;margin:52px 0 4px;letter-spacing:-.01em}
h3{font-size:16px;margin:34px 0 6px}.sub{color:var(--muted);margin:0 0 4px}.mono{font-family:ui-monospace,Menlo,Consolas,
'DejaVu Sans Mono',monospace;font-size:13px}.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:14px;
margin:24px 0 8px}.card{border:1px solid var(--grid);border-radius:10px;padding:14px 16px}.card b{display:block;font-size:25px;
line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums}.card i{font-style:normal;color:var(--muted);font-size:13px;
display:block}.pill{display:inline-block;border-radius:99px;padding:1px 11px;font-size:13px;font-weight:650;border:1.5px solid}
.good{color:var(--exit3)}.bad{color:var(--accent)}.even{color:var(--warn)}.doubt{border-left:3px solid var(--warn);padding:2px 0 2px 14px;
margin:18px 0;color:var(--ink)}.doubt ul{margin:4px 0;padding-left:18px}.figures{display:grid;
grid-template-columns:repeat(auto-fit,minmax(min(100%,540px),1fr));gap:30px 36px;margin-top:18px}
figure{margin:0;min-width:0;max-width:720px}
figure h3{margin:0 0 4px}figure svg{width:100%;height:auto;display:block}figcaption{color:var(--muted);font-size:13.5px;max-width:64ch}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th,td{text-align:left;padding:6px 16px 6px 0;border-bottom:1px solid var(--grid);vertical-align:top}th{color:var(--muted);font-weight:550}
td:first-child{color:var(--muted);white-space:nowrap}.note{color:var(--muted);font-size:13.5px;margin:6px 0 0;max-width:110ch}
footer{margin-top:56px;padding-top:14px;border-top:1px solid var(--grid);color:var(--muted);font-size:13px}
@media print{main{padding:0}figure,table{break-inside:avoid}}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_GOOD = {"FASTER": "good", "valid": "good", "SLOWER": "bad", "INVALID": "bad", "invalid": "bad",
         "target met": "good", "target not met": "bad"}  # fmt: skip


def html_report(items: Sequence[tuple[str, Item]]) -> str:
    """The page of one or several results and calibrations.

    Args:
        items: name (a file's) and result or calibration, at least one; several results are compared with the first of them.
    """
    results = [(name, item) for name, item in items if isinstance(item, BenchResult)]
    several = len(items) > 1
    sections = [
        _section(name, item, several=several)
        if isinstance(item, BenchResult)
        else _calibrated(name, item, several=several)
        for name, item in items
    ]
    compared = _comparisons(results) if len(results) > 1 else ""
    title = f"{len(items)} measurements" if several else items[0][0]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>edgeexit · {escape(title)}</title><style>{palette_css()}{_CSS}</style></head><body><main>"
        f"{compared}{''.join(sections)}"
        f"<footer>Made by edgeexit {edgeexit.__version__}. Times are wall-clock, batch 1; nothing is subtracted. "
        "What was not measured is not a number.</footer></main></body></html>\n"
    )


def item_pictures(item: Item) -> list[Picture]:
    """The pictures of a result or a calibration."""
    return pictures_of(item) if isinstance(item, BenchResult) else calibration_pictures(item)


def item_tables(item: Item) -> list[Table]:
    """The tables of a result or a calibration."""
    return result_tables(item) if isinstance(item, BenchResult) else calibration_tables(item)


def _calibrated(name: str, calibration: Calibration, *, several: bool) -> str:
    heading = "h2" if several else "h1"
    verdict = "target met" if calibration.met else "target not met"
    predicted, measured = calibration.predicted, calibration.measured or calibration.predicted
    what = "measured" if calibration.measured else "predicted"
    cards = (
        (
            f"as fast as the backbone, in the mean, {what}",
            units.ratio(calibration.speedup),
            f"target: {calibration.target}",
        ),
        (f"mean latency, {what}", units.seconds(measured.mean_s), f"predicted {units.seconds(predicted.mean_s)}"),
        (f"p99 latency, {what}", units.seconds(measured.p99_s), f"predicted {units.seconds(predicted.p99_s)}"),
        (f"accuracy, {what}", units.percent(measured.accuracy), f"predicted {units.percent(predicted.accuracy)}"),
    )
    doubts = [*calibration.reasons, *(verdict.text for verdict in calibration.verdicts)]
    return (
        f"<{heading}>{escape(name)} {_pill(verdict)}</{heading}>"
        f'<p class="sub">calibrated for {escape(calibration.target)}, {escape(calibration.criterion)}</p>'
        f"{_card_row(cards)}{_doubt_list(calibration.validity, doubts)}"
        f"{_figures(calibration_pictures(calibration))}{''.join(map(_table, calibration_tables(calibration)))}"
    )


def _section(name: str, result: BenchResult, *, several: bool) -> str:
    subject, workload = result.subject, result.workload
    heading = "h2" if several else "h1"
    return (
        f"<{heading}>{escape(name if several else subject.bundle)} {_pill(result.latency.against_backbone.verdict)}</{heading}>"
        f'<p class="sub">{escape(subject.criterion)} policy on {escape(workload.data)}, {workload.n} samples · '
        f"{escape(subject.backend)}, {escape(subject.mode)}, {escape(subject.precision)}, {subject.threads} thread(s) · "
        f"{escape(result.device.facts.get('board') or result.device.facts.get('cpu') or result.device.key)}</p>"
        f"{_cards(result)}{_doubts(result)}{_figures(pictures_of(result))}{''.join(map(_table, result_tables(result)))}"
    )


def _pill(text: str) -> str:
    return f'<span class="pill {_GOOD.get(text, "even")}">{escape(text)}</span>'


def _cards(result: BenchResult) -> str:
    mixture, backbone, accuracy = result.latency.mixture, result.latency.backbone, result.accuracy
    mean = result.latency.against_backbone.mean.ci95
    faster = "n/a" if mean is None else f"{units.ratio(1 / mean.high)} … {units.ratio(1 / mean.low)}"
    p99, straight = mixture.percentile(99.0), backbone.percentile(99.0)
    cards = (
        ("as fast as the backbone, in the mean", units.ratio(speedup(result)), f"95 %: {faster}"),
        (
            f"mean latency; backbone {units.seconds(backbone.mean_s)}",
            units.seconds(mixture.mean_s),
            f"95 %: {interval_text(mixture.mean_ci95)}",
        ),
        (
            f"p99 latency; backbone {units.seconds(straight.value_s)}",
            units.seconds(p99.value_s),
            f"at 99 % confidence ≤ {units.seconds(p99.upper_c99_s)}",
        ),
        (f"accuracy; backbone {units.percent(accuracy.backbone)}", units.percent(accuracy.overall), _change(accuracy)),
        (
            "leave early",
            units.percent(sum(e.share for e in accuracy.per_exit[:-1]), 1),
            f"at exit 1: {units.percent(accuracy.per_exit[0].share, 1)}",
        ),
    )
    return _card_row(cards)


def _card_row(cards: Sequence[tuple[str, str, str]]) -> str:
    shown = "".join(
        f'<div class="card"><i>{escape(what)}</i><b>{escape(value)}</b><i>{escape(around)}</i></div>'
        for what, value, around in cards
    )
    return f'<div class="cards">{shown}</div>'


def _change(accuracy: Accuracy) -> str:
    if accuracy.overall is None or accuracy.backbone is None:
        return f"agreement with the backbone {units.percent(accuracy.agreement)}"
    return f"{100 * (accuracy.overall - accuracy.backbone):+.2f} points"


def _doubts(result: BenchResult) -> str:
    entries = [*result.validity.reasons, *result.latency.against_backbone.reasons, *result.notes]
    return _doubt_list(result.validity.status, entries)


def _doubt_list(status: str, entries: Sequence[str]) -> str:
    if not entries:
        return ""
    listed = "".join(f"<li>{escape(entry)}</li>" for entry in dict.fromkeys(entries))
    return f'<div class="doubt">This measurement is {_pill(status)}<ul>{listed}</ul></div>'


def _figures(pictures: Sequence[Picture]) -> str:
    shown = "".join(
        f"<figure><h3>{escape(p.title)}</h3>{draw(p)}<figcaption>{escape(p.caption)}</figcaption></figure>"
        for p in pictures
    )
    return f'<div class="figures">{shown}</div>'


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    head = "".join(f"<th>{escape(c)}</th>" for c in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    headed = f"<thead><tr>{head}</tr></thead>" if any(table.columns) else ""
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return f'<h3>{escape(table.title)}</h3><div class="wide"><table>{headed}<tbody>{rows}</tbody></table></div>{note}'


def _comparisons(results: Sequence[tuple[str, BenchResult]]) -> str:
    (first_name, first), *others = results
    picture = overlay(list(results))
    parts = [f"<h1>{len(results)} measurements</h1>", f'<p class="sub">Compared with {escape(first_name)}</p>']
    parts += [_compared(first, name, other) for name, other in others]
    return "".join(parts) + (_figures([picture]) if picture else "")


def _compared(first: BenchResult, name: str, other: BenchResult) -> str:
    try:
        compared = compare_results(first, other, vary=_differing_policy(first, other))
    except InputError as error:
        return f'<h3>{escape(name)}</h3><div class="doubt">{escape(str(error))}</div>'
    table = comparison_table(first, other, compared)
    return _table(replace(table, title=f"{name}: {verdict_text(compared.comparison)}"))


def _differing_policy(first: BenchResult, other: BenchResult) -> list[str]:
    """Thresholds and mode may differ in a report: it shows them. Anything else makes two runs unlike."""
    keys = []
    if first.subject.thresholds != other.subject.thresholds:
        keys.append("thresholds")
    return [*keys, "mode"] if first.subject.mode != other.subject.mode else keys
