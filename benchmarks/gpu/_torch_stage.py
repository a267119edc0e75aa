"""A stage's ONNX graph run by torch, operator by operator: a stage body that needs no TensorRT.

Slow as a runtime, which does not matter here: what is measured is what lies between stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper

from edgeexit.errors import ModelError

Tensor: TypeAlias = torch.Tensor
Operator: TypeAlias = Callable[[list[Tensor], Mapping[str, Any]], Tensor]


def _pads(attributes: Mapping[str, Any]) -> list[int]:
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    half = len(pads) // 2
    if pads[:half] != pads[half:]:
        msg = f"padding {pads} differs between the two sides; the torch body does not know it."
        raise ModelError(msg)
    return pads[:half]


def _conv(x: list[Tensor], a: Mapping[str, Any]) -> Tensor:
    bias = x[2] if len(x) > 2 else None
    return F.conv2d(x[0], x[1], bias, a.get("strides", 1), _pads(a), a.get("dilations", 1), a.get("group", 1))


def _max_pool(x: list[Tensor], a: Mapping[str, Any]) -> Tensor:
    return F.max_pool2d(x[0], a["kernel_shape"], a.get("strides", 1), _pads(a))


def _gemm(x: list[Tensor], a: Mapping[str, Any]) -> Tensor:
    weight = x[1] if a.get("transB") else x[1].T
    return F.linear(x[0], weight, x[2] if len(x) > 2 else None)


def _reduce(how: Callable[..., Tensor]) -> Operator:
    def run(x: list[Tensor], a: Mapping[str, Any]) -> Tensor:
        axes = a.get("axes", [-1])  # the criteria reduce over the last axis
        return how(x[0], dim=axes[0], keepdim=bool(a.get("keepdims", 1)))

    return run


OPERATORS: dict[str, Operator] = {
    "Conv": _conv,
    "MaxPool": _max_pool,
    "Gemm": _gemm,
    "Relu": lambda x, _: F.relu(x[0]),
    "GlobalAveragePool": lambda x, _: x[0].mean(dim=(2, 3), keepdim=True),
    "Flatten": lambda x, _: x[0].flatten(1),
    "Add": lambda x, _: x[0] + x[1],
    "Mul": lambda x, _: x[0] * x[1],
    "Max": lambda x, _: torch.maximum(x[0], x[1]),
    "Exp": lambda x, _: x[0].exp(),
    "LogSoftmax": lambda x, a: F.log_softmax(x[0], dim=a.get("axis", -1)),
    "Concat": lambda x, a: torch.cat(x, dim=a["axis"]),
    "ReduceSum": _reduce(torch.sum),
    "Identity": lambda x, _: x[0],
}
"""Operators of the networks of this benchmark and of the entropy criterion."""


class TorchStage:
    """One stage with its weights on a device and its outputs in buffers that stay where they are.

    Args:
        file: the stage's ONNX file.
        buffers: tensors that other stages share, by name; the stage's inputs must be there, its outputs are added at batch 1.
        device: `cuda` or `cpu`.
    """

    def __init__(self, file: Path, buffers: dict[str, Tensor], device: str) -> None:
        model = onnx.load(str(file))
        missing = {n.op_type for n in model.graph.node} - OPERATORS.keys()
        if missing:
            msg = f"{file} has operators that the torch body does not know: {', '.join(sorted(missing))}."
            raise ModelError(msg)
        self._weights = {
            t.name: torch.from_numpy(np.array(numpy_helper.to_array(t))).to(device) for t in model.graph.initializer
        }
        self._steps = [
            (OPERATORS[n.op_type], list(n.input), n.output[0], _attributes(n, self._weights)) for n in model.graph.node
        ]
        self._outputs = [value.name for value in model.graph.output]
        self._buffers = buffers
        with torch.no_grad():
            for name, value in self._compute().items():
                buffers[name] = value.clone()

    def __call__(self) -> None:
        """Run once, on torch's current stream."""
        with torch.no_grad():
            for name, value in self._compute().items():
                self._buffers[name].copy_(value)

    def _compute(self) -> dict[str, Tensor]:
        values = {**self._weights, **self._buffers}
        for operator, inputs, output, attributes in self._steps:
            values[output] = operator([values[name] for name in inputs if name in values], attributes)
        return {name: values[name] for name in self._outputs}


def _attributes(node: onnx.NodeProto, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Attributes as Python values; axes that became an input with a newer operator set are attributes again."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type.startswith("Reduce") and len(node.input) > 1:
        found["axes"] = [int(v) for v in weights[node.input[1]].cpu().reshape(-1)]
    return found
