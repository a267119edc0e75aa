"""Text broken into lines at words; a command, a quoted target or a number with its unit stays in one piece."""

from __future__ import annotations

import re
from collections.abc import Iterator

_QUOTED = r"(?:'[^'\n]+'|\"[^\"\n]+\")"
_VALUE = rf"(?:{_QUOTED}|[A-Z][A-Z0-9_,.]*\b(?![a-z])|[\w.+-]*[./:=\d][\w./:=+,-]*\w)"
_OPTION = rf"--?[a-z][\w-]*(?:[ =]{_VALUE})?"
_COMMAND = rf"(?:edgeexit|python -m|pip install|sudo) [\w\"\[\]./-]*\w(?:\[\w+\]\")?(?: (?:{_OPTION}|{_VALUE}))*"
_UNIT = r"(?:%|×|ns|µs|ms|s|[mµ]?[JW]|[KMGT]iB|B|[GMk]|points?)(?![\w.])"
_NUMBER = rf"(?:[≤≥±<>]=? )?[+-]?\d[\d.,e+-]*(?: {_UNIT})?"
_BEGIN = r"(?<![^\s(])"
_PIECE = re.compile(rf"(?:{_BEGIN}(?:{_COMMAND}|{_OPTION})|(?<![\w'\"]){_QUOTED}(?!\w)|{_BEGIN}{_NUMBER}|\S)")


def split_into_pieces(text: str) -> Iterator[str]:
    """Units of text that a line break must not split: words, commands, quoted text, numbers with units."""
    at = 0
    while at < len(text):
        start = at
        while at < len(text) and not text[at].isspace():
            found = _PIECE.match(text, at)
            at = found.end() if found else at + 1
        if at > start:
            yield text[start:at]
        at += 1


def wrap(text: str, width: int | None, *, indent: int = 0, hanging: int = 0) -> list[str]:
    """Lines of at most `width` characters, each newline of `text` kept; None leaves the lines as they are.

    Args:
        text: what to break.
        width: characters of a line. A piece that is longer has a line of its own and is not cut.
        indent: spaces before every line.
        hanging: further spaces before every line but the first.
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines += _wrap_line(paragraph, width, " " * indent, " " * (indent + hanging))
    return lines


def _wrap_line(text: str, width: int | None, first: str, rest: str) -> list[str]:
    from rich.cells import cell_len

    if width is None or cell_len(first + text) <= width:
        return [(first + text).rstrip()]
    own = text[: len(text) - len(text.lstrip(" "))]  # the indentation a text brings along is kept
    rest += "  " if text.lstrip().startswith(("- ", "→ ")) else ""
    lines, line = [], first + own
    for piece in split_into_pieces(text):
        begun = line.strip() != ""
        if begun and cell_len(line) + 1 + cell_len(piece) > width:
            lines.append(line)
            line, begun = rest + own, False
        line += f" {piece}" if begun else piece
    return [*lines, line]
