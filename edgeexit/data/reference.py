"""Reference: statistics of data that a network is known to work on, for comparison with other data, and their storage in a model file.

A model file carries it, with preprocessing and class names, in its metadata; `edgeexit compile` copies them into the bundle's manifest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.dataset import Dataset
from edgeexit.data.model import InputSpec, ModelInfo
from edgeexit.data.preprocess import Preprocess, guess_layout
from edgeexit.data.streams import TrainingData
from edgeexit.errors import InputError
from edgeexit.util.documents import dumps, parse_document, parse_json

PREPROCESS_KEY = "edgeexit.preprocess"
CLASSES_KEY = "edgeexit.classes"
REFERENCE_KEY = "edgeexit.reference"
"""Metadata properties of an ONNX file, each JSON."""

_MOST_SAMPLES = 4096
_MOST_FEATURES = 16  # of a vector whose features are listed apart


@dataclass(frozen=True)
class InputStatistics:
    """Statistics of one input over samples.

    Attributes:
        name: name of the input.
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
class DataReference:
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
    """Data metadata of a model or a bundle: preprocessing of pictures, class names, reference; None or empty where unknown."""

    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    reference: DataReference | None = None

    def as_metadata(self) -> dict[str, str]:
        """As properties of a model file."""
        known: dict[str, Any] = {
            PREPROCESS_KEY: self.preprocess,
            CLASSES_KEY: self.class_names or None,
            REFERENCE_KEY: self.reference,
        }
        return {key: dumps(value) for key, value in known.items() if value is not None}

    def merge(self, other: DataRecord) -> DataRecord:
        """Merge: values of this one first, then those of `other`."""
        return DataRecord(
            self.preprocess or other.preprocess,
            self.class_names or other.class_names,
            self.reference or other.reference,
        )


def read_data_record(metadata: Mapping[str, str], where: str) -> DataRecord:
    """Read a model's data metadata.

    Raises:
        InputError: a property cannot be read.
    """

    def read(cls: type[Any], key: str) -> Any:
        return (
            parse_document(cls, _parse_metadata(metadata[key], key, where), f"{where}: {key}")
            if key in metadata
            else None
        )

    preprocess, reference = read(Preprocess, PREPROCESS_KEY), read(DataReference, REFERENCE_KEY)
    names = _parse_metadata(metadata[CLASSES_KEY], CLASSES_KEY, where) if CLASSES_KEY in metadata else []
    faults = preprocess.faults() if preprocess is not None else []
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        faults.append("the class names are not a list of text")
    if faults:
        msg = f"{where}: the metadata of its data cannot be read: {'; '.join(faults)}."
        raise InputError(msg)
    return DataRecord(preprocess, tuple(names), reference)


def _parse_metadata(text: str, key: str, where: str) -> Any:
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        msg = f"{where}: its metadata {key} is not JSON: {error}"
        raise InputError(msg) from error


def describe_data(data: Dataset, model: ModelInfo, accuracy: float | None, source: str) -> DataReference:
    """The reference of data in a network's form; statistics are over at most 4,096 samples, evenly spaced."""
    return DataReference(data.name, len(data), accuracy, describe_inputs(data, model.inputs), source)


