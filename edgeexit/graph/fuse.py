"""One ONNX graph of nested If, batch 1, that runs each stage only when the exits before it were not confident enough.

    inputs    the model's own, and threshold_1 … threshold_{N-1}: float32 scalars in inner units
    outputs   logits float32 [1, classes], exit int64 scalar from 1, score float32 scalar in inner units

Every weight lies inside the branch that reads it. Left in the outermost graph, as exporters do, it is no constant to the branch, and
ONNX Runtime then keeps plain convolutions instead of its blocked-layout ones: 26-30 % slower on the later exits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from edgeexit.errors import ModelError
from edgeexit.graph.build import NodeBuilder
from edgeexit.graph.dataflow import find_unused_prefix, list_node_reads, rename_tensors
from edgeexit.graph.layout import insert_layout_pools
from edgeexit.graph.model import Network, TensorSpec
from edgeexit.graph.split import make_model_around
from edgeexit.graph.stage import Stage

RESULTS = ("logits", "exit", "score")
_MOST_EXITS = 32
_TYPES = {"logits": TensorProto.FLOAT, "exit": TensorProto.INT64, "score": TensorProto.FLOAT}


def make_threshold_name(exit: int) -> str:
    """Name of the input that holds the threshold of an exit, counted from 1."""
    return f"threshold_{exit}"


@dataclass(frozen=True)
class _Names:
    """Names in the fused graph: tensors of the model that are called as its results are give way."""

    given_way: Mapping[str, str]
    prefix: str

    @classmethod
    def from_stages(cls, net: Network, stages: tuple[Stage, ...]) -> _Names:
        thresholds = {make_threshold_name(s.exit) for s in stages[:-1]}
        clash = [s.name for s in net.inputs if s.name in thresholds | set(RESULTS)]
        if clash:
            msg = (
                f"the inputs {', '.join(map(repr, clash))} clash with names of the fused model"
                f" ({', '.join(sorted(thresholds))}, {', '.join(RESULTS)}): rename them in the model."
            )
            raise ModelError(msg)
        prefix = find_unused_prefix(net.proto.graph, "edgeexit/fused")
        return cls({name: f"{prefix}/{name}" for name in thresholds | set(RESULTS)}, prefix)

    def __call__(self, name: str) -> str:
        return self.given_way.get(name, name)


def fuse(net: Network, stages: tuple[Stage, ...], specs: Mapping[str, TensorSpec]) -> onnx.ModelProto:
    """The fused model of a split network.

    Args:
        net: the scored model.
        stages: its stages.
        specs: dtype and shape of every stage output.

    Raises:
        ModelError: an input of the model is called as one of the fused model's own inputs or outputs, or there are too many exits.
    """
    try:
        return _build_fused_model(net, stages, specs)
    except DecodeError as error:  # protobuf reads no message that lies in more than a hundred others
        msg = (
            f"{len(stages)} exits, with the branches and loops in the network, exceed ONNX's nesting limit: a network"
            f" without branches and loops may have {_MOST_EXITS}. Drop some exits (--exits)."
        )
        raise ModelError(msg) from error


def _build_fused_model(net: Network, stages: tuple[Stage, ...], specs: Mapping[str, TensorSpec]) -> onnx.ModelProto:
    names = _Names.from_stages(net, stages)
    outer_names: frozenset[str] = frozenset(s.name for s in net.inputs)
    graphs = []
    for stage in stages:
        graph = _build_body(net, stage, outer_names, names)
        nodes = insert_layout_pools(
            graph.node, [_as(names, specs[n]) for n in stage.boundaries_in], f"/{names.prefix}/stage{stage.exit}"
        )
        del graph.node[:]
        graph.node.extend(nodes)
        outer_names |= _collect_names(graph)
        graphs.append(graph)
    classes = specs[stages[0].logits].shape[1]
    assert isinstance(classes, int)
    whole = _Nest(graphs, stages, names, net.opset, classes).graph(0)
    whole.name = "fused"
    whole.input.extend(s.proto(batch=1) for s in net.inputs)
    whole.input.extend(
        helper.make_tensor_value_info(make_threshold_name(s.exit), TensorProto.FLOAT, []) for s in stages[:-1]
    )
    return make_model_around(whole, net.proto)


def _build_body(net: Network, stage: Stage, outer: frozenset[str], names: _Names) -> onnx.GraphProto:
    """A stage's nodes and weights; names that an outer stage also uses are renamed, because ONNX forbids one name in two scopes.

    So are names inside its nodes that this graph, or those around it, use.
    """
    nodes = [net.proto.graph.node[i] for i in stage.nodes]
    read = {name for node in nodes for name in list_node_reads(node)}
    weights = [t for t in net.proto.graph.initializer if t.name in read]
    mine = {t.name for t in weights} | {name for node in nodes for name in node.output}
    clash = {name for name in mine if names(name) in outer}

    def new_name(name: str) -> str:
        return f"{names.prefix}/stage{stage.exit}/{name}" if name in clash else names(name)

    taken = outer | names.given_way.keys() | {new_name(name) for name in mine}

    def new_inner(name: str) -> str:
        return f"{names.prefix}/inside{stage.exit}/{name}" if name in taken else name

    graph = onnx.GraphProto(name=f"stage {stage.exit}")
    graph.node.extend(rename_tensors(node, new_name, new_inner) for node in nodes)
    for tensor in weights:
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = new_name(tensor.name)
    return graph


def _as(names: _Names, spec: TensorSpec) -> TensorSpec:
    return TensorSpec(names(spec.name), spec.dtype, spec.shape)


def _collect_names(graph: onnx.GraphProto) -> frozenset[str]:
    return frozenset(t.name for t in graph.initializer) | {name for node in graph.node for name in node.output}


@dataclass(frozen=True)
class _Nest:
    """Stages put inside each other."""

    graphs: Sequence[onnx.GraphProto]
    stages: Sequence[Stage]
    names: _Names
    opset: int
    classes: int

    def graph(self, k: int) -> onnx.GraphProto:
        """Stage k (from 0) and, in the else branch of its decision, all later ones. Outputs carry the suffix of their nesting."""
        graph, stage = self.graphs[k], self.stages[k]
        if k + 1 == len(self.graphs):
            self._finish(graph, stage, "end")
            return graph
        leaves = onnx.GraphProto(name=f"leave at exit {stage.exit}")
        self._finish(leaves, stage, f"leave{stage.exit}")
        # The score of one sample is [1]; both GreaterOrEqual and If take that, so only a sample that leaves pays for a scalar.
        builder = NodeBuilder(graph, self.opset, f"{self.names.prefix}/decide{stage.exit}")
        condition = builder.at_least(self.names(stage.score), make_threshold_name(stage.exit))
        results = [name if k == 0 else f"{self.names.prefix}/after{stage.exit}/{name}" for name in RESULTS]
        branches = {"then_branch": leaves, "else_branch": self.graph(k + 1)}
        graph.node.append(
            helper.make_node("If", [condition], results, name=f"{self.names.prefix}/decide {stage.exit}", **branches)
        )
        self._declare(graph, results)
        return graph

    def _finish(self, graph: onnx.GraphProto, stage: Stage, label: str) -> None:
        """Make a branch end with its three results; a branch may not return a captured tensor as it is, hence Identity."""
        builder = NodeBuilder(graph, self.opset, f"{self.names.prefix}/{label}")
        number = builder.constant(np.int64(stage.exit).reshape(()))
        results = [
            builder.node("Identity", [self.names(stage.logits)]),
            number,
            builder.reshape(self.names(stage.score)),
        ]
        self._declare(graph, results)

    def _declare(self, graph: onnx.GraphProto, results: Sequence[str]) -> None:
        shapes = {"logits": [1, self.classes], "exit": [], "score": []}
        for kind, name in zip(RESULTS, results, strict=True):
            graph.output.append(helper.make_tensor_value_info(name, _TYPES[kind], shapes[kind]))
