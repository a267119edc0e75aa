"""Shards of a replay table made by workers of Ray Data (extra `[ray]`) from what it reads: Parquet, WebDataset, folders of pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.bundle import Bundle
from edgeexit.calibration.device import replay
from edgeexit.calibration.replay import ReplayTable
from edgeexit.data import Dataset, ModelInfo, open_data
from edgeexit.errors import InputError, MissingExtra
from edgeexit.runtime import load_quietly
from edgeexit.scale.blocks import MOST_ROWS
from edgeexit.scale.classifier import Columns, read_column, read_inputs
from edgeexit.scale.shards import ShardedTable, begin_folder, finish_folder, name_shard, save_shard
from edgeexit.util.arguments import as_path, as_whole

if TYPE_CHECKING:
    from ray.data import Dataset as RayDataset


_READERS = {".parquet": "read_parquet", ".tar": "read_webdataset"}
_BATCH = 256


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
        return list_columns(table)


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
        workers: how many run at once. Where Ray has no more CPUs than that, each takes a part of one, so that one is left to read the data.
        rows: samples per shard.
        batch_size: samples that a worker gets at once.
        settings: of `edgeexit.load`.

    Raises:
        InputError: a folder with shards, samples that cannot be read or have another shape, answers missing.
    """
    shards = _begin(bundle, folder, workers, rows)
    made = {"bundle": str(Path(bundle).resolve()), "column": column, "labels": labels, **settings}
    with _explaining_errors():
        answered = _map(dataset, Replayer, made, workers, batch_size)
        return shards.write(answered, dataset.count(), rows, settings)


def _map(dataset: Any, worker: type[Any], made: dict[str, Any], workers: int, batch_size: int) -> Any:
    """The data set with the answers of a fixed number of workers, each made with these arguments."""
    ray = import_ray()
    return dataset.map_batches(
        worker,
        fn_constructor_kwargs=made,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=_share_cpus(ray.cluster_resources().get("CPU", 0.0), workers),
        batch_size=batch_size,
    )


def _share_cpus(cpus: float, workers: int) -> float:
    """CPUs that each worker takes: with all of them taken, tasks that read the data would wait for ever."""
    return 1.0 if not cpus or cpus > workers else int(1e4 * max(0.0, cpus - 1) / workers) / 1e4


@dataclass(frozen=True)
class _NewShards:
    """A folder of shards that begins."""

    bundle: Bundle
    folder: Path

    def write(self, answered: Any, wanted: int, rows: int, settings: dict[str, Any]) -> ShardedTable:
        """Write answers as they come in.

        Raises:
            InputError: there are not as many as wanted.
        """
        with load_quietly(self.bundle.path, **settings) as runner:
            macs = replay(runner, make_blank(runner.bundle)).macs
        samples: dict[str, int] = {}
        for number, batch in enumerate(_iterate(answered, rows)):
            table = ReplayTable.from_arrays(
                cost_s=None if macs is not None else np.ones(self.bundle.manifest.exits), macs=macs, **batch
            )
            save_shard(self.folder / name_shard(number), table)
            samples[name_shard(number)] = len(table)
        if sum(samples.values()) != wanted:
            msg = f"{sum(samples.values())} answers came for {wanted} samples; {self.folder} is not complete."
            raise InputError(msg)
        return finish_folder(self.folder, self.bundle.manifest.network_sha256, samples)


def _begin(bundle: Path | str, folder: Path | str, workers: int, rows: int) -> _NewShards:
    path, opened = as_path("folder", folder), Bundle.open(bundle)
    as_whole("workers", workers, 1, 10**4)
    as_whole("rows", rows, 1, 10**9)
    if any(path.glob("shard-*.npz")):
        msg = f"{path} has shards already: choose another folder, or remove it."
        raise InputError(msg)
    begin_folder(path, opened.manifest.network_sha256)
    return _NewShards(opened, path)


class PlaceReplayer:
    """Runs every exit on samples that each worker reads itself, by their places in data that edgeexit reads.

    Args:
        bundle: path of the bundle, on every worker's machine.
        data: as of `edgeexit.data.load_data`, on every worker's machine; a path is relative to `root`.
        root: the folder that the command runs in.
        info: what the network expects.
        settings: of `edgeexit.load`.
    """

    def __init__(self, bundle: Path | str, data: str, root: str, info: ModelInfo, **settings: Any) -> None:
        os.chdir(root)  # of this worker, which is a process of its own
        self._runner = load_quietly(bundle, **settings)
        self._source = open_data(data, info, strict=True)

    def __call__(self, batch: Columns) -> Columns:
        """Scores and answers of the samples at the places `id`, [n]."""
        places = np.sort(batch["id"])
        runs = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
        found = [list_columns(replay(self._runner, self._source.read(int(p[0]), int(p[-1]) + 1))) for p in runs]
        return {name: np.concatenate([columns[name] for columns in found]) for name in found[0]}


