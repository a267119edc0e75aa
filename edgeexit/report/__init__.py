"""Results as pages, tables and pictures. The HTML page needs no other package and no network.

    write_report([("a.json", result)], Path("report.html"))

Modules: tables (cells of text) · sweep (what other thresholds would have given) · figure (a picture as a value) · svg and raster
(draw one) · pictures (those of a result) · extras (energy and cache) · calibrated (those of a calibration) · sources (what files hold) ·
page (HTML) · files (the form that a file name asks for).
"""

from __future__ import annotations

from edgeexit.report.files import write_report
from edgeexit.report.page import html_report
from edgeexit.report.sources import read_items
from edgeexit.report.table import Table
from edgeexit.report.tables import result_tables

__all__ = ["Table", "html_report", "read_items", "result_tables", "write_report"]
