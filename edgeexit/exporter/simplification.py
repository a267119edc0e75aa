"""Constant folding and shape rewriting of an exported graph, without the rules that compare constants by a tolerance.

The optimiser that `torch.onnx.export` runs by default takes `x + 1e-8` for `x + 0` and `x * 1.000005` for `x * 1`: its constants match
within 1e-8 absolutely and 1e-5 relatively. Terms that protect a division or a logarithm from zero are of that size, so these four rules
are left out here; runtimes drop additions of an exact zero themselves.
"""

from __future__ import annotations

from typing import Any

_ROUNDS = 2
"""Number of folding and rewriting passes, as in the exporter's own optimiser."""

RULES = {
    "cast_constant_of_shape_rule": "ConstantOfShape",
    "cast_constant_of_shape_without_value_rule": "ConstantOfShape",
    "collapse_slice_rule": "Slice",
    "collapse_slice2_rule": "Slice",
    "materialize_reshape_shape_rule": "Reshape",
    "one_reshape_matmul_reshape_rule": "MatMul",
    "two_reshapes_matmul_reshape_rule": "MatMul",
    "min_min_rule": "Min",
    "max_max_rule": "Max",
    "min_max_rule": "Max",
    "max_min_rule": "Max",
    "successive_relu_rule": "Relu",
    "successive_clip_rule": "Clip",
    "successive_clip_relu_rule": "Clip",
    "successive_relu_clip_rule": "Clip",
    "cast_cast_rule": "Cast",
    "no_op_cast_rule": "Cast",
    "no_op_expand_rule": "Expand",
    "flatten_to_reshape_rule": "Flatten",
    "reshape_reshape_rule": "Reshape",
    "slice_split_rule": "Slice",
    "no_op_transpose_rule": "Transpose",
    "transpose_transpose_rule": "Transpose",
    "unsqueeze_unsqueeze_rule": "Unsqueeze",
    "squeeze_reshape_1d_rule": "Squeeze",
    "no_op_dynamic_scatter_nd_rule": "ScatterND",
    "no_op_static_scatter_nd_rule": "ScatterND",
    "normalize_pad_format_conv_rule": "Conv",
    "fuse_pad_into_conv_rule": "Pad",
    "fuse_batchnorm_into_conv_rule": "BatchNormalization",
    "fuse_batchnorm_into_conv_transpose_rule": "BatchNormalization",
    "fuse_batchnorm_into_gemm_rule": "BatchNormalization",
    "remove_optional_bias_from_conv_rule": "Conv",
    "remove_optional_bias_from_conv_transpose_rule": "ConvTranspose",
    "remove_optional_bias_from_gemm_rule": "Gemm",
}
"""Rewriting rules of onnxscript that keep every value, by name, each with an operator that it needs; a release that lacks one goes without.

Every rule is tried at every node, some with every other node as well: of a deep network, those of operators that it does not have would
take most of the time of rewriting.
"""

_MADE = {"Flatten": "Reshape", "Min": "Clip", "Max": "Clip"}
"""What rules make of an operator, so that others apply to it."""


def simplify(model: Any) -> None:
    """Fold constants and infer shapes of an onnx_ir model, in place; every constant of its arithmetic stays.

    Raises:
        ImportError: onnxscript is not installed.
    """
    import onnx_ir.passes.common as passes
    from onnxscript import optimizer, rewriter
    from onnxscript.rewriter.rules import common

    passes.InlinePass()(model)
    for _ in range(_ROUNDS):
        optimizer.fold_constants_ir(model)
        if rules := [getattr(common, name) for name in _choose_rules(model) if hasattr(common, name)]:
            rewriter.RewritePass(rules)(model)
        passes.RemoveUnusedNodesPass()(model)
    for tidy in (
        passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        tidy(model)


def _choose_rules(model: Any) -> list[str]:
    """Names of the rules that may change the model."""
    found = {node.op_type for graph in model.graphs() for node in graph}
    found |= {made for operator, made in _MADE.items() if operator in found}
    return [name for name, operator in RULES.items() if operator in found]
