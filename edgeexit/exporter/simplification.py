"""Constant folding and shape rewriting of an exported graph, without the rules that compare constants by a tolerance.

The optimiser that `torch.onnx.export` runs by default takes `x + 1e-8` for `x + 0` and `x * 1.000005` for `x * 1`: its constants match
within 1e-8 absolutely and 1e-5 relatively. Terms that protect a division or a logarithm from zero are of that size, so these four rules
are left out here; runtimes drop additions of an exact zero themselves.
"""

from __future__ import annotations

from typing import Any

_ROUNDS = 2
"""Number of folding and rewriting passes, as in the exporter's own optimiser."""

_RULES = (
    "cast_constant_of_shape_rule",
    "cast_constant_of_shape_without_value_rule",
    "collapse_slice_rule",
    "collapse_slice2_rule",
    "materialize_reshape_shape_rule",
    "one_reshape_matmul_reshape_rule",
    "two_reshapes_matmul_reshape_rule",
    "min_min_rule",
    "max_max_rule",
    "min_max_rule",
    "max_min_rule",
    "successive_relu_rule",
    "successive_clip_rule",
    "successive_clip_relu_rule",
    "successive_relu_clip_rule",
    "cast_cast_rule",
    "no_op_cast_rule",
    "no_op_expand_rule",
    "flatten_to_reshape_rule",
    "reshape_reshape_rule",
    "slice_split_rule",
    "no_op_transpose_rule",
    "transpose_transpose_rule",
    "unsqueeze_unsqueeze_rule",
    "squeeze_reshape_1d_rule",
    "no_op_dynamic_scatter_nd_rule",
    "no_op_static_scatter_nd_rule",
    "normalize_pad_format_conv_rule",
    "fuse_pad_into_conv_rule",
    "fuse_batchnorm_into_conv_rule",
    "fuse_batchnorm_into_conv_transpose_rule",
    "fuse_batchnorm_into_gemm_rule",
    "remove_optional_bias_from_conv_rule",
    "remove_optional_bias_from_conv_transpose_rule",
    "remove_optional_bias_from_gemm_rule",
)
"""Rewriting rules of onnxscript that keep every value, by name; a release that lacks one goes without it."""


def simplify(model: Any) -> None:
    """Fold constants and infer shapes of an onnx_ir model, in place; every constant of its arithmetic stays.

    Raises:
        ImportError: onnxscript is not installed.
    """
    import onnx_ir.passes.common as passes
    from onnxscript import optimizer, rewriter
    from onnxscript.rewriter.rules import common

    rules = [getattr(common, name) for name in _RULES if hasattr(common, name)]
    passes.InlinePass()(model)
    for _ in range(_ROUNDS):
        optimizer.fold_constants_ir(model)
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
