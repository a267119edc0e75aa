"""The map in CONTRIBUTING leads to files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_PATH = re.compile(r"`([\w./-]+(?:\.py|\.md|\.toml|/))`")


def _paths() -> list[str]:
    found = _PATH.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    return sorted({path for path in found if "<" not in path})


@pytest.mark.parametrize("path", _paths())
def test_a_path_in_contributing_exists(path: str) -> None:
    """Of the checkout, of the package, or of one of its rooms."""
    rooms = [ROOT, ROOT / "edgeexit", *(ROOT / "edgeexit").iterdir()]
    assert any((room / path).exists() for room in rooms), f"{path} is gone"
