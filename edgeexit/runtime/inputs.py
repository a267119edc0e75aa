"""Check what the user gives and put it into the bound buffers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.bundle import Bundle, Manifest
from edgeexit.data import ModelInfo, read_class_names, read_preprocess
from edgeexit.data.classes import check_class_count
from edgeexit.data.model import infer_preprocess
from edgeexit.errors import InputError, did_you_mean
from edgeexit.graph.expected_data import make_input_specs
from edgeexit.graph.model import TensorSpec
from edgeexit.util.arguments import make_printable

Inputs: TypeAlias = "NDArray[Any] | Mapping[str, NDArray[Any]]"
"""One array for a network with one input, or arrays by input name."""


def model_info(
    bundle: Bundle | Manifest, *, name: str = "", preprocess: object = None, classes: object = None
) -> ModelInfo:
    """Data that a bundle's network expects.

    Args:
        bundle: an open bundle, or its manifest.
        name: name for messages; the bundle's path by default.
        preprocess: instead of the one that the bundle records; see `edgeexit.data.read_preprocess`.
        classes: class names instead of those that it records; see `edgeexit.data.read_class_names`.

    Raises:
        InputError: the preprocessing or the class names do not fit the network.
    """
    manifest = bundle if isinstance(bundle, Manifest) else bundle.manifest
    name = make_printable(name or ("the bundle" if isinstance(bundle, Manifest) else bundle.path))
    names = manifest.class_names if classes is None else read_class_names(classes)
    check_class_count(names, manifest.classes, name)
    how = manifest.preprocess if preprocess is None else read_preprocess(preprocess)
    info = ModelInfo(name, make_input_specs(manifest.inputs), manifest.classes, names, how)
    if how is not None and preprocess is not None:
        infer_preprocess(info)
    return info


def check_input(name: str, x: object, shape: tuple[int, ...], dtype: str) -> None:
    """Raise InputError unless `x` is an array of that shape and dtype; the message says what it is instead."""
    if not isinstance(x, np.ndarray):
        msg = f"input {name!r} must be a NumPy array, not {type(x).__name__}: use numpy.asarray(x, {dtype!r})."
        raise InputError(msg)
    if isinstance(x, np.ma.MaskedArray):
        msg = (
            f"input {name!r} is masked, and masked values would be used as if they were data: fill them (x.filled(0))."
        )
        raise InputError(msg)
    if x.shape != shape:
        hint = " Add the batch dimension: x[None]." if (1, *x.shape) == shape else ""
        hint = hint or (" For several samples use runner.batch(xs)." if x.shape[1:] == shape[1:] else "")
        msg = f"input {name!r} must have shape {list(shape)}, not {list(x.shape)}.{hint}"
        raise InputError(msg)
    if x.dtype != dtype:
        scaled = ", scaled as in training" if dtype.startswith("float") and x.dtype.kind in "iu" else ""
        msg = f"input {name!r} must be {dtype}, not {x.dtype}: use x.astype({dtype!r}){scaled}."
        raise InputError(msg)


def refuse_nan(name: str, x: NDArray[Any]) -> None:
    """Raise InputError where a float array holds NaN.

    The largest value is NaN where any value is: one pass, no temporary array, no overflow.
    """
    if x.dtype.kind == "f" and x.size and np.isnan(x.max()):
        msg = f"input {name!r} holds {int(np.isnan(x).sum())} NaN values out of {x.size}: clean the data first."
        raise InputError(msg)


def make_input_writer(spec: TensorSpec, buffer: NDArray[Any], *, only: bool = False) -> Callable[[Any], None]:
    """A function that checks one input and copies it into its bound buffer; on the way of every inference, so it looks nothing up.

    Args:
        spec: the input.
        buffer: its buffer.
        only: it is the network's only one, so that a dict of it by name is taken, too.
    """
    name, shape, dtype = spec.name, buffer.shape, buffer.dtype
    flat = buffer.reshape(-1)
    may_be_nan = dtype.kind == "f" and flat.size > 0
    # NaN is found before any number, whatever is beside it, in a third of the time that the largest value takes on 3,072 float32.
    place, value, isnan = flat.argmax, flat.item, math.isnan

    def fill(x: Any) -> None:
        if type(x) is not np.ndarray or x.shape != shape or x.dtype is not dtype:
            x = match_inputs_by_name(x, (spec,))[name] if only else x
            check_input(name, x, shape, str(dtype))
        buffer[...] = x
        if may_be_nan and isnan(value(place())):
            refuse_nan(name, buffer)

    return fill


def match_inputs_by_name(inputs: Inputs, specs: Sequence[TensorSpec]) -> Mapping[str, Any]:
    """Inputs by name, every input of the network exactly once.

    Raises:
        InputError: one array for a network with several inputs, a name missing or unknown.
    """
    names = [s.name for s in specs]
    if not isinstance(inputs, Mapping):
        if len(names) > 1:
            msg = f"this network has {len(names)} inputs ({', '.join(names)}): give a dict of arrays by name."
            raise InputError(msg)
        return {names[0]: inputs}
    faults = [f"{n!r} is missing" for n in names if n not in inputs]
    faults += [f"{n!r} is no input.{did_you_mean(str(n), names)}" for n in inputs if n not in names]
    if faults:
        raise InputError(f"inputs are {', '.join(names)}: " + "; ".join(faults))
    return inputs


def make_inputs_writer(specs: Sequence[TensorSpec], buffers: Mapping[str, NDArray[Any]]) -> Callable[[Inputs], None]:
    """A function that checks all inputs of one sample and copies them into their bound buffers."""
    if len(specs) == 1:
        return make_input_writer(specs[0], buffers[specs[0].name], only=True)
    fills = {spec.name: make_input_writer(spec, buffers[spec.name]) for spec in specs}

    def write(x: Inputs) -> None:
        arrays = match_inputs_by_name(x, specs)
        for name, fill in fills.items():
            fill(arrays[name])

    return write


def check_many(inputs: Inputs, specs: Sequence[TensorSpec]) -> dict[str, NDArray[Any]]:
    """Arrays [n, ...] by input name, checked, n the same for all and at least 1.

    Raises:
        InputError: with what is wrong.
    """
    arrays = match_inputs_by_name(inputs, specs)
    counts = {len(a) if isinstance(a, np.ndarray) and a.ndim else 1 for a in arrays.values()}
    if counts == {0} or len(counts) > 1:
        msg = f"inputs must hold the same number of samples, and at least one; found {sorted(counts)}."
        raise InputError(msg)
    count = counts.pop()
    for spec in specs:
        check_input(spec.name, arrays[spec.name], (count, *spec.shape_at_1[1:]), spec.dtype)
        refuse_nan(spec.name, np.ascontiguousarray(arrays[spec.name]))
    return dict(arrays)
