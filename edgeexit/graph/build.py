"""Append nodes to a graph: fresh names, and the two spellings that operators had before and after their axes became inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_AXES_AS_INPUT_SINCE = {"ReduceSum": 13, "ReduceMax": 18}
_GREATER_OR_EQUAL_SINCE = 12


class NodeBuilder:
    """Appends nodes and small constants to `graph`, every new name below `prefix`."""

    def __init__(self, graph: onnx.GraphProto, opset: int, prefix: str) -> None:
        self.graph = graph
        self.opset = opset
        self._prefix = prefix
        self._count = 0

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{self._prefix}/{kind}_{self._count}"

    def constant(self, value: NDArray[np.generic] | np.generic) -> str:
        """A small constant; its name."""
        name = self._fresh("constant")
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def nodes(self, op: str, inputs: list[str], outputs: int, **attributes: Any) -> list[str]:
        """One node with several outputs; their names."""
        names = [self._fresh(op) for _ in range(outputs)]
        self.graph.node.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """One node; the name of its output."""
        return self.nodes(op, inputs, 1, **attributes)[0]

    def reduce(self, op: str, tensor: str, axis: int = -1) -> str:
        """`ReduceSum` or `ReduceMax` over one axis, which is dropped."""
        if self.opset >= _AXES_AS_INPUT_SINCE[op]:
            return self.node(op, [tensor, self.constant(np.array([axis], np.int64))], keepdims=0)
        return self.node(op, [tensor], axes=[axis], keepdims=0)

    def reshape(self, tensor: str, *shape: int) -> str:
        """The tensor in another shape; no dimensions make a scalar."""
        return self.node("Reshape", [tensor, self.constant(np.array(shape, np.int64))])

    def at_least(self, left: str, right: str) -> str:
        """`left >= right`; false when either is NaN."""
        if self.opset >= _GREATER_OR_EQUAL_SINCE:
            return self.node("GreaterOrEqual", [left, right])
        return self.node("Or", [self.node("Greater", [left, right]), self.node("Equal", [left, right])])

    def cast(self, tensor: str, dtype: int) -> str:
        """The tensor as another ONNX type."""
        return self.node("Cast", [tensor], to=dtype)
