"""Names that come from files, as pages and sentences may hold them."""

from __future__ import annotations


def shorten_name(name: str, most: int = 40) -> str:
    """A name cut in the middle, without characters that change how the text around it is read."""
    plain = "".join(c if c.isprintable() else "\ufffd" for c in name)
    return plain if len(plain) <= most else f"{plain[: most // 2]}…{plain[-(most // 2 - 1) :]}"


def format_exit_title(number: int, name: str, output: str | None) -> str:
    """An exit in tables: `1 exit1 (aux_logits)`, with the model's output that became it where that has another name."""
    return f"{number} {name}" + (f" ({shorten_name(output)})" if output not in (None, name) else "")
