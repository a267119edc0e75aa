"""The commands of the command line, which typer would build anew for each call."""

from __future__ import annotations

from functools import cache

import pytest
from typer.main import get_command


@pytest.fixture(autouse=True)
def commands_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`CliRunner` takes the commands of an application as they were built for the first test."""
    monkeypatch.setattr("typer.testing._get_command", _build_commands)


_build_commands = cache(get_command)
