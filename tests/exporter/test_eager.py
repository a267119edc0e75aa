"""Forward is run as a user would run it for inference, and leaves the module as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.exporter import cascade, export
from tests.exporter.networks import Net


class Asserts(Net):
    def forward(self, x: Tensor) -> Any:
        assert x.ndim == 4, "images only"
        return super().forward(x)


def test_whatever_forward_raises_is_one_message_with_its_line(tmp_path: Path) -> None:
    """Any exception of a user's code, not only torch's."""
    with pytest.raises(ModelError, match=r"(?s)AssertionError: images only.*test_eager\.py, line \d+\)"):
        export(Asserts(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")


def test_dropout_and_batch_norm_are_exported_for_inference_and_left_as_they_were(tmp_path: Path) -> None:
    """The module goes on training where it was."""
    early, late = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.9), nn.Linear(6, 4)), nn.Linear(6, 4)
    module = cascade([early, late]).train()
    module.classifiers[1].eval()

    export(module, torch.zeros(2, 6), tmp_path / "m.onnx")

    assert [True, False] == [c.training for c in module.classifiers]
    assert {"Dropout", "BatchNormalization"} & {n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node} <= {
        "BatchNormalization"
    }
