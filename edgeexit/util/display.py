"""Values as a notebook or a prompt shows them: one line of text, or a small table."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Summary:
    """A short summary of a value.

    Attributes:
        name: name of the value, such as a bundle's folder.
        line: its most important facts, for one line.
        facts: name and value of each fact, for a table.
    """

    name: str
    line: str
    facts: tuple[tuple[str, str], ...]


class Summarised:
    """Shows itself by its summary instead of by all its fields; fields are still there to be read."""

    def _summary(self) -> Summary:
        raise NotImplementedError

    def __repr__(self) -> str:
        summary = self._summary()
        return f"<{type(self).__name__} {summary.name}: {summary.line}>"

    def _repr_html_(self) -> str:
        """For Jupyter; text from files is escaped."""
        summary = self._summary()
        rows = "".join(
            f'<tr><th style="text-align:left">{escape(what)}</th><td style="text-align:left">{escape(value)}</td></tr>'
            for what, value in summary.facts
        )
        caption = f"{type(self).__name__} {summary.name}"
        style = "caption-side:top;text-align:left;font-weight:bold"
        return f'<table><caption style="{style}">{escape(caption)}</caption><tbody>{rows}</tbody></table>'
