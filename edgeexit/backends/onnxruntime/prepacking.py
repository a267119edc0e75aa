"""Whether packed weights pay: ONNX Runtime copies the weights of matrix products into the order in which its kernels read them."""

from __future__ import annotations

import platform

import onnx

from edgeexit.graph.dataflow import list_inner_graphs

_PACKED_WITH_GAIN = frozenset(
    {
        "ConvInteger",
        "ConvTranspose",
        "DeformConv",
        "GRU",
        "LSTM",
        "MatMul",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
        "RNN",
        "Attention",
    }
)


def should_pack_weights(graph: onnx.GraphProto) -> bool:
    """Whether a network for single samples runs faster with its weights packed, on the x86-64 processors where this was timed.

    Packing serves products of many rows: a vision transformer's 65 tokens are 4 % slower without. The one row of a classifier's `Gemm`
    is not (0.98 to 1.01 on four networks), and float convolutions go by the blocked layout instead. On other processors, with other
    kernels, it is taken to pay.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    return any(
        node.domain not in ("", "ai.onnx")
        or node.op_type in _PACKED_WITH_GAIN
        or any(should_pack_weights(inner) for inner in list_inner_graphs(node))
        for node in graph.node
    )