def replay_data_with_ray(
    data: str,
    bundle: Path | str,
    folder: Path | str,
    *,
    info: ModelInfo,
    column: str = "x",
    labels: str | None = "y",
    workers: int = 2,
    rows: int = MOST_ROWS,
    **settings: Any,
) -> ShardedTable:
    """Run every exit with workers of Ray on Parquet, WebDataset, or whatever `edgeexit.data.load_data` reads, and write shards here.

    Takes the Ray that runs or that RAY_ADDRESS names, and otherwise starts one on this machine for as long as it takes.

    Args:
        data: a file or folder of `.parquet`, or of `.tar` (WebDataset), as `ray.data` reads them; or as of `load_data`.
        bundle: path of the bundle, on every worker's machine.
        folder: where to write; must have no shards yet.
        info: what the network expects, as `edgeexit.runtime.model_info(bundle)` gives it.
        column: of Parquet and WebDataset, the column with the inputs.
        labels: the column with the true classes; None where there are none.
        workers: how many run at once.
        rows: samples per shard.
        settings: of `edgeexit.load`.

    Raises:
        MissingExtra: Ray is not installed.
        InputError: as of `write_shards_with_ray`; data that cannot be read.
    """
    ray = import_ray()
    reader = find_reader(data)
    source = None if reader else open_data(data, info, strict=True)
    shards = _begin(bundle, folder, workers, rows)
    worker: type[Any] = Replayer if source is None else PlaceReplayer
    columns = {"column": column, "labels": labels}
    own = columns if source is None else {"data": data, "root": str(Path.cwd()), "info": info}
    with _running(ray), _explaining_errors():
        dataset = getattr(ray.data, reader)(_make_absolute(data)) if source is None else ray.data.range(source.count)
        answered = _map(dataset, worker, {"bundle": str(Path(bundle).resolve()), **own, **settings}, workers, _BATCH)
        return shards.write(answered, dataset.count(), rows, settings)


def _make_absolute(data: str) -> str:
    """A path on this machine with the folder that the command runs in, which is not that of Ray's tasks; URLs as they are."""
    return str(Path(data).resolve()) if Path(data).exists() else data


def find_reader(data: str) -> str:
    """The function of `ray.data` for a file, or for a folder by what lies in it; empty where edgeexit reads the data itself."""
    path = Path(data)
    for ending, reader in _READERS.items():
        if data.endswith(ending) or (path.is_dir() and any(path.glob(f"*{ending}"))):
            return reader
    return ""


def import_ray() -> Any:
    """The package `ray`, with `ray.data`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("ray", "ray") from error
    return ray


@contextmanager
def _running(ray: Any) -> Iterator[None]:
    """Ray, as it runs already or from now on."""
    own = not ray.is_initialized()
    if own:
        ray.init(log_to_driver=False)
    try:
        yield
    finally:
        if own:
            ray.shutdown()


_OWN_ERROR = re.compile(r"\bedgeexit\.errors\.\w+: (.+)")


@contextmanager
def _explaining_errors() -> Iterator[None]:
    """Errors of workers as what they say themselves: Ray hands them over as the text of a traceback, with advice of its own behind it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        said = _find_reason(error)
        if not said:
            raise
        raise InputError(said) from error


def _find_reason(error: BaseException) -> str:
    """What was wrong with the input; empty where that is not known."""
    link: BaseException | None = error
    while link is not None:
        if own := _OWN_ERROR.findall(str(link)):
            return str(own[-1])
        if isinstance(link, ValueError | OSError):  # of Arrow and of the file system, which Ray hands over as they are
            return f"Ray cannot read the data: {link}"
        link = link.__cause__
    return ""


def list_columns(table: ReplayTable) -> Columns:
    """The columns of a table that there are."""
    names = ("scores", "agreement", "correct", "backbone_correct")
    return {name: values for name in names if (values := getattr(table, name)) is not None}


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
