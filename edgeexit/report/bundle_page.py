"""`edgeexit inspect --html`: a bundle on one page. No script, no font, no file from anywhere else; all text from files is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import edgeexit
from edgeexit.data.files import write_text
from edgeexit.report.bundle_drawing import draw_bundle
from edgeexit.report.bundle_facts import BundleFacts
from edgeexit.report.names import short
from edgeexit.report.palette import palette_css
from edgeexit.units import bytes_, count, seconds

_CSS = """
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,
'Segoe UI',Roboto,'DejaVu Sans',sans-serif}main{max-width:1200px;margin:0 auto;padding:40px 28px 64px}
h1{font-size:27px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:19px;margin:44px 0 8px;letter-spacing:-.01em}.sub{color:var(--muted);margin:0 0 4px;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:14px;margin:24px 0 30px}
.card{border:1px solid var(--grid);border-radius:10px;padding:12px 16px}.card b{display:block;font-size:22px;line-height:1.3;
font-weight:650;font-variant-numeric:tabular-nums}.card i{font-style:normal;color:var(--muted);font-size:13px;display:block}
.drawing{overflow-x:auto}svg{width:100%;min-width:820px;height:auto;display:block}svg .head{font-size:14px;font-weight:650}
svg .mono{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:11.5px}svg .stage{fill-opacity:.1}
svg .track{fill:var(--grid)}svg .cut{opacity:.55}.doubt{border-left:3px solid var(--warn);padding:2px 0 2px 14px;margin:22px 0}
.doubt ul{margin:4px 0;padding-left:18px}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;
font-variant-numeric:tabular-nums;font-size:14px}th,td{text-align:right;padding:6px 0 6px 18px;border-bottom:1px solid var(--grid);
vertical-align:top;white-space:nowrap}th{color:var(--muted);font-weight:550}th:first-child,td:first-child{text-align:left;padding-left:0;
white-space:normal;overflow-wrap:anywhere}
footer{margin-top:52px;padding-top:14px;border-top:1px solid var(--grid);color:var(--muted);font-size:13px}
@media print{main{padding:0}svg,table{break-inside:avoid}}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_bundle_page(facts: BundleFacts, path: Path) -> None:
    """Write the page.

    Raises:
        InputError: it cannot be written there.
    """
    write_text(path, bundle_page(facts))


def bundle_page(facts: BundleFacts) -> str:
    """The page as text."""
    tables = (_boundaries(facts), _timings(facts), _calibrations(facts))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>edgeexit · {_safe(Path(facts.path).name)}</title><style>{palette_css()}{_CSS}</style></head><body><main>"
        f"{_heading(facts)}{_cards(facts)}{_doubts(facts)}"
        f'<div class="drawing">{draw_bundle(facts)}</div>{"".join(tables)}'
        f"<footer>Made by edgeexit {edgeexit.__version__}. Sizes and multiply-accumulates (MAC) are those of one sample. An exit pays,"
        " on paper, once the share shown leaves there: what only it needs, over what a leaver saves.</footer></main></body></html>\n"
    )


def _safe(text: object) -> str:
    """Text from a file, made harmless: no markup, no characters that are not seen."""
    return escape(short(str(text), 200))


def _heading(facts: BundleFacts) -> str:
    return (
        f"<h1>{_safe(Path(facts.path).name)}</h1>"
        f'<p class="sub">{_safe(facts.source)} (opset {facts.opset}, SHA-256 {_safe(facts.source_sha256[:12])}…), taken apart'
        f" {_safe(facts.created)} by {_safe(facts.tool)}</p>"
    )


def _cards(facts: BundleFacts) -> str:
    verified = facts.verified
    checked = verified.random_inputs + verified.given_inputs
    worst = max(verified.staged_error, verified.fused_error)
    batch = "any batch" if facts.dynamic_batch else "batch 1"
    cards = (
        ("exits", str(len(facts.stages)), f"{facts.classes} classes"),
        ("criterion", facts.criterion, f"thresholds in {facts.unit}"),
        ("whole network", f"{count(facts.stages[-1].macs_so_far)} MAC", f"{facts.precision}, {batch}"),
        ("on disk", bytes_(facts.bytes), "each weight once"),
        ("checked against the model", f"{checked:.0f} inputs", f"largest difference {worst:.1e} of the logits"),
    )
    shown = "".join(
        f'<div class="card"><i>{_safe(what)}</i><b>{_safe(value)}</b><i>{_safe(around)}</i></div>'
        for what, value, around in cards
    )
    return f'<div class="cards">{shown}</div>'


def _doubts(facts: BundleFacts) -> str:
    items = "".join(f"<li>{escape(doubt)}</li>" for doubt in facts.doubts)
    return f'<div class="doubt"><b>Cannot pay as it stands</b><ul>{items}</ul></div>' if items else ""


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    head = "".join(f"<th>{_safe(c)}</th>" for c in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in row)}</tr>" for row in rows)
    shown = (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>' if rows else ""
    )
    return f"<h2>{_safe(title)}</h2>{f'<p class=sub>{_safe(note)}</p>' if note else ''}{shown}"


def _boundaries(facts: BundleFacts) -> str:
    rows = [
        (
            t.name,
            str(stage.exit),
            ", ".join(str(s.exit) for s in facts.stages if t.name in {r.name for r in s.reads}),
            str(t),
            bytes_(t.bytes),
        )
        for stage in facts.stages
        for t in stage.makes
    ]
    note = "" if rows else "None: every stage starts from the inputs."
    return _table("Boundary tensors", ("tensor", "made by stage", "read by stages", "shape", "one sample"), rows, note)


def _timings(facts: BundleFacts) -> str:
    rows = []
    for key, timing in facts.timings.items():
        for mode, medians_s in (("staged", timing.staged_s), ("fused", timing.fused_s)):
            label = f"{mode}, chosen" if mode == timing.faster else mode
            rows.append((key, label, *(seconds(t) for t in medians_s), seconds(timing.backbone_s)))
    columns = ("device and settings", "mode", *(f"exit {s.exit}" for s in facts.stages), "backbone")
    note = "Medians, both modes and the backbone in turn." if rows else "Not timed on any device."
    return _table("Time to leave at each exit", columns, rows, note)


def _calibrations(facts: BundleFacts) -> str:
    rows = [
        (
            c.key,
            c.target or "n/a",
            "n/a" if c.thresholds is None else ", ".join(f"{t:.4g}" for t in c.thresholds),
            c.created or "n/a",
        )
        for c in facts.calibrations
    ]
    note = "" if rows else "None yet: it never leaves early. Make one with edgeexit calibrate."
    return _table("Calibrations", ("device and settings", "target", f"thresholds ({facts.unit})", "made"), rows, note)
