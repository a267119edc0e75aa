"""A report in the form that its file name asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from edgeexit.errors import InputError, did_you_mean
from edgeexit.measure.compare import VARIABLE
from edgeexit.report.page import make_item_tables, plot_item, render_report
from edgeexit.report.plot.figure import Picture
from edgeexit.report.plot.png import save_picture
from edgeexit.report.plot.svg import render_standalone
from edgeexit.report.several import make_comparison_tables, plot_jointly
from edgeexit.report.sources import Given, Item, collect_items
from edgeexit.report.table import Table, render_latex, render_markdown
from edgeexit.report.tidy import render_csv
from edgeexit.util.atomic import write_text


@dataclass(frozen=True)
class _Job:
    """Files to write and their content."""

    items: Sequence[tuple[str, Item]]
    output: Path
    vary: Collection[str]


def write_report(results: Given | Sequence[Given], output: str | Path, *, vary: Collection[str] = ()) -> list[Path]:
    """Write a report of one or many results and return the files that were made.

    Args:
        results: a `BenchResult`, a `Calibration`, a calibrated `Bundle`, the path of one of them, a pair of a name and one of them, or
            a list of such. Several are shown side by side, and benchmarks are compared with the first.
        output: the ending says what it becomes. `.html`: everything on one page. `.md`, `.tex`: the tables. `.csv`: one row per
            measurement, the units in the names of the columns. `.svg`, `.png`, `.pdf`: every picture as a file of its own beside it
            (`report.svg` becomes `report-accuracy-latency.svg` and so on).
        vary: keys in which compared benchmarks may differ besides criterion, exits, thresholds and mode, such as `threads`.

    Raises:
        InputError: another ending, nothing to report, or the place cannot be written to.
        MissingExtra: `.png` or `.pdf` without matplotlib.

    Example:
        >>> import edgeexit
        >>> [path.name for path in edgeexit.write_report("lenet.eexit", "report.md")]
        ['report.md']
    """
    path = Path(output)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        msg = f"a report is one of {', '.join(_WRITERS)}, not {path.suffix or 'a file without an ending'!r}: {path}"
        raise InputError(msg)
    for key in vary:
        if key not in VARIABLE:
            msg = f"no key named {key!r} to vary.{did_you_mean(key, VARIABLE)} Keys: {', '.join(VARIABLE)}."
            raise InputError(msg)
    job = _Job(collect_items(results), path, vary)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return writer(job)
    except OSError as error:
        msg = f"cannot write the report to {path}: {error.strerror or error}."
        raise InputError(msg) from error


def _write_text_file(path: Path, text: str) -> list[Path]:
    write_text(path, text)
    return [path]


def _collect_tables(job: _Job) -> list[Table]:
    if len(job.items) == 1:
        return make_item_tables(job.items[0][1])
    each = [
        replace(table, title=f"{name}: {table.title}") for name, item in job.items for table in make_item_tables(item)
    ]
    return [*make_comparison_tables(job.items, job.vary), *each]


def _write_pictures(job: _Job, save: Callable[[Picture, Path], object]) -> list[Path]:
    several = len(job.items) > 1
    named = [("", picture) for picture in plot_jointly(job.items)] if several else []
    for place, (_, item) in enumerate(job.items, 1):
        named += [(f"-{place}" if several else "", picture) for picture in plot_item(item)]
    made = []
    for number, picture in named:
        made.append(job.output.with_name(f"{job.output.stem}{number}-{picture.name}{job.output.suffix}"))
        save(picture, made[-1])
    return made


_Writer: TypeAlias = Callable[[_Job], list[Path]]
_WRITERS: dict[str, _Writer] = {
    ".html": lambda job: _write_text_file(job.output, render_report(job.items, vary=job.vary)),
    ".md": lambda job: _write_text_file(job.output, render_markdown(_collect_tables(job))),
    ".csv": lambda job: _write_text_file(job.output, render_csv(job.items)),
    ".tex": lambda job: _write_text_file(job.output, render_latex(_collect_tables(job))),
    ".svg": lambda job: _write_pictures(job, lambda picture, file: _write_text_file(file, render_standalone(picture))),
    ".png": lambda job: _write_pictures(job, save_picture),
    ".pdf": lambda job: _write_pictures(job, save_picture),
}
