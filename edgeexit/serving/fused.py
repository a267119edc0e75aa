"""The fused graph as a server takes it: thresholds that need not be given, and no tensor without dimensions.

    inputs    the model's own; threshold_1 … threshold_{N-1}: float32 [1], inner units, optional: an initializer holds the default
    outputs   logits float32 [1, classes], exit int64 [1] from 1, score float32 [1] in inner units

An input that an initializer of the same name gives a value to is ONNX's form of an optional one; it must not be folded into the graph,
and runtimes take another value for it with a call.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeexit.graph.build import NodeBuilder
from edgeexit.graph.dataflow import find_unused_prefix
from edgeexit.graph.fuse import make_threshold_name
from edgeexit.graph.model import read_opset

SCALARS = ("exit", "score")
"""Outputs of the fused graph that have no dimensions."""


def make_thresholds_optional(model: onnx.ModelProto, inner_thresholds: Sequence[float]) -> onnx.ModelProto:
    """A copy of a fused model whose thresholds have defaults, and whose scalars have one dimension.

    Args:
        model: what `edgeexit.graph.fuse` makes.
        inner_thresholds: the defaults, one per early exit, in inner units.
    """
    served = onnx.ModelProto()
    served.CopyFrom(model)
    defaults = {make_threshold_name(k): np.array([t], np.float32) for k, t in enumerate(inner_thresholds, 1)}
    for value in (*served.graph.input, *served.graph.output):
        if value.name in defaults or value.name in SCALARS:
            value.type.tensor_type.shape.CopyFrom(
                onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension(dim_value=1)])
            )
    served.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in defaults.items())
    _give_scalars_a_dimension(served)
    return served


def _give_scalars_a_dimension(model: onnx.ModelProto) -> None:
    prefix = find_unused_prefix(model.graph, "edgeexit/served")
    builder = NodeBuilder(model.graph, read_opset(model), prefix)
    for node in model.graph.node:
        node.output[:] = [f"{prefix}/{name}" if name in SCALARS else name for name in node.output]
    one = builder.constant(np.array([1], np.int64))
    model.graph.node.extend(helper.make_node("Reshape", [f"{prefix}/{name}", one], [name]) for name in SCALARS)
