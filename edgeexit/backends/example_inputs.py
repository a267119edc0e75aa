"""Inputs to run a network with where no answer matters but its shape, or its agreement with another: real ones where the user gave some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from edgeexit.backends.base import Array
from edgeexit.graph.model import TensorSpec

Values: TypeAlias = Mapping[str, Array]

REACHES = (1000, 100, 10, 2)
"""Largest sizes of unlike inputs, widest first: indices and tokens allow only so much."""
_SCALES = ((1.0, -1.0, 100.0), (-10.0, 1.0, -0.1), (255.0, -1000.0, 0.5))
UNLIKE_SEEDS = range(len(_SCALES))


def make_random_inputs(inputs: Iterable[TensorSpec], seed: int, batch: int = 1) -> dict[str, Array]:
    """Inputs of the right shapes: uniform in 0..1 for floats, 0 or 1 for integers and booleans."""
    rng = np.random.default_rng(seed)
    return {s.name: _draw_random(rng, (batch, *s.shape_at_1[1:]), s.dtype) for s in inputs}


def _draw_random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    if np.issubdtype(np.dtype(dtype), np.integer) or dtype == "bool":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.random(shape).astype(dtype)


def make_inputs(inputs: Iterable[TensorSpec], examples: Values | None, seed: int, batch: int = 1) -> dict[str, Array]:
    """The user's examples, round and round from place `seed`, or random inputs where there are none."""
    if examples is None:
        return make_random_inputs(inputs, seed, batch)
    count = len(next(iter(examples.values())))
    return select_rows(examples, [(seed + i) % count for i in range(batch)])


def select_rows(batch: Values, places: Sequence[int]) -> dict[str, Array]:
    """Select samples of a batch, as a batch."""
    return {name: a[list(places)] for name, a in batch.items()}


def make_diverse_inputs(inputs: Iterable[TensorSpec], seed: int, reach: int) -> dict[str, Array]:
    """Three samples that differ in sign and size as the random ones do not.

    Args:
        inputs: inputs of the network.
        seed: random seed, 0 or more.
        reach: largest size; integers of the first sample are 0 or 1, of the second not negative, and with a reach of 2 of none.
    """
    rng = np.random.default_rng(seed)
    return {s.name: _draw_diverse(rng, s, _SCALES[seed % len(_SCALES)], reach) for s in inputs}


def _draw_diverse(rng: np.random.Generator, spec: TensorSpec, scales: Iterable[float], reach: int) -> Array:
    shape, dtype = spec.shape_at_1[1:], np.dtype(spec.dtype)
    if dtype.kind in "iu":
        most = min(reach, np.iinfo(dtype).max)
        lowest = max(-reach, np.iinfo(dtype).min) if dtype.kind == "i" and reach > 2 else 0
        ranges = ((0, 2), (0, most), (lowest, most))
        return np.stack([rng.integers(low, high, shape) for low, high in ranges]).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, (3, *shape)).astype(dtype)
    return np.stack([np.clip(scale, -reach, reach) * rng.random(shape) for scale in scales]).astype(dtype)


_HUGE = 1000.0  # saturates a softmax or a sigmoid behind a few layers: other classes get the probability 0 in float32
_TINY = {
    2: 1e-7,
    4: 1e-20,
    8: 1e-20,
}  # by bytes of the number: far below any epsilon, and no denormal in float32 and float64
_NEARBY = (1 + 2.0**-20, 2.0, 0.5)
"""Factors of inputs near an extreme one; the first is rounding."""


def make_extreme_inputs(inputs: Sequence[TensorSpec], batch: int = 1) -> Iterator[dict[str, Array]]:
    """Inputs where terms such as `+ 1e-8` decide: zeros, tiny values, and large ones that saturate what follows.

    Integers and booleans are all zero beside zeros, and 0 or 1 beside the others, which integers alone do not have.
    """
    yield {s.name: np.zeros((batch, *s.shape_at_1[1:]), s.dtype) for s in inputs}
    if not any(np.dtype(s.dtype).kind == "f" for s in inputs):
        return
    for place in range(4):
        plain = make_random_inputs(inputs, place, batch)
        yield {n: _make_extreme(a, place) if a.dtype.kind == "f" else a for n, a in plain.items()}


def _make_extreme(like: Array, place: int) -> Array:
    noise = np.random.default_rng(place).standard_normal(like.shape)
    values = (
        _TINY[like.dtype.itemsize] * np.sign(noise),
        np.full(like.shape, _HUGE),
        np.full(like.shape, -_HUGE),
        _HUGE * noise,
    )
    return np.asarray(values[place], like.dtype)


def is_steady(run: Callable[[Values], Sequence[Array]], inputs: Values, limit: float) -> bool:
    """Whether a network's answers near extreme inputs are numbers, and rounding of the input does not move them.

    Elsewhere two correct programs may differ: the logarithm of a probability that one of them rounds to 0 is infinite in that one only.

    Args:
        run: the network: inputs by name in, its outputs out.
        inputs: the extreme ones.
        limit: how far rounding may move an output, as a share of its largest magnitude (at least 1).
    """
    here = run(inputs)
    for factor in _NEARBY:
        there = run({n: np.asarray(a * factor, a.dtype) if a.dtype.kind == "f" else a for n, a in inputs.items()})
        if any(
            np.isnan(b).any() or not np.array_equal(np.isinf(a), np.isinf(b)) for a, b in zip(here, there, strict=True)
        ):
            return False
        if factor == _NEARBY[0] and any(_measure_difference(a, b) > limit for a, b in zip(here, there, strict=True)):
            return False
    return not any(np.isnan(a).any() for a in here)


def _measure_difference(a: Array, b: Array) -> float:
    finite = np.isfinite(a)
    scale = max(1.0, float(np.abs(a[finite]).max(initial=0.0)))
    return float(np.abs(a[finite].astype(np.float64) - b[finite]).max(initial=0.0)) / scale
