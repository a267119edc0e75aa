"""Cut a network that a runtime has optimised in one piece.

What `split` cuts is the network as it was written. A runtime then optimises each stage alone, and what it would have fused over a cut, or
kept in a layout of its own across it, is lost: 5 % of an AlexNet's last exit, 2 to 3 % of a DenseNet's. Cut after it was optimised, the
stages hold the very nodes of the whole network, and give its answers to the last bit. Such a model is of one machine: it is made when a
bundle is opened, and never written into one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper

from edgeexit.errors import ModelError
from edgeexit.graph.dataflow import Flow, find_crossing_tensors
from edgeexit.graph.split import make_model_around


@dataclass(frozen=True)
class ExtractedStage:
    """One stage of an optimised model.

    Attributes:
        model: its nodes and weights, its outputs and the boundary tensors it reads by name alone; see `declare_boundary_tensors`.
        reads: boundary tensors that earlier pieces make.
        makes: boundary tensors that it makes; its exit's own outputs among them where later pieces read those.
    """

    model: onnx.ModelProto
    reads: tuple[str, ...]
    makes: tuple[str, ...]


def extract_stages(model: onnx.ModelProto, exits: Sequence[tuple[str, str]]) -> tuple[ExtractedStage, ...]:
    """The pieces of an optimised model, one per exit, each with what no earlier exit needed.

    Args:
        model: in topological order; every exit's logits and score are outputs.
        exits: names of logits and score, in order.

    Raises:
        ModelError: an exit's logits or score are not made by its own piece, since the runtime found them elsewhere.
    """
    graph = model.graph
    flow = Flow.from_graph(graph, [value.name for value in graph.input])
    held = [sorted(part) for part in flow.partition(exits)]
    reads = [frozenset().union(*(flow.reads[i] for i in nodes)) for nodes in held]
    makes = [{name for i in nodes for name in graph.node[i].output if name} for nodes in held]
    crossing = find_crossing_tensors(reads, makes)
    pieces = []
    for k, ends in enumerate(exits):
        if not makes[k].issuperset(ends):
            msg = f"the optimiser merged exit {k + 1} with another or made it constant"
            raise ModelError(msg)
        boundaries = crossing[k]
        part = onnx.GraphProto(name=f"stage {k + 1}")
        part.node.extend(graph.node[i] for i in held[k])
        part.initializer.extend(t for t in graph.initializer if t.name in reads[k])
        part.input.extend(value for value in graph.input if value.name in reads[k])
        part.input.extend(onnx.ValueInfoProto(name=name) for name in boundaries.read)
        part.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys((*ends, *boundaries.made)))
        pieces.append(ExtractedStage(make_model_around(part, model), boundaries.read, boundaries.made))
    return tuple(pieces)


def declare_boundary_tensors(model: onnx.ModelProto, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write the types and shapes of inputs that a run of the pieces before has shown: with them the runtime can plan its memory."""
    for value in model.graph.input:
        if value.name in tensors:
            tensor = tensors[value.name]
            kind = helper.np_dtype_to_tensor_dtype(tensor.dtype)
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, tensor.shape))
