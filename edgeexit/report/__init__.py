"""Results as pages, tables and pictures. The HTML page needs no other package and no network.

    write_report([before, after], "report.html")

Modules: tables (cells of text) · sweep (what other thresholds would have given) · figure (a picture as a value) · labels, keys, svg and
raster (draw one) · pictures (those of a result) · extras (energy and cache) · calibrated (those of a calibration) · several (results
side by side) · sources (what files hold) · html and page (HTML) · tidy (CSV) · files (the form that a file name asks for).
"""

from __future__ import annotations

from edgeexit.report.files import write_report
from edgeexit.report.page import render_report
from edgeexit.report.sources import collect_items, read_all, read_items
from edgeexit.report.table import Table
from edgeexit.report.tables import make_result_tables

__all__ = ["Table", "collect_items", "make_result_tables", "read_all", "read_items", "render_report", "write_report"]
