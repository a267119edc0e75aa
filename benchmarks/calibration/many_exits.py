"""Calibration search for 2 to 32 exits: seconds of one core, peak memory and the stated gap to the best possible thresholds.

python -m benchmarks many_exits [--exits 2 8 32] [--samples 1000 10000]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from typing import Any

from benchmarks.calibration._shared import choose_mean_bound, make_table, record
from edgeexit.calibration import front, optimise
from edgeexit.calibration.session import EFFORT

EXITS = (2, 4, 8, 12, 16, 24, 32)
SAMPLES = (1_000, 10_000)


def make_targets(exits: int, samples: int) -> dict[str, str]:
    """A tight and a loose bound on the mean, one on accuracy alone, and several bounds at once."""
    table = make_table(1, samples, exits)
    return {
        "tight mean": f"mean<={choose_mean_bound(table, 0.1)!r}s",
        "loose mean": f"mean<={choose_mean_bound(table, 0.3)!r}s",
        "drop": "drop<=0.5",
        "three bounds": f"mean<={choose_mean_bound(table, 0.6)!r}s, agreement>=0.5, rate1>=0.05",
    }


def run_search(exits: int, samples: int, what: str, target: str) -> dict[str, Any]:
    """Search thresholds for one target, or compute the front, in this process; time, memory and the stated gap."""
    table = make_table(1, samples, exits)
    start = time.process_time()
    row: dict[str, Any] = {"exits": exits, "samples": samples, "what": what}
    if what == "front":
        row["policies"] = len(front(table))
    else:
        policy = optimise(table, target, effort=EFFORT)
        assert policy.gap is not None
        minimises = what == "drop"
        row |= {
            "accuracy": policy.accuracy,
            "mean_s": policy.mean_s,
            "gap": policy.gap,
            "gap_percent": round(100 * policy.gap / (policy.mean_s if minimises else 1), 4),
            "gap_of": "the mean latency" if minimises else "accuracy, in percentage points",
        }
    row["cpu_s"] = round(time.process_time() - start, 3)
    row["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    return row


def main() -> None:
    """Run every search in a process of its own, and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exits", type=int, nargs="+", default=EXITS)
    parser.add_argument("--samples", type=int, nargs="+", default=SAMPLES)
    options = parser.parse_args()
    jobs = [
        (exits, samples, what, target)
        for exits in options.exits
        for samples in options.samples
        for what, target in {**make_targets(exits, samples), "front": ""}.items()
    ]
    rows = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for row in pool.imap(_job, jobs, chunksize=1):
            print(row, flush=True)
            rows.append(row)
    largest = {key: max(row[key] for row in rows) for key in ("cpu_s", "peak_mib")}
    record("many-exits", {"work": EFFORT.work, "largest": largest, "rows": rows})


def _job(job: tuple[int, int, str, str]) -> dict[str, Any]:
    return run_search(*job)


if __name__ == "__main__":
    main()
