"""A calibration on the terminal."""

from __future__ import annotations

from html import unescape

import pytest

from edgeexit.cli.calibration_output import print_calibration
from edgeexit.report import render_report
from edgeexit.report.calibration_tables import make_calibration_tables
from tests.report.made import made_calibration


def test_terminal_and_page_print_the_same_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """Every cell of every table is in both, so bounds have their unit in both."""
    calibration = made_calibration(3)

    print_calibration(calibration)
    shown = " ".join(capsys.readouterr().out.split())
    page = unescape(render_report([("a", calibration)])).replace("\N{NO-BREAK SPACE}", " ")  # between numbers and units

    for table in make_calibration_tables(calibration):
        cells = [cell for row in table.rows for cell in row]
        assert all(word in shown for cell in cells for word in cell.split()), table.title
        assert all(cell in page for cell in cells), table.title
