"""Certified calibration judged against a population whose truth is known: joint violations, and the slack they cost.

    python -m benchmarks.calibration.certify_coverage [--draws 500] [--samples 2000]

Half of each draw chooses, half certifies. The violations of all bounds together are held against δ by the exact binomial test.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.calibration._shared import budget, record, synthetic
from edgeexit.calibration import ReplayTable, certify
from edgeexit.errors import TargetNotMet
from edgeexit.measure.statistics import binomial_cdf


def population(samples: int = 400_000) -> ReplayTable:
    """A four-exit network whose latencies jitter by 5 %."""
    table = synthetic(3, samples, 4)
    jitter = np.random.default_rng(9)
    return table.with_costs([c * jitter.gamma(400, 1 / 400, samples) for c in table.mean_cost_s])


def drawn(world: ReplayTable, target: str, delta: float, draws: int, samples: int) -> dict[str, Any]:
    """Certify `draws` times and look up the truth of what was returned."""
    rng = np.random.default_rng(int(delta * 1000))
    assert world.correct is not None
    backbone = float(world.correct[:, -1].mean())
    broken = unproved = 0
    slacks: dict[str, list[float]] = {}
    for draw in range(draws):
        picked = rng.choice(len(world), samples, replace=False)
        parts = world.take(picked[: samples // 2]), world.take(picked[samples // 2 :])
        try:
            policy, _ = certify(*parts, target, confidence=1 - delta, seed=draw)
        except TargetNotMet:
            unproved += 1
            continue
        truth = truths(world, target, policy.thresholds, backbone)
        broken += any(value > limit for value, limit in truth.values())
        for name, (value, limit) in truth.items():
            slacks.setdefault(name, []).append(1 - value / limit)
    proved = draws - unproved
    return {
        "target": target,
        "delta": delta,
        "draws": draws,
        "samples": samples,
        "unproved": unproved,
        "broken": broken,
        "rate": broken / max(1, proved),
        "p_value_of_at_most_delta": binomial_cdf(proved - broken, proved, 1 - delta) if proved else None,
        "mean_relative_slack": {name: float(np.mean(s)) for name, s in slacks.items()},
    }


def truths(
    world: ReplayTable, target: str, thresholds: tuple[float, ...], backbone: float
) -> dict[str, tuple[float, float]]:
    """Each bound's true value and its limit."""
    from edgeexit.calibration import parse_target

    outcome, found = world.outcome(thresholds), {}
    for bound in parse_target(target).bounds:
        if bound.of.tail is not None:
            found[str(bound)] = (float(np.dot(outcome.exit_rates, world.over(bound.limit))), bound.of.tail)
        elif bound.metric == "drop":
            found[str(bound)] = (100 * (backbone - outcome.quality), bound.limit)
        else:
            found[str(bound)] = (outcome.mean_s, bound.limit)
    return found


def main() -> None:
    """Run and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--samples", type=int, default=2_000, help="of each draw for the violation rates")
    parser.add_argument("--slack-samples", type=int, default=10_000)
    parser.add_argument("--slack-draws", type=int, default=25)
    options = parser.parse_args()
    world = population()
    mean_s, tail_s = budget(world, 0.35), float(world.mean_cost_s[-2] * 1.04)
    rows = []
    for delta in (0.05, 0.10):
        for target in (f"mean<={mean_s!r}s", f"mean<={mean_s!r}s, p90<={tail_s!r}s, drop<=8"):
            for draws, samples in ((options.slack_draws, options.slack_samples), (options.draws, options.samples)):
                rows.append(drawn(world, target, delta, draws, samples))
                print(rows[-1], flush=True)
    record("certify", {"population": len(world), "rows": rows})


if __name__ == "__main__":
    main()
