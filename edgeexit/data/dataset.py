"""A set of inputs with or without labels, checked once when it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.arrays import as_array, as_float32, convert_pixels, find_input_faults, fit_array
from edgeexit.data.labels import as_labels
from edgeexit.data.model import InputSpec, ModelInfo
from edgeexit.data.streams import Batch, Places, TrainingData, read_in_order
from edgeexit.errors import InputError
from edgeexit.util.arguments import make_printable

Floats: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]
Inputs: TypeAlias = "Floats | dict[str, NDArray[Any]]"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and labels.

    Attributes:
        name: name for messages and records.
        inputs: float32 [n, ...], or one array per input name, all of the same n.
        labels: int64 [n], from 0; None where there are none.
        files: the file of each sample, where each has one of its own.
        class_names: class names in the order of the labels; empty where they are not known.
    """

    name: str
    inputs: Inputs
    labels: Labels | None
    files: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(_list_arrays(self.inputs)))

    @property
    def x(self) -> Floats:
        """The inputs of a network with one input.

        Raises:
            InputError: there are several.
        """
        if isinstance(self.inputs, dict):
            msg = f"{self.name} has the inputs {', '.join(self.inputs)}; one is needed here"
            raise InputError(msg)
        return self.inputs

    @property
    def y(self) -> Labels:
        """The labels.

        Raises:
            InputError: there are none.
        """
        if self.labels is None:
            forms = "an .npz with y, two files as x.npy,y.npy, or an image folder with one sub-folder per class"
            msg = f"{self.name} has no labels; give {forms}"
            raise InputError(msg)
        return self.labels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch.

        Raises:
            InputError: there are several inputs.
        """
        return self.x.shape[1:]

    def batches(self, places: Iterable[Places]) -> Iterator[Batch]:
        """Inputs and labels of the samples at these places, one batch for each array of them."""
        x, y = self.x, self.y
        return ((x[where], y[where]) for where in places)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes of the inputs, by name, and of the labels."""
        digest = hashlib.sha256()
        for array in (*_list_arrays(self.inputs), *(() if self.labels is None else (self.labels,))):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def take(self, indices: NDArray[np.integer] | Sequence[int] | slice) -> Dataset:
        """The samples at these places, in this order."""
        where = indices if isinstance(indices, slice) else np.asarray(indices, np.int64)
        whole = self.inputs
        inputs = {name: array[where] for name, array in whole.items()} if isinstance(whole, dict) else whole[where]
        files = self.files[where] if isinstance(where, slice) else tuple(self.files[i] for i in where if self.files)
        return replace(self, inputs=inputs, labels=None if self.labels is None else self.labels[where], files=files)

    def sample_hashes(self) -> list[bytes]:
        """One 16-byte hash per sample, of its inputs only: equal inputs have equal hashes in every set."""
        columns = [np.ascontiguousarray(array).reshape(len(self), -1) for array in _list_arrays(self.inputs)]
        return [
            hashlib.blake2b(b"".join(c[i].tobytes() for c in columns), digest_size=16).digest()
            for i in range(len(self))
        ]


def _list_arrays(inputs: Inputs) -> Iterator[NDArray[Any]]:
    if isinstance(inputs, dict):
        return (inputs[name] for name in sorted(inputs))
    return iter((inputs,))


