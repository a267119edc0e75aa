"""Cut a network at its exits, by reachability.

Stage k holds exactly the nodes that exit k's outputs need and that no earlier stage holds. So residual and dense connections,
several scales, heads that feed later heads and separate models on one input all split the same way. Nodes that do not depend on the
values of an input (constants, shape arithmetic, and what is computed from them) are repeated in every stage that reads them.

    x ──► [stage 1] ──► logits 1, score 1
              │ boundary tensors
              ▼
    (x) ─► [stage 2] ──► logits 2, score 2
              │
              ▼  ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import onnx
from onnx import TensorProto

from edgeexit.errors import ModelError
from edgeexit.graph.build import NodeBuilder
from edgeexit.graph.dataflow import Flow, find_crossing_tensors, find_unused_prefix
from edgeexit.graph.exits import Exit
from edgeexit.graph.model import BATCH, Network, TensorSpec, read_opset
from edgeexit.graph.scores import ScoredExit
from edgeexit.graph.stage import Stage


def split(
    net: Network, exits: tuple[ScoredExit, ...], carried: Mapping[str, int] = MappingProxyType({})
) -> tuple[Stage, ...]:
    """Stages of a model whose exits have scores, in order.

    Args:
        net: the scored model.
        exits: its exits, in order.
        carried: tensors that a stage, numbered from 1, makes although only later exits need them: what crosses a cut in another type
            than it was made in.

    Raises:
        ModelError: an exit's logits are needed by an exit before it, so that it costs nothing of its own; a tensor whose shape
            depends on the values of the input crosses a cut.
    """
    flow = net.flow()
    holdings = _assign_nodes(flow, exits, carried)
    reads = [frozenset().union(*(flow.reads[i] for i in held)) for held in holdings]
    makes = [
        frozenset(name for i in held if flow.varies[i] for name in net.proto.graph.node[i].output) for held in holdings
    ]
    # An exit may be a tensor that an earlier stage made, as well as one that later stages read.
    reads = [r | {e.logits, e.score} for r, e in zip(reads, exits, strict=True)]
    crossing = find_crossing_tensors(reads, makes)
    stages = []
    for k, exit in enumerate(exits):
        if exit.logits in frozenset().union(*makes[:k]):
            raise ModelError(_explain_free_exit(flow, exits, k))
        stages.append(
            Stage(
                exit=k + 1,
                nodes=tuple(sorted(holdings[k])),
                inputs=tuple(s.name for s in net.inputs if s.name in reads[k]),
                boundaries_in=crossing[k].read,
                boundaries_out=crossing[k].made,
                logits=exit.logits,
                score=exit.score,
            )
        )
    if flow.data_dependent:
        _check_shapes(net, stages)
    return tuple(stages)


def _explain_free_exit(flow: Flow, exits: tuple[ScoredExit, ...], k: int) -> str:
    """Why exit k, from 0, costs nothing beyond the exits before it."""
    logits = exits[k].logits
    for number, early in enumerate(exits[:k], 1):
        by_score = flow.producer[logits] in flow.ancestors([early.score]) - flow.ancestors([early.logits])
        if by_score:
            return (
                f"the score of exit {number} ({early.logits!r}) needs the logits of exit {k + 1} ({logits!r}), so that leaving at exit"
                f" {number} saves nothing: compute it from what exit {number} has."
            )
    return f"exit {k + 1} ({logits!r}) is already made for an exit before it, which can then cost no less: drop one of them."


def _check_shapes(net: Network, stages: Iterable[Stage]) -> None:
    ends = {
        name for s in stages for name in (s.logits, s.score)
    }  # [batch, classes] and [batch], whatever they come from
    data_dependent = net.flow(ends, cautious=False).data_dependent
    crossing = sorted(
        {name for s in stages for name in s.boundaries_out if name in data_dependent and name not in ends}
    )
    if crossing:
        raise ModelError(explain_data_dependent_shapes(crossing))


def explain_data_dependent_shapes(crossing: Iterable[str]) -> str:
    """Message about boundary tensors whose shape depends on the values of the input, with a remedy."""
    return (
        f"the shape of {', '.join(map(repr, crossing))} depends on the values of the input, and it crosses from one stage to"
        " another; buffers bound once need fixed shapes. Move the exit, or bring the tensor to a fixed size (pad it, then Reshape)."
    )


def _assign_nodes(flow: Flow, exits: tuple[ScoredExit, ...], carried: Mapping[str, int]) -> list[frozenset[int]]:
    """Per stage its nodes: those not held before, and the constant ones they read, though an earlier stage may hold them too."""
    holdings = []
    ends = [(e.logits, e.score, *(n for n, stage in carried.items() if stage == k)) for k, e in enumerate(exits, 1)]
    for exit, needed in zip(exits, flow.partition(ends), strict=True):
        fresh = {i for i in needed if flow.varies[i]}
        # A score that varies with no input, as of an exit that always answers alike, is made in its stage all the same.
        read = frozenset({exit.logits, exit.score}).union(*(flow.reads[i] for i in fresh))
        holdings.append(frozenset(fresh) | flow.constant_ancestors(read))
    return holdings


def build_stage_model(
    net: Network, stage: Stage, specs: Mapping[str, TensorSpec], *, batch: int | None = None
) -> onnx.ModelProto:
    """The ONNX model of one stage.

    Args:
        net: the scored model.
        stage: which part of it.
        specs: dtype and shape of every boundary tensor, logits and score.
        batch: None keeps the batch as the model has it; a number fixes it.
    """
    inputs = [s for s in net.inputs if s.name in stage.inputs] + [specs[name] for name in stage.boundaries_in]
    outputs = [specs[name] for name in stage.outputs]
    return build_submodel(net, f"stage {stage.exit}", stage.nodes, inputs, outputs, batch=batch)


def build_backbone_model(net: Network, exit: Exit, *, batch: int | None = None) -> onnx.ModelProto:
    """The network run directly to one exit: no other heads, no criterion; float32 logits. For the last exit this is the backbone."""
    flow = Flow.from_graph(net.proto.graph, [s.name for s in net.inputs])
    nodes = flow.ancestors([exit.logits])
    read = frozenset().union(*(flow.reads[i] for i in nodes))
    inputs = [s for s in net.inputs if s.name in read]
    output = TensorSpec(exit.logits, exit.dtype, (BATCH if net.dynamic_batch else 1, exit.classes))
    model = build_submodel(net, f"straight to {exit.name}", sorted(nodes), inputs, [output], batch=batch)
    return model if exit.dtype == "float32" else _as_float32(model)


def _as_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its one output as float32."""
    output = model.graph.output[0]
    builder = NodeBuilder(model.graph, read_opset(model), find_unused_prefix(model.graph, "edgeexit"))
    output.name = builder.cast(output.name, TensorProto.FLOAT)
    output.type.tensor_type.elem_type = TensorProto.FLOAT
    return model


def build_submodel(
    net: Network,
    name: str,
    nodes: Iterable[int],
    inputs: Iterable[TensorSpec],
    outputs: Iterable[TensorSpec],
    *,
    batch: int | None = None,
) -> onnx.ModelProto:
    """A model of some of the nodes of another, with the weights that they read."""
    graph = onnx.GraphProto(name=name)
    graph.node.extend(net.proto.graph.node[i] for i in nodes)
    flow = Flow.from_graph(graph, [])
    read = frozenset().union(*flow.reads)
    graph.initializer.extend(t for t in net.proto.graph.initializer if t.name in read)
    graph.input.extend(s.proto(batch=batch) for s in inputs)
    graph.output.extend(s.proto(batch=batch) for s in outputs)
    return make_model_around(graph, net.proto)


def make_model_around(graph: onnx.GraphProto, source: onnx.ModelProto) -> onnx.ModelProto:
    """A model around a graph, with the IR version and the operator sets of the model that its nodes come from."""
    model = onnx.ModelProto(ir_version=source.ir_version, producer_name="edgeexit", graph=graph)
    model.opset_import.extend(source.opset_import)
    return model
