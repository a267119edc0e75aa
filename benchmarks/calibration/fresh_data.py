"""Calibrated on one half, judged on data never seen: is the latency what was predicted, and who is more accurate at equal latency?

    python -m benchmarks.calibration.fresh_data [--splits 12] [--samples 10000]

Tracking: realised mean on fresh data against the prediction and the target. Accuracy: each baseline against the search, paired on the same
fresh samples, both brought to the same mean latency there by the slope of the front at that point; 95 % intervals over splits.
Replayed: costs are those of the table, so this is the error of who leaves where, without the device's noise (see `device_tracking`).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.calibration._shared import budget, real_networks, record, synthetic
from edgeexit.calibration import BASELINES, Effort, Front, ReplayTable, baseline, front, optimise
from edgeexit.errors import TargetNotMet
from edgeexit.measure.statistics import mean_interval

SHARES = (0.15, 0.3, 0.45, 0.6)
TRACKING = 0.02


def networks(exits: tuple[int, ...]) -> Iterator[tuple[str, ReplayTable]]:
    """Synthetic and real networks as one pool of samples each (for real ones calibration and test sets together)."""
    for n in exits:
        for seed in (1, 2):
            yield f"synthetic {n} exits seed {seed}", synthetic(seed, 60_000, n)
            yield f"synthetic {n} exits seed {seed}, exits sound alike", synthetic(seed, 60_000, n, alike=True)
        for name, calibration, test in list(real_networks(n))[::3]:
            yield name, joined(calibration, test)


def joined(first: ReplayTable, second: ReplayTable) -> ReplayTable:
    """Two tables of the same network."""
    assert first.correct is not None
    assert second.correct is not None
    scores, correct = np.vstack([first.scores, second.scores]), np.vstack([first.correct, second.correct])
    return ReplayTable(scores, correct, first.mean_cost_s, head_s=first.head_s)


def split_once(pool: ReplayTable, samples: int, seed: int) -> tuple[ReplayTable, ReplayTable]:
    """A choose part and a fresh part, disjoint, of `samples` each (half of the pool where it is smaller)."""
    order = np.random.default_rng(seed).permutation(len(pool))
    size = min(samples, len(pool) // 2)
    return pool.take(order[:size]), pool.take(order[size : 2 * size])


def at_equal_mean(fresh_front: Front, quality: float, mean_s: float, wanted_s: float) -> float:
    """Accuracy moved along the front of the fresh samples from one mean latency to another."""
    means, qualities = fresh_front.means_s, fresh_front.qualities
    return quality + float(np.interp(wanted_s, means, qualities) - np.interp(mean_s, means, qualities))


def judged(name: str, pool: ReplayTable, share: float, splits: int, samples: int) -> dict[str, Any]:
    """One network and target over many splits."""
    errors, over, differences = [], [], defaultdict(list)
    for seed in range(splits):
        choose, fresh = split_once(pool, samples, seed)
        limit = budget(choose, share)
        target = f"mean<={limit!r}s"
        policy = optimise(choose, target, effort=Effort(work=0))
        seen = fresh.outcome(policy.thresholds)
        errors.append(seen.mean_s / policy.mean_s - 1)
        over.append(seen.mean_s / limit - 1)
        truth = front(fresh)
        for method in BASELINES:
            try:
                other = fresh.outcome(baseline(method, choose, target).thresholds)
            except TargetNotMet:
                continue
            theirs = at_equal_mean(truth, other.quality, other.mean_s, seen.mean_s)
            differences[method].append(100 * (seen.quality - theirs))
    return {
        "network": name,
        "share": share,
        "samples": len(choose),
        "tracking_errors": errors,
        "over_target": over,
        "points_above": {method: interval(values) for method, values in differences.items()},
    }


def interval(values: list[float]) -> dict[str, float | None]:
    """Mean and 95 % interval by t."""
    found = mean_interval(values)
    return {"mean": float(np.mean(values)), "low": found.low if found else None, "high": found.high if found else None}


def main() -> None:
    """Run and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=12)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--exits", type=int, nargs="*", default=[3, 4, 5])
    options = parser.parse_args()
    rows = []
    for name, pool in networks(tuple(options.exits)):
        for share in SHARES:
            rows.append(judged(name, pool, share, options.splits, options.samples))
            print(name, share, {m: round(v["mean"] or 0, 3) for m, v in rows[-1]["points_above"].items()}, flush=True)
    record("fresh-data", {"splits": options.splits, **summary(rows), "instances": rows})


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The goals, counted."""
    large = [r for r in rows if r["samples"] >= 10_000]
    errors = np.abs([e for r in large for e in r["tracking_errors"]])
    over = np.array([e for r in large for e in r["over_target"]])
    best = [min(v["mean"] for v in r["points_above"].values()) for r in rows]
    over_q = [r["points_above"]["exit_distribution"]["mean"] for r in rows if "exit_distribution" in r["points_above"]]
    return {
        "tracking": {
            "replays": len(errors),
            "within_2_percent": float((errors <= TRACKING).mean()) if len(errors) else None,
            "not_above_target_by_more": float((over <= TRACKING).mean()) if len(errors) else None,
            "largest": float(errors.max()) if len(errors) else None,
        },
        "accuracy": {
            "pairs": len(rows),
            "not_worse_than_best_baseline_by_0_1_point": float(np.mean(np.array(best) >= -0.1)),
            "worst_against_best_baseline_points": float(min(best)),
            "mean_above_exit_distribution_points": float(np.mean(over_q)),
            "mean_above_each_points": {
                m: float(np.mean([r["points_above"][m]["mean"] for r in rows if m in r["points_above"]]))
                for m in BASELINES
            },
        },
    }


if __name__ == "__main__":
    main()
