"""Find the exits of a model: what the user names, what the exporter wrote, or all logits-like outputs in order of depth.

Depth is the number of nodes that an output needs: an early exit whose head is longer than all that comes after it has to be named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from edgeexit.errors import ModelError, did_you_mean
from edgeexit.graph.dataflow import Flow
from edgeexit.graph.model import INFERENCE_ERRORS, Network, TensorSpec, is_tensor, make_tensor_spec
from edgeexit.util.documents import parse_json
from edgeexit.util.units import format_count

METADATA_KEY = "edgeexit.exits"
"""Model metadata: a JSON list of {"name", "logits", "score"} in order, written by `edgeexit export`."""

_BINARY = " For a binary classifier with one output z, return two logits: 0 and z (before the sigmoid)."
_ONLY_PASSES_ON = frozenset({"Identity", "Cast", "QuantizeLinear", "DequantizeLinear"})
_KEEPS_NUMBERS = _ONLY_PASSES_ON | {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Clip", "Dropout"}
"""Operators that an exit's values may pass after their last arithmetic."""
_PROBABILITIES = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_FLOATS = frozenset({"float16", "float32", "float64", "bfloat16"})


@dataclass(frozen=True)
class Exit:
    """One exit of a network.

    Attributes:
        name: name shown in reports and messages.
        logits: name of its logits output [batch, classes].
        score: name of its own score output [batch] or [batch, 1], higher meaning more confident; None where it has none.
        classes: number of classes.
        dtype: NumPy dtype name of the logits.
        probabilities: whether that output holds probabilities that add up to 1; a criterion then takes the logarithm of them.
    """

    name: str
    logits: str
    score: str | None
    classes: int
    dtype: str
    probabilities: bool = False


def find_exits(
    net: Network, exits: Sequence[str] | None = None, scores: Sequence[str] | None = None
) -> tuple[Exit, ...]:
    """The exits in order: the last is the backbone's own classifier.

    Args:
        net: the model.
        exits: names of the logits outputs, in order; None looks at the metadata, then at the shapes.
        scores: names of the score outputs, one per exit or one per exit but the last; None takes those that the metadata has for
            the exits.

    Raises:
        ModelError: fewer than two exits, a name that is no output, widths that differ, a score of the wrong shape,
            an exit that needs nothing beyond the exits before it.
    """
    values = infer_output_specs(net)
    outputs = {value.name: make_tensor_spec(value, "the model") for value in values if is_tensor(value)}
    named = _find_named(net.proto, exits, scores) or _read_metadata(net.proto) or _find_by_shape(net, outputs)
    _check_tensors(named, values)
    _check_names(named, outputs)
    width = _find_class_count(named, outputs)
    _check_scores(named, outputs)
    makers = _map_producers(net.proto.graph)
    found = tuple(
        Exit(name, logits, score, width, outputs[logits].dtype, _is_softmax(logits, makers))
        for name, logits, score in named
    )
    _check_order(net, found)
    return found


_Named = list[tuple[str, str, "str | None"]]


def infer_output_specs(net: Network) -> list[onnx.ValueInfoProto]:
    """The model's outputs with what shape inference knows of them; it never fails the model."""
    try:
        inferred = onnx.shape_inference.infer_shapes(net.proto, check_type=False, strict_mode=False)
    except INFERENCE_ERRORS:
        inferred = net.proto
    return list(inferred.graph.output)


def _find_named(proto: onnx.ModelProto, exits: Sequence[str] | None, scores: Sequence[str] | None) -> _Named:
    if exits is None:
        if scores is not None:
            msg = "scores were named but exits were not: name both, in the same order."
            raise ModelError(msg)
        return []
    given = _read_scores(proto, exits) if scores is None else list(scores)
    if given and len(given) not in (len(exits), len(exits) - 1):
        msg = (
            f"{format_count(len(exits), 'exit')} named but {format_count(len(given), 'score')}: give one per exit, or "
            "one per exit but the last."
        )
        raise ModelError(msg)
    padded = [*given, *([None] * (len(exits) - len(given)))]
    return [(f"exit{i}", logits, score) for i, (logits, score) in enumerate(zip(exits, padded, strict=True), 1)]


def _read_scores(proto: onnx.ModelProto, exits: Iterable[str]) -> list[str | None]:
    """Scores from the metadata for these exits; none if it is damaged, since naming the exits is the workaround."""
    try:
        written = {logits: score for _, logits, score in _read_metadata(proto)}
    except ModelError:
        return []
    return [written.get(logits) for logits in exits]


def _read_metadata(proto: onnx.ModelProto) -> _Named:
    written = next((p.value for p in proto.metadata_props if p.key == METADATA_KEY), None)
    if written is None:
        return []
    try:
        return [(str(e["name"]), str(e["logits"]), _score_name(e["score"])) for e in parse_json(written)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        msg = f"the model's metadata {METADATA_KEY!r} is not a list of name, logits and score ({error!r}): name the exits instead."
        raise ModelError(msg) from error


def _score_name(value: object) -> str | None:
    """None where there is no score, which an empty name says, too.

    Raises:
        TypeError: neither text nor null.
    """
    if value is not None and not isinstance(value, str):
        raise TypeError(value)
    return value or None


def _find_by_shape(net: Network, outputs: dict[str, TensorSpec]) -> _Named:
    flow = Flow.from_graph(net.proto.graph, [s.name for s in net.inputs])
    logits = [s.name for s in outputs.values() if s.dtype in _FLOATS and len(s.shape) == 2 and s.shape[1] != 1]
    raw = [name for name in logits if not _is_softmax_output(net, name, logits)]
    raw.sort(key=lambda name: len(flow.ancestors([name])))
    return [(f"exit{i}", name, None) for i, name in enumerate(raw, 1)]


def _is_softmax_output(net: Network, name: str, others: Sequence[str]) -> bool:
    """Whether an output is only the probabilities of another."""
    makers = _map_producers(net.proto.graph)
    node = _find_last_arithmetic(name, makers)
    if node is None or node.op_type not in _PROBABILITIES:
        return False
    before = node.input[0]
    while before not in others and before in makers and makers[before].op_type in _KEEPS_NUMBERS:
        before = makers[before].input[0]
    return before in others


def _map_producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in graph.node for name in node.output if name}


