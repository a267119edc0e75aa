"""Runtime and cache misses against the threshold: BranchyNet's figure 6 for one trained network.

    python -m benchmarks cache_sweep --case alexnet-cifar10 [--device jetson-orin-nano]

Thresholds loosen in equal steps of the share that may leave, from "nothing leaves early" to "all leave at exit 1". Hardware counters
are used where they open and no device is named; else callgrind simulates the caches of this machine or of the device named. A
simulated inference of B-AlexNet takes about half a second, so the simulation runs over a few samples.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.common import (
    HERE,
    choose_default_case,
    find_case,
    open_uncalibrated,
    print_table,
    record,
    save_pictures,
)
from edgeexit.cli.progress import open_progress_display
from edgeexit.hardware import find_device_key, read_device_state
from edgeexit.measure.cache.sweep import CacheSweep, sweep_cache
from edgeexit.report.extras import plot_cache_sweep
from edgeexit.report.plot.figure import Figure
from edgeexit.util import units
from edgeexit.util.samples import split_samples


def draw_figure_6(case: str, swept: CacheSweep) -> list[Figure]:
    """Misses and runtime as shares of what they are when nothing leaves early; nothing where no cache was seen."""
    found = plot_cache_sweep(swept)
    title = f"{case}: runtime and cache misses (BranchyNet, figure 6)"
    return [replace(figure, name=f"branchynet-fig6-{case}", title=title) for figure in found[:1]]


def format_rows(swept: CacheSweep) -> list[tuple[str, ...]]:
    """One row per setting of the thresholds."""
    return [
        (
            ", ".join(f"{t:.3g}" for t in point.thresholds),
            " · ".join(units.percent(share, 0) for share in point.shares),
            units.seconds(point.latency_s),
            *(f"{level.misses:,.0f}" for level in (point.cache.levels if point.cache else ())),
        )
        for point in swept.points
    ]


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default=choose_default_case(), help="trained network: lenet-digits, lenet-mnist, ...")
    parser.add_argument("--device", help="whose caches to simulate: jetson-orin-nano, ...; without it this machine's")
    parser.add_argument("--points", type=int, default=6, help="settings of the thresholds")
    parser.add_argument("--samples", type=int, default=50, help="inferences at each of them")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    case, before = find_case(arguments.case), read_device_state()
    samples = split_samples(case.test_data().take(slice(arguments.samples)).inputs)
    with tempfile.TemporaryDirectory() as scratch, open_progress_display() as progress:
        runner = open_uncalibrated(case, Path(scratch))
        swept = sweep_cache(runner, samples, points=arguments.points, device=arguments.device, progress=progress)
    levels = [f"{level.name} misses" for level in swept.points[0].cache.levels] if swept.points[0].cache else []
    note = swept.reason or f"Caches of {swept.device}, {swept.source}."
    print_table(
        f"{case.name}: figure 6",
        ("thresholds", "leave at exit 1, 2, ...", "runtime", *levels),
        format_rows(swept),
        note,
    )
    pictures = save_pictures(HERE / "results" / find_device_key(), draw_figure_6(case.name, swept))
    record("cache_sweep", case, arguments, {"sweep": swept.to_document(), "pictures": pictures}, before)


if __name__ == "__main__":
    main()
