"""The front of the house: names, import cost, and what a bare environment can import."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgeexit

HEAVY = {"torch", "onnx", "onnxruntime", "openvino", "MNN", "tensorrt", "matplotlib", "typer", "rich", "sklearn"}


def test_all_lists_every_public_name_once_and_in_order() -> None:
    """What `dir` shows is what `__all__` promises, and every promise is kept."""
    assert edgeexit.__all__ == sorted(set(edgeexit.__all__))
    assert [n for n in dir(edgeexit) if not n.startswith("_")] == edgeexit.__all__
    for name in edgeexit.__all__:
        assert getattr(edgeexit, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    assert not hasattr(edgeexit, "quantize")


def test_no_module_has_the_name_of_a_public_function() -> None:
    """`edgeexit.compile` is a function whatever was imported before."""
    modules = {module.name for module in pkgutil.iter_modules(edgeexit.__path__)}

    assert modules & {n for n in edgeexit.__all__ if n.islower()} == set()


def test_importing_edgeexit_loads_nothing_heavy() -> None:
    """A board pays for what it uses; each runtime is imported where it is first needed."""
    code = f"import sys, edgeexit; print(sorted({HEAVY!r} & set(sys.modules)))"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.slow
def test_running_a_bundle_does_not_load_torch() -> None:
    """Everything but training and export works without it."""
    modules = "edgeexit.compiler.compilation, edgeexit.calibration, edgeexit.measure, edgeexit.runtime, edgeexit.demo, edgeexit.report"
    code = f"import sys, {modules}; print('torch' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    """By its own path, or as a member of a module that is there as a whole."""
    page = (Path(__file__).parent.parent / "docs/api.md").read_text()
    listed = {line.removeprefix("::: ") for line in page.splitlines() if line.startswith("::: ")}

    homes = {name: edgeexit._HOMES[name] for name in edgeexit.__all__}
    assert [] == [
        name
        for name, home in homes.items()
        if home not in listed and not any(one.rpartition(".")[2] in (name, f"{name}_model") for one in listed)
    ]