def describe_samples(data: TrainingData, source: str) -> DataReference:
    """The reference of data that is read batch by batch; statistics are over at most 4,096 samples, evenly spaced."""
    if isinstance(data, Dataset):
        spec = InputSpec("input", str(data.x.dtype), data.shape)
        return describe_data(data, ModelInfo("the network", (spec,)), None, source)
    chosen = np.arange(len(data))[:: max(1, len(data) // _MOST_SAMPLES)]
    batches = data.batches(chosen[i : i + _READ_AT_ONCE] for i in range(0, len(chosen), _READ_AT_ONCE))
    pieces = [
        (len(y), _compute_statistics(InputSpec("input", str(x.dtype), data.shape), np.asarray(x))) for x, y in batches
    ]
    return DataReference(data.name, len(data), None, (_merge_statistics(pieces),), source)


_READ_AT_ONCE = 64


def _merge_statistics(pieces: Sequence[tuple[int, InputStatistics]]) -> InputStatistics:
    """Statistics of all samples from those of some at a time, each with its number of samples."""
    weights = np.array([n for n, _ in pieces], np.float64)[:, None] / sum(n for n, _ in pieces)
    means, stds = (np.array([getattr(s, key) for _, s in pieces]) for key in ("mean", "std"))
    mean = (weights * means).sum(0)
    variance = (weights * (stds**2 + (means - mean) ** 2)).sum(0)
    return replace(
        pieces[0][1],
        minimum=min(s.minimum for _, s in pieces),
        maximum=max(s.maximum for _, s in pieces),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, np.sqrt(variance))),
    )


