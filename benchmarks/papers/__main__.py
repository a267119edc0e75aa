"""Experiments of the papers, each beside what its paper prints.

    python -m benchmarks.papers                                                 the papers and their parts
    python -m benchmarks.papers cascade-losses mnist -o runs/cascade-losses     train, find out, record
    python -m benchmarks.papers cascade-losses tables                           the tables of what is recorded
    python -m benchmarks.papers cascade-losses tables --page docs/papers/cascade-losses.md         put into a page of the documentation

Trainings are kept in the folder (-o), by variant and seed; with --resume a later call goes on where an earlier one was interrupted and
takes what is finished. --only VARIANT trains a part of them and finds out nothing, so that long trainings can be shared out. Records go to
benchmarks/results/papers/, with --quick into the folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.papers.frame.pages import fill_page
from benchmarks.papers.frame.parts import Paper, Part, Request, list_papers, load_paper
from benchmarks.papers.frame.printed import load_printed, make_tables
from benchmarks.papers.frame.record import find_record, make_record, write_record
from benchmarks.papers.frame.training import Runs, train_variants
from edgeexit.cli.failures import run_guarded
from edgeexit.cli.printing import print_tables
from edgeexit.errors import InputError
from edgeexit.report.table import Table, render_markdown
from edgeexit.util.atomic import write_text

TABLES = "tables"


def main() -> None:
    """What the command line asks for."""
    arguments = _make_parser().parse_args()
    if arguments.paper is None:
        for name in list_papers():
            _list_parts(name, load_paper(name))
        return
    paper = load_paper(arguments.paper)
    if arguments.part is None:
        _list_parts(arguments.paper, paper)
    elif arguments.part == TABLES and arguments.page:
        write_text(arguments.page, fill_page(arguments.page))
    elif arguments.part == TABLES:
        _print(show_recorded(arguments.paper, paper), markdown=arguments.markdown)
    else:
        part = paper.find_part(arguments.part)
        tables = run_part(arguments.paper, part, _make_request(part, arguments))
        _print(tables, markdown=arguments.markdown)


def run_part(paper: str, part: Part, request: Request) -> list[Table]:
    """Train what is not trained yet, and `record_part`; no tables where only trainings are asked for."""
    runs = train_variants(part.variants(request), request)
    return [] if request.only else record_part(paper, part, request, runs)


def record_part(paper: str, part: Part, request: Request, runs: Runs) -> list[Table]:
    """Find out what there is to find from trained networks, and record it; the tables beside the printed values."""
    found = part.examine(request, runs)
    printed = load_printed(paper).take_part(part.name)
    document = make_record(paper, part.name, request, printed=printed, runs=runs, found=found)
    write_record(document, found, find_record(paper, part.name, request))
    return [*part.show(document), *make_tables(printed, document)]


def show_recorded(name: str, paper: Paper) -> list[Table]:
    """The tables of every part that is recorded."""
    printed, tables = load_printed(name), []
    for part in paper.parts:
        if (path := find_record(name, part.name)).exists():
            document = json.loads(path.read_text(encoding="utf-8"))
            tables += [*part.show(document), *make_tables(printed.take_part(part.name), document)]
    return tables


def _print(tables: list[Table], *, markdown: bool) -> None:
    if markdown:
        print(render_markdown(tables))
    else:
        print_tables(tables)


def _list_parts(name: str, paper: Paper) -> None:
    print(f"{name}: {paper.title}")
    for part in paper.parts:
        print(f"  {part.name:16} {part.about}{' (needs a quiet machine)' if part.timed else ''}")


def _make_request(part: Part, arguments: argparse.Namespace) -> Request:
    if arguments.out is None:
        msg = f"part {part.name!r} needs a folder for its trainings: give -o, such as -o runs/{arguments.paper}"
        raise InputError(msg)
    return Request(
        out=arguments.out,
        seeds=tuple(arguments.seeds or part.seeds),
        quick=arguments.quick,
        resume=arguments.resume,
        only=tuple(arguments.only),
        threads=arguments.threads,
    )


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.papers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paper", nargs="?", help="a paper; without one, all are listed")
    parser.add_argument("part", nargs="?", help=f"one of its parts, or `{TABLES}` of what is recorded")
    parser.add_argument("-o", "--out", type=Path, help="folder of the trainings")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help="of the trainings [the part's own]")
    parser.add_argument("--quick", action="store_true", help="the short version of the tests")
    parser.add_argument("--resume", action="store_true", help="go on with what is in the folder")
    parser.add_argument("--only", nargs="+", default=[], metavar="VARIANT", help="train these and find out nothing")
    parser.add_argument("--threads", type=int, default=1, help="of torch [1]")
    parser.add_argument("--page", type=Path, help=f"with {TABLES}: put them into this page of the documentation")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    return parser


if __name__ == "__main__":
    sys.exit(run_guarded(main))
