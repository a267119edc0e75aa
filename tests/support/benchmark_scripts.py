"""A benchmark script inside the test's own process, which has imported already what most of them need."""

from __future__ import annotations

import json
import runpy
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from benchmarks import common
from tests.support.brief_defaults import change_default

ROOT = Path(__file__).resolve().parents[2]
_TRACE = 256
"""Inputs of a trace, each of which every variant answers before it is timed; 4,096 for users."""


def run_benchmark(name: str, output: Path, *options: str) -> dict[str, Any]:
    """What `python -m benchmarks NAME` records."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change_default(patch, common.time_variants, "trace", _TRACE)
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", ["benchmarks", name, *options, "--output", str(output)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("benchmarks", run_name="__main__")
    assert not ended.value.code
    return dict(json.loads(output.read_text(encoding="utf-8")))
