"""Tolerances for comparing answers, by the coarsest arithmetic of a network.

One table for the verification of a compile, of an export, and for the conformance suite. Differences are shares of the largest logit of
the sample.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Tolerances of one precision.

    Attributes:
        rounding: largest difference between two runs of one network in one precision: split against whole, exported against eager. The
            arithmetic is the same, in another order or with other fusions.
        conversion: largest difference between a network in this precision and the float32 network that it was made from, for networks
            whose weights are random.
        agreement: least share of samples that leave where the float32 network lets them, of the same networks, whose scores lie close
            together.
        accuracy: most that the accuracy of a trained network may differ from the float32 one, as a share of the samples.
    """

    rounding: float
    conversion: float
    agreement: float
    accuracy: float


TOLERANCES: dict[str, Tolerance] = {
    # 2^-24 a rounding; sums of some thousand products in another order stay below 1e-4 in deep networks.
    "float32": Tolerance(rounding=1e-4, conversion=1e-4, agreement=1.0, accuracy=0.005),
    # Winograd's method computes 3x3 convolutions on tiles of up to 8x8, whose transforms lose three bits or so: 3e-4 was seen.
    "float32, Winograd": Tolerance(rounding=5e-4, conversion=5e-4, agreement=1.0, accuracy=0.005),
    # 2^-11 a rounding: about twenty in a row. The conversion also rounds the weights, hence twice as much.
    "float16": Tolerance(rounding=1e-2, conversion=2e-2, agreement=0.98, accuracy=0.01),
    # 2^-8 a rounding: about twenty in a row. Networks come in it from torch only; edgeexit converts none to it.
    "bfloat16": Tolerance(rounding=8e-2, conversion=16e-2, agreement=0.8, accuracy=0.03),
    # A step is 1/127 of the range; a value on the border of two steps falls otherwise where a runtime fuses otherwise, layer after layer.
    "int8": Tolerance(rounding=1e-1, conversion=2e-1, agreement=0.8, accuracy=0.03),
}
"""Tolerances by name of the precision."""

_WINOGRAD = frozenset({"mnn"})
"""Backends whose float32 is computed by Winograd's method where the layer allows."""

EXTREME = 1e-2
"""The least tolerance on zeros, tiny and very large inputs, where the order of additions alone moves more than on others."""


def name_arithmetic(precision: str, backend: str) -> str:
    """The row of `TOLERANCES` for a precision as a backend computes it.

    Args:
        precision: precision of the coarsest numbers that the network computes with.
        backend: name of the backend, or the names of those of the stages, joined by `+`.

    Example:
        >>> name_arithmetic("float32", "onnxruntime"), name_arithmetic("float32", "mnn")
        ('float32', 'float32, Winograd')
    """
    inexact = precision == "float32" and not _WINOGRAD.isdisjoint(backend.split("+"))
    return f"{precision}, Winograd" if inexact else precision


def get_rounding_tolerance(precision: str, *, extreme: bool = False) -> float:
    """Largest difference that counts as the same answer, as a share of the largest logit of the sample.

    Args:
        precision: a row of `TOLERANCES`: the precision of the coarsest numbers that the network computes with.
        extreme: whether the input is one of zeros, tiny or very large values.

    Example:
        >>> get_rounding_tolerance("float32"), get_rounding_tolerance("float32", extreme=True)
        (0.0001, 0.01)
    """
    limit = TOLERANCES[precision].rounding
    return max(limit, EXTREME) if extreme else limit
