"""Words in the options of a loss, which stand for numbers that are counted or measured before the loss is made.

costs = "macs"              multiply-accumulates up to each exit, as shares of the whole network's
costs = "parameters"        weights read up to each exit, as shares of the whole network's
costs = "latency"           time to leave at each exit on this machine through ONNX Runtime, as shares of the last exit's
costs = "alone"             millions of multiply-accumulates of each exit by itself, for separate classifiers in a cascade
class_weights = "balanced"  max(C) / C_y, with C_y the number of training samples of class y
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeexit.errors import did_you_mean
from edgeexit.nets.costs import exit_costs
from edgeexit.nets.outputs import run_exits
from edgeexit.nets.state import evaluation_mode
from edgeexit.training.latency import measure_exit_latencies

Count: TypeAlias = Callable[[nn.Module, Tensor], list[float]]
"""A network and an input [1, ...] in, one number per exit out."""


def _divide_by_last(values: Sequence[float]) -> list[float]:
    return [value / values[-1] for value in values]


COST_WORDS: dict[str, Count] = {
    "macs": lambda module, example: _divide_by_last(exit_costs(module, example).reach_macs),
    "parameters": lambda module, example: _divide_by_last(exit_costs(module, example).reach_parameters),
    "latency": lambda module, example: _divide_by_last(measure_exit_latencies(module, example)),
    "alone": lambda module, example: [macs / 1e6 for macs in exit_costs(module, example).alone_macs],
}
"""What `costs` can be besides numbers."""

_WORDS: Mapping[str, Sequence[str]] = {"costs": tuple(COST_WORDS), "class_weights": ("balanced",)}


def list_word_faults(options: Mapping[str, Any]) -> Iterator[str]:
    """Words that stand for nothing, with the nearest that does."""
    for option, words in _WORDS.items():
        value = options.get(option)
        if isinstance(value, str) and value not in words:
            yield f"{option} must be numbers or {' or '.join(map(repr, words))}, not {value!r}.{did_you_mean(value, words)}"


def resolve_words(
    options: Mapping[str, Any], module: nn.Module, example: Tensor, labels: NDArray[np.int64]
) -> dict[str, Any]:
    """The options whose values are words, as numbers; empty where there are none.

    Args:
        options: of a loss.
        module: the network that it will train.
        example: one input [1, ...].
        labels: of the training samples.

    Example:
        >>> import torch
        >>> from edgeexit.nets import build
        >>> resolve_words({"costs": "macs"}, build("lenet"), torch.zeros(1, 1, 28, 28), np.arange(10))["costs"]
        [0.17644177680719508, 1.0]
    """
    found: dict[str, Any] = {}
    if isinstance(word := options.get("costs"), str):
        found["costs"] = COST_WORDS[word](module, example)
    if isinstance(options.get("class_weights"), str):
        with torch.no_grad(), evaluation_mode(module):
            classes = run_exits(module, example)[-1].logits.shape[-1]
        counts = np.bincount(labels, minlength=classes)  # a class may have no sample in this part of the data
        found["class_weights"] = [float(counts.max() / max(count, 1)) for count in counts]
    return found