def _find_last_arithmetic(name: str, makers: Mapping[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    """The node that computes the numbers of a tensor, whatever gives them another shape or type."""
    node = makers.get(name)
    while node is not None and node.op_type in _KEEPS_NUMBERS:
        node = makers.get(node.input[0])
    return node


def is_sigmoid_output(net: Network, name: str) -> bool:
    """Whether the numbers of an output come out of a Sigmoid per class."""
    node = _find_last_arithmetic(name, _map_producers(net.proto.graph))
    return node is not None and node.op_type in {"Sigmoid", "HardSigmoid"}


def _is_softmax(name: str, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a tensor [batch, classes] is a softmax over the classes, as Keras ends its networks, whatever passes it on."""
    node = makers.get(name)
    while node is not None and node.op_type in _ONLY_PASSES_ON:
        node = makers.get(node.input[0])
    if node is None or node.op_type != "Softmax":
        return False
    # The default, 1 before operator set 13 and -1 since, is the classes in every version.
    return all(a.i in (1, -1) for a in node.attribute if a.name == "axis")


def _list_outputs(outputs: dict[str, TensorSpec]) -> str:
    return "Outputs of the model: " + "; ".join(str(s) for s in outputs.values()) + "."


def _check_tensors(named: _Named, values: Iterable[onnx.ValueInfoProto]) -> None:
    """An output that is a sequence or a map, as some converters add, is passed over unless it is named."""
    wanted = {name for _, *names in named for name in names}
    for value in values:
        if value.name in wanted and not is_tensor(value):
            make_tensor_spec(value, "the model")  # which says what it is


def _check_names(named: _Named, outputs: dict[str, TensorSpec]) -> None:
    wanted = [logits for _, logits, _ in named] + [score for _, _, score in named if score]
    missing = [f"{n!r} is not an output of the model.{did_you_mean(n, outputs)}" for n in wanted if n not in outputs]
    if missing:
        raise ModelError(" ".join([*missing, _list_outputs(outputs)]))
    if len(set(wanted)) < len(wanted):
        msg = f"an output is named more than once: {', '.join(wanted)}."
        raise ModelError(msg)
    if len(named) < 2:
        binary = any(spec.shape[1:] == (1,) for spec in outputs.values())
        msg = (
            f"a multi-exit network has two or more exits (2-D float outputs of equal width); found {len(named)}."
            f" {_list_outputs(outputs)}{_BINARY if binary else ''}"
        )
        raise ModelError(msg)


def _find_class_count(named: _Named, outputs: dict[str, TensorSpec]) -> int:
    specs = [outputs[logits] for _, logits, _ in named]
    wrong = [str(s) for s in specs if s.dtype not in _FLOATS or len(s.shape) != 2 or not isinstance(s.shape[1], int)]
    if wrong:
        msg = (
            f"an exit's logits must be a float output [batch, classes]; found {'; '.join(wrong)}. {_list_outputs(outputs)}"
            " Flatten or average remaining spatial positions or tokens inside the network."
        )
        raise ModelError(msg)
    widths = {s.shape[1] for s in specs}
    if len(widths) > 1:
        msg = f"exits must have the same number of classes; found {'; '.join(str(s) for s in specs)}. Name the exits with --exits."
        raise ModelError(msg)
    width = int(widths.pop())
    if width < 2:
        msg = f"exits must have two or more classes; found {'; '.join(str(s) for s in specs)}.{_BINARY}"
        raise ModelError(msg)
    return width


def _check_scores(named: _Named, outputs: dict[str, TensorSpec]) -> None:
    specs = [outputs[score] for _, _, score in named if score]
    wrong = [
        str(s)
        for s in specs
        if s.dtype not in _FLOATS or len(s.shape) not in (1, 2) or (len(s.shape) == 2 and s.shape[1] != 1)
    ]
    if wrong:
        msg = f"a score must be a float output [batch] or [batch, 1]; found {'; '.join(wrong)}."
        raise ModelError(msg)


def _check_order(net: Network, exits: tuple[Exit, ...]) -> None:
    flow = Flow.from_graph(net.proto.graph, [s.name for s in net.inputs])
    done: set[int] = set()
    for number, exit in enumerate(exits, 1):
        needs = {i for i in flow.ancestors([exit.logits]) if flow.varies[i]}
        if not needs:
            msg = f"exit {number} ({exit.logits!r}) does not depend on the input: an output that is constant cannot be an exit."
            raise ModelError(msg)
        if not needs - done:
            msg = (
                f"exit {number} ({exit.logits!r}) depends only on nodes of earlier exits, so it cannot come after them."
                f" Order given: {', '.join(e.logits for e in exits)}. Name the exits from the earliest to the last."
            )
            raise ModelError(msg)
        done |= needs
