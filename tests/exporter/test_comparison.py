"""The file is compared with eager on random inputs, as finely as the module computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from edgeexit.errors import ModelError
from edgeexit.exporter import export
from tests.exporter.networks import Net


def test_a_module_in_half_precision_may_differ_by_its_rounding(tmp_path: Path) -> None:
    """Ten roundings of float16 are 1e-2 of the largest logit."""
    torch.manual_seed(0)

    exported = export(Net(lambda z, h: z).half(), torch.zeros(1, 6).half(), tmp_path / "m.onnx")

    assert exported.largest_difference < 1e-2


def masked(z: list[Tensor], h: list[Tensor]) -> list[Tensor]:
    """The first class can never be the answer."""
    return [t.masked_fill(torch.tensor([True, False, False, False]), float("-inf")) for t in z]


def test_classes_that_are_masked_out_agree_by_being_masked(tmp_path: Path) -> None:
    """A logit of -inf has no difference; the others are compared."""
    exported = export(Net(masked), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert exported.largest_difference < 1e-4


def test_logits_that_are_all_infinite_compare_nothing(tmp_path: Path) -> None:
    """Then nobody could say that the file is the network."""
    with pytest.raises(ModelError, match="no finite number on random inputs"):
        export(Net(lambda z, h: [t / 0 for t in z]), torch.zeros(1, 6), tmp_path / "m.onnx")
