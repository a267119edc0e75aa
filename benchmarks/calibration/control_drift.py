"""Online control under drift: how far the mean latency is from the target after 10,000 inferences, beside static thresholds.

    python -m benchmarks.calibration.control_drift [--inferences 10000]

Streams drawn from replay tables: stationary, harder at once, harder slowly, back and forth, and a clock that slows down (costs times 1.3).
The bound of `edgeexit.calibration.online.controller` is checked at every inference where its condition holds.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration._shared import choose_mean_bound, make_table, real_networks, record
from edgeexit.calibration import ControlLaw, FrontPosition, ReplayTable, front
from edgeexit.calibration.online.controller import find_start, list_path_thresholds

Floats = NDArray[np.float64]


def make_streams(inferences: int) -> dict[str, tuple[Floats, Floats]]:
    """Per drift: the share of hard inputs, and the factor on all costs, over time."""
    half = inferences // 2
    same, normal = np.ones(inferences), np.full(inferences, 0.5)
    return {
        "stationary": (normal, same),
        "sudden": (np.repeat([0.2, 0.8], half), same),
        "slow": (np.linspace(0.1, 0.9, inferences), same),
        "back and forth": (np.repeat([0.2, 0.8] * 5, inferences // 10), same),
        "clock": (normal, np.repeat([1.0, 1.3], half)),
        "clock and inputs": (np.repeat([0.2, 0.8], half), np.linspace(1.0, 1.2, inferences)),
    }


def run_stream(table: ReplayTable, share: float, drift: tuple[Floats, Floats], seed: int) -> dict[str, Any]:
    """Run one stream of inputs through the controller and through the policy that stays as it was; the figures of both."""
    hard_share, clock = drift
    inferences, rng = len(clock), np.random.default_rng(seed)
    ordered = np.argsort(table.scores[:, 0])
    hard, easy = ordered[: len(table) // 2], ordered[len(table) // 2 :]
    order = np.where(rng.random(inferences) < hard_share, rng.choice(hard, inferences), rng.choice(easy, inferences))
    path = front(table)
    law = ControlLaw.from_target(table, f"mean<={choose_mean_bound(table, share)!r}s")
    thresholds = list_path_thresholds(path, table.exits)
    costs = np.stack([table.mean_cost_s[table.leaves_at(t)] for t in thresholds])
    position = FrontPosition(law, len(path), find_start(path, law, table))
    static = costs[position.index, order] * clock
    broken, condition = (
        0,
        bool(
            (table.mean_cost_s[0] * clock <= law.wanted).all() and (table.mean_cost_s[-1] * clock >= law.wanted).all()
        ),
    )
    for t in range(inferences):
        position.move(float(costs[position.index, order[t]] * clock[t]))
        broken += abs(position.total_cost / (t + 1) - law.wanted) > law.bound(t + 1) * (1 + 1e-9)
    assert position.mean_cost is not None
    return {
        "error": position.mean_cost / law.wanted - 1,
        "static_error": float(static.mean()) / law.wanted - 1,
        "condition": condition,
        "bound_broken_at": broken,
        "bound_at_end": law.bound(inferences) / law.wanted,
        "saturation": position.saturation,
    }


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inferences", type=int, default=10_000)
    options = parser.parse_args()
    tables = [(f"synthetic {n} exits", make_table(1, 20_000, n)) for n in (2, 3, 4)]
    tables += [(name, test) for name, _, test in [*real_networks(3)][::4]]
    rows: list[dict[str, Any]] = []
    for name, table in tables:
        for share in (0.2, 0.4, 0.6):
            for drift, stream in make_streams(options.inferences).items():
                rows.append(
                    {
                        "network": name,
                        "share": share,
                        "drift": drift,
                        **run_stream(table, share, stream, seed=len(rows)),
                    }
                )
    held = [r for r in rows if r["condition"]]
    body = {
        "streams": len(rows),
        "under_the_condition": len(held),
        "within_1_percent": float(np.mean([abs(r["error"]) <= 0.01 for r in held])),
        "largest_error": max(abs(r["error"]) for r in held),
        "largest_static_error": max(abs(r["static_error"]) for r in held),
        "bound_exceeded": sum(r["bound_broken_at"] for r in held),
        "elsewhere": [r for r in rows if not r["condition"]],
        "instances": rows,
    }
    record("control", body)


if __name__ == "__main__":
    main()
