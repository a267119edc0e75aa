"""Replay tables in shards: a folder of tables, each written whole or not at all, and a list of them that is written last."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from edgeexit.calibration.device import MeasuredCosts, attach_costs, replay
from edgeexit.calibration.replay import ReplayTable, add_origin
from edgeexit.data import Dataset
from edgeexit.errors import InputError
from edgeexit.runtime import Runner
from edgeexit.util.arguments import as_path
from edgeexit.util.atomic import make_output_folder, write_bytes, write_text
from edgeexit.util.documents import parse_document
from edgeexit.util.progress import Progress, show_nothing

SCHEMA = "edgeexit.replay-shards/1"
LIST = "shards.json"
_NAME = re.compile(r"shard-[0-9]{6,}\.npz")


@dataclass(frozen=True)
class ShardList:
    """What `shards.json` says.

    Attributes:
        schema: "edgeexit.replay-shards/1".
        bundle: SHA-256 of the network that was run.
        samples: samples of each shard, by the name of its file, in order.
    """

    schema: str
    bundle: str
    samples: dict[str, int]


@dataclass(frozen=True, eq=False)
class ShardedTable:
    """A replay table in shards; iterating over it gives one `ReplayTable` after the other, so that one is in memory at a time.

    Attributes:
        folder: where they lie.
        shards: what `shards.json` says.
        cost_s: costs that replace those of the shards, which count multiply-accumulates alone; see `ReplayTable`.
        backbone_s: mean latency of the backbone with these costs; None: the last exit's.
        measured: costs as `edgeexit.calibration.device.time_exits` measured them; they win over `cost_s`.

    Example:
        >>> import edgeexit
        >>> from edgeexit.calibration import optimise_parts
        >>> from edgeexit.data import load_data
        >>> from edgeexit.scale import ShardedTable, write_shards
        >>> data = load_data("digits:calibration")
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     table = write_shards(runner, [data.take(slice(0, 100)), data.take(slice(100, 250))], "replay")
        >>> len(table), [len(shard) for shard in table]
        (250, [100, 150])
        >>> optimise_parts(ShardedTable.open("replay"), "drop<=1").exit_rates[0] > 0
        True
    """

    folder: Path
    shards: ShardList
    cost_s: tuple[np.ndarray, ...] | None = None
    backbone_s: float | None = None
    measured: MeasuredCosts | None = None

    @classmethod
    def open(
        cls, folder: Path | str, *, cost_s: Sequence[ArrayLike] | None = None, backbone_s: float | None = None
    ) -> ShardedTable:
        """Open the shards in a folder.

        Raises:
            InputError: no such folder, one that was not written to the end, or a list that is damaged or too new.
        """
        path = as_path("folder", folder)
        try:
            document = json.loads((path / LIST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            msg = f"{path} has no complete list of shards ({LIST}): run the replay to its end, which goes on where it stopped."
            raise InputError(msg) from error
        found = parse_document(ShardList, document, str(path / LIST))
        _check_list(found, path / LIST)
        costs = None if cost_s is None else tuple(np.atleast_1d(np.asarray(c, np.float64)) for c in cost_s)
        return cls(path, found, costs, backbone_s)

    def __len__(self) -> int:
        """Samples in all shards."""
        return sum(self.shards.samples.values())

    def __iter__(self) -> Iterator[ReplayTable]:
        for name, samples in self.shards.samples.items():
            table = ReplayTable.load(self.folder / name)
            if len(table) != samples:
                msg = (
                    f"{self.folder / name} has {len(table)} samples, the list says {samples}: replay this folder again."
                )
                raise InputError(msg)
            yield self._add_costs(table)

    def with_measured(self, costs: MeasuredCosts) -> ShardedTable:
        """The same shards with measured latencies."""
        return replace(self, measured=costs)

    def refuse_other(self, runner: Runner) -> None:
        """Do nothing where the shards are of the runner's network.

        Raises:
            InputError: they are of another one.
        """
        if self.shards.bundle != runner.bundle.manifest.network_sha256:
            msg = (
                f"{self.folder} has shards of another network than {runner.bundle.path}: replay the data with this one."
            )
            raise InputError(msg)

    def _add_costs(self, table: ReplayTable) -> ReplayTable:
        if self.measured is not None:
            return attach_costs(table, self.measured)
        return table if self.cost_s is None else table.with_costs(self.cost_s, backbone_s=self.backbone_s)


def write_shards(
    runner: Runner, blocks: Iterable[Dataset], folder: Path | str, *, progress: Progress = show_nothing
) -> ShardedTable:
    """Run every exit on blocks of samples and write a shard of each; one block is in memory at a time.

    A folder that was begun with the same network goes on: shards that are there, whole and of the samples of their block, are not computed
    again. So the blocks must be cut as before, and come in the same order.

    Args:
        runner: the network.
        blocks: the samples, in blocks of at least one.
        folder: where to write; made if it is not there.
        progress: told of each block.

    Raises:
        InputError: a folder that cannot be written, or has shards of another network or of other samples; NaN from an exit; no blocks.
    """
    path = as_path("folder", folder)
    begin_folder(path, runner.bundle.manifest.network_sha256)
    samples: dict[str, int] = {}
    for number, block in enumerate(blocks):
        name = name_shard(number)
        if not _is_written(path / name, block):
            save_shard(path / name, add_origin(replay(runner, block), data_sha256=block.sha256))
        samples[name] = len(block)
        progress("running every exit on blocks", number + 1, number + 1)
    return finish_folder(path, runner.bundle.manifest.network_sha256, samples)


def _is_written(path: Path, block: Dataset) -> bool:
    """Whether the shard of a block is there; one that is damaged is written again.

    Raises:
        InputError: the shard is of other samples.
    """
    if not path.is_file():
        return False
    try:
        table = ReplayTable.load(path)
    except InputError:
        return False
    if table.origin.get("data_sha256") != block.sha256:
        msg = f"{path} is of other samples than the block that comes now: cut the data as before, or choose another folder."
        raise InputError(msg)
    return True


def _check_list(found: ShardList, path: Path) -> None:
    """Refuse a list that edgeexit would not write: another schema, files elsewhere, shards without samples."""
    if found.schema != SCHEMA:
        msg = f"{path} has the schema {found.schema!r}; this edgeexit reads {SCHEMA}."
        raise InputError(msg)
    wrong = [name for name, samples in found.samples.items() if not _NAME.fullmatch(name) or samples < 1]
    if wrong or not found.samples:
        msg = (
            f"{path} is damaged: its shards must be named {name_shard(0)} and so on and have samples, not {wrong[:3]}."
        )
        raise InputError(msg)


def name_shard(number: int) -> str:
    """File of a shard."""
    return f"shard-{number:06d}.npz"


def begin_folder(path: Path, network: str) -> None:
    """Make a folder for shards of a network, or go on with one.

    Raises:
        InputError: it cannot be made or written, or has shards of another network.
    """
    make_output_folder(path)
    begun = path / "network.txt"
    if begun.is_file() and begun.read_text(encoding="utf-8", errors="replace") != network:
        msg = f"{path} has shards of another network, criterion or precision: choose another folder, or remove it."
        raise InputError(msg)
    write_text(begun, network)


def finish_folder(path: Path, network: str, samples: dict[str, int]) -> ShardedTable:
    """Write the list of shards, after which the folder is complete.

    Raises:
        InputError: there are none.
    """
    if not samples:
        msg = "there are no blocks of samples to replay."
        raise InputError(msg)
    document = {"schema": SCHEMA, "bundle": network, "samples": samples}
    write_text(path / LIST, json.dumps(document, indent=1) + "\n")
    return ShardedTable.open(path)


def save_shard(path: Path, table: ReplayTable) -> None:
    """Write one shard, whole or not at all, in multiply-accumulates: seconds belong to a device."""
    file = io.BytesIO()
    replace(table, cost_s=None if table.macs is not None else table.cost_s).save(file)  # type: ignore[arg-type]  # converted
    write_bytes(path, file.getvalue())
