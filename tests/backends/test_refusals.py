"""What ONNX Runtime refuses becomes a message that a user can act on."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgeexit.backends import Settings
from edgeexit.backends.onnxruntime.errors import format_runtime_error
from edgeexit.backends.onnxruntime.sessions import open_session
from edgeexit.errors import ModelError


def relu(path: Path, *, opset: int = 17, ir: int = 10) -> Path:
    """A model of one node."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir), path)
    return path


def refusal(path: Path) -> str:
    """What a user is told."""
    with pytest.raises(ModelError) as caught:
        open_session(path, Settings(), batch_1=True, quiet=True)
    return str(caught.value)


def test_an_operator_set_beyond_the_runtime_is_reported_with_the_newest_that_it_takes(tmp_path: Path) -> None:
    """The onnx package may know newer ones than the runtime."""
    told = refusal(relu(tmp_path / "m.onnx", opset=99))

    assert re.search(r"of ai.onnx is (\d+), the model asks for 99. Export it for \1.$", told)


def test_the_lines_and_signatures_of_its_own_source_are_left_out(tmp_path: Path) -> None:
    """They mean nothing to a user, and would take the place of what does."""
    told = refusal(relu(tmp_path / "m.onnx", ir=40))

    assert "Unsupported model IR version: 40" in told
    assert "onnxruntime::" not in told
    assert "model.cc" not in told


@given(st.text())
def test_whatever_it_says_there_is_a_reason_on_one_line(text: str) -> None:
    """Never an empty one, and never a fault of the cleaning itself."""
    told = format_runtime_error(RuntimeError(text))

    assert told or not text.strip()
    assert "\n" not in told
