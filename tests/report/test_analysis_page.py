"""Pages and tables of an analysis, for networks of any number of exits."""

from __future__ import annotations

from functools import partial
from unittest import mock

import numpy as np
import pytest

from edgeexit.analysis import AnalysisNames, NetworkAnalysis, analyse_network, compute_searched_curve, network
from edgeexit.calibration.solver.search import QUICK
from edgeexit.report.analysis_figures import plot_analysis
from edgeexit.report.analysis_page import render_analysis_page
from edgeexit.report.analysis_tables import make_analysis_tables
from edgeexit.report.thumbnails import encode_thumbnail
from tests.calibration.worlds import world

SAMPLES = 40


def analysis(exits: int, *, choose: bool = True) -> NetworkAnalysis:
    """Of drawn numbers, with thresholds that are chosen or those in the middle of the scores.

    Few and brief searches: no page looks different with more budgets, or with thresholds that are proved to be the best.
    """
    table = world(3, SAMPLES, exits)
    searched = partial(compute_searched_curve, steps=3, effort=QUICK)
    with mock.patch.object(network, "compute_searched_curve", searched):
        return analyse_network(
            table,
            table,
            thresholds=None if choose else np.median(table.scores, axis=0).tolist(),
            labels=np.arange(SAMPLES) % 3,
            answers=np.zeros((SAMPLES, exits), np.int64),
            names=AnalysisNames("net <3>", "here", "there", ("cat", "dog", "<b>")),
        )


@pytest.mark.parametrize("exits", [2, 4])
def test_every_number_of_exits_has_its_tables_pictures_and_page(exits: int) -> None:
    """Every table is whole, pairs of early exits have ranks, and names from files are escaped."""
    found = analysis(exits)
    tables = {t.title: t for t in make_analysis_tables(found)}

    assert all(len(row) == len(t.columns) for t in tables.values() for row in t.rows)
    assert exits == len(tables["Overthinking"].rows)
    assert (exits - 1) * (exits - 2) // 2 == len(found.ranks)
    assert 4 == len(plot_analysis(found))
    page = render_analysis_page(found, np.zeros((SAMPLES, 1, 4, 4), np.float32))
    assert "net &lt;3&gt;" in page
    assert "<b>dog" not in page
    assert min(24, found.samples_overthinking) == page.count("<img ")


def test_what_is_no_picture_is_not_shown() -> None:
    """Windows of a signal, for instance, and pictures with holes."""
    assert encode_thumbnail(np.zeros(7)) is None
    assert encode_thumbnail(np.full((1, 2, 2), np.nan)) is None
    assert encode_thumbnail(np.zeros((3, 2, 2))) is not None
    assert render_analysis_page(analysis(3), np.zeros((SAMPLES, 6, 128))).count("<img ") == 0