def describe_inputs(data: Dataset, inputs: tuple[InputSpec, ...]) -> tuple[InputStatistics, ...]:
    """Statistics of each input of a network over data in its form."""
    step = max(1, len(data) // _MOST_SAMPLES)
    whole = data.inputs if isinstance(data.inputs, dict) else {inputs[0].name: data.inputs}
    return tuple(_compute_statistics(spec, whole[spec.name][::step]) for spec in inputs if spec.name in whole)


def _compute_statistics(spec: InputSpec, array: NDArray[Any]) -> InputStatistics:
    channels = _split_channels(spec, array)
    with np.errstate(over="ignore", invalid="ignore"):  # float64 inputs may be as large as any number
        return InputStatistics(
            name=spec.name,
            dtype=spec.dtype,
            minimum=float(array.min()),
            maximum=float(array.max()),
            mean=tuple(_parse_number(c.mean(dtype=np.float64)) for c in channels),
            std=tuple(_parse_number(c.std(dtype=np.float64)) for c in channels),
        )


def _parse_number(value: float) -> float:
    """A number that a document holds."""
    return math.inf if math.isnan(value) else float(value)


def _split_channels(spec: InputSpec, array: NDArray[Any]) -> list[NDArray[Any]]:
    """The channels of pictures, each as one array; everything as one where it is no picture."""
    if len(spec.shape) != 3:
        return [array]
    axis = 1 if guess_layout(spec.shape) == "nchw" else 3
    count = array.shape[axis]
    return [array.take(c, axis=axis) for c in range(count)] if count <= _MOST_FEATURES else [array]


_MOST_RATIO = 3.0  # of standard deviations
_REVERSED = 3.0  # times as near with the channels in the other order
_SURE = 4.0  # standard errors of a channel's mean, samples taken as one value each


def find_input_differences(
    reference: DataReference, data: Dataset, inputs: tuple[InputSpec, ...], how: Preprocess | None = None
) -> list[str]:
    """Differences from the reference beyond those of other samples of the same kind: scale, offset, order of channels.

    One clause for each input that differs. Whole numbers that are no picture, such as tokens, have no scale and are left out. With the
    preprocessing, channels are compared as pixels, where a change of their order is exact.
    """
    found = describe_inputs(data, inputs)
    known = {s.name: s for s in reference.inputs}
    if len(found) == len(reference.inputs) == 1:
        known = {found[0].name: reference.inputs[0]}
    differences = []
    for spec, now in zip(inputs, found, strict=True):
        then = known.get(now.name)
        scaled = np.dtype(spec.dtype).kind == "f" or len(spec.shape) == 3
        reason = (
            None if then is None or not scaled else _find_difference(then, now, min(len(data), reference.samples), how)
        )
        if reason is not None and then is not None:
            differences.append(
                f"input {now.name!r} {reason}: {_format_statistics(now)} here, {_format_statistics(then)} in {reference.data}"
            )
    return differences


def range_differences(how: Preprocess, data: Dataset, spec: InputSpec) -> list[str]:
    """Whether an input lies outside the range of preprocessed pixels, or was not normalised; one clause if so."""
    if np.dtype(spec.dtype).kind != "f":
        return []
    means, stds = np.array(how.mean or (0.0,)), np.array(how.std or (1.0,))
    black, white = float(((0 - means) / stds).min()), float(((255 * how.scale - means) / stds).max())
    room = _OVERSHOOT * (white - black)
    (now,) = describe_inputs(data, (spec,))
    if now.minimum < black - room or now.maximum > white + room:
        reason = "lies outside"
    elif black < -_BELOW_ZERO * (white - black) and now.minimum >= 0:
        reason = "has no value below 0, as if it was not normalised, unlike"
    else:
        return []
    made = f"what the bundle's preprocessing makes of pixels, {black:.3g} to {white:.3g}"
    return [f"input {now.name!r} {reason} {made}: {_format_statistics(now)}"]


_BELOW_ZERO = 0.05  # share of the range of normalised pixels; that of MNIST has 13 % below zero
_OVERSHOOT = 0.25  # by which resizing with bicubic or Lanczos may exceed the range, and more


def _find_difference(then: InputStatistics, now: InputStatistics, samples: int, how: Preprocess | None) -> str | None:
    mean, std = _pool_statistics(then)
    mean_now, std_now = _pool_statistics(now)
    if std == 0 or len(then.mean) != len(now.mean):
        return None
    if std_now / std > _MOST_RATIO:
        return (
            "looks like pixel values of 0 to 255 that were not scaled"
            if now.maximum > 2 and now.minimum >= 0
            else "is spread wider"
        )
    unit = now.minimum >= 0 and now.maximum <= 1
    if std_now / std < 1 / _MOST_RATIO:
        return "looks like values of 0 to 1 that were not normalised" if unit else "is spread less"
    rules = (
        (then.minimum < -std and now.minimum >= 0, "has no value below 0, as if it was not normalised"),
        (
            then.minimum >= 0 and now.minimum < -std,
            "has values below 0, as if it was normalised where the network takes it without",
        ),
        (abs(mean_now - mean) > _MOST_RATIO * std, "is shifted"),
        (
            _is_reversed(_as_pixels(then, how), _as_pixels(now, how), samples),
            "looks like BGR where RGB was given, or the other way round",
        ),
    )
    return next((reason for holds, reason in rules if holds), None)


def _as_pixels(statistics: InputStatistics, how: Preprocess | None) -> InputStatistics:
    """Undo the normalisation by mean and standard deviation."""
    if how is None or len(statistics.mean) not in (1, len(how.mean or (0.0,)), len(how.std or (1.0,))):
        return statistics
    scale, shift = np.array(how.std or (1.0,)), np.array(how.mean or (0.0,))
    means, stds = np.array(statistics.mean) * scale + shift, np.array(statistics.std) * scale
    return replace(statistics, mean=tuple(means.tolist()), std=tuple(stds.tolist()))


def _pool_statistics(statistics: InputStatistics) -> tuple[float, float]:
    """Mean and standard deviation over all channels."""
    means, stds = np.array(statistics.mean), np.array(statistics.std)
    return float(means.mean()), float(np.sqrt((stds**2 + (means - means.mean()) ** 2).mean()))


def _is_reversed(then: InputStatistics, now: InputStatistics, samples: int) -> bool:
    """Whether three channels fit far better in the other order, and differ by more than chance in the one they have."""
    if len(now.mean) != 3:
        return False
    means = np.array(then.mean), np.array(now.mean)
    apart, other = (float(np.linalg.norm(means[0] - m)) for m in (means[1], means[1][::-1]))
    return apart > _REVERSED * other and apart > _SURE * max(then.std) / np.sqrt(samples)


def _format_statistics(statistics: InputStatistics) -> str:
    means, stds = (", ".join(f"{v:.3g}" for v in values) for values in (statistics.mean, statistics.std))
    return f"from {statistics.minimum:.3g} to {statistics.maximum:.3g}, mean {means}, standard deviation {stds}"
