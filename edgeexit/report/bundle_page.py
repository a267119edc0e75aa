"""`edgeexit inspect --html`: a bundle on one page. No script, no font, no file from anywhere else; all text from files is escaped."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path

from edgeexit.report.bundle_drawing import PHONE, choose_timing, draw_bundle
from edgeexit.report.bundle_facts import BundleFacts
from edgeexit.report.bundle_tables import (
    explain_missing_calibration,
    make_backend_table,
    make_boundary_table,
    make_calibration_table,
    make_timing_table,
)
from edgeexit.report.html import CONTENTS, render_box, render_cards, render_document, render_heading, render_table
from edgeexit.report.names import shorten_name
from edgeexit.report.table import Table
from edgeexit.util import units
from edgeexit.util.atomic import write_text
from edgeexit.util.units import bytes_, format_number

_CSS = """
.drawing{margin-top:22px}.drawing svg{width:100%;height:auto;display:block}.drawing .phone{display:none}
svg .head{font-size:14px;font-weight:650}svg .mono{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:11.5px}
svg .stage{fill-opacity:.1}svg .track{fill:var(--grid)}svg .cut{opacity:.55}
@media(max-width:1000px){.drawing .desk{display:none}.drawing .phone{display:block;max-width:560px}}
"""


def write_bundle_page(facts: BundleFacts, path: Path) -> None:
    """Write the page.

    Raises:
        InputError: it cannot be written there.
    """
    write_text(path, render_bundle_page(facts))


def render_bundle_page(facts: BundleFacts) -> str:
    """The page as text."""
    name = Path(facts.path).name
    body = (
        f'{render_heading(1, f"Bundle {_sanitize_text(name)}")}<p class="sub">{escape(_format_origin(facts))}</p>'
        f"{CONTENTS}{render_cards(_make_cards(facts))}"
        f"{_list_data_lines(facts)}{render_box('Cannot pay as it stands', facts.doubts)}{_render_drawing(facts)}"
        f"{_render_table(make_boundary_table(facts), 'None: every stage starts from the inputs.')}"
        f"{_render_table(make_timing_table(facts), 'Not timed on any device.')}"
        f"{''.join(_render_table(make_backend_table(one, key), '') for key, one in sorted(facts.backends.items()))}"
        f"{_render_table(make_calibration_table(facts), explain_missing_calibration(facts))}"
    )
    footer = (
        "Sizes and multiply-accumulates (MAC) are those of one sample. An exit pays, on paper, once the share shown leaves there: "
        "what only it needs, over what a leaver saves."
    )
    return render_document(f"edgeexit · {_sanitize_text(name)}", body, footer, css=_CSS)


def _sanitize_text(text: object) -> str:
    """Text from a file without characters that are not seen; escaping is the page's."""
    return shorten_name(str(text), 200)


def _format_origin(facts: BundleFacts) -> str:
    return (
        f"made of {_sanitize_text(facts.source)} (opset {facts.opset}, SHA-256 {_sanitize_text(facts.source_sha256[:12])}…),"
        f" {_sanitize_text(facts.created)}, by {_sanitize_text(facts.tool)}"
    )


def _list_data_lines(facts: BundleFacts) -> str:
    """Facts about the network's data, a line each."""
    return "".join(f'<p class="note">{escape(shorten_name(line, 600))}</p>' for line in facts.data_lines())


def _render_drawing(facts: BundleFacts) -> str:
    desk = draw_bundle(facts).replace("<svg ", '<svg class="desk" ', 1)
    phone = draw_bundle(facts, PHONE).replace("<svg ", '<svg class="phone" ', 1)
    key, mode, backbone_s = choose_timing(facts)
    if not key:
        words = "Bars: multiply-accumulates up to each exit, of those of the whole network. Nothing was timed."
    else:
        line = "; the line across is the backbone, the same network without its other exits" if backbone_s else ""
        words = f"Bars: median time to leave at each exit ({mode}, {_sanitize_text(key)}){line}."
    return f'{render_heading(2, "Stages, exits and cuts")}<div class="drawing">{desk}{phone}</div><p class="note">{escape(words)}</p>'


def _make_cards(facts: BundleFacts) -> list[tuple[str, str, str]]:
    verified = facts.verified
    checked = verified.random_inputs + verified.given_inputs
    worst = max(verified.staged_error, verified.fused_error)
    batch = "any batch" if facts.dynamic_batch else "batch 1"
    return [
        ("exits", str(len(facts.stages)), f"{facts.classes} classes"),
        (
            "criterion",
            _sanitize_text(facts.criterion),
            f"{_describe_thresholds(facts)}; what is left: {facts.answers_what_is_left}",
        ),
        (
            "whole network",
            f"{format_number(facts.stages[-1].macs_so_far)} MAC",
            f"{_sanitize_text(facts.precision)}, {batch}",
        ),
        ("on disk", bytes_(facts.bytes), "each weight once"),
        (
            "checked against the model",
            f"{units.fixed(checked, 0)} inputs",
            f"largest difference {units.scientific(worst)} of the logits",
        ),
    ]


def _describe_thresholds(facts: BundleFacts) -> str:
    unit = f"thresholds in {_sanitize_text(facts.unit)}"
    own = ", ".join(map(units.significant, facts.thresholds))
    return f"{unit}, {own} without a calibration" if own else unit


def _render_table(shown: Table, nothing: str) -> str:
    """A table without characters that are not seen, or a sentence where it has no rows."""
    if not shown.rows:
        return render_heading(2, shown.title) + f'<p class="sub">{escape(nothing)}</p>'
    rows = tuple(tuple(map(_sanitize_text, row)) for row in shown.rows)
    return render_table(
        replace(
            shown, rows=rows, columns=tuple(map(_sanitize_text, shown.columns)), note=shorten_name(shown.note, 2000)
        ),
        2,
    )
