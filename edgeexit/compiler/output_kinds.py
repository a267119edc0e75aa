"""Kind of an exit's output values: logits, probabilities whatever nodes follow the softmax, or a sigmoid per class.

Found by running the network: rows that are never negative and always add up to 1 are probabilities, be they of a Softmax behind a
Reshape or a Clip, or the mean of several.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from edgeexit.backends.base import Array
from edgeexit.backends.example_inputs import (
    REACHES,
    Values,
    make_diverse_inputs,
    make_extreme_inputs,
    make_inputs,
    select_rows,
)
from edgeexit.backends.stopping import may_run_forever
from edgeexit.compiler.probe import open_model
from edgeexit.criteria import Criterion
from edgeexit.errors import ModelError
from edgeexit.graph.exits import Exit, is_sigmoid_output
from edgeexit.graph.model import BATCH, Network, TensorSpec
from edgeexit.graph.scores import ScoredExit

_RUNS = 4
_SUM_TOLERANCE = {"float16": 1e-2}
_SUM_TOLERANCE_FLOAT32 = 2e-3  # a Clip to 1e-7 .. 1 - 1e-7 adds that much over many classes
_LEAST_SPREAD = 1e-4
"""Rows that vary by less over all inputs do not show what kind of values they are."""

_WIDE = 0.9
"""Least spread of values in 0..1 that come out of a sigmoid, on inputs of all sizes."""


class OutputWarning(UserWarning):
    """The criterion may not be meaningful on these outputs."""


def mark_output_kinds(
    net: Network, exits: Sequence[Exit], criterion: Criterion, examples: Values | None
) -> tuple[Exit, ...]:
    """The exits, those that give probabilities marked so.

    Args:
        net: the network; it is run.
        exits: its exits.
        criterion: the criterion that will read their outputs.
        examples: the user's own inputs [n, ...] by name, to run it on beside random ones; None where there are none.

    Raises:
        ModelError: an exit ends in a sigmoid per class and the criterion needs one distribution over the classes; or its own score is
            no probability and the criterion weighs exits by it.

    Warns:
        OutputWarning: the numbers of an exit are neither logits nor probabilities: percentages, negative logarithms of probabilities,
            only 0 and 1, or between 0 and 1 without adding up to 1.
    """
    if criterion.takes_logits:
        _refuse_sigmoids(net, exits, criterion)
    if criterion.weighs_scores:
        _refuse_other_weights(net, exits[:-1], criterion, examples)
    unknown = [e for e in exits if not e.probabilities]
    values = _collect_values(net, [e.logits for e in unknown], examples) if unknown else {}
    found = {e.logits for e in unknown if _is_distribution(values[e.logits], e.dtype)}
    if criterion.takes_logits:
        _warn_of_others({e.logits: values[e.logits] for e in unknown}, found, criterion)
    return tuple(replace(e, probabilities=True) if e.logits in found else e for e in exits)


_OTHERS = {
    "are only 0 and 1, one 1 per sample": "{} then is the same for every sample, so that no threshold divides them.",
    "lie between 0 and 1 and do not add up to 1": "{} treats them as logits, which makes the score meaningless after a sigmoid.",
    "are never negative and always add up to the same": "{} treats them as logits, but they look like scaled probabilities.",
    "are negative logarithms of probabilities": "{} treats them as logits, but their largest is the least likely class.",
}


def _warn_of_others(values: Mapping[str, Array], found: Collection[str], criterion: Criterion) -> None:
    """Warn of exits whose numbers are neither logits nor probabilities, each kind once."""
    kinds: dict[str, list[str]] = {}
    for name, numbers in values.items():
        kind = _other_kind(numbers, is_distribution=name in found)
        if kind:
            kinds.setdefault(kind, []).append(repr(name))
    for kind, names in kinds.items():
        msg = f"the numbers of {', '.join(names)} {kind}: {_OTHERS[kind].format(criterion.name)} Return the logits instead."
        warnings.warn(msg, OutputWarning, stacklevel=3)


def _other_kind(values: Array, *, is_distribution: bool) -> str:
    """One of the keys of `_OTHERS`, or nothing."""
    one_hot, squashed, scaled, negative = _OTHERS
    numbers = values[np.isfinite(values).all(axis=1)] if values.size else values
    if not numbers.size or numbers.min() < 0 or np.ptp(numbers, axis=0).max() < _LEAST_SPREAD:
        return ""
    if is_distribution:
        return one_hot if np.isin(numbers, (0, 1)).all() else ""
    sums = numbers.sum(axis=1)
    if np.ptp(sums) <= _SUM_TOLERANCE_FLOAT32 * sums.max():
        return scaled
    if np.abs(np.exp(-numbers).sum(axis=1) - 1).max() <= _SUM_TOLERANCE_FLOAT32:
        return negative
    return squashed if numbers.max() <= 1 and np.ptp(numbers) > _WIDE else ""


def _refuse_sigmoids(net: Network, exits: Sequence[Exit], criterion: Criterion) -> None:
    names = [repr(e.logits) for e in exits if is_sigmoid_output(net, e.logits)]
    if names:
        msg = (
            f"{', '.join(names)} {'ends' if len(names) == 1 else 'end'} in a sigmoid per class, as networks with several labels per sample"
            f" do: {criterion.name} needs one distribution over the classes, which a softmax over sigmoids is not. Where each sample has"
            " one class, let the exits give what comes before the sigmoid; else let the network compute a score of its own and use"
            " --criterion learned."
        )
        raise ModelError(msg)


def _refuse_other_weights(net: Network, exits: Sequence[Exit], criterion: Criterion, examples: Values | None) -> None:
    """Raise ModelError where a score that is a weight leaves 0 to 1."""
    names = [e.score for e in exits if e.score]
    scores = _collect_values(net, names, examples) if names else {}
    beyond = {name: v[(v < 0) | (v > 1 + _SUM_TOLERANCE_FLOAT32)] for name, v in scores.items()}
    wrong = [f"{name!r} ({values[0]:.3g})" for name, values in beyond.items() if values.size]
    if wrong:
        msg = (
            f"{criterion.name} weighs the exits by their probabilities of stopping, and these scores lie beyond 0 to 1: {', '.join(wrong)}."
            " Let the network give them after their sigmoid, or take criterion 'learned', which only compares them."
        )
        raise ModelError(msg)


def _collect_values(net: Network, names: Sequence[str], examples: Values | None) -> dict[str, Array]:
    """Values of outputs [samples, classes] on inputs of all sizes that the network takes."""
    run = open_model(net, list(names), quiet=True)
    found: dict[str, list[Array]] = {name: [] for name in names}
    for inputs in _make_inputs(net, examples):
        with suppress(ModelError):
            for name, value in run(inputs).items():
                found[name].append(np.asarray(value, np.float64).reshape(len(value), -1))
    return {name: np.concatenate(many) if many else np.empty((0, 0)) for name, many in found.items()}


def _make_inputs(net: Network, examples: Values | None) -> Iterator[Values]:
    for seed in range(_RUNS):
        yield make_inputs(net.inputs, examples, seed)
        unlike = make_diverse_inputs(net.inputs, seed, REACHES[0])
        yield from (select_rows(unlike, [place]) for place in range(3))
    if not may_run_forever(net.proto.graph):  # a loop that waits for a value to grow would never leave zeros
        yield from make_extreme_inputs(net.inputs)


def _is_distribution(values: Array, dtype: str) -> bool:
    """Whether every row without NaN is a distribution, and they are not all alike."""
    numbers = values[~np.isnan(values).any(axis=1)] if values.size else values
    if not numbers.size or not np.isfinite(numbers).all():  # the logit of a masked class is -inf
        return False
    if np.ptp(numbers, axis=0).max() < _LEAST_SPREAD or numbers.min() < 0:
        return False
    return bool(np.abs(numbers.sum(axis=1) - 1).max() <= _SUM_TOLERANCE.get(dtype, _SUM_TOLERANCE_FLOAT32))


def check_outputs(net: Network, exits: Sequence[ScoredExit], specs: Mapping[str, TensorSpec]) -> None:
    """Check that the shapes of a run match the declared exits.

    Raises:
        ModelError: logits of another shape than [batch, classes], or a score of another than [batch].
    """
    batch = BATCH if net.dynamic_batch else 1
    wrong = [
        str(specs[e.logits]) for e in exits if len(specs[e.logits].shape) != 2 or specs[e.logits].shape[0] != batch
    ]
    wrong += [str(specs[e.score]) for e in exits if specs[e.score].shape != (batch,)]
    widths = {specs[e.logits].shape[-1:] for e in exits}
    if wrong or len(widths) > 1:
        shapes = "; ".join(wrong or [str(specs[e.logits]) for e in exits])
        msg = (
            f"for a batch of one sample the exits have the shapes {shapes}; logits must be [{batch}, classes], as wide at"
            f" every exit, and scores [{batch}]."
            " A Squeeze without axes also drops a batch of 1: name the axes, or reshape to [-1, classes]."
        )
        raise ModelError(msg)
