"""Subnormal (denormal) numbers inside a network: below 1.2e-38 in float32, and 10 to 30 times slower on some CPUs."""

from __future__ import annotations

import warnings
from contextlib import suppress

import numpy as np

from edgeexit.backends.base import Array
from edgeexit.backends.example_inputs import Values, make_inputs
from edgeexit.compiler.output_kinds import OutputWarning
from edgeexit.compiler.probe import open_model
from edgeexit.errors import ModelError
from edgeexit.graph.model import Network

_SHARE = 0.01
"""Share of a tensor's values from which on a layer is slowed noticeably."""
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "BatchNormalization"})


def warn_about_subnormals(net: Network, examples: Values | None) -> None:
    """Warn where the outputs of layers with weights are subnormal on an input, as weights that decayed to nearly 0 make them.

    Warns:
        OutputWarning: with the tensors, and what to do.
    """
    names = [n.output[0] for n in net.proto.graph.node if n.op_type in _LAYERS]
    values: dict[str, Array] = {}
    with suppress(ModelError):
        values = open_model(net, names, quiet=True)(make_inputs(net.inputs, examples, 0)) if names else {}
    found = [
        name
        for name, value in values.items()
        if value.dtype == np.float32 and _measure_subnormal_share(value) >= _SHARE
    ]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        msg = (
            f"{', '.join(map(repr, found[:3]))}{more} hold subnormal (denormal) numbers, below 1.2e-38, which some CPUs compute 10 to 30"
            " times slower: set weights that are nearly 0 to 0, or compile and run with --options denormal_as_zero=1."
        )
        warnings.warn(msg, OutputWarning, stacklevel=2)


def _measure_subnormal_share(value: Array) -> float:
    small = (value != 0) & (np.abs(value) < np.finfo(np.float32).tiny)
    return float(small.mean()) if value.size else 0.0
