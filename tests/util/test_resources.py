"""Settings in TOML files, correct and damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeexit.calibration.recipes import load_calibration_recipe
from edgeexit.data.preprocess_files import read_preprocess
from edgeexit.errors import InputError
from edgeexit.hardware import load_profiles
from edgeexit.measure import load_suite


def _load_devices_beside(path: Path) -> object:
    return load_profiles(path.parent)


def _load_training_recipe(path: str) -> object:
    pytest.importorskip("torch")
    from edgeexit.training import load_recipe

    return load_recipe(path)


@pytest.mark.parametrize(
    "read",
    [
        load_calibration_recipe,
        load_suite,
        read_preprocess,
        _load_devices_beside,
        pytest.param(_load_training_recipe, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("nested", ["[" * 10_000, "{a=" * 10_000], ids=["arrays", "tables"])
def test_a_toml_file_nested_too_deeply_is_refused(tmp_path: Path, read: Callable[[Any], object], nested: str) -> None:
    """Whichever setting it holds: the parser calls itself for every level, until Python's limit."""
    path = tmp_path / "settings.toml"
    path.write_text(f"x = {nested}")

    with pytest.raises(InputError, match=r"settings\.toml"):
        read(str(path) if read is not _load_devices_beside else path)
