"""Append the criterion to the whole model, before it is split: reachability then puts each exit's nodes into its stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgeexit.criteria import CRITERIA, Criterion
from edgeexit.criteria.temperature import invert_temperatures
from edgeexit.errors import ModelError
from edgeexit.fallbacks import LAST, MOST_CONFIDENT, most_confident_nodes
from edgeexit.graph.build import NodeBuilder
from edgeexit.graph.cost import count_costs_to_reach
from edgeexit.graph.dataflow import find_unused_prefix
from edgeexit.graph.exits import Exit
from edgeexit.graph.model import BATCH, Network

_LARGEST = np.finfo(np.float32).max
_LEAST_PROBABILITY = np.finfo(np.float32).tiny  # its logarithm is finite, and it adds nothing to an entropy


@dataclass(frozen=True)
class ScoredExit:
    """An exit as the engines give it: float32 `logits` [batch, classes] and float32 inner `score` [batch], by tensor name."""

    name: str
    logits: str
    score: str


def add_scores(
    net: Network,
    exits: tuple[Exit, ...],
    criterion: Criterion,
    fallback: str = LAST,
    temperatures: Sequence[float] = (),
) -> tuple[Network, tuple[ScoredExit, ...]]:
    """A copy of the model whose only outputs are each exit's logits and inner score, both float32.

    Where the criterion combines exits, the logits are the combined answer; where an exit gives probabilities, they stay what it gives. With
    the fallback `most_confident`, logits and score of the last exit are those of the most confident one. Temperatures, one per exit, divide
    what the criterion takes, not what exits answer.

    Raises:
        ModelError: the criterion is `learned` and an early exit has no score output, or the last one has none and its score is needed.
    """
    _check_own_scores(exits, criterion, fallback)
    proto = onnx.ModelProto()
    proto.CopyFrom(net.proto)
    del proto.graph.output[:]
    scored = _append_scores(net, proto.graph, exits, criterion, fallback=fallback, temperatures=temperatures)
    batch = BATCH if net.dynamic_batch else 1
    for exit, names in zip(exits, scored, strict=True):
        proto.graph.output.append(helper.make_tensor_value_info(names.logits, TensorProto.FLOAT, [batch, exit.classes]))
        proto.graph.output.append(helper.make_tensor_value_info(names.score, TensorProto.FLOAT, [batch]))
    return replace(net, proto=proto), tuple(scored)


def _append_scores(
    net: Network,
    graph: onnx.GraphProto,
    exits: Sequence[Exit],
    criterion: Criterion,
    *,
    fallback: str,
    temperatures: Sequence[float],
) -> tuple[ScoredExit, ...]:
    costs = count_costs_to_reach(net, [e.logits for e in exits]) if criterion.combine_nodes is not None else ()
    prefix = find_unused_prefix(graph, "edgeexit")
    factors = invert_temperatures(temperatures)
    state: tuple[str, ...] = ()
    as_given = fallback != MOST_CONFIDENT or of_one_kind(exits)
    scored = []
    for k, exit in enumerate(exits):
        builder = NodeBuilder(graph, net.opset, f"{prefix}/exit{k + 1}")
        given = exit.logits if exit.dtype == "float32" else builder.cast(exit.logits, TensorProto.FLOAT)
        logits = _add_logarithm(builder, given) if exit.probabilities else given
        scaled = builder.node("Mul", [logits, builder.constant(factors[k])]) if len(factors) else logits
        if criterion.combine_nodes is not None:
            own = _add_own_score(builder, exit) if criterion.learned and k + 1 < len(exits) else None
            answer, score, state = criterion.combine_nodes(builder, scaled, own, state, costs[: k + 1])
            given = logits if answer == scaled else answer  # patience answers with what it takes
        else:
            score = _add_score(builder, scaled, exit, criterion)
            given = given if as_given else logits
        scored.append(ScoredExit(exit.name, given, score))
    if fallback == MOST_CONFIDENT:
        answer, score = most_confident_nodes(builder, [e.logits for e in scored], [e.score for e in scored])
        scored[-1] = ScoredExit(exits[-1].name, answer, score)
    return tuple(scored)


def of_one_kind(exits: Sequence[Exit]) -> bool:
    """Whether all exits give logits, or all give probabilities; only then can one's outputs stand in the place of another's."""
    return len({exit.probabilities for exit in exits}) == 1


def as_logits(outputs: NDArray[np.float32], exits: Sequence[Exit]) -> NDArray[np.float32]:
    """Input of the criteria, [N, classes], from the exits' outputs [N, classes]: the logarithm of those that are probabilities."""
    logs = np.log(np.maximum(outputs, _LEAST_PROBABILITY))
    return np.where([[exit.probabilities] for exit in exits], logs, outputs)


def _add_logarithm(builder: NodeBuilder, probabilities: str) -> str:
    return builder.node("Log", [builder.node("Max", [probabilities, builder.constant(_LEAST_PROBABILITY)])])


def _add_score(builder: NodeBuilder, logits: str, exit: Exit, criterion: Criterion) -> str:
    if criterion.nodes is not None:
        return criterion.nodes(builder, logits, exit.classes)
    own = _add_own_score(builder, exit)
    return _add_max_softmax(builder, logits, exit) if own is None else own


def _add_own_score(builder: NodeBuilder, exit: Exit) -> str | None:
    """The score that the network gives, [n]; None where it gives none."""
    if exit.score is None:
        return None
    score = builder.reshape(builder.cast(exit.score, TensorProto.FLOAT), -1)
    # A learned score may be infinite; a threshold of +inf still means never.
    return builder.node("Min", [score, builder.constant(_LARGEST)])


def _add_max_softmax(builder: NodeBuilder, logits: str, exit: Exit) -> str:
    # The last exit decides nothing, so networks that learn when to stop give it no score; users still see one.
    nodes = CRITERIA["max_softmax"].nodes
    assert nodes is not None
    return nodes(builder, logits, exit.classes)


def _check_own_scores(exits: tuple[Exit, ...], criterion: Criterion, fallback: str) -> None:
    missing = [f"{i} ({e.logits!r})" for i, e in enumerate(exits[:-1], 1) if e.score is None]
    if criterion.learned and missing:
        msg = (
            f"criterion {criterion.name!r} needs a score output at every early exit; missing at {', '.join(missing)}:"
            " name them with --scores."
        )
        raise ModelError(msg)
    if criterion.learned and fallback == MOST_CONFIDENT and exits[-1].score is None:
        msg = (
            f"fallback {fallback!r} compares the scores of all exits, and the last exit ({exits[-1].logits!r}) has no score of its own:"
            " name one with --scores, take a criterion that is computed from the logits, or leave the fallback at 'last'."
        )
        raise ModelError(msg)
