"""Tables of a report on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeexit.cli.common import plain

if TYPE_CHECKING:
    from edgeexit.report.table import Table


_WIDE = 140  # a file or a pipe has no width of its own


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables for people, those without rows left out. Text from files is printed as it is, not as markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    for table in tables:
        if not table.rows:
            continue
        shown = RichTable(
            title=Text(plain(table.title), style="bold"),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_header=any(table.columns),
        )
        for place, column in enumerate(table.columns):
            shown.add_column(Text(column), overflow="fold", no_wrap=place == 0)
        for row in table.rows:
            shown.add_row(*(Text(plain(cell)) for cell in row))
        console.print(shown)
        if table.note:
            console.print(Text(plain(table.note)), soft_wrap=False)
            console.print()
