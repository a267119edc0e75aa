"""Hooks of MkDocs: the command line's page is written from the commands themselves, and the demo's output from the README's copy."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

COMMANDS = "<!-- commands -->"


def on_page_markdown(markdown: str, **_page: Any) -> str:
    """Put the documentation of every command where a page asks for it."""
    return markdown.replace(COMMANDS, describe_commands()) if COMMANDS in markdown else markdown


def describe_commands() -> str:
    """Markdown of every command, by typer's own generator."""
    call = [sys.executable, "-m", "typer", "edgeexit.cli.app", "utils", "docs", "--name", "edgeexit"]
    made = subprocess.run(call, capture_output=True, text=True, check=True)
    title, _, rest = made.stdout.partition("\n")
    assert title.startswith("# "), title
    return rest
