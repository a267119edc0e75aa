"""Presets of `edgeexit bench`: shipped ones by name, the user's own by the path of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeexit.errors import InputError
from edgeexit.hardware import find_data_dir
from edgeexit.measure.suites import load_suite


def test_a_preset_may_be_a_toml_file_of_the_user(tmp_path: Path) -> None:
    """Same keys as a shipped preset; its name is that of the file."""
    mine = tmp_path / "mine.toml"
    mine.write_text((find_data_dir("suites") / "quick.toml").read_text().replace("processes = 5", "processes = 7"))

    suite = load_suite(str(mine))

    assert (suite.name, suite.processes) == ("mine", 7)


def test_an_unknown_preset_names_those_that_exist() -> None:
    """The near miss is suggested."""
    with pytest.raises(InputError, match="Did you mean 'quick'"):
        load_suite("quik")
