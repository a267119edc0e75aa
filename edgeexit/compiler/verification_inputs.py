"""The inputs on which a compiled bundle is compared with the original model.

Inputs: uniform in 0..1, standard normal, and up to ±10 or 0..255, beside given ones. One that the file itself refuses, or has no numbers
for, shows nothing about the bundle and is left out; only uniform ones must be taken, where none are given. Large ones must agree to 1 %:
there, the order of additions alone moves what a softmax inside makes of two that are nearly equal. Extreme ones, zeros, tiny values and
values of ±1000, are where terms such as `+ 1e-8` decide; they count where rounding of the input does not move the original's answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeexit.backends.base import Array
from edgeexit.backends.example_inputs import make_extreme_inputs, make_random_inputs
from edgeexit.graph import TensorSpec
from edgeexit.runtime.inputs import Inputs, check_many

_RANDOM_INPUTS = 16
_GIVEN_INPUTS = 64


@dataclass(frozen=True)
class VerificationInput:
    """One input.

    Attributes:
        inputs: arrays [1, ...] by name.
        given: whether the user gave this input (otherwise it is random).
        optional: the file need not take it, nor have numbers for it.
        loose: it is large, and agreement to 1 % is enough.
        extreme: it is compared only where rounding of the input does not change the original's answers.
    """

    inputs: Mapping[str, Array]
    given: bool = False
    optional: bool = False
    loose: bool = False
    extreme: bool = False


def make_verification_inputs(
    specs: Sequence[TensorSpec], given: Inputs | None, *, wide: bool, extreme: bool = True
) -> list[VerificationInput]:
    """Random inputs and up to 64 of the given; `wide` has signed and large ones among the random and, with `extreme`, extreme ones
    beside them.

    Raises:
        InputError: the given ones are not of the network's inputs.
    """
    plain = [make_random_inputs(specs, seed) for seed in range(_RANDOM_INPUTS)]
    samples = [VerificationInput(x, optional=given is not None) for x in plain]
    if wide:
        quarter = _RANDOM_INPUTS // 4
        samples[-2 * quarter :] = [
            *(VerificationInput(_make_signed(x, seed), optional=True) for seed, x in enumerate(plain[:quarter])),
            *(
                VerificationInput(_make_large(x, seed), optional=True, loose=True)
                for seed, x in enumerate(plain[:quarter])
            ),
        ]
    if wide and extreme:
        samples += [VerificationInput(x, optional=True, loose=True, extreme=True) for x in make_extreme_inputs(specs)]
    arrays = check_many(given, specs) if given is not None else {}
    count = min(_GIVEN_INPUTS, len(next(iter(arrays.values())))) if arrays else 0
    return samples + [VerificationInput({n: a[i : i + 1] for n, a in arrays.items()}, given=True) for i in range(count)]


def _make_signed(inputs: Mapping[str, Array], seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {n: rng.standard_normal(a.shape).astype(a.dtype) if a.dtype.kind == "f" else a for n, a in inputs.items()}


def _make_large(inputs: Mapping[str, Array], seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)

    def value(a: Array) -> Array:
        if a.dtype.kind == "f":
            return np.asarray(rng.uniform(-10, 10, a.shape), a.dtype)
        return (
            a if a.dtype.kind == "b" else rng.integers(0, min(255, np.iinfo(a.dtype).max) + 1, a.shape).astype(a.dtype)
        )

    return {n: value(a) for n, a in inputs.items()}
