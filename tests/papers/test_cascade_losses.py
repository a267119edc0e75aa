"""The experiments of the cascade losses, in their short versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def run_part(part: str, out: Path, *options: str) -> dict[str, object]:
    """The record of a part's short version."""
    command = [sys.executable, "-m", "benchmarks.papers", "cascade-losses", part, "-o", str(out), "--quick", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return dict(json.loads((out / f"cascade-losses-{part}.json").read_text(encoding="utf-8")))


def test_the_losses_are_compared_on_mnist(tmp_path: Path) -> None:
    """All samples leave early at threshold 0 and none at 1; a second call takes what is trained."""
    found = run_part("mnist", tmp_path, "--seeds", "0")
    values = found["values"]
    assert isinstance(values, dict)
    assert (1.0, 0.0) == tuple(values[f"sum-p2: early at {t}"]["mean"] for t in (0, 1))
    again = run_part("mnist", tmp_path, "--seeds", "0", "--resume")
    assert values == again["values"]
