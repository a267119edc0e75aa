"""What is recorded of data that a network is known to do well on, so that other data can be held against it; and how it travels in a model.

A model file carries it, with preprocessing and class names, in its metadata; `edgeexit compile` copies them into the bundle's manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.dataset import Dataset
from edgeexit.data.model import InputSpec, ModelInfo
from edgeexit.data.preprocess import Preprocess, layout_of
from edgeexit.documents import dumps, from_document
from edgeexit.errors import InputError

PREPROCESS_KEY = "edgeexit.preprocess"
CLASSES_KEY = "edgeexit.classes"
REFERENCE_KEY = "edgeexit.reference"
"""Metadata properties of an ONNX file, each JSON."""

_MOST_SAMPLES = 4096
_MOST_FEATURES = 16  # of a vector whose features are told apart


@dataclass(frozen=True)
class InputStatistics:
    """Statistics of one input over samples.

    Attributes:
        name: of the input.
        dtype: NumPy dtype name.
        minimum: over everything.
        maximum: over everything.
        mean: per channel of a picture, else over everything.
        std: likewise.
    """

    name: str
    dtype: str
    minimum: float
    maximum: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Reference:
    """Data that the network is known to do well on.

    Attributes:
        data: name of the set.
        samples: how many of it were looked at.
        accuracy: share of them that the last exit answers right; null without labels.
        inputs: statistics of each input.
        source: `compile`, `export` or `train`: where it was recorded.
    """

    data: str
    samples: int
    accuracy: float | None
    inputs: tuple[InputStatistics, ...]
    source: str


@dataclass(frozen=True)
class DataRecord:
    """What a model or a bundle says of its data: preprocessing of pictures, class names, reference; None or empty where unknown."""

    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    reference: Reference | None = None

    def as_metadata(self) -> dict[str, str]:
        """As properties of a model file."""
        known: dict[str, Any] = {
            PREPROCESS_KEY: self.preprocess,
            CLASSES_KEY: self.class_names or None,
            REFERENCE_KEY: self.reference,
        }
        return {key: dumps(value) for key, value in known.items() if value is not None}

    def over(self, other: DataRecord) -> DataRecord:
        """What is known here, and what only `other` knows."""
        return DataRecord(
            self.preprocess or other.preprocess,
            self.class_names or other.class_names,
            self.reference or other.reference,
        )


def record_of(metadata: Mapping[str, str], where: str) -> DataRecord:
    """What a model's metadata says of its data.

    Raises:
        InputError: a property cannot be read.
    """

    def read(cls: type[Any], key: str) -> Any:
        return from_document(cls, _parsed(metadata[key], key, where), f"{where}: {key}") if key in metadata else None

    preprocess, reference = read(Preprocess, PREPROCESS_KEY), read(Reference, REFERENCE_KEY)
    names = _parsed(metadata[CLASSES_KEY], CLASSES_KEY, where) if CLASSES_KEY in metadata else []
    faults = preprocess.faults() if preprocess is not None else []
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        faults.append("the class names are no list of text")
    if faults:
        msg = f"{where}: the metadata of its data cannot be read: {'; '.join(faults)}."
        raise InputError(msg)
    return DataRecord(preprocess, tuple(names), reference)


def _parsed(text: str, key: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{where}: its metadata {key} is not JSON: {error}"
        raise InputError(msg) from error


def describe_data(data: Dataset, model: ModelInfo, accuracy: float | None, source: str) -> Reference:
    """The reference of data in a network's form; statistics are over at most 4,096 samples, evenly spaced."""
    return Reference(data.name, len(data), accuracy, describe_inputs(data, model.inputs), source)


def describe_inputs(data: Dataset, inputs: tuple[InputSpec, ...]) -> tuple[InputStatistics, ...]:
    """Statistics of each input of a network over data in its form."""
    step = max(1, len(data) // _MOST_SAMPLES)
    whole = data.inputs if isinstance(data.inputs, dict) else {inputs[0].name: data.inputs}
    return tuple(_statistics(spec, whole[spec.name][::step]) for spec in inputs if spec.name in whole)


def _statistics(spec: InputSpec, array: NDArray[Any]) -> InputStatistics:
    channels = _channels(spec, array)
    return InputStatistics(
        name=spec.name,
        dtype=spec.dtype,
        minimum=float(array.min()),
        maximum=float(array.max()),
        mean=tuple(float(c.mean(dtype=np.float64)) for c in channels),
        std=tuple(float(c.std(dtype=np.float64)) for c in channels),
    )


def _channels(spec: InputSpec, array: NDArray[Any]) -> list[NDArray[Any]]:
    """The channels of pictures, each as one array; everything as one where it is no picture."""
    if len(spec.shape) != 3:
        return [array]
    axis = 1 if layout_of(spec.shape) == "nchw" else 3
    count = array.shape[axis]
    return [array.take(c, axis=axis) for c in range(count)] if count <= _MOST_FEATURES else [array]
