"""A table as text cells, and as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table with a title; every row has as many cells as there are columns.

    Attributes:
        note: stands below it.
        mark: a word beside the title that limits what the numbers are worth, such as `suspect`; empty for none.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    mark: str = ""

    @property
    def heading(self) -> str:
        """The title with its mark."""
        return f"{self.title} ({self.mark})" if self.mark else self.title


def render_markdown(tables: Sequence[Table]) -> str:
    """The tables as Markdown."""
    return "\n".join(_render_markdown_table(table) for table in tables if table.rows)


def _render_markdown_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    head = [f"### {table.heading}", "", line(table.columns), line(["---"] * len(table.columns))]
    return "\n".join([*head, *map(line, table.rows), "", *([table.note, ""] if table.note else [])])


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", "×": r"$\times$",
    "±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$", "Σ": r"$\Sigma$", "µ": r"$\mu$", "…": r"\,--\,", "→": r"$\to$",
    "·": r"$\cdot$", "°": r"$^\circ$", "–": "--", "—": "---", "∞": r"$\infty$", "\n": " ",
}  # fmt: skip


def render_latex(tables: Sequence[Table]) -> str:
    r"""The tables as LaTeX `table` floats for `\input`; they need the package booktabs."""
    lines = ["% needs \\usepackage{booktabs}", *(_render_latex_table(table) for table in tables if table.rows)]
    return "\n".join(lines) + "\n"


def _render_latex_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(escape_latex, cells)) + r" \\"

    head = [line(table.columns), r"\midrule"] if any(table.columns) else []
    rows = [r"\toprule", *head, *map(line, table.rows), r"\bottomrule"]
    note = [rf"\par\smallskip{{\footnotesize {escape_latex(table.note)}}}"] if table.note else []
    tabular = [rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}", *rows, r"\end{tabular}"]
    inside = [r"\centering", rf"\caption{{{escape_latex(table.heading)}}}", *tabular, *note]
    return "\n".join([r"\begin{table}", *inside, r"\end{table}"])


def escape_latex(text: str) -> str:
    """Text with what LaTeX would take for commands written out."""
    return "".join(_LATEX.get(c, c) for c in text)
