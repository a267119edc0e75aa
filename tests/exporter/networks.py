"""A small network whose forward returns its exits in any form, and what its file says and computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

Shape = Callable[[list[Tensor], list[Tensor]], Any]


class Net(nn.Module):
    """Three exits on 6 features, 4 classes; `shape` says in which form forward returns their logits and scores."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(6, 4) for _ in range(3))
        self.scores = nn.ModuleList(nn.Linear(6, 1) for _ in range(3))
        self.shape = shape

    def computed(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Logits and scores of all three."""
        logits, scores = [], []
        for trunk, head, score in zip(self.trunk, self.heads, self.scores, strict=True):
            x = torch.relu(trunk(x))
            logits.append(head(x))
            scores.append(torch.sigmoid(score(x)))
        return logits, scores

    def forward(self, x: Tensor) -> Any:
        return self.shape(*self.computed(x))


def table(path: Path) -> list[dict[str, str | None]]:
    """What the metadata says of the exits."""
    properties = {p.key: p.value for p in onnx.load(path).metadata_props}
    exits: list[dict[str, str | None]] = json.loads(properties["edgeexit.exits"])
    return exits


def run(path: Path, *arrays: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True))))
