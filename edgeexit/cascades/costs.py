"""What each classifier of a cascade costs by itself: seconds on this machine, multiply-accumulates, or parameters.

The policy that is run after it is counted with it, as in section 3.2 of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeexit.backends.base import Settings
from edgeexit.backends.onnxruntime.sessions import open_session
from edgeexit.cascades.classifiers import Classifier
from edgeexit.cascades.joining import INPUT, add_policies, join_classifiers
from edgeexit.cascades.policies import PolicyNetwork, make_layers
from edgeexit.errors import InputError, did_you_mean
from edgeexit.graph.cost import count_costs_to_reach
from edgeexit.graph.model import Network, TensorSpec, list_all_tensors
from edgeexit.measure.timing import time_interleaved

_SECONDS = 2.0
_Find: TypeAlias = Callable[[Sequence[onnx.ModelProto], NDArray[np.generic]], list[float]]


def measure_seconds(models: Sequence[onnx.ModelProto], sample: NDArray[np.generic]) -> list[float]:
    """Median latency of one sample, of ONNX Runtime on one thread, all in turn."""
    calls = {str(k): partial(_run, _open(model), sample[None]) for k, model in enumerate(models)}
    timed = time_interleaved(calls, seconds=_SECONDS, warmup_s=_SECONDS / 10)
    return [timed[name].median_s for name in calls]


def _open(model: onnx.ModelProto) -> Any:
    return open_session(model.SerializeToString(), Settings(threads=1, spin=False), batch_1=True, quiet=True)


def _run(session: Any, x: NDArray[np.generic], _: int) -> object:
    return session.run(None, {INPUT: x})


def count_macs(models: Sequence[onnx.ModelProto], sample: NDArray[np.generic]) -> list[float]:
    """Multiply-accumulates of convolutions and matrix products; NaN where there are none in a classifier, as in decision trees."""
    spec = TensorSpec(INPUT, str(sample.dtype), (1, *sample.shape))
    networks = [Network(model, Path(), (spec,), dynamic_batch=False) for model in models]
    counted = [count_costs_to_reach(net, [out.name for out in net.proto.graph.output]) for net in networks]
    return [costs[-1] if costs[0] > 1 else math.nan for costs in counted]


def count_parameters(models: Sequence[onnx.ModelProto], _: NDArray[np.generic]) -> list[float]:
    """Numbers in weights, and in the lists of numbers that trees and linear classifiers of ai.onnx.ml have as attributes."""
    return [
        float(
            sum(math.prod(t.dims) for t in list_all_tensors(model.graph))
            + sum(len(a.floats) for node in model.graph.node for a in node.attribute)
        )
        for model in models
    ]


COSTS: Mapping[str, tuple[str, _Find]] = {
    "latency": ("seconds", measure_seconds),
    "macs": ("MAC", count_macs),
    "parameters": ("parameters", count_parameters),
}
"""Unit, and models of one classifier each and one sample [...] in, the cost of each out."""


def find_costs(
    kind: str, classifiers: Sequence[Classifier], sample: NDArray[np.generic], hidden: int
) -> tuple[str, list[float]]:
    """Unit and costs of one of `COSTS`, of classifiers with policies of so many hidden neurons.

    Raises:
        InputError: there is no such kind, or multiply-accumulates cannot be counted.
    """
    if kind not in COSTS:
        msg = f"there is no cost {kind!r}.{did_you_mean(kind, COSTS)} Costs: {', '.join(COSTS)}."
        raise InputError(msg)
    unit, find = COSTS[kind]
    policy = PolicyNetwork(tuple(make_layers(classifiers[0].classes, hidden, np.random.default_rng(0))))
    alone = [join_classifiers([c]) for c in classifiers]
    costs = find([*(add_policies(model, [policy]) for model in alone[:-1]), alone[-1]], sample)
    missing = [str(c.file.path) for c, cost in zip(classifiers, costs, strict=True) if not cost > 0]
    if missing:
        msg = (
            f"no {unit} can be counted in {', '.join(missing)}: take --cost latency, which is measured on this machine."
        )
        raise InputError(msg)
    return unit, costs
