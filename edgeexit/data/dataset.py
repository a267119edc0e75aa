"""A set of inputs with or without labels, checked once when it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import InputError

Floats: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]
Inputs: TypeAlias = "Floats | dict[str, NDArray[Any]]"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and labels.

    Attributes:
        name: for messages and records.
        inputs: float32 [n, ...], or one array per input name, all of the same n.
        labels: int64 [n], from 0; None where there are none.
    """

    name: str
    inputs: Inputs
    labels: Labels | None

    def __len__(self) -> int:
        return len(next(_arrays(self.inputs)))

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
            msg = f"{self.name} has no labels; give an .npz with y, or an image folder with one sub-folder per class"
            raise InputError(msg)
        return self.labels

    @cached_property
    def sha256(self) -> str:
        """Of the bytes of the inputs, by name, and of the labels."""
        digest = hashlib.sha256()
        for array in (*_arrays(self.inputs), *(() if self.labels is None else (self.labels,))):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def take(self, indices: NDArray[np.integer] | Sequence[int] | slice) -> Dataset:
        """The samples at these places, in this order."""
        where = indices if isinstance(indices, slice) else np.asarray(indices, np.int64)
        whole = self.inputs
        inputs = {name: array[where] for name, array in whole.items()} if isinstance(whole, dict) else whole[where]
        return Dataset(self.name, inputs, None if self.labels is None else self.labels[where])

    def sample_hashes(self) -> list[bytes]:
        """One 16-byte hash per sample, of its inputs only: equal inputs have equal hashes in every set."""
        columns = [np.ascontiguousarray(array).reshape(len(self), -1) for array in _arrays(self.inputs)]
        return [
            hashlib.blake2b(b"".join(c[i].tobytes() for c in columns), digest_size=16).digest()
            for i in range(len(self))
        ]


def _arrays(inputs: Inputs) -> Iterator[NDArray[Any]]:
    if isinstance(inputs, dict):
        return (inputs[name] for name in sorted(inputs))
    return iter((inputs,))


def checked(name: str, inputs: Any, labels: Any = None) -> Dataset:
    """A Dataset from arrays as they come, or every fault of them in one message.

    Floating inputs become float32 and labels int64. Inputs by name may also be integers (token numbers) and keep their type.

    Args:
        name: for messages: a path or the name of a set.
        inputs: [n, ...], or a mapping of such by input name.
        labels: [n] whole numbers from 0, or None.

    Raises:
        InputError: no samples; other lengths; not numbers; NaN or infinite values; labels that are negative or not whole.
    """
    arrays = (
        {str(k): np.asarray(v) for k, v in inputs.items()} if isinstance(inputs, Mapping) else {"x": np.asarray(inputs)}
    )
    faults = [fault for key, array in arrays.items() for fault in _input_faults(key, array)]
    lengths = {key: len(array) if array.ndim else 0 for key, array in arrays.items()}
    if labels is not None:
        labels = np.asarray(labels)
        faults += _label_faults(labels)
        lengths["y"] = len(labels) if labels.ndim else 0
    if len(set(lengths.values())) > 1:
        faults.append(f"lengths differ: {', '.join(f'{k} has {n}' for k, n in lengths.items())}")
    if faults:
        msg = f"{name}: {'; '.join(faults)}"
        raise InputError(msg)
    cast = {key: _as_input(array) for key, array in arrays.items()}
    clean: Inputs = cast if isinstance(inputs, Mapping) else cast["x"]
    return Dataset(name, clean, None if labels is None else labels.astype(np.int64))


def _input_faults(key: str, array: NDArray[Any]) -> list[str]:
    if array.dtype.kind not in "fiub":
        return [f"{key} is {array.dtype}; numbers are needed"]
    if array.ndim < 2:
        return [f"{key} has shape {list(array.shape)}; it needs [samples, ...]"]
    if array.size == 0:
        return [f"{key} is empty, shape {list(array.shape)}"]
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if bad.any():
            return [
                f"{key} has NaN or infinite values in {int(bad.sum())} of {len(array)} samples, first in sample {int(bad.argmax())}"
            ]
    return []


def _label_faults(labels: NDArray[Any]) -> list[str]:
    if labels.ndim != 1:
        return [f"y has shape {list(labels.shape)}; it needs [samples]"]
    if labels.dtype.kind not in "fiu" or not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
        return [f"y is {labels.dtype}; whole numbers from 0 are needed"]
    if labels.size and labels.min() < 0:
        return [f"y has the label {int(labels.min())}; labels count from 0"]
    return []


def _as_input(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "f":
        return np.ascontiguousarray(array, np.float32)
    return np.ascontiguousarray(array)


def check_labels(dataset: Dataset, classes: int) -> Labels:
    """The labels, known to exist and to lie in 0 .. classes - 1.

    Raises:
        InputError: there are none, or one is out of range.
    """
    labels = dataset.y
    worst = int(labels.max())
    if worst >= classes:
        where = int(labels.argmax())
        msg = f"{dataset.name}: label {worst} of sample {where} is out of range; the model has {classes} classes, 0 to {classes - 1}"
        raise InputError(msg)
    return labels
