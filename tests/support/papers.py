"""Running the parts of `python -m benchmarks.papers` in tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def run_short_part(paper: str, part: str, out: Path) -> dict[str, Any]:
    """The record of a part's short version, one seed; what an earlier call trained in the folder is taken."""
    options = ["-o", str(out), "--quick", "--resume", "--seeds", "0"]
    command = [sys.executable, "-m", "benchmarks.papers", paper, part, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return dict(json.loads((out / f"{paper}-{part}.json").read_text(encoding="utf-8")))
