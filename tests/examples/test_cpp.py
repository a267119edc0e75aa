"""The C++ example, built with the system's compiler, answers as the Runner does."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, Answered


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built program."""
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here")
    if importlib.util.find_spec("nlohmann_json") is None:
        pytest.skip("nlohmann-json is not installed")
    build = tmp_path_factory.mktemp("cpp")
    options = [f"-DPYTHON={sys.executable}", "-DCMAKE_CXX_FLAGS_RELEASE=-O0"]  # optimised, it compiles twice as long
    for words in (["-S", str(EXAMPLES / "cpp"), "-B", str(build), *options], ["--build", str(build)]):
        done = subprocess.run(["cmake", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stderr
    return build / "classify"


def classify(program: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mode", [[], ["--fused"]])
def test_the_c_plus_plus_program_answers_as_the_runner_does(program: Path, answered: Answered, mode: list[str]) -> None:
    """Every digit of the test part, stage by stage and fused, with the thresholds of the bundle's calibration."""
    done = classify(program, answered.bundle, answered.samples, *mode)

    assert done.returncode == 0, done.stderr
    answered.compare([[float(word) for word in line.split()] for line in done.stdout.splitlines()])


def test_the_c_plus_plus_program_takes_the_calibration_that_is_named(program: Path, answered: Answered) -> None:
    """One that does not exist is refused, with those that do."""
    (key,) = json.loads((answered.bundle / "manifest.json").read_text())["calibrations"]

    named = classify(program, answered.bundle, answered.samples, "--calibration", key)
    other = classify(program, answered.bundle, answered.samples, "--calibration", "elsewhere")

    assert (0, 2) == (named.returncode, other.returncode)
    assert key in other.stderr


def test_the_c_plus_plus_program_needs_a_calibration(program: Path, answered: Answered, compiled: Path) -> None:
    """Thresholds are not guessed: without a calibration the message says how to make one."""
    done = classify(program, compiled, answered.samples)

    assert done.returncode == 2
    assert "edgeexit calibrate" in done.stderr


def test_infinite_thresholds_are_understood(program: Path, answered: Answered, tmp_path: Path) -> None:
    """Never and always, which JSON writes as text."""
    bundle = Path(shutil.copytree(answered.bundle, tmp_path / "copy.eexit"))
    (calibration,) = bundle.glob("calibrations/*/*.json")
    document = json.loads(calibration.read_text())

    for text, exit in (("inf", "2"), ("-inf", "1")):
        calibration.write_text(json.dumps({**document, "inner_thresholds": [text]}))
        lines = classify(program, bundle, answered.samples).stdout.splitlines()
        assert {exit} == {line.split()[1] for line in lines}
