"""An exported graph is simplified by the rules that keep every value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor

from edgeexit.exporter import export, simplification
from tests.exporter.networks import Net


def clip_twice(z: list[Tensor], h: list[Tensor]) -> list[Tensor]:
    """Becomes Max(Min(...)), then Clip, of which two in a row are one."""
    low, high = torch.tensor(-5.0), torch.tensor(5.0)
    return [torch.clamp(torch.maximum(torch.minimum(t, high), low), -4.0, 4.0) for t in z]


def reshape_twice(z: list[Tensor], h: list[Tensor]) -> list[Tensor]:
    """Of a flattened tensor, then back."""
    return [t.reshape(-1, 2, 2).transpose(1, 2).transpose(1, 2).flatten(1).reshape(t.shape) for t in z]


def slice_and_join(z: list[Tensor], h: list[Tensor]) -> list[Tensor]:
    """In halves, which become one Split, one of them made as wide as it is, the other with a dimension that comes and goes."""
    return [torch.cat([t[:, :2].expand(-1, 2), t[:, 2:].unsqueeze(-1).squeeze(-1).reshape(-1, 2)], 1) for t in z]


@pytest.mark.parametrize("answer", [clip_twice, reshape_twice, slice_and_join])
def test_rules_that_are_not_tried_would_change_nothing(
    answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is the one that all of them give: here each is said to need an operator that the graph has."""
    torch.manual_seed(0)
    module = Net(answer)
    chosen, tried = tmp_path / "chosen.onnx", tmp_path / "tried.onnx"
    export(module, torch.zeros(1, 6), chosen)
    monkeypatch.setattr(simplification, "RULES", dict.fromkeys(simplification.RULES, "Gemm"))
    export(module, torch.zeros(1, 6), tried)

    assert onnx.load(chosen).graph == onnx.load(tried).graph
