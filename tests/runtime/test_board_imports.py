"""What a board that only runs bundles imports: the rooms it needs, and nothing that compiles, trains, draws or talks to a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeexit.choices import MODES

PROGRAM = """
import json, sys, warnings
import edgeexit
warnings.simplefilter("ignore")  # it is not calibrated
with edgeexit.load(sys.argv[1], mode=sys.argv[2]) as runner:
    spec = runner.bundle.manifest.inputs[0]
    import numpy as np
    runner(np.zeros([n if isinstance(n, int) else 1 for n in spec.shape], spec.dtype))
print(json.dumps(sorted(sys.modules)))
"""

ROOMS = {
    "backends",
    "bundle",
    "choices",
    "stage_choices",
    "criteria",
    "data",
    "errors",
    "fallbacks",
    "graph",
    "hardware",
    "leaving",
    "runtime",
    "util",
}
"""Rooms of edgeexit that running a bundle may import."""

BACKENDS = {"base", "example_inputs", "host", "onnxruntime", "self_check", "stopping"}
"""Of the backends, those that ONNX Runtime needs."""

FOREIGN = {
    "torch",
    "typer",
    "click",
    "rich",
    "matplotlib",
    "pandas",
    "openvino",
    "MNN",
    "tensorrt",
    "pycuda",
    "cuda",
    "PIL",
}
"""Packages that a board need not have, or need not load."""


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_board_that_runs_a_bundle_imports_nothing_of_the_compiler(compiled: Path, mode: str) -> None:
    """`import edgeexit`, `load` and one inference import the rooms listed above and none of the packages."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, compiled, mode], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    modules = [name.split(".") for name in json.loads(done.stdout)]

    assert set() == {parts[1] for parts in modules if parts[0] == "edgeexit" and parts[1:]} - ROOMS
    assert set() == {parts[2] for parts in modules if parts[:2] == ["edgeexit", "backends"] and parts[2:]} - BACKENDS
    assert set() == {parts[0] for parts in modules} & FOREIGN


def test_importing_edgeexit_imports_no_room_and_no_package() -> None:
    """Names are loaded when first used, so that the import costs a board nothing; old names are registered without a room."""
    program = "import sys, edgeexit; print([m for m in sys.modules if m.startswith(('edgeexit.', 'numpy', 'onnx'))])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert str(["edgeexit.util", "edgeexit.util.deprecation"]) == done.stdout.strip()
