"""The search over parts at 10^5, 10^6 and 10^7 samples: peak memory, time and proved gap; beside the search of a whole table.

    python -m benchmarks many_samples [--samples 100000 1000000 10000000] [--exits 3]

Each search runs in a process of its own, on a synthetic network whose parts are made when they are read. The whole table is searched up to
`--whole` samples.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.common import HERE, print_table
from edgeexit.calibration import ReplayTable, join_tables, optimise, optimise_parts
from edgeexit.hardware import find_device_key, read_device_facts
from edgeexit.util.documents import dumps

PART = 100_000


@dataclass(frozen=True)
class Parts:
    """A synthetic replay table of which each part is made from its own seed, each time it is read."""

    samples: int
    exits: int

    def __iter__(self) -> Iterator[ReplayTable]:
        for start in range(0, self.samples, PART):
            yield make_part(start, min(PART, self.samples - start), self.exits)


def make_part(seed: int, samples: int, exits: int) -> ReplayTable:
    """Exits that get better with depth, and overthink now and then."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=samples)
    margins = np.linspace(0.4, 2.0, exits) - difficulty[:, None] + 0.6 * rng.normal(size=(samples, exits))
    correct = margins + 0.4 * rng.normal(size=(samples, exits)) > 0
    return ReplayTable.from_arrays(1 / (1 + np.exp(-margins[:, :-1])), correct, np.arange(1, exits + 1) * 1e-3)


def search(samples: int, exits: int, target: str, how: str) -> dict[str, Any]:
    """One search in this process."""
    parts = Parts(samples, exits)
    start_s, start_cpu_s = perf_counter(), process_time()
    policy = optimise(join_tables(parts), target) if how == "whole" else optimise_parts(parts, target)
    return {
        "samples": samples,
        "how": how,
        "wall_s": perf_counter() - start_s,
        "cpu_s": process_time() - start_cpu_s,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "accuracy": policy.accuracy,
        "mean_s": policy.mean_s,
        "gap": policy.gap,
    }


def main() -> None:
    """Run every search in a process of its own, print the table and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="*", default=[10**5, 10**6, 10**7])
    parser.add_argument("--exits", type=int, default=3)
    parser.add_argument("--target", default="mean<=0.6x")
    parser.add_argument("--whole", type=int, default=10**5, help="most samples that are searched as a whole table, too")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(search(options.samples[0], options.exits, options.target, options.one)))
        return
    kinds = [(n, how) for n in options.samples for how in ("parts", "whole") if how == "parts" or n <= options.whole]
    found = []
    for n, how in kinds:
        command = [sys.executable, "-m", "benchmarks", "many_samples", "--samples", str(n), "--one", how]
        command += ["--exits", str(options.exits), "--target", options.target]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(ran.stdout.strip().splitlines()[-1]))
    first = found[0]
    rows = [
        (
            f"{f['samples']:,}",
            f["how"],
            f"{f['peak_bytes'] / 2**20:.0f} MiB",
            f"{f['cpu_s'] / first['cpu_s']:.2f}",
            f"{100 * f['accuracy']:.3f} %",
            f"{100 * f['gap']:.4f}",
        )
        for f in found
    ]
    columns = ("samples", "search", "peak memory", "CPU time, to the first", "accuracy", "gap, points")
    print_table(f"{options.exits} exits, {options.target}", columns, rows)
    document = {
        "schema": "edgeexit.benchmark.many_samples/1",
        "command": "python -m benchmarks many_samples",
        "seed": 0,
        "device": {"key": find_device_key(), "facts": read_device_facts()},
        "options": {"exits": options.exits, "target": options.target, "part": PART},
        "note": "CPU time of one process on a machine that did other things: read ratios",
        "searches": found,
    }
    path = options.output or HERE / "results" / find_device_key() / "many_samples.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(json.loads(json.dumps(document, default=str))), encoding="utf-8")
    print(f"recorded in {path}")


if __name__ == "__main__":
    main()
