"""An analysis as one self-contained page: headline, pictures, tables, and the samples that overthink."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeexit.analysis.network import NetworkAnalysis, OverthoughtSample
from edgeexit.calibration.headroom import Headroom
from edgeexit.report.analysis_figures import plot_analysis
from edgeexit.report.analysis_tables import describe_answers, describe_policy, make_analysis_tables, name_class
from edgeexit.report.html import (
    CONTENTS,
    render_cards,
    render_document,
    render_figures,
    render_heading,
    render_table,
)
from edgeexit.report.names import shorten_name
from edgeexit.report.thumbnails import encode_thumbnail
from edgeexit.util import units
from edgeexit.util.atomic import write_text

_CSS = """
.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:16px;margin-top:14px}
.samples figure{max-width:none}.samples img{width:96px;height:96px;image-rendering:pixelated;border:1px solid var(--grid);border-radius:4px;
object-fit:contain}
"""


def write_analysis_page(analysis: NetworkAnalysis, path: Path, samples: NDArray[Any] | None = None) -> None:
    """Write the page.

    Args:
        analysis: what it shows.
        path: where to.
        samples: inputs [M, ...] that the analysis is of; those that overthink are shown where they are pictures.

    Raises:
        InputError: it cannot be written there.
    """
    write_text(path, render_analysis_page(analysis, samples))


def render_analysis_page(analysis: NetworkAnalysis, samples: NDArray[Any] | None = None) -> str:
    """The page as text; see `write_analysis_page`."""
    name = shorten_name(analysis.network, 200)
    about = (
        f"{analysis.samples} samples of {analysis.used_on}; thresholds from {analysis.chosen_samples} of {analysis.chosen_on}. "
        f"Policy: {describe_policy(analysis)}."
    )
    body = (
        f'{render_heading(1, f"Analysis of {name}")}<p class="sub">{escape(about)}</p>{CONTENTS}'
        f"{render_cards(_make_cards(analysis))}"
        f"{''.join(f'<p class=note>{escape(found.describe())}</p>' for found in analysis.headroom[-1:])}"
        f"{render_figures(plot_analysis(analysis))}{''.join(map(render_table, make_analysis_tables(analysis)))}"
        f"{_render_samples(analysis, samples)}"
    )
    footer = "Costs are means per sample, batch 1. Nothing is claimed of other data than these."
    return render_document(f"edgeexit · analysis of {name}", body, footer, css=_CSS)


def _make_cards(analysis: NetworkAnalysis) -> tuple[tuple[str, str, str], ...]:
    found, over = analysis.headroom[-1], analysis.overthinking
    what = "time" if found.unit == "s" else "multiply-accumulates"
    return (
        (
            f"of the last exit's {what} with a perfect exit rule",
            units.percent(found.oracle_cost / found.last_cost, 0),
            f"right about {units.percent(found.oracle_accuracy)}; the last exit about {units.percent(found.last_accuracy)}",
        ),
        ("of that saving is reached", units.percent(found.reached, 0), _describe_change(found)),
        (
            "of the samples overthink",
            units.percent(over.any_pair),
            f"95 %: {units.percent_range(over.interval.low, over.interval.high)}",
        ),
        ("wrong at the last exit, right before", units.percent(over.last_only), "what leaving early can mend at best"),
    )


def _describe_change(found: Headroom) -> str:
    return f"at {units.points(found.accuracy - found.last_accuracy)} of accuracy against the last exit"


def _render_samples(analysis: NetworkAnalysis, samples: NDArray[Any] | None) -> str:
    """The samples that overthink as pictures; nothing where they are none."""
    if samples is None:
        return ""
    pictures: Mapping[int, str | None] = {s.sample: encode_thumbnail(samples[s.sample]) for s in analysis.overthought}
    shown = [(s, address) for s in analysis.overthought if (address := pictures[s.sample]) is not None]
    if not shown:
        return ""
    each = "".join(_render_sample(analysis, sample, address) for sample, address in shown)
    return f'{render_heading(2, "Which samples overthink")}<div class="samples">{each}</div>'


def _render_sample(analysis: NetworkAnalysis, sample: OverthoughtSample, address: str) -> str:
    answers = ", ".join(describe_answers(analysis, sample))
    words = f"{name_class(analysis, sample.label)}: {answers}; leaves at {sample.exit}"
    picture = f'<img alt="sample {sample.sample}" src="{address}">'
    return f"<figure>{picture}<figcaption>{escape(words)}</figcaption></figure>"