def make_dataset(
    name: str, inputs: Any, labels: Any = None, model: ModelInfo | None = None, class_names: tuple[str, ...] = ()
) -> Dataset:
    """A Dataset from arrays as they come, or every fault of them in one message.

    With `model` the inputs become what the network declares (see `edgeexit.data.arrays`); without it floating inputs become float32, and
    integers (token numbers) keep their type. Labels become int64 (see `edgeexit.data.labels`).

    Args:
        name: name for messages: a path or the name of a set.
        inputs: [n, ...], or a mapping of such by input name; arrays, lists or tensors.
        labels: whole numbers from 0 [n] or [n, 1], one-hot rows, or text that names classes; None where there are none.
        model: what the network expects.
        class_names: class names that the data brings, for labels that are text.

    Raises:
        InputError: no samples; other lengths; not numbers; NaN or infinite values; inputs that the network does not take; labels that
            are negative or not whole.
    """
    name = make_printable(name)
    given = inputs if isinstance(inputs, Mapping) else {"x": inputs}
    arrays = {str(k): as_array(v, f"{name}: {k}") for k, v in given.items()}
    if not isinstance(inputs, Mapping) and model is not None:
        _refuse_single(name, model)
    specs = {s.name: s for s in model.inputs} if model is not None else {}
    only = model.inputs[0] if model is not None and len(model.inputs) == 1 else None
    fitted: dict[str, NDArray[Any]] = {}
    faults: list[str] = (
        [] if arrays else ["there are no inputs; give one array, or arrays by the names of the network's inputs"]
    )
    for key, array in arrays.items():
        spec = specs.get(key, only)
        least = 1 if spec is not None and not spec.shape else 2  # an input may be one number per sample
        own = find_input_faults(key, _add_batch_dimension(array, spec), least)
        if not own:
            fitted[key], own = _fit(key, _add_batch_dimension(array, specs.get(key, only)), specs.get(key, only), model)
        faults += own
    lengths = {key: len(array) if array.ndim else 0 for key, array in (arrays | fitted).items()}
    numbers = None
    if labels is not None:
        given_labels = as_array(labels, f"{name}: y")
        numbers, wrong = as_labels(given_labels, name, model, class_names)
        faults += wrong
        lengths["y"] = len(given_labels) if given_labels.ndim else 0
    if len(set(lengths.values())) > 1:
        faults.append(f"lengths differ: {', '.join(f'{k} has {n}' for k, n in lengths.items())}")
    if faults:
        msg = f"{name}: {'; '.join(faults)}"
        raise InputError(msg)
    clean: Inputs = fitted if isinstance(inputs, Mapping) else fitted["x"]
    known = model.class_names if model is not None and model.class_names else class_names
    return Dataset(name, clean, numbers, class_names=known)


def _refuse_single(name: str, model: ModelInfo) -> None:
    if len(model.inputs) > 1:
        msg = f"{name} has one array; the network has the inputs {', '.join(map(str, model.inputs))}: give one array for each by name."
        raise InputError(msg)


def _add_batch_dimension(array: NDArray[Any], spec: InputSpec | None) -> NDArray[Any]:
    """One sample without its batch dimension gets one."""
    return array[None] if spec is not None and array.ndim and array.shape == spec.shape else array


def _fit(
    key: str, array: NDArray[Any], spec: InputSpec | None, model: ModelInfo | None
) -> tuple[NDArray[Any], list[str]]:
    if spec is None:
        return as_float32(key, array)
    how = model.preprocess if model is not None and spec is model.image_input else None
    if how is not None and array.dtype.kind in "iu" and np.dtype(spec.dtype).kind == "f":
        return convert_pixels(key, array, spec, how)
    return fit_array(key, array, spec)


def gather_samples(data: TrainingData, batch: int = 64) -> Dataset:
    """All samples of data that is read batch by batch, in memory."""
    if isinstance(data, Dataset):
        return data
    inputs, labels = zip(*read_in_order(data, batch), strict=True)
    return Dataset(data.name, np.concatenate(inputs), np.concatenate(labels), class_names=data.class_names)


def check_labels(dataset: TrainingData, classes: int) -> Labels:
    """The labels, known to exist and to lie in 0 .. classes - 1.

    Raises:
        InputError: there are none, or one is out of range.
    """
    labels = dataset.y
    worst = int(labels.max())
    if worst >= classes:
        where = int(labels.argmax())
        hint = ". They seem to count from 1: give y - 1" if worst == classes and labels.min() > 0 else ""
        msg = f"{dataset.name}: label {worst} of sample {where} is out of range; the model has {classes} classes, 0 to {classes - 1}{hint}"
        raise InputError(msg)
    return labels
