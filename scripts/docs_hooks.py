"""Hooks of MkDocs: the command line's page is written from the commands themselves, and what is written for tests only is left out."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from mkdocs.exceptions import PluginError

COMMANDS = "<!-- commands -->"
_NOT_RUN = re.compile(r"^( *```\w+) no-run$", re.MULTILINE)
"""A code block that the tests do not run; Markdown knows no second word behind the language."""
_FENCE = re.compile(r"^ *```(.*)$", re.MULTILINE)


def on_page_markdown(markdown: str, *, page: Any, **_rest: Any) -> str:
    """Put the documentation of every command where a page asks for it, and take `no-run` from code blocks.

    Raises:
        PluginError: a code block would be shown as text, of which MkDocs says nothing.
    """
    shown = _NOT_RUN.sub(r"\1", markdown)
    fences = _FENCE.findall(shown)
    if len(fences) % 2 or any(word for word in fences[1::2]) or any(not re.fullmatch(r"\w*", word) for word in fences):
        msg = f"{page.file.src_uri}: a code block is not closed, or its first line has more than ``` and a language"
        raise PluginError(msg)
    return shown.replace(COMMANDS, describe_commands()) if COMMANDS in shown else shown


def describe_commands() -> str:
    """Markdown of every command, by typer's own generator."""
    call = [sys.executable, "-m", "typer", "edgeexit.cli.app", "utils", "docs", "--name", "edgeexit"]
    made = subprocess.run(call, capture_output=True, text=True, check=True)
    title, _, rest = made.stdout.partition("\n")
    assert title.startswith("# "), title
    return rest
