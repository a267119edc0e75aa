"""What is recorded, put into a page of the documentation.

    <!-- recorded: start -->                 the tables of part `start` of the page's paper, or the command that records it
    <!-- recorded: start and printed -->     both its own tables and those beside the printed values
    <!-- end -->

A part with tables of its own has these, another one those beside the printed values.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.papers.frame.parts import Part, load_paper
from benchmarks.papers.frame.printed import load_printed, make_tables
from benchmarks.papers.frame.record import find_record
from edgeexit.report.table import render_markdown

_PLACE = re.compile(r"(<!-- recorded: ([\w-]+)( and printed)? -->\n).*?(<!-- end -->)", re.DOTALL)


def fill_page(page: Path) -> str:
    """The text of the page with the tables that are recorded now.

    Args:
        page: named after its paper.

    Raises:
        InputError: there is no such paper, or it has no part that the page asks for.
    """
    paper = load_paper(page.stem)

    def fill(place: re.Match[str]) -> str:
        shown = describe_record(page.stem, paper.find_part(place[2]), beside_printed=place[3] is not None)
        return f"{place[1]}\n{shown}\n\n{place[4]}"

    return _PLACE.sub(fill, page.read_text(encoding="utf-8"))


def describe_record(paper: str, part: Part, *, beside_printed: bool = False) -> str:
    """The tables of a part as Markdown, those beside the printed values on demand; the command where it is not recorded."""
    path = find_record(paper, part.name)
    if not path.exists():
        return f"Not recorded yet: `python -m benchmarks.papers {paper} {part.name} -o runs/{paper}`."
    record = json.loads(path.read_text(encoding="utf-8"))
    tables = [*part.show(record)]
    if beside_printed or not tables:
        tables += make_tables(load_printed(paper).take_part(part.name), record)
    seeds = ", ".join(map(str, record["seeds"]))
    shown = render_markdown(tables).replace("### ", "#### ")
    return f"{shown}\n`{record['command']}`; seed{'s' * (len(record['seeds']) > 1)} {seeds}."
