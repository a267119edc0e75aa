"""One ONNX graph of nested If, batch 1, that runs each stage only when the exits before it were not sure.

    inputs    the model's own, and threshold_1 … threshold_{N-1}: float32 scalars in inner units
    outputs   logits float32 [1, classes], exit int64 scalar from 1, score float32 scalar in inner units

Every weight lies inside the branch that reads it. Left in the outermost graph, as exporters do, it is no constant to the branch, and
ONNX Runtime then keeps plain convolutions instead of its blocked-layout ones: 26-30 % slower on the later exits.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeexit.graph.build import NodeBuilder
from edgeexit.graph.flow import node_reads, renamed
from edgeexit.graph.network import Network, TensorSpec
from edgeexit.graph.split import Stage, shell

RESULTS = ("logits", "exit", "score")
_TYPES = {"logits": TensorProto.FLOAT, "exit": TensorProto.INT64, "score": TensorProto.FLOAT}


def threshold_name(exit: int) -> str:
    """Name of the input that holds the threshold of an exit, counted from 1."""
    return f"threshold_{exit}"


def fuse(net: Network, stages: tuple[Stage, ...], specs: Mapping[str, TensorSpec]) -> onnx.ModelProto:
    """The fused model of a split network.

    Args:
        net: the scored model.
        stages: its stages.
        specs: dtype and shape of every stage output.
    """
    outer_names: frozenset[str] = frozenset()
    graphs = []
    for stage in stages:
        graph = _body(net, stage, outer_names)
        outer_names |= _names_of(graph)
        graphs.append(graph)
    classes = specs[stages[0].logits].shape[1]
    assert isinstance(classes, int)
    whole = _nested(graphs, stages, net.opset, classes, 0)
    whole.name = "fused"
    whole.input.extend(s.proto(batch=1) for s in net.inputs)
    whole.input.extend(
        helper.make_tensor_value_info(threshold_name(s.exit), TensorProto.FLOAT, []) for s in stages[:-1]
    )
    return shell(net, whole)


def _body(net: Network, stage: Stage, outer: frozenset[str]) -> onnx.GraphProto:
    """A stage's nodes and weights; names that an outer stage also uses are renamed, because ONNX forbids one name in two scopes."""
    nodes = [net.proto.graph.node[i] for i in stage.nodes]
    own_weights = {name for node in nodes for name in node_reads(node)}
    weights = [t for t in net.proto.graph.initializer if t.name in own_weights]
    mine = {t.name for t in weights} | {name for node in nodes for name in node.output}
    clash = mine & outer

    def new_name(name: str) -> str:
        return f"{name}/stage{stage.exit}" if name in clash else name

    graph = onnx.GraphProto(name=f"stage {stage.exit}")
    graph.node.extend(renamed(node, new_name) if clash else node for node in nodes)
    for tensor in weights:
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = new_name(tensor.name)
    return graph


def _names_of(graph: onnx.GraphProto) -> frozenset[str]:
    return frozenset(t.name for t in graph.initializer) | {name for node in graph.node for name in node.output}


def _nested(
    graphs: list[onnx.GraphProto], stages: tuple[Stage, ...], opset: int, classes: int, k: int
) -> onnx.GraphProto:
    """Stage k and, in the else branch of its decision, all later stages. Outputs carry the suffix of their nesting."""
    graph, stage = graphs[k], stages[k]
    builder = NodeBuilder(graph, opset, f"edgeexit/decide{stage.exit}")
    score = builder.reshape(stage.score)
    here = {"logits": stage.logits, "score": score, "exit": None}
    if k + 1 == len(graphs):
        _finish(graph, here, stage.exit, suffix=f"/{k}", classes=classes)
        return graph
    leaves = onnx.GraphProto(name=f"leave at exit {stage.exit}")
    _finish(leaves, here, stage.exit, suffix=f"/leave{k}", classes=classes)
    goes_on = _nested(graphs, stages, opset, classes, k + 1)
    names = [name if k == 0 else f"{name}/{k}" for name in RESULTS]
    condition = builder.at_least(score, threshold_name(stage.exit))
    graph.node.append(
        helper.make_node("If", [condition], names, name=f"decide {stage.exit}", then_branch=leaves, else_branch=goes_on)
    )
    _declare(graph, names, classes)
    return graph


def _finish(graph: onnx.GraphProto, results: Mapping[str, str | None], exit: int, *, suffix: str, classes: int) -> None:
    """Make a branch end with its three results; a branch may not return a captured tensor as it is, hence Identity."""
    names = [name + suffix for name in RESULTS]
    for kind, name in zip(RESULTS, names, strict=True):
        source = results[kind]
        if source is None:
            graph.initializer.append(numpy_helper.from_array(np.int64(exit).reshape(()), name))
        else:
            graph.node.append(helper.make_node("Identity", [source], [name], name=name))
    _declare(graph, names, classes)


def _declare(graph: onnx.GraphProto, names: list[str], classes: int) -> None:
    shapes = {"logits": [1, classes], "exit": [], "score": []}
    for kind, name in zip(RESULTS, names, strict=True):
        graph.output.append(helper.make_tensor_value_info(name, _TYPES[kind], shapes[kind]))
