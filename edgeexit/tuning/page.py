"""A result of tuning as one self-contained page: the conclusion, the front as a picture, and every table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np

from edgeexit.report.html import (
    CONTENTS,
    render_box,
    render_cards,
    render_document,
    render_figures,
    render_heading,
    render_statements,
    render_table,
)
from edgeexit.report.plot.figure import (
    BACKBONE,
    POLICY,
    Axis,
    Bar,
    BarFigure,
    Figure,
    Line,
    Mark,
    Picture,
    Points,
    choose_exit_tone,
    make_latency_axis,
)
from edgeexit.tuning.result import TriedCandidate, TunedSetup, TuningResult
from edgeexit.tuning.tables import (
    describe_choice,
    describe_contribution,
    describe_rule,
    describe_setup,
    list_untimed,
    make_slower_table,
    make_tuning_tables,
)
from edgeexit.util import units
from edgeexit.util.atomic import write_text

_ROWS = 40
PAGE = "tuning.html"


def write_tuning_page(result: TuningResult, path: Path) -> None:
    """Write the page.

    Raises:
        InputError: it cannot be written there.
    """
    write_text(path, render_tuning_page(result))


def render_tuning_page(result: TuningResult) -> str:
    """The page as text."""
    about = (
        f"Target {result.target}, on {result.device}. {result.choose + result.validate:,} samples of {result.data}: {result.choose:,} "
        f"chose, {result.validate:,} only judged. {len(result.tried):,} candidates. 1 × is the network as it was given: "
        f"{result.reference.precision}, without exits, {result.reference.backend}, one thread, {units.seconds(result.reference_s)}."
    )
    gains = [describe_contribution(one) for one in result.contributions]
    body = (
        f'{render_heading(1, "Tuning")}<p class="sub">{escape(about)}</p>{CONTENTS}'
        f"{render_cards(_make_cards(result))}<p>{result.verdict.capitalize()}: {escape(result.conclusion)}.</p>"
        f"{render_statements(list(_list_statements(result)))}"
        f"{render_box('<b>What each choice brings, predicted</b>', gains)}"
        f"{render_figures(list(_plot(result)))}"
        f"{''.join(map(render_table, (*make_tuning_tables(result, _ROWS), make_slower_table(result))))}"
        f"{render_box('<b>Not tried</b>', list_untimed(result))}"
    )
    footer = "Predicted figures come from recorded answers and from times with all exits; those of the last candidates were measured."
    return render_document("edgeexit · tuning", body, footer)


def _list_statements(result: TuningResult) -> Iterator[tuple[str, str, str]]:
    """What the calibration of the best candidate states: about what, the judgement, and the sentence."""
    for statement in result.chosen.statements:
        what, _, rest = statement.partition(": ")
        word, _, sentence = rest.partition(": ")
        yield what, word, sentence


def _make_cards(result: TuningResult) -> tuple[tuple[str, str, str], ...]:
    best = result.chosen
    ratio = best.predicted_ratio if best.ratio is None else best.ratio
    around = "predicted, not run"
    if best.ratio_low is not None and best.ratio_high is not None:
        fastest = 1 / best.ratio_low if best.ratio_low else math.inf
        around = f"{units.format_ratio(1 / best.ratio_high)} to {units.format_ratio(fastest)} with 95 %"
    quality = best.accuracy if best.accuracy is not None else best.agreement
    setup = best.setup
    return (
        ("times as fast as without exits", units.format_ratio(1 / ratio), around),
        ("accuracy" if best.accuracy is not None else "agreement", units.percent(quality), f"bounds {best.state}"),
        (
            "runs as",
            f"{setup.precision} {setup.mode}",
            f"{setup.backend}, {units.format_count(setup.threads, 'thread')}",
        ),
        ("leaves by", describe_rule(setup), f"at {', '.join(setup.exits)}"),
    )


def _plot(result: TuningResult) -> Iterator[Picture]:
    known = [one for one in result.tried if one.mean_s is not None]
    if known:
        yield _plot_front(result, known)
    compared = [one for one in result.contributions if one.times is not None]
    if compared:
        bars = tuple(
            Bar(describe_choice(one), ((POLICY, float(one.times or 0.0), "usual over chosen"),)) for one in compared
        )
        caption = "Mean latency of the best predicted candidate with one choice back at its usual value, over its own; predicted."
        yield BarFigure("tuning-choices", "What each choice brings", caption, Axis("times its mean"), bars)


def _plot_front(result: TuningResult, known: list[TriedCandidate]) -> Figure:
    precisions = sorted({one.setup.precision for one in known})
    marks: list[Mark] = []
    for place, precision in enumerate(precisions, 1):
        points = [one for one in known if one.setup.precision == precision]
        marks.append(Points(*_read(points), choose_exit_tone(place, len(precisions)), precision))
    front = sorted((one for one in known if one.on_front), key=lambda one: one.mean_s or 0.0)
    marks.append(Line(*_read(front), BACKBONE, "front", dashed=True))
    chosen = [one for one in known if _name(one.setup) == _name(result.chosen.setup)]
    marks += [Points(*_read(chosen), POLICY, note="chosen", large=True)] if chosen else []
    labelled = known[0].accuracy is not None
    largest = max(one.mean_s or 0.0 for one in known)
    caption = f"Every candidate that meets {result.target}, predicted on the {result.choose:,} samples that chose."
    y = Axis("accuracy (%)" if labelled else "agreement (%)", 0.01)
    return Figure(
        "tuning-front", "What was tried", caption, make_latency_axis("mean latency", largest), y, tuple(marks)
    )


def _name(setup: TunedSetup) -> tuple[str, str, str]:
    """What a candidate is called: its temperatures are fitted again where it is compiled."""
    return describe_setup(setup, several_backends=True)


def _read(points: list[TriedCandidate]) -> tuple[np.ndarray, np.ndarray]:
    """Mean latencies and qualities, of which candidates that meet the target have both."""
    quality = [one.agreement if one.accuracy is None else one.accuracy for one in points]
    return np.array([one.mean_s for one in points], np.float64), np.array(quality, np.float64)
