"""What the backend of ONNX Runtime takes from its Python package beyond what that promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edgeexit.backends import Settings
from edgeexit.backends.onnxruntime.sessions import make_bound_run, open_session
from edgeexit.errors import ModelError
from tests.networks import images


class Renamed:
    """A session or binding of a release that names its private parts otherwise; what is public is as before."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.wrapped, name)

    def run_with_iobinding(self, binding: Any, options: ort.RunOptions) -> None:
        self.wrapped.run_with_iobinding(getattr(binding, "wrapped", binding), options)


@pytest.mark.parametrize("names", [set(), {"session"}, {"session", "binding"}])
def test_a_release_that_renames_what_is_private_still_runs(model: Path, names: set[str]) -> None:
    """By the public method, a microsecond later; its refusals are told in the same words."""
    session = open_session(model, Settings(), batch_1=True)
    x = images(1)
    [name] = [i.name for i in session.get_inputs()]
    binding = session.io_binding()
    binding.bind_cpu_input(name, x)
    for output in session.get_outputs():
        binding.bind_output(output.name)

    run = make_bound_run(
        Renamed(session) if "session" in names else session, Renamed(binding) if "binding" in names else binding, x
    )
    run()

    for expected, found in zip(session.run(None, {name: x}), binding.copy_outputs_to_cpu(), strict=True):
        np.testing.assert_array_equal(expected, found)
    binding.clear_binding_inputs()
    with pytest.raises(ModelError, match="ONNX Runtime cannot run the model"):
        run()
