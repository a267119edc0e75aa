"""Bring a network to another precision before it is split; int8 with ranges measured on the user's own inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx

from edgeexit.backends.base import Array
from edgeexit.choices import PRECISIONS, check_choice
from edgeexit.compiler.half import convert_to_float16
from edgeexit.compiler.precision_places import Inside, PrecisionPlaces, is_any_node
from edgeexit.compiler.probe import open_model
from edgeexit.compiler.quantize import find_quantizable_layers, find_shortcuts, quantize_network
from edgeexit.compiler.quantize_outputs import Range, find_quantized_activations, quantize_outputs
from edgeexit.errors import InputError, ModelError
from edgeexit.graph.exits import Exit
from edgeexit.graph.model import Network
from edgeexit.stage_choices import is_mixed, list_distinct_names

_MOST_SAMPLES = 256
_PERCENTILE = 99.99
"""Percentile of the values of one sample, on either side; the widest over the samples is the range. Single outliers would cost all other
values their resolution.
"""


def check_precision(precision: str) -> None:
    """Raise an InputError where there is no precision of that name."""
    check_choice("precision", precision, PRECISIONS)


def convert_precision(
    net: Network,
    exits: tuple[Exit, ...],
    precision: str,
    inputs: Mapping[str, Array] | None,
    *,
    quantized_outputs: bool = True,
) -> tuple[Network, tuple[Exit, ...]]:
    """The network and its exits in a precision; unchanged for `float32`.

    Args:
        net: the network, before the criterion is appended.
        exits: its exits; int8 leaves the layers alone that make their logits.
        precision: one of `PRECISIONS`.
        inputs: calibration inputs [n, ...] by name, for int8.
        quantized_outputs: whether the runtime's integer kernels write integers, see `quantize_outputs`; False for TensorRT.

    Raises:
        InputError: no such precision, or int8 without inputs.
        ModelError: the network cannot be brought to it, with the reason.
    """
    check_precision(precision)
    _refuse_other_than_float32(exits, precision)
    if precision == "float16":
        return convert_to_float16(net), tuple(replace(e, dtype="float16") for e in exits)
    if precision == "int8":
        return _convert_to_int8(net, exits, inputs, quantized_outputs=quantized_outputs), exits
    return net, exits


def convert_stages(
    net: Network,
    exits: tuple[Exit, ...],
    precision: str,
    inputs: Mapping[str, Array] | None,
    *,
    quantized_outputs: bool = True,
) -> tuple[Network, tuple[Exit, ...], Mapping[str, int]]:
    """`convert_precision` with a precision for each stage, as `edgeexit.stage_choices` joins them.

    Returns:
        the network, its exits, and `carried` of `edgeexit.graph.split`: what is brought back to float32 for a later stage, and the stage
        that does it.

    Raises:
        InputError, ModelError: as of `convert_precision`.
    """
    if not is_mixed(precision):
        return *convert_precision(net, exits, precision, inputs, quantized_outputs=quantized_outputs), {}
    names = list_distinct_names(precision)
    for name in names:
        check_precision(name)
    _refuse_other_than_float32(exits, precision)
    places, done = PrecisionPlaces.find(net, exits, precision), net
    if "int8" in names:
        inside = places.make_test("int8")
        done = _convert_to_int8(net, exits, inputs, inside, quantized_outputs=quantized_outputs)
    if "float16" in names:
        done = convert_to_float16(done, places.make_test("float16"))
    halves = {o.name for o in done.proto.graph.output if o.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
    found = tuple(replace(e, dtype="float16") if e.logits in halves else e for e in exits)
    return done, found, places.find_carried(done)


def _refuse_other_than_float32(exits: Iterable[Exit], precision: str) -> None:
    own = {e.dtype for e in exits}
    if own != {"float32"}:
        msg = f"this model computes in {', '.join(sorted(own))}; only float32 models can be brought to {precision}."
        raise ModelError(msg)


def _convert_to_int8(
    net: Network,
    exits: Iterable[Exit],
    inputs: Mapping[str, Array] | None,
    inside: Inside = is_any_node,
    *,
    quantized_outputs: bool,
) -> Network:
    if not inputs:
        msg = "int8 needs inputs to measure ranges on: give calibration data (compile: --data)."
        raise InputError(msg)
    kept = [e.logits for e in exits]
    nodes = net.proto.graph.node
    layers = [layer for layer in find_quantizable_layers(net, kept) if inside(nodes[layer.node])]
    if not layers:
        msg = (
            "there is nothing to bring to int8: no convolution or dense layer with constant weights, beside those that make the exits'"
            " logits, which stay in float32. Compile it with float32 or float16."
        )
        raise ModelError(msg)
    if quantized_outputs:
        activations = find_quantized_activations(net, layers, kept, inside)
        return quantize_outputs(net, layers, measure_activation_ranges(net, activations, inputs), inside)
    passing = [shortcut for shortcut in find_shortcuts(net, layers, kept) if inside(nodes[shortcut.node])]
    read = {layer.data for layer in layers} | {shortcut.data for shortcut in passing}
    ranges = measure_activation_ranges(net, read, inputs)
    return quantize_network(net, layers, {name: max(-low, high) for name, (low, high) in ranges.items()}, passing)


def measure_activation_ranges(net: Network, tensors: Iterable[str], inputs: Mapping[str, Array]) -> dict[str, Range]:
    """Least and largest value of each tensor over the first inputs, without single outliers; the range holds 0."""
    names = sorted(tensors)
    low, high = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    own = {s.name for s in net.inputs}
    inside = [n for n in names if n not in own]
    run = open_model(net, inside) if inside else _return_nothing
    for i in range(min(_MOST_SAMPLES, len(next(iter(inputs.values()))))):
        sample = {name: a[i : i + 1] for name, a in inputs.items()}
        found = {**sample, **run(sample)}
        for name in names:
            least, most = np.percentile(found[name], [100 - _PERCENTILE, _PERCENTILE])
            low[name], high[name] = min(low[name], float(least)), max(high[name], float(most))
    return {name: (low[name], high[name]) for name in names}


def _return_nothing(_sample: Mapping[str, Array]) -> dict[str, Array]:
    """Stands for a model without requested outputs: ONNX Runtime does not accept a model without nodes."""
    return {}
