"""Results as pages, tables and pictures. The HTML page needs no other package and no network.

    write_report([before, after], "report.html")

Modules: tables, calibration_tables, bundle_tables (text cells, the same for terminal, page, Markdown and LaTeX) ·
bench_figures, calibration_figures, timeline, extras (figures as values) · plot (draws a figure as SVG or PNG) ·
sweep (what other thresholds would have given) · several (results side by side) · sources (what files hold) ·
html, page, bundle_page (HTML) · tidy (CSV) · files (the form that a file name asks for).
"""

from __future__ import annotations

from edgeexit.report.files import write_report
from edgeexit.report.page import render_report
from edgeexit.report.sources import collect_items, read_all, read_items
from edgeexit.report.table import Table
from edgeexit.report.tables import make_result_tables

__all__ = ["Table", "collect_items", "make_result_tables", "read_all", "read_items", "render_report", "write_report"]
