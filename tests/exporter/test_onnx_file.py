"""The file names its exits, holds nothing else, and is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from edgeexit.errors import InputError, ModelError
from edgeexit.exporter import Exported, export
from tests.exporter.networks import Net, Shape


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        (lambda z, h: {"x": z[0], "y": z[1]}, "x"),
        (lambda z, h: {"a": (z[0], h[0]), "a_score": z[1]}, "a_score"),
    ],
)
def test_names_that_would_be_two_tensors_are_refused(tmp_path: Path, shape: Shape, name: str) -> None:
    """An exit's and an input's, an exit's and another's score's: a graph knows tensors by name."""
    with pytest.raises(ModelError, match=f"^'{name}' would name two tensors .* Give other names"):
        export(Net(shape), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert [] == list(tmp_path.iterdir())


def test_exits_may_be_called_as_the_tensors_inside(tmp_path: Path) -> None:
    """The exporter names those; a weight of the module is one of them."""
    inside = onnx.load(export(Net(lambda z, h: list(z)), torch.zeros(1, 6), tmp_path / "m.onnx").path).graph
    names = [inside.initializer[0].name, inside.node[0].output[0], "last"]

    exported = export(Net(lambda z, h: list(z)), torch.zeros(1, 6), tmp_path / "named.onnx", names=names)

    assert tuple(names) == exported.exits


def test_a_failed_export_leaves_the_old_file(tmp_path: Path) -> None:
    """Whole or not at all."""
    export(Net(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()

    with pytest.raises(ModelError):
        export(Net(lambda z, h: []), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert before == (tmp_path / "m.onnx").read_bytes()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """No traceback for a typo in a path."""
    with pytest.raises(InputError, match="cannot write"):
        export(Net(lambda z, h: z), torch.zeros(1, 6), tmp_path / "none" / "m.onnx")


def test_the_file_does_not_tell_where_it_was_made(tmp_path: Path) -> None:
    """No path of this machine, no stack trace of the module."""
    export(Net(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert str(Path(__file__).parent).encode() not in (tmp_path / "m.onnx").read_bytes()


def test_two_exports_of_one_module_are_the_same_file(tmp_path: Path) -> None:
    """So that hashes of bundles can be compared."""
    module = Net(lambda z, h: z)

    first: Exported = export(module, torch.zeros(1, 6), tmp_path / "a.onnx")
    second: Exported = export(module, torch.zeros(1, 6), tmp_path / "b.onnx")

    assert first.path.read_bytes() == second.path.read_bytes()


@pytest.mark.parametrize(
    ("shape", "which"),
    [
        (lambda z, h: [t.bfloat16() for t in z[:2]], r"exit1 \(torch.bfloat16\), exit2 \(torch.bfloat16\)"),
        (lambda z, h: [(z[0], h[0].bfloat16()), z[1]], r"exit1_score \(torch.bfloat16\)"),
    ],
)
def test_outputs_that_numpy_has_no_numbers_for_are_refused(tmp_path: Path, shape: Shape, which: str) -> None:
    """The message has the remedy."""
    with pytest.raises(ModelError, match=rf"the type of {which}: .* `logits\.float\(\)`"):
        export(Net(shape), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert [] == list(tmp_path.iterdir())
