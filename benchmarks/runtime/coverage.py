"""How often the intervals of a result hold the truth: simulated measurements whose truth is known, of mixtures of exits.

    python -m benchmarks coverage [--runs 1000]

A network with three exits, each with a skewed spread of its own; processes that differ by 2 %; blocks that hang together. A bound or
interval is accepted where the number of runs in which it held is likely (above 1 %) if it holds as often as it says; and where it is to
be exact, also not too often.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeexit
from benchmarks.common import HERE, print_table
from edgeexit.hardware import find_device_key, read_device_facts
from edgeexit.measure.statistics import (
    Interval,
    binomial_cdf,
    block_bootstrap_intervals,
    early_stopping_bound,
    mean_interval,
    mixture_interval,
    nearest_rank,
    order_statistic_interval,
    ratio_interval,
)
from edgeexit.util.documents import dumps

SHARES, MEANS_S = np.array([0.9, 0.08, 0.02]), np.array([16e-6, 40e-6, 90e-6])
TRUE_MEAN_S = float(SHARES @ MEANS_S)
PROCESSES = 5


@dataclass(frozen=True)
class Claim:
    """What is claimed, and how one run of it is simulated.

    Attributes:
        name: name shown in the output.
        level: how often it says that it holds.
        at_most: how often it may hold; 1 where it may err to the safe side without limit.
        run: draws one measurement, says whether the truth was inside.
    """

    name: str
    level: float
    at_most: float
    run: Callable[[np.random.Generator], bool]


def draw_latencies(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Latencies [n] of a simulated mixture of exits, seconds."""
    exits = rng.choice(3, size=n, p=SHARES)
    return np.asarray(MEANS_S[exits] * (0.9 + rng.gamma(2.0, 0.05, size=n)))


@cache
def compute_true_percentile(q: float) -> float:
    """Percentile of four million samples, which counts as the truth, seconds."""
    return nearest_rank(draw_latencies(np.random.default_rng(1), 4_000_000), q)


def covers(interval: Interval | None, truth: float) -> bool:
    """Whether the interval holds the truth."""
    return interval is not None and interval.low <= truth <= interval.high


def try_upper_bound(q: float, n: int, rng: np.random.Generator) -> bool:
    """Whether LoadGen's upper bound of a percentile is above the true one, in one trial."""
    return (early_stopping_bound(draw_latencies(rng, n), q).value or 0.0) >= compute_true_percentile(q)


def try_percentile(q: float, n: int, rng: np.random.Generator) -> bool:
    """Whether the interval of a percentile between two order statistics covers the true one, in one trial."""
    return covers(order_statistic_interval(draw_latencies(rng, n), q), compute_true_percentile(q))


def try_mean_of_processes(rng: np.random.Generator) -> bool:
    """Whether the interval of the mean covers it, where processes differ by 2 % and each has the exit shares of its own trace."""
    exits = rng.multinomial(2000, SHARES, size=PROCESSES) / 2000
    return covers(mean_interval((exits @ MEANS_S) * rng.normal(1.0, 0.02, size=PROCESSES)), TRUE_MEAN_S)


def try_mean_on_new_data(rng: np.random.Generator) -> bool:
    """Whether the interval of the mean on new data covers it, where data are few, so that the shares of the exits are uncertain too."""
    means = MEANS_S * rng.normal(1.0, 0.01, size=(PROCESSES, 1))
    counts = rng.multinomial(400, SHARES).astype(np.int64)
    return covers(mixture_interval(means, counts, draws=500, seed=int(rng.integers(2**31))), TRUE_MEAN_S)


def try_blocks(rng: np.random.Generator) -> bool:
    """Whether the block bootstrap's interval of a percentile covers it, where the samples of a block share a shift."""
    drawn = [rng.normal(shift, 0.3, size=40) for shift in rng.normal(0.0, 1.0, size=40)]
    intervals = block_bootstrap_intervals(drawn, [50.0], seed=int(rng.integers(2**31)))
    return intervals is not None and covers(intervals[0], 0.0)


def try_ratio(paired: bool, rng: np.random.Generator) -> bool:
    """Whether the interval of a ratio covers it: one variant 1.5 times as slow as another, in the same processes or in others."""
    shared = rng.normal(1.0, 0.05, size=PROCESSES) if paired else np.ones(PROCESSES)
    sides = [scale * shared * rng.normal(1.0, 0.01, size=PROCESSES) for scale in (2.0, 3.0)]
    return covers(ratio_interval(sides[0], sides[1], paired=paired)[1], 1.5)


CLAIMS = (
    Claim("p99 upper bound, 2000 samples", 0.99, 1.0, partial(try_upper_bound, 99.0, 2000)),
    Claim("p90 upper bound, 500 samples", 0.99, 1.0, partial(try_upper_bound, 90.0, 500)),
    Claim("p90 interval between samples, 500 samples", 0.95, 0.985, partial(try_percentile, 90.0, 500)),
    Claim("mean over 5 processes", 0.95, 0.97, try_mean_of_processes),
    Claim("mean on new data, 400 samples", 0.95, 0.97, try_mean_on_new_data),
    # A bootstrap over 40 blocks covers a little less than the 95 % of its name.
    Claim("median of 40 blocks that hang together", 0.93, 0.98, try_blocks),
    Claim("ratio of 5 paired processes", 0.95, 0.97, partial(try_ratio, True)),
    Claim("ratio of 5 and 5 other processes", 0.95, 0.985, partial(try_ratio, False)),
)


def is_accepted(claim: Claim, held: int, runs: int) -> bool:
    """Whether a claimed coverage agrees with how often it held, by binomial bounds at 1 %."""
    enough = binomial_cdf(held, runs, claim.level) > 0.01
    return enough and (claim.at_most == 1.0 or 1.0 - binomial_cdf(held - 1, runs, claim.at_most) > 0.01)


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="simulated measurements of each claim")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--output", type=Path, help="result file; the default is in benchmarks/results/<device>/")
    arguments = parser.parse_args()
    found: list[dict[str, Any]] = []
    for place, claim in enumerate(CLAIMS):
        rng, start_s = np.random.default_rng([arguments.seed, place]), perf_counter()
        held = sum(claim.run(rng) for _ in range(arguments.runs))
        good = is_accepted(claim, held, arguments.runs)
        line = {
            "claim": claim.name,
            "level": claim.level,
            "at_most": claim.at_most,
            "runs": arguments.runs,
            "held": held,
        }
        found.append({**line, "accepted": good, "seconds": round(perf_counter() - start_s, 1)})
    rows = [
        (f["claim"], f"{f['level']:.0%}", f"{f['held']} of {f['runs']}", "yes" if f["accepted"] else "NO")
        for f in found
    ]
    print_table("How often the truth was inside", ("", "claimed", "held", "accepted"), rows)
    document = {
        "schema": "edgeexit.benchmark.coverage/1",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tool": edgeexit.__version__,
        "device": {"key": find_device_key(), "facts": read_device_facts()},
        "options": {"runs": arguments.runs, "seed": arguments.seed},
        "claims": found,
    }
    path: Path = arguments.output or HERE / "results" / find_device_key() / "coverage.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(document), encoding="utf-8")
    print(f"recorded in {path}")


if __name__ == "__main__":
    main()
