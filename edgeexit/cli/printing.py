"""Text on the terminal: tables, verdicts, warnings and errors, wrapped at words and coloured.

Colour is used where the stream is a terminal, unless NO_COLOR or FORCE_COLOR says otherwise. Lines are wrapped to the width of the
terminal, or to COLUMNS where that is set; a file or a pipe gets whole lines, so that they can be searched.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from edgeexit.cli.common import VERBOSITY, escape_control_characters
from edgeexit.cli.layout import RULE, lay_out_table
from edgeexit.cli.wrapping import wrap

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from edgeexit.report.table import Table

_WIDE = 140  # a table in a file or a pipe, which have no width of their own

_A_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_A_QUANTITY = re.compile(rf"{_A_NUMBER.pattern}(?: (?:[nµm]?s|[nµm]?J|[KMGT]i?B|B|[kMGT])\b)?")

_FAULTS = re.compile(r"(has \d+ faults:) (.+)$", re.DOTALL)

_STYLES: dict[str, str] = {
    **dict.fromkeys(("met", "confirmed", "quiet", "FASTER", "pass", "ok", "valid", "active", "✓", "PAYS"), "green"),
    **dict.fromkeys(
        ("NOT MET", "not met", "MISSED", "SLOWER", "INVALID", "FAIL", "fail", "invalid", "✗", "DOES NOT PAY"),
        "bold red",
    ),
    **dict.fromkeys(("undecided", "UNDECIDED", "noisy", "AMBIGUOUS", "suspect", "warn", "SAME", "!"), "yellow"),
}
"""Colours of the words that judge, wherever a cell or a line begins with one of them."""


def find_line_width(stream: TextIO) -> int | None:
    """Characters of a line: the terminal's, or COLUMNS; None for a file or a pipe."""
    if stream.isatty():
        return _read_columns_variable() or os.get_terminal_size(stream.fileno()).columns or 80
    # readline exports COLUMNS together with LINES to every child of a shell or a Python that loads it, which is not a user's choice
    return None if "LINES" in os.environ else _read_columns_variable()


def _read_columns_variable() -> int | None:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) >= 20 else None


def make_console(*, err: bool = False) -> Console:
    """A console on stdout or stderr that prints text as it is: no markup, no highlighting."""
    from rich.console import Console

    return Console(stderr=err, markup=False, highlight=False, emoji=False, soft_wrap=True)


def print_result(text: str, *, style: str = "") -> None:
    """Print what a command was called for, also with --quiet."""
    _print_wrapped(text, style=style)


def print_text(text: str, *, style: str = "", err: bool = False, indent: int = 0, hanging: int = 0) -> None:
    """Print text wrapped at words, unless --quiet; text from files is printed as it is, control characters as numbers."""
    if VERBOSITY.get() >= 0:
        _print_wrapped(text, style=style, err=err, indent=indent, hanging=hanging)


def _print_wrapped(text: str, *, style: str = "", err: bool = False, indent: int = 0, hanging: int = 0) -> None:
    from rich.text import Text

    shown = make_console(err=err)
    for line in wrap(
        escape_control_characters(text),
        find_line_width(sys.stderr if err else sys.stdout),
        indent=indent,
        hanging=hanging,
    ):
        shown.print(Text(line, style=style))


def print_list(items: Iterable[str], *, heading: str = "", style: str = "", err: bool = False) -> None:
    """Print items as a list, those that say the same merged; nothing where there are none."""
    distinct = merge_similar_lines(items)
    if distinct and heading:
        print_text(heading, style=style, err=err)
    for item in distinct:
        print_text(f"- {item}", style=style, err=err, indent=2)


def merge_similar_lines(items: Iterable[str]) -> list[str]:
    """Items in order, once each; of several that differ only in numbers and their units the first, with those of the others behind it.

    Where several numbers differ, the first of them names the others: the exit, not its times.
    """
    alike: dict[str, list[str]] = {}
    for item in dict.fromkeys(items):
        alike.setdefault(_A_QUANTITY.sub("0", item), []).append(item)
    return [
        group[0] if len(group) == 1 else f"{group[0]} (and {_summarize_differences(group)})" for group in alike.values()
    ]


