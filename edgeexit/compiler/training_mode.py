"""Networks that were exported in training mode: a sample has other answers on every run, or in every batch.

Their outputs cannot be compared between modes or backends.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import numpy_helper

from edgeexit.errors import ModelError
from edgeexit.graph.dataflow import is_random
from edgeexit.graph.exits import Exit
from edgeexit.graph.model import Network


def refuse_training_mode(net: Network, exits: Sequence[Exit]) -> None:
    """Raise ModelError where an exit needs a node that draws random numbers or normalises by the batch that it is given."""
    constants = _collect_constants(net.proto.graph)
    needed = net.flow().ancestors(name for e in exits for name in (e.logits, e.score) if name)
    nodes = [net.proto.graph.node[i] for i in sorted(needed)]
    drawing = [node for node in nodes if is_random(node) or _is_active_dropout(node, constants)]
    if drawing:
        msg = (
            f"the network draws random numbers, so its outputs differ between runs: {_format_nodes(drawing)}. "
            "Export it in evaluation"
            " mode (module.eval(), no dropout in forward), with the noise left out or given as an input."
        )
        raise ModelError(msg)
    learning = [node for node in nodes if _uses_batch_statistics(node)]
    if learning:
        msg = (
            "the network normalises by the statistics of the batch, so that a sample's answer depends on the other samples: "
            f"{_format_nodes(learning)}."
            " Export it in evaluation mode (module.eval()), where it normalises by its learned statistics."
        )
        raise ModelError(msg)


def _format_nodes(nodes: Sequence[onnx.NodeProto]) -> str:
    return ", ".join(f"{(node.name or node.output[0])!r} ({node.op_type})" for node in nodes[:5])


def _uses_batch_statistics(node: onnx.NodeProto) -> bool:
    """Batch normalisation in training mode, as operator sets from 14 on write it."""
    return node.op_type == "BatchNormalization" and any(a.name == "training_mode" and a.i for a in node.attribute)


def _is_active_dropout(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Dropout in training mode, its third input; the ratio, its second, is 0.5 where it is left out."""
    if node.op_type != "Dropout" or len(node.input) < 3 or node.input[2] not in constants:
        return False
    ratio = constants.get(node.input[1])
    return bool(numpy_helper.to_array(constants[node.input[2]]).any()) and (
        ratio is None or bool(numpy_helper.to_array(ratio).any())
    )


def _collect_constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    nodes = (node for node in graph.node if node.op_type == "Constant")
    written = {node.output[0]: a.t for node in nodes for a in node.attribute if a.name == "value"}
    return written | {tensor.name: tensor for tensor in graph.initializer}
