"""Small multi-exit networks as ONNX files, built node by node, for tests that need no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES = 4
SIDE = 8


class Sketch:
    """A graph in the making; every method appends nodes and returns the name of the last one's output."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(seed)

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        values = (self._rng.standard_normal(shape) / math.sqrt(max(1, math.prod(shape[1:])))).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))  # type: ignore[arg-type]
        return name

    def conv(self, x: str, into: int, out: int) -> str:
        return self.op("Relu", self.op("Conv", x, self.weight(out, into, 3, 3), pads=[1, 1, 1, 1]))

    def head(self, x: str, channels: int, name: str, classes: int = CLASSES) -> str:
        flat = self.op("Flatten", self.op("GlobalAveragePool", x))
        self.nodes.append(helper.make_node("Gemm", [flat, self.weight(channels, classes)], [name], name=name))
        return name

    def save(self, path: Path, outputs: Sequence[str], *, batch: str | int = "batch", opset: int = 17) -> Path:
        values = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])
        graph = helper.make_graph(self.nodes, "net", [x], values, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.save(model, path)
        return path


def chain(path: Path, *, exits: int = 2, width: int = 16, batch: str | int = "batch", opset: int = 17) -> Path:
    """A chain of convolutions with a head after each; outputs z1 … zN; weights large enough to lie in the weight file."""
    sketch = Sketch()
    x, channels = "x", 3
    names = []
    for k in range(1, exits + 1):
        x, channels = sketch.conv(x, channels, width), width
        names.append(sketch.head(x, channels, f"z{k}"))
    return sketch.save(path, names, batch=batch, opset=opset)


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Inputs [count, 3, 8, 8]."""
    return np.random.default_rng(seed).standard_normal((count, 3, SIDE, SIDE)).astype(np.float32)