def _summarize_differences(alike: Sequence[str]) -> str:
    """The first number that differs, of every item but the first; whole numbers in a row as a range."""
    columns = zip(*(_A_NUMBER.findall(item) for item in alike), strict=True)
    values = next(column for column in columns if len(set(column)) > 1)
    runs: list[list[str]] = []
    for value in dict.fromkeys(values[1:]):
        if runs and value.isdecimal() and runs[-1][-1].isdecimal() and int(value) == int(runs[-1][-1]) + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)


def format_command(*words: object) -> str:
    """A command of edgeexit as a shell takes it, each word quoted where it has to be."""
    return shlex.join(("edgeexit", *map(str, words)))


def print_command(command: str, *, label: str, err: bool = False) -> None:
    """Print a label and a command on one line, never broken, so that it can be copied; unless --quiet."""
    from rich.text import Text

    if VERBOSITY.get() >= 0:
        make_console(err=err).print(Text.assemble(label, (escape_control_characters(command), "bold")))


def print_verdict(verdict: str, sentence: str = "") -> None:
    """Print a judging word in its colour, and the sentence that goes with it, if any."""
    from rich.text import Text

    shown = make_console()
    for place, line in enumerate(
        wrap(escape_control_characters(f"{verdict}: {sentence}" if sentence else verdict), find_line_width(sys.stdout))
    ):
        text = Text(line)
        if place == 0:
            text.stylize(_choose_style(verdict), 0, len(verdict))
        shown.print(text)


def _choose_style(verdict: str) -> str:
    """The colour of the judging word that a verdict is or ends with: `bounds not met` is as red as `not met`."""
    words = verdict.split()
    endings = (" ".join(words[start:]) for start in range(len(words)))
    return next((_STYLES[ending] for ending in endings if ending in _STYLES), "bold")


def print_note(text: str) -> None:
    """Print a remark on stderr, unless --quiet."""
    if VERBOSITY.get() >= 0:
        _print_labelled("note", text, "cyan")


def print_warning(text: str) -> None:
    """Print a warning on stderr, in one paragraph."""
    _print_labelled("warning", " ".join(text.splitlines()), "yellow")


def print_error(text: str) -> None:
    """Print an error on stderr; the faults of a file, which come in one message, as a list."""
    shown = _FAULTS.sub(lambda found: "\n- ".join((found[1], *found[2].split("; "))), text)
    _print_labelled("error", shown, "bold red")


def _print_labelled(label: str, text: str, style: str) -> None:
    from rich.text import Text

    shown = make_console(err=True)
    for place, line in enumerate(wrap(escape_control_characters(f"{label}: {text}"), find_line_width(sys.stderr))):
        styled = Text(line)
        if place == 0:
            styled.stylize(style, 0, len(label) + 1)
        shown.print(styled)


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables, those without rows left out; numbers stand on the right. Each table's note follows it. Not with --quiet."""
    if VERBOSITY.get() < 0:
        return
    shown = make_console()
    for table in tables:
        if not table.rows:
            continue
        if table.title:
            print_text(table.heading, style="bold")
        rows = [[escape_control_characters(cell) for cell in row] for row in table.rows]
        for line in lay_out_table(
            [escape_control_characters(c) for c in table.columns], rows, find_line_width(sys.stdout) or _WIDE
        ):
            shown.print(_style_cells(line.cells, heading=line.heading))
        if table.note:
            print_text(table.note)
        shown.print()


def _style_cells(cells: Sequence[str], *, heading: bool) -> Text:
    """The cells of a line, headings bold and judging words coloured."""
    from rich.text import Text

    text = Text(style="bold" if heading else "")
    for cell in cells:
        if cell.startswith(RULE) and not (sys.stdout.encoding or "").lower().startswith("utf"):
            cell = "-" * len(cell)  # noqa: PLW2901
        text.append(cell, style="" if heading else _STYLES.get(cell.strip(), ""))
    text.rstrip()
    return text
