"""`edgeexit inspect --html`: a bundle on one page. No script, no font, no file from anywhere else; all text from files is escaped."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path

from edgeexit.report.bundle_drawing import PHONE, draw_bundle, timing_shown
from edgeexit.report.bundle_facts import BundleFacts
from edgeexit.report.bundle_tables import boundary_table, calibration_table, timing_table, without_calibration
from edgeexit.report.html import CONTENTS, box, cards, document, heading, table
from edgeexit.report.names import short
from edgeexit.report.table import Table
from edgeexit.util.atomic import write_text
from edgeexit.util.units import bytes_, count

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
    write_text(path, bundle_page(facts))


def bundle_page(facts: BundleFacts) -> str:
    """The page as text."""
    name = Path(facts.path).name
    body = (
        f'{heading(1, f"Bundle {_safe(name)}")}<p class="sub">{escape(_origin(facts))}</p>{CONTENTS}{cards(_cards(facts))}'
        f"{_data(facts)}{box('Cannot pay as it stands', facts.doubts)}{_drawing(facts)}"
        f"{_shown(boundary_table(facts), 'None: every stage starts from the inputs.')}"
        f"{_shown(timing_table(facts), 'Not timed on any device.')}"
        f"{_shown(calibration_table(facts), without_calibration(facts))}"
    )
    footer = (
        "Sizes and multiply-accumulates (MAC) are those of one sample. An exit pays, on paper, once the share shown leaves there: "
        "what only it needs, over what a leaver saves."
    )
    return document(f"edgeexit · {_safe(name)}", body, footer, css=_CSS)


def _safe(text: object) -> str:
    """Text from a file without characters that are not seen; escaping is the page's."""
    return short(str(text), 200)


def _origin(facts: BundleFacts) -> str:
    return (
        f"made of {_safe(facts.source)} (opset {facts.opset}, SHA-256 {_safe(facts.source_sha256[:12])}…),"
        f" {_safe(facts.created)}, by {_safe(facts.tool)}"
    )


def _data(facts: BundleFacts) -> str:
    """What is known of the network's data, a line each."""
    return "".join(f'<p class="note">{escape(short(line, 600))}</p>' for line in facts.data_lines())


def _drawing(facts: BundleFacts) -> str:
    desk = draw_bundle(facts).replace("<svg ", '<svg class="desk" ', 1)
    phone = draw_bundle(facts, PHONE).replace("<svg ", '<svg class="phone" ', 1)
    key, mode, backbone_s = timing_shown(facts)
    if not key:
        words = "Bars: multiply-accumulates up to each exit, of those of the whole network. Nothing was timed."
    else:
        line = "; the line across is the backbone, the same network without its other exits" if backbone_s else ""
        words = f"Bars: median time to leave at each exit ({mode}, {_safe(key)}){line}."
    return f'{heading(2, "Stages, exits and cuts")}<div class="drawing">{desk}{phone}</div><p class="note">{escape(words)}</p>'


def _cards(facts: BundleFacts) -> list[tuple[str, str, str]]:
    verified = facts.verified
    checked = verified.random_inputs + verified.given_inputs
    worst = max(verified.staged_error, verified.fused_error)
    batch = "any batch" if facts.dynamic_batch else "batch 1"
    return [
        ("exits", str(len(facts.stages)), f"{facts.classes} classes"),
        (
            "criterion",
            _safe(facts.criterion),
            f"thresholds in {_safe(facts.unit)}; what is left: {facts.answers_what_is_left}",
        ),
        ("whole network", f"{count(facts.stages[-1].macs_so_far)} MAC", f"{_safe(facts.precision)}, {batch}"),
        ("on disk", bytes_(facts.bytes), "each weight once"),
        ("checked against the model", f"{checked:.0f} inputs", f"largest difference {worst:.1e} of the logits"),
    ]


def _shown(shown: Table, nothing: str) -> str:
    """A table without characters that are not seen, or a sentence where it has no rows."""
    if not shown.rows:
        return heading(2, shown.title) + f'<p class="sub">{escape(nothing)}</p>'
    rows = tuple(tuple(map(_safe, row)) for row in shown.rows)
    return table(replace(shown, rows=rows, columns=tuple(map(_safe, shown.columns)), note=short(shown.note, 2000)), 2)
