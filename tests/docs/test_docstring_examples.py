"""Every public name shows an example, and every example prints what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeexit
from edgeexit.data import find_demo_asset, load_data

_WITHOUT_EXAMPLE = {"HardwareMissing", "InternalError", "MissingExtra"}
"""Errors that only a machine without a device, or a fault in edgeexit, can show."""

_NEEDS_TORCH = {"ExitPlace", "add_exits", "cascade", "export", "list_exit_places", "mark_exit"}

_EDGEEXIT = Path(edgeexit.__file__).parent
_ROOMS = ("runtime/remote", "scale", "serving")
"""Rooms whose public names are not in `edgeexit.__all__`; those of others have their examples run in their own folders of tests."""

SHORT = """
description = "For the examples: as short as can be."
processes = 1
seconds = 0.1
warmup_s = 0.0
samples = 64
trace = 128
cooldown_s = 0.0
paced_s = 0.0
cold = 0
energy_trials = 0
cache = false
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples find in their folder: the demo network, its bundle with one calibration, a short suite and a result."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copy(find_demo_asset("lenet-digits.onnx"), folder)
    (folder / "short.toml").write_text(SHORT)
    bundle = edgeexit.compile(folder / "lenet-digits.onnx", folder / "lenet.eexit", seconds=0)
    digits = load_data("digits:calibration")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", edgeexit.CalibrationWarning)
        runner = edgeexit.load(bundle.path)
    with runner:
        edgeexit.calibrate(runner, digits.inputs, digits.labels, target="accuracy>=0.9", seconds=0.2)
        edgeexit.bench(runner, digits.inputs, digits.labels, preset=str(folder / "short.toml")).save(
            folder / "result.json"
        )
    return folder


@pytest.fixture
def in_folder(folder: Path) -> Iterator[None]:
    """The examples' folder as the current one; its bundle is as before afterwards."""
    here = Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(here)


@pytest.mark.filterwarnings("ignore::edgeexit.CalibrationWarning")
@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize("name", sorted(set(edgeexit.__all__) - _WITHOUT_EXAMPLE))
def test_the_example_of_a_public_name_prints_what_it_says(name: str) -> None:
    """The docstring of each public function and class has an example, and it runs."""
    if name in _NEEDS_TORCH:
        pytest.importorskip("torch")
    thing = getattr(edgeexit, name)
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(thing) or "", {}, name, None, None)
    assert test.examples, f"{name} has no example"
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert not failed, "".join(report)


def list_modules_with_examples() -> list[str]:
    """Modules of `_ROOMS` in which a docstring shows something."""
    paths = (path for room in _ROOMS for path in (_EDGEEXIT / room).rglob("*.py"))
    shown = (path for path in paths if ">>> " in path.read_text(encoding="utf-8"))
    return sorted(".".join(path.relative_to(_EDGEEXIT.parent).with_suffix("").parts) for path in shown)


@pytest.mark.filterwarnings("ignore::edgeexit.CalibrationWarning")
@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize("module", list_modules_with_examples())
def test_the_examples_of_a_module_print_what_they_say(module: str) -> None:
    """What serves, asks other machines and reads large data, which is imported from its own room."""
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module)):
        runner.run(test, out=report.append)

    assert runner.tries
    assert not runner.failures, "".join(report)
