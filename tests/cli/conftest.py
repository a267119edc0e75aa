"""A measured result, made once for all tests of the command line; and its commands, which typer would build anew for each call."""

from __future__ import annotations

from functools import cache

import pytest
from typer.main import get_command

from tests.measure.conftest import balanced, result, samples, suites  # noqa: F401 - fixtures


@pytest.fixture(autouse=True)
def commands_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`CliRunner` takes the commands of an application as they were built for the first test."""
    monkeypatch.setattr("typer.testing._get_command", _build_commands)


_build_commands = cache(get_command)
