"""edgeexit on an emulated Raspberry Pi 5, with the real aarch64 wheels, beside this machine (`make test-aarch64`).

Emulation shows that code for Arm runs, and what it answers; of its speed it shows nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeexit
from edgeexit.compiler.tolerances import get_rounding_tolerance
from edgeexit.data import find_demo_asset, load_data
from tests.aarch64.answers import collect_answers

PYTHON = Path(os.environ.get("EDGEEXIT_AARCH64", "missing"))
ROOT = Path(__file__).parents[2]
PRECISIONS = ("float32", "float16", "int8")
SAMPLES = 40
LIMIT_S = 3600

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no emulated board: make test-aarch64 makes one on Debian")


def run_there(folder: Path, *arguments: str) -> str:
    """Run Python with these arguments on the board; what it prints."""
    environment = {**os.environ, "HOME": str(folder), "EDGEEXIT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [str(PYTHON), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert 0 == done.returncode, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_board_is_recognised(tmp_path: Path) -> None:
    """By the files of its kernel."""
    found = json.loads(run_there(tmp_path, "-m", "edgeexit", "devices", "--json"))
    assert "Raspberry Pi 5" in json.dumps(found)
    assert "raspberry-pi-5" in json.dumps(found)


def test_both_machines_give_the_same_answers(tmp_path: Path) -> None:
    """The same bundles and inputs: logits of every exit within the rounding of the precision, exits and labels equal sample by sample.

    A sample whose threshold lies between the scores of both may leave elsewhere; that is so for one in ten at most.
    """
    inputs = load_data("digits:test").take(slice(SAMPLES)).inputs
    assert not isinstance(inputs, dict)
    bundles = [tmp_path / f"{precision}.eexit" for precision in PRECISIONS]
    here: dict[str, dict[str, Any]] = {}
    questions: dict[str, Any] = {"inputs": inputs}
    for path, precision in zip(bundles, PRECISIONS, strict=True):
        edgeexit.compile(find_demo_asset("lenet-digits.onnx"), path, precision=precision, inputs=inputs, seconds=0)
        scores = collect_answers(path, inputs, None)["scores"]
        questions[precision] = np.median(scores[:, :-1], axis=0)
        here[precision] = collect_answers(path, inputs, questions[precision])
    np.savez(tmp_path / "questions.npz", **questions)
    names = [str(tmp_path / "questions.npz"), str(tmp_path / "answers.npz"), *map(str, bundles)]
    run_there(tmp_path, "-m", "tests.aarch64.answers", *names)

    with np.load(tmp_path / "answers.npz") as there:
        for precision in PRECISIONS:
            mine = here[precision]
            theirs = {what: there[f"{precision} {what}"] for what in mine}
            limit = get_rounding_tolerance(precision)
            largest = np.abs(mine["logits"]).max(axis=-1, keepdims=True)
            assert (np.abs(mine["logits"] - theirs["logits"]) <= limit * largest).all()
            between = np.abs(mine["scores"] - theirs["scores"])[:, :-1]
            assert (between <= limit * largest[:, :-1, 0]).all()
            clear = (np.abs(mine["scores"][:, :-1] - questions[precision]) > between).all(axis=1)
            assert clear.sum() >= SAMPLES * 0.9
            for mode in ("staged", "fused"):
                assert 2 == len(set(mine[f"exits {mode}"].tolist()))
                for what in (f"exits {mode}", f"labels {mode}"):
                    assert (mine[what] == theirs[what])[clear].all()


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_conformance_suite_passes(precision: str, tmp_path: Path) -> None:
    """In every precision."""
    command = ("doctor", "--backend", "onnxruntime", "--quick", "--samples", "40", "--precision", precision)
    said = run_there(tmp_path, "-m", "edgeexit", *command, "--output", str(tmp_path / "report.json"))
    assert "0 failed" in said


def test_the_demo_ends_with_its_accuracy(tmp_path: Path) -> None:
    """Every step in brief; the target asks for nothing about time, which says nothing under emulation."""
    found = json.loads(run_there(tmp_path, "-m", "tests.aarch64.demo", "--target", "accuracy>=0.98", "--json"))
    assert found["accuracy"] >= 0.95
    assert found["backbone_accuracy"] >= 0.95
    assert "raspberry-pi-5" in found["device"]
    assert found["measured_mean_s"] > 0
    assert sum(found["exit_rates"]) == pytest.approx(1)


@pytest.mark.slow
def test_the_core_tests_pass(tmp_path: Path) -> None:
    """Splitting, criteria, the Runner, with few examples, since emulation takes ten to twenty times as long."""
    files = ("tests/test_criteria.py", "tests/runtime/test_runner.py", "tests/graph/test_split.py")
    options = ("-q", "-p", "no:cacheprovider", "-m", "not slow and not serial", "--hypothesis-profile", "emulated")
    run_there(tmp_path, "-m", "pytest", *options, *files)
