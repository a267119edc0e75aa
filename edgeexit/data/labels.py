"""Labels in any common form, converted to int64 [n] from 0.

Taken: whole numbers of any dtype (also as floats), truth values, a column [n, 1], one-hot rows [n, classes], text that names classes; also
as objects, as pandas keeps text.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.classes import assign_class_numbers, clean_name
from edgeexit.data.model import ModelInfo
from edgeexit.errors import InputError

_MOST_CLASSES = 1 << 24

CHANCE_KAPPA = 0.1
"""Cohen's kappa (agreement with the labels beyond chance, 1 for a perfect network) below which answers count as guesses."""


def chance_agreement(answers: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> float:
    """Agreement of answers and labels expected by chance."""
    given, true = (np.bincount(column, minlength=classes) / len(column) for column in (answers, labels))
    return float(given @ true)


def is_near_chance(accuracy: float, chance: float) -> bool:
    """Whether an accuracy is what guessing gives, or hardly more."""
    return accuracy - chance < CHANCE_KAPPA * (1 - chance)


def as_labels(
    labels: NDArray[Any], name: str, model: ModelInfo | None = None, names: tuple[str, ...] = ()
) -> tuple[NDArray[np.int64] | None, list[str]]:
    """Labels as int64 [n], or None with what is wrong with them.

    Args:
        labels: labels as they were given.
        name: name of the data, for messages.
        model: what the network expects, for its class names.
        names: class names that the data brings, in order; the network's win.
    """
    labels = _unbox_objects(labels)
    if labels.dtype.kind in "US":
        return _convert_text(labels, name, model, names)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "fiub":
        return None, [f"y is {labels.dtype}; whole numbers from 0 are needed"]
    faults = _find_value_faults(labels)
    if faults:
        return None, faults
    if labels.ndim == 2:
        return _convert_rows(labels, None if model is None else model.classes)
    if labels.ndim != 1:
        return None, [f"y has shape {list(labels.shape)}; it needs [samples], or one-hot rows [samples, classes]"]
    return _convert_numbers(labels)


def _unbox_objects(labels: NDArray[Any]) -> NDArray[Any]:
    """Objects that are all text, or all numbers, as an array of those."""
    items = labels.ravel().tolist() if labels.dtype.kind == "O" else []
    if items and (all(isinstance(v, str) for v in items) or all(isinstance(v, Real) for v in items)):
        return np.array(items).reshape(labels.shape)
    return labels


def _find_value_faults(labels: NDArray[Any]) -> list[str]:
    if labels.dtype.kind != "f" or np.isfinite(labels).all():
        return []
    bad = ~np.isfinite(labels).reshape(len(labels) if labels.ndim else 1, -1).all(axis=1)
    return [
        f"y has NaN or infinite values in {int(bad.sum())} of {len(bad)} samples, first in sample {int(bad.argmax())}"
    ]


def _convert_rows(labels: NDArray[Any], classes: int | None) -> tuple[NDArray[np.int64] | None, list[str]]:
    """One-hot rows: a single 1 among zeros, a column for each class."""
    ones = labels == 1
    if labels.shape[1] >= 2 and ((labels == 0) | ones).all() and (ones.sum(axis=1) == 1).all():
        if classes is not None and labels.shape[1] != classes:
            return None, [f"y has one-hot rows of {labels.shape[1]} columns; the network has {classes} classes"]
        return ones.argmax(axis=1).astype(np.int64), []
    hint = "; if they are probabilities, save y.argmax(axis=1)" if labels.dtype.kind == "f" else ""
    return None, [f"y has shape {list(labels.shape)} and is not one-hot (a single 1 in each row){hint}"]


def _convert_numbers(labels: NDArray[Any]) -> tuple[NDArray[np.int64] | None, list[str]]:
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        at = int((labels != np.floor(labels)).argmax())
        return None, [f"y has the label {labels[at]:g} in sample {at}; whole numbers from 0 are needed"]
    if labels.size and labels.min() < 0:
        return None, [f"y has the label {int(labels.min())}; labels count from 0"]
    if labels.size and labels.max() >= _MOST_CLASSES:
        return None, [
            f"y has the label {labels.max()!s} in sample {int(labels.argmax())}, beyond any number of classes"
        ]
    return labels.astype(np.int64), []


def _convert_text(
    labels: NDArray[Any], name: str, model: ModelInfo | None, names: tuple[str, ...]
) -> tuple[NDArray[np.int64] | None, list[str]]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        return None, [f"y is text of shape {list(labels.shape)}; it needs [samples]"]
    found, places = np.unique(labels, return_inverse=True)
    words = [clean_name(w.decode("utf-8", "replace") if isinstance(w, bytes) else w) for w in found.tolist()]
    known = model if model is not None and model.class_names else None
    if known is None and all(w.isascii() and w.isdigit() and len(w) < 10 for w in words):
        return np.array([int(w) for w in words], np.int64)[places], []
    if known is None and not names:
        shown = ", ".join(words[:4]) + (", ..." if len(words) > 4 else "")
        return None, [
            f"y is text ({shown}); its numbers are not known: give the class names in the network's order with --classes"
        ]
    known = known or ModelInfo(name, (), len(names), names)
    try:
        numbers, _ = assign_class_numbers(list(dict.fromkeys(words)), known, name)
    except InputError as error:
        return None, [str(error)]
    return np.array([numbers[w] for w in words], np.int64)[places], []
