"""Thresholds from a replay table in shards, with the costs of its exits measured on this machine."""

from __future__ import annotations

from edgeexit.calibration.device import time_exits
from edgeexit.calibration.solver.search import Policy
from edgeexit.calibration.solver.streamed import optimise_parts
from edgeexit.calibration.targets import Target
from edgeexit.data import Dataset
from edgeexit.runtime import Runner
from edgeexit.scale.shards import ShardedTable
from edgeexit.util.arguments import as_whole
from edgeexit.util.progress import Progress, show_nothing

SECONDS = 6.0
"""Wall time of the timing."""


def choose_thresholds(
    runner: Runner,
    table: ShardedTable,
    target: str | Target,
    samples: Dataset,
    *,
    seconds: float = SECONDS,
    seed: int = 0,
    progress: Progress = show_nothing,
) -> Policy:
    """The best thresholds for a target over all shards, up to `Policy.gap`, with latencies measured here; the runner then has them.

    They are not run here and not kept in the bundle; `edgeexit.calibrate(runner, ..., shards=table)` does both.

    Args:
        runner: the network of the shards.
        table: its replay table.
        target: as of `calibrate`.
        samples: some inputs, on which leaving at every exit is timed; up to 512 are used.
        seconds: wall time of the timing; 0 measures nothing, so that costs are multiply-accumulates.
        seed: of the order of the timing and the sample of the search.
        progress: callback with what is being done, how much is done, and of how much.

    Raises:
        InputError: shards of another network, a target that cannot be read or needs what is not measured.
        TargetNotMet: none of the thresholds tried meets it.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> from edgeexit.scale import choose_thresholds, write_shards
        >>> data = load_data("digits:calibration")
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     table = write_shards(runner, [data.take(slice(0, 100)), data.take(slice(100, 250))], "replay")
        ...     policy = choose_thresholds(runner, table, "drop<=1", data, seconds=0.5)
        ...     runner.inner_thresholds == policy.thresholds
        True
    """
    table.refuse_other(runner)
    if seconds > 0:
        table = table.with_measured(time_exits(runner, samples, seconds, as_whole("seed", seed, 0, 2**31), progress))
    progress("choosing thresholds", 0, 1)
    policy = optimise_parts(table, target, seed=seed)
    progress("choosing thresholds", 1, 1)
    runner.inner_thresholds = policy.thresholds
    return policy
