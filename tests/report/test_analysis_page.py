"""Pages and tables of an analysis, for networks of any number of exits."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.analysis import AnalysisNames, NetworkAnalysis, analyse_network
from edgeexit.report.analysis_figures import plot_analysis
from edgeexit.report.analysis_page import render_analysis_page
from edgeexit.report.analysis_tables import make_analysis_tables
from edgeexit.report.thumbnails import encode_thumbnail
from tests.calibration.worlds import world


def analysis(exits: int) -> NetworkAnalysis:
    table = world(3, 60, exits)
    labels = np.arange(60) % 3
    names = AnalysisNames("net <3>", "here", "there", ("cat", "dog", "<b>"))
    return analyse_network(table, table, labels=labels, answers=np.zeros((60, exits), np.int64), names=names)


@pytest.mark.parametrize("exits", [2, 4])
def test_every_number_of_exits_has_its_tables_pictures_and_page(exits: int) -> None:
    """Every table is whole, pairs of early exits have ranks, and names from files are escaped."""
    found = analysis(exits)
    tables = {t.title: t for t in make_analysis_tables(found)}

    assert all(len(row) == len(t.columns) for t in tables.values() for row in t.rows)
    assert exits == len(tables["Overthinking"].rows)
    assert (exits - 1) * (exits - 2) // 2 == len(found.ranks)
    assert 4 == len(plot_analysis(found))
    page = render_analysis_page(found, np.zeros((60, 1, 4, 4), np.float32))
    assert "net &lt;3&gt;" in page
    assert "<b>dog" not in page
    assert min(24, found.samples_overthinking) == page.count("<img ")


def test_what_is_no_picture_is_not_shown() -> None:
    """Windows of a signal, for instance, and pictures with holes."""
    assert encode_thumbnail(np.zeros(7)) is None
    assert encode_thumbnail(np.full((1, 2, 2), np.nan)) is None
    assert encode_thumbnail(np.zeros((3, 2, 2))) is not None
    assert render_analysis_page(analysis(3), np.zeros((60, 6, 128))).count("<img ") == 0
