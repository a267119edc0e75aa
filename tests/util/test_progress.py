"""Progress of long work goes to a function; anything else is refused before the work begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeexit
from edgeexit.errors import InputError
from edgeexit.runtime import Runner


@pytest.mark.parametrize("progress", [None, True, "progress"])
def test_who_watches_is_a_function(model: Path, runner: Runner, tmp_path: Path, progress: Any) -> None:
    """Of compiling, of measuring, of calibrating and of running every exit; nothing is written."""
    x = np.zeros((2, *runner.bundle.manifest.inputs[0].shape_at_1[1:]), np.float32)
    told = r"progress must be a function of \(what, done, total\), not "

    with pytest.raises(InputError, match=told):
        edgeexit.compile(model, tmp_path / "b.eexit", progress=progress)
    with pytest.raises(InputError, match=told):
        edgeexit.bench(runner, x, progress=progress)
    with pytest.raises(InputError, match=told):
        edgeexit.calibrate(runner, x, target="drop<=5", progress=progress)
    with pytest.raises(InputError, match=told):
        runner.replay(x, progress)

    assert not (tmp_path / "b.eexit").exists()
