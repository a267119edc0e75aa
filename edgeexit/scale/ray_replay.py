"""Shards of a replay table made by workers of Ray Data (extra `[ray]`) from what it reads: Parquet, WebDataset, folders of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.bundle import Bundle
from edgeexit.calibration.device import replay
from edgeexit.calibration.replay import ReplayTable
from edgeexit.data import Dataset
from edgeexit.errors import InputError
from edgeexit.runtime import load_quietly
from edgeexit.scale.blocks import MOST_ROWS
from edgeexit.scale.classifier import Columns, read_column, read_inputs
from edgeexit.scale.shards import ShardedTable, begin_folder, finish_folder, name_shard, save_shard
from edgeexit.util.arguments import as_path, as_whole

if TYPE_CHECKING:
    from ray.data import Dataset as RayDataset


class Replayer:
    """Runs every exit on batches of columns; each worker opens one. It adds `scores`, `agreement`, and, with labels, `correct`.

    Args:
        bundle: path of the bundle, on every worker's machine.
        column: the column with the inputs.
        labels: the column with the true classes; None where there are none.
        settings: of `edgeexit.load`.
    """

    def __init__(self, bundle: Path | str, *, column: str = "x", labels: str | None = "y", **settings: Any) -> None:
        self._runner = load_quietly(bundle, **settings)
        self._column, self._labels = column, labels

    def __call__(self, batch: Columns) -> Columns:
        """Scores and answers of a batch.

        Raises:
            InputError: a column that is missing, inputs of another shape, labels that are not whole numbers of the network's classes.
        """
        truth = None if self._labels is None else _read_labels(batch, self._labels)
        table = replay(self._runner, Dataset("batch", read_inputs(self._runner, batch, self._column), truth))
        found = {"scores": table.scores, "agreement": table.agreement, "correct": table.correct}
        found["backbone_correct"] = table.backbone_correct
        return {name: values for name, values in found.items() if values is not None}


def write_shards_with_ray(
    dataset: RayDataset,
    bundle: Path | str,
    folder: Path | str,
    *,
    column: str = "x",
    labels: str | None = "y",
    workers: int = 2,
    rows: int = MOST_ROWS,
    batch_size: int = 256,
    **settings: Any,
) -> ShardedTable:
    """Run every exit on a data set of Ray with workers in other processes or machines, and write shards here, as the answers come in.

    A worker that is lost is replaced, and Ray runs its batches again; an answer comes in once. The list of shards is written last, and only
    if as many answers came as there are samples.

    Args:
        dataset: of `ray.data.read_parquet`, `read_webdataset`, `read_images`, `from_numpy`, ..., its inputs preprocessed.
        bundle: path of the bundle, on every worker's machine.
        folder: where to write; must have no shards yet.
        column: the column with the inputs.
        labels: the column with the true classes; None where there are none.
        workers: how many run at once.
        rows: samples per shard.
        batch_size: samples that a worker gets at once.
        settings: of `edgeexit.load`.

    Raises:
        InputError: a folder with shards, answers missing.
    """
    path, opened = as_path("folder", folder), Bundle.open(bundle)
    as_whole("workers", workers, 1, 10**4)
    as_whole("rows", rows, 1, 10**9)
    if any(path.glob("shard-*.npz")):
        msg = f"{path} has shards already: choose another folder, or remove it."
        raise InputError(msg)
    network = opened.manifest.network_sha256
    begin_folder(path, network)
    answered = dataset.map_batches(
        Replayer,
        fn_constructor_kwargs={"bundle": str(Path(bundle).resolve()), "column": column, "labels": labels, **settings},
        concurrency=workers,
        batch_size=batch_size,
    )
    with load_quietly(bundle, **settings) as runner:
        macs = replay(runner, make_blank(runner.bundle)).macs
    samples: dict[str, int] = {}
    for number, batch in enumerate(_iterate(answered, rows)):
        table = ReplayTable.from_arrays(
            cost_s=None if macs is not None else np.ones(opened.manifest.exits), macs=macs, **batch
        )
        save_shard(path / name_shard(number), table)
        samples[name_shard(number)] = len(table)
    wanted = dataset.count()
    if sum(samples.values()) != wanted:
        msg = f"{sum(samples.values())} answers came for {wanted} samples; {path} is not complete."
        raise InputError(msg)
    return finish_folder(path, network, samples)


def _read_labels(batch: Columns, column: str) -> NDArray[np.int64]:
    values = read_column(batch, column)
    if values.dtype.kind not in "iu":  # names would get other numbers in every batch
        msg = f"column {column!r} is {values.dtype}; labels must be whole numbers from 0: map the names to the network's numbers before."
        raise InputError(msg)
    return values.astype(np.int64)


def make_blank(bundle: Bundle) -> Dataset:
    """One input of zeros, without a label."""
    [spec] = bundle.manifest.inputs
    return Dataset("blank", np.zeros((1, *(int(n) for n in spec.shape[1:])), spec.dtype), None)


def _iterate(answered: Any, rows: int) -> Iterator[dict[str, Any]]:
    for batch in answered.iter_batches(batch_size=rows, batch_format="numpy"):
        batch.setdefault("correct", None)
        yield batch
