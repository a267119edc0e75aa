"""Batches answered by a Runner, as Ray Data calls it: `dataset.map_batches(Classifier, ...)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import InputError
from edgeexit.runtime import Runner, load

Columns = dict[str, NDArray[Any]]


class BatchClassifier:
    """A Runner that adds its answers to batches of columns; each worker of Ray Data opens one.

    Leavers are dropped stage by stage (`Runner.batch`). It needs no Ray itself: any batch of NumPy columns will do.

    Args:
        bundle: path of the bundle, on every worker's machine.
        column: the column with the inputs, [n, ...] of the bundle's shape and dtype.
        thresholds: in the criterion's own unit; None takes those of the worker's calibration, or the model's own.
        settings: of `edgeexit.load`: backend, mode, threads.

    Raises:
        InputError: a batch without that column, or with other shapes.

    Example:
        >>> from edgeexit.data import load_data
        >>> from edgeexit.scale import Classifier
        >>> classify = Classifier("lenet.eexit", column="image")
        >>> found = classify({"image": load_data("digits:test").inputs[:8]})
        >>> sorted(found), found["exit"].dtype, len(found["label"])
        (['exit', 'image', 'label', 'score'], dtype('int64'), 8)

        With Ray, two processes:

        dataset.map_batches(
            Classifier,
            fn_constructor_kwargs={"bundle": "lenet.eexit", "column": "image"},
            compute=ray.data.ActorPoolStrategy(size=2),
            batch_size=256,
        )
    """

    def __init__(
        self, bundle: Path | str, *, column: str = "x", thresholds: list[float] | None = None, **settings: Any
    ) -> None:
        self._runner = load(bundle, **settings)
        self._column = column
        if thresholds is not None:
            self._runner.thresholds = thresholds

    def __call__(self, batch: Columns) -> Columns:
        """The batch with the columns `label`, `exit` (from 1) and `score` (in the criterion's own unit) added."""
        found = self._runner.batch(read_inputs(self._runner, batch, self._column))
        return {
            **batch,
            "label": np.array([p.label for p in found], np.int64),
            "exit": np.array([p.exit for p in found], np.int64),
            "score": np.array([p.score for p in found], np.float64),
        }


def read_inputs(runner: Runner, batch: Columns, column: str) -> NDArray[Any]:
    """The inputs of a batch, as the bundle takes them.

    Raises:
        InputError: there is no such column, it has other shapes or no numbers, or the network has several inputs.
    """
    values, specs = read_column(batch, column), runner.bundle.manifest.inputs
    if len(specs) > 1:
        msg = f"the network has {len(specs)} inputs; batches of columns are for networks with one."
        raise InputError(msg)
    shape = tuple(specs[0].shape[1:])
    try:
        if values.dtype == object:  # rows of one shape, as Parquet gives them
            values = np.stack(list(values))
        return np.ascontiguousarray(values.reshape(len(values), *shape), dtype=specs[0].dtype)
    except (TypeError, ValueError) as error:
        msg = f"column {column!r} must have rows of the shape {list(shape)}, which the network takes: {error}."
        raise InputError(msg) from error


def read_column(batch: Columns, column: str) -> NDArray[Any]:
    """A column of a batch, [n, ...].

    Raises:
        InputError: there is no such column.
    """
    if column not in batch:
        msg = f"the batch has no column {column!r}; it has {', '.join(sorted(batch))}."
        raise InputError(msg)
    return batch[column]
