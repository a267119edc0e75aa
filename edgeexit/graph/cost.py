"""Theoretical cost of a stage: multiply-accumulates, parameters and bytes. Latency is measured, never derived from them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from edgeexit.graph.dataflow import Flow, list_inner_graphs, list_node_reads
from edgeexit.graph.model import INFERENCE_ERRORS, Network, read_external_range
from edgeexit.graph.stage import Stage

_Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage at batch 1.

    Attributes:
        macs: multiply-accumulates of convolutions and matrix products; None where a shape is not known.
        parameters: number of weights that the stage reads.
        weight_bytes: their size, in bytes.
        head_macs: those of `macs` that no later exit needs.
    """

    macs: int | None
    parameters: int
    weight_bytes: int
    head_macs: int | None


def count_costs(net: Network, stages: tuple[Stage, ...]) -> tuple[StageCost, ...]:
    """Cost of each stage of a network."""
    shapes = _infer_shapes_at_1(net)
    weights = {t.name: t for t in net.proto.graph.initializer}
    flow = Flow.from_graph(net.proto.graph, [s.name for s in net.inputs])
    costs = []
    for k, stage in enumerate(stages):
        later = flow.ancestors(name for s in stages[k + 1 :] for name in (s.logits, s.score))
        nodes = {i: net.proto.graph.node[i] for i in stage.nodes}
        own = [node for i, node in nodes.items() if i not in later]
        costs.append(_count_stage_cost(list(nodes.values()), own, shapes, weights))
    return tuple(costs)


def count_costs_to_reach(net: Network, tensors: Sequence[str]) -> tuple[float, ...]:
    """Multiply-accumulates at batch 1 of computing each tensor and all before it; all 1 where one cannot be counted or is free."""
    shapes = _infer_shapes_at_1(net)
    flow = Flow.from_graph(net.proto.graph, [s.name for s in net.inputs])
    so_far = [flow.ancestors(tensors[: k + 1]) for k in range(len(tensors))]
    counts = [_sum_macs((net.proto.graph.node[i] for i in nodes), shapes) for nodes in so_far]
    return tuple(float(c) for c in counts if c) if all(counts) else (1.0,) * len(counts)


def find_uncounted_tensors(net: Network) -> tuple[str, ...]:
    """Tensors whose unknown shapes are all that keeps multiply-accumulates from being counted, as behind operators of a runtime's own."""
    shapes = _infer_shapes_at_1(net)
    nodes = [n for n in net.proto.graph.node if n.op_type in _COUNTERS]
    # A damaged node may have fewer inputs than its operator needs: then there is nothing to count.
    whole = [n for n in nodes if len(n.input) > _COUNTERS[n.op_type][0] and n.output]
    read = [name for n in whole for name in (n.input[0], n.input[_COUNTERS[n.op_type][0]], n.output[0])]
    return tuple(name for name in dict.fromkeys(read) if name not in shapes)


def _count_stage_cost(
    nodes: Sequence[onnx.NodeProto],
    own: Sequence[onnx.NodeProto],
    shapes: _Shapes,
    weights: Mapping[str, TensorProto],
) -> StageCost:
    names = {name for node in nodes for name in list_node_reads(node)}
    held = [t for node in nodes if node.op_type == "Constant" for t in (a.t for a in node.attribute if a.HasField("t"))]
    read = [weights[n] for n in names & weights.keys()] + held
    learned = [
        t for t in read if t.dims and t.data_type not in _NOT_LEARNED
    ]  # without dimensions: a number of arithmetic
    return StageCost(
        macs=_sum_macs(nodes, shapes),
        parameters=sum(math.prod(t.dims) for t in learned),
        weight_bytes=sum(count_tensor_bytes(t) for t in learned),
        head_macs=_sum_macs(own, shapes),
    )


_NOT_LEARNED = frozenset({TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING})  # axes, shapes, indices, masks


