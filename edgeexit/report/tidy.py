"""Results as one CSV table that pandas, R and spreadsheets read: one header, one row per measurement, units in the names of columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from edgeexit.report.sources import Item


def render_csv(items: Sequence[tuple[str, Item]]) -> str:
    """The records of all items with the name of each in the column `result`; what is not known is an empty cell."""
    records = [{"result": name, **record} for name, item in items for record in item.to_records()]
    columns = list(dict.fromkeys(column for record in records for column in record))
    sink = io.StringIO()
    writer = csv.DictWriter(sink, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in record.items()} for record in records)
    return sink.getvalue()
