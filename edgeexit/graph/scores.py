"""Append the criterion to the whole model, before it is split: reachability then puts each exit's nodes into its stage."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx
from onnx import TensorProto, helper

from edgeexit.criteria import CRITERIA, Criterion
from edgeexit.errors import ModelError
from edgeexit.graph.build import NodeBuilder
from edgeexit.graph.exits import Exit
from edgeexit.graph.network import Network


@dataclass(frozen=True)
class ScoredExit:
    """An exit as the engines give it: float32 `logits` [batch, classes] and float32 inner `score` [batch], by tensor name."""

    name: str
    logits: str
    score: str


def add_scores(net: Network, exits: tuple[Exit, ...], criterion: Criterion) -> tuple[Network, tuple[ScoredExit, ...]]:
    """A copy of the model whose only outputs are each exit's logits and inner score, both float32.

    Raises:
        ModelError: the criterion is `learned` and an early exit has no score output.
    """
    _check_own_scores(exits, criterion)
    proto = onnx.ModelProto()
    proto.CopyFrom(net.proto)
    del proto.graph.output[:]
    scored = tuple(_add_one(proto.graph, net.opset, number, exit, criterion) for number, exit in enumerate(exits, 1))
    for exit, names in zip(exits, scored, strict=True):
        shape = [exit.classes]
        batch = "batch" if net.dynamic_batch else 1
        proto.graph.output.append(helper.make_tensor_value_info(names.logits, TensorProto.FLOAT, [batch, *shape]))
        proto.graph.output.append(helper.make_tensor_value_info(names.score, TensorProto.FLOAT, [batch]))
    return replace(net, proto=proto), scored


def _add_one(graph: onnx.GraphProto, opset: int, number: int, exit: Exit, criterion: Criterion) -> ScoredExit:
    builder = NodeBuilder(graph, opset, f"edgeexit/exit{number}")
    logits = exit.logits if exit.dtype == "float32" else builder.cast(exit.logits, TensorProto.FLOAT)
    if criterion.nodes is not None:
        return ScoredExit(exit.name, logits, criterion.nodes(builder, logits, exit.classes))
    if exit.score is None:
        return ScoredExit(exit.name, logits, _sureness_of_last(builder, logits, exit))
    return ScoredExit(exit.name, logits, builder.reshape(builder.cast(exit.score, TensorProto.FLOAT), -1))


def _sureness_of_last(builder: NodeBuilder, logits: str, exit: Exit) -> str:
    # The last exit decides nothing, so networks that learn when to stop give it no score; people still see one.
    nodes = CRITERIA["max_softmax"].nodes
    assert nodes is not None
    return nodes(builder, logits, exit.classes)


def _check_own_scores(exits: tuple[Exit, ...], criterion: Criterion) -> None:
    missing = [f"{i} ({e.logits!r})" for i, e in enumerate(exits[:-1], 1) if e.score is None]
    if criterion.nodes is None and missing:
        msg = (
            f"criterion {criterion.name!r} needs a score output at every early exit; missing at {', '.join(missing)}:"
            " name them with --scores."
        )
        raise ModelError(msg)