def count_tensor_bytes(tensor: TensorProto) -> int:
    """Size of a weight, in bytes, wherever it lies."""
    if tensor.data_location == TensorProto.EXTERNAL:
        _, length = read_external_range(tensor)
        if length is not None:
            return length
    if tensor.data_type == TensorProto.STRING:
        return sum(len(s) for s in tensor.string_data)
    return int(math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _infer_shapes_at_1(net: Network) -> dict[str, tuple[int, ...]]:
    proto = onnx.ModelProto()
    proto.CopyFrom(net.proto)
    del proto.graph.input[:]
    proto.graph.input.extend(s.proto(batch=1) for s in net.inputs)
    del proto.graph.output[:]
    del proto.graph.value_info[:]
    with contextlib.suppress(*INFERENCE_ERRORS):  # costs are null then
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    known = {t.name: tuple(t.dims) for t in proto.graph.initializer}
    for value in [*proto.graph.value_info, *proto.graph.input]:
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            known[value.name] = tuple(d.dim_value for d in dims)
    return {**net.run_shapes, **known}


def _sum_macs(nodes: Iterable[onnx.NodeProto], shapes: _Shapes) -> int | None:
    counts = [_count_macs(node, shapes) for node in nodes]
    return None if None in counts else sum(c for c in counts if c is not None)


def _count_macs(node: onnx.NodeProto, shapes: _Shapes) -> int | None:
    if (
        node.op_type in _UNCOUNTED
        or _is_transposed(node)
        or any(_is_counted(n) for g in list_inner_graphs(node) for n in g.node)
    ):
        return None  # how often a branch or a loop body runs is not written in the graph
    if node.op_type not in _COUNTERS:
        return 0
    weight_at, counter = _COUNTERS[node.op_type]
    try:
        return counter(shapes[node.input[0]], shapes[node.input[weight_at]], shapes[node.output[0]])
    except (KeyError, IndexError):
        return None


def _is_transposed(node: onnx.NodeProto) -> bool:
    """Whether a product of the runtime's own swaps dimensions first, so that the inner one is not where it is read."""
    return node.op_type == "FusedMatMul" and any(a.name.startswith("trans") and a.i for a in node.attribute)


def _is_counted(node: onnx.NodeProto) -> bool:
    return (
        node.op_type in _COUNTERS
        or node.op_type in _UNCOUNTED
        or any(_is_counted(n) for g in list_inner_graphs(node) for n in g.node)
    )


_Shape = tuple[int, ...]
_Counter = Callable[[_Shape, _Shape, _Shape], int]


def _count_conv(_: _Shape, weight: _Shape, out: _Shape) -> int:
    return math.prod(out) * math.prod(weight[1:])


def _count_conv_transpose(x: _Shape, weight: _Shape, _: _Shape) -> int:
    return math.prod(x) * math.prod(weight[1:])


def _count_gemm(x: _Shape, weight: _Shape, out: _Shape) -> int:
    # (m·k)(k·n)/(m·n) = k², whichever side is transposed
    inner = math.prod(x) * math.prod(weight) // max(1, math.prod(out))
    return math.prod(out) * math.isqrt(inner)


def _count_matmul(x: _Shape, _: _Shape, out: _Shape) -> int:
    return math.prod(out) * x[-1]


def _count_recurrent(x: _Shape, weight: _Shape, out: _Shape) -> int:
    # weight [directions, gates·hidden, in], and beside it [directions, gates·hidden, hidden]; out [steps, directions, batch, hidden]
    gates = weight[0] * weight[1]
    return x[0] * x[1] * gates * (weight[2] + out[-1])


_COUNTERS: dict[str, tuple[int, _Counter]] = {
    "Conv": (1, _count_conv),
    "ConvInteger": (1, _count_conv),
    "FusedConv": (1, _count_conv),
    "QLinearConv": (3, _count_conv),
    "ConvTranspose": (1, _count_conv_transpose),
    "Gemm": (1, _count_gemm),
    "FusedGemm": (1, _count_gemm),
    "MatMul": (1, _count_matmul),
    "FusedMatMul": (1, _count_matmul),
    "MatMulInteger": (1, _count_matmul),
    "QLinearMatMul": (3, _count_matmul),
    "QGemm": (3, _count_gemm),
    "LSTM": (1, _count_recurrent),
    "GRU": (1, _count_recurrent),
    "RNN": (1, _count_recurrent),
}
_UNCOUNTED = frozenset({"Einsum", "Attention", "DeformConv", "MultiHeadAttention", "QAttention"})
