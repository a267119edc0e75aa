"""`edgeexit calibrate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import edgeexit
from edgeexit.data import find_demo_asset
from tests.support.command_line import run_edgeexit


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo network, compiled."""
    path = tmp_path_factory.mktemp("demo") / "digits.eexit"
    edgeexit.compile(find_demo_asset("lenet-digits.onnx"), path, seconds=0)
    return path


def run(*arguments: object) -> CompletedProcess[str]:
    return run_edgeexit("calibrate", *arguments)


def test_a_met_target_ends_with_0_and_prints_its_document(bundle: Path, tmp_path: Path) -> None:
    """--json is the document that lands in the bundle; --from-curve tunes from it without data."""
    own = shutil.copytree(bundle, tmp_path / "digits.eexit")

    done = run(own, "--data", "digits:calibration", "--target", "drop<=5", "--seconds", 0.5, "--json")
    again = run(own, "--from-curve", "--target", "agreement>=0.9")

    document = json.loads(done.stdout)
    assert "edgeexit.calibration/1" == document["schema"]
    assert done.returncode == (0 if document["met"] else 1)
    assert 0 == again.returncode
    assert "agreement>=0.9" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--data", "digits:calibration", "--target", "mean<=0.001x", "--seconds", 0.3], 1, "nearest that can be met"),
        (["--data", "digits:calibration", "--target", "mean<=5"], 2, "has no unit"),
        (["--data", "digits:calibration"], 2, "either --target"),
        (["--target", "drop<=1"], 2, "--from-curve"),
        (["--data", "digits:calibration", "--recipe", "camera-30fp"], 2, "Did you mean 'camera-30fps'"),
        (["--from-curve", "--target", "drop<=1"], 2, "Run edgeexit calibrate with --data first"),
        (["--from-curve", "--target", "drop<=1", "--confidence", 0.95], 2, "combined with --confidence"),
        (
            ["--from-curve", "--target", "drop<=1", "--method", "exact", "--seed", 0],
            2,
            "combined with --method, --seed;",
        ),
        (["--from-curve", "--target", "drop<=1", "--seconds", 3], 2, "combined with --seconds;"),
        (["--data", "nowhere.npz", "--target", "drop<=1"], 2, "nowhere.npz"),
    ],
)
def test_what_cannot_be_done_is_one_message_and_its_exit_code(
    bundle: Path, tmp_path: Path, arguments: list[object], code: int, told: str
) -> None:
    """No traceback, nothing active."""
    own = Path(shutil.copytree(bundle, tmp_path / "digits.eexit"))

    done = run(own, *arguments)

    assert code == done.returncode
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not edgeexit.Bundle.open(own).manifest.calibrations


def test_a_refusal_in_json_names_the_nearest_target(bundle: Path) -> None:
    """A program that reads stdout gets an object, and the exit code stays 1."""
    done = run(bundle, "--data", "digits:calibration", "--target", "mean<=0.001x", "--seconds", 0.3, "--json")
    document = json.loads(done.stdout)

    assert 1 == done.returncode
    assert ("edgeexit.target-not-met/1", "mean<=0.001x", False) == tuple(
        document[k] for k in ("schema", "target", "met")
    )
    assert document["nearest"] in document["reason"]
    assert document["reason"] in done.stderr
