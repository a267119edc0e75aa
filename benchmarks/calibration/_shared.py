"""What the calibration benchmarks share: tables, sub-networks of them, and where results go."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

import edgeexit
from edgeexit.calibration import ReplayTable
from edgeexit.hardware import find_device_key, read_device_facts
from edgeexit.util.documents import dumps

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"


def make_table(seed: int, samples: int, exits: int, *, alike: bool = False) -> ReplayTable:
    """A made network: exits get better with depth, overthink now and then, and (unless `alike`) differ in how sure they sound."""
    rng = np.random.default_rng(seed)
    skill = np.linspace(0.2, 1.8, exits) if seed % 3 == 0 else np.sort(rng.uniform(-0.2, 2.2, exits))
    sound = [(1.0, 0.0) if alike else (rng.uniform(0.6, 2.0), 0.5 * rng.normal()) for _ in range(exits)]
    costs = np.cumsum(rng.uniform(0.3, 1.5, exits)) * 1e-3
    difficulty = rng.normal(size=samples)
    common = 0.25 * rng.normal(size=samples)
    scores, correct = np.empty((samples, exits), np.float32), np.empty((samples, exits), np.bool_)
    for k in range(exits):
        margin = skill[k] - difficulty + common + 0.6 * rng.normal(size=samples)
        correct[:, k] = margin + 0.4 * rng.normal(size=samples) > 0
        scores[:, k] = 1 / (1 + np.exp(-(margin * sound[k][0] + sound[k][1])))
    return ReplayTable.from_arrays(
        scores[:, :-1], correct, costs, head_s=np.full(exits - 1, 2e-5), agreement=correct == correct[:, -1:]
    )


def real_networks(exits: int) -> Iterator[tuple[str, ReplayTable, ReplayTable]]:
    """(name, calibration table, test table) of every sub-network of the recorded real ones with this number of exits."""
    for path in sorted((HERE / "tables").glob("*-calibration.npz")):
        name = path.stem.removesuffix("-calibration")
        calibration, test = ReplayTable.load(path), ReplayTable.load(path.with_name(f"{name}-test.npz"))
        early = range(1, calibration.exits)
        for dropped in itertools.combinations(early, calibration.exits - exits):
            kept = "".join(str(k) for k in range(1, calibration.exits + 1) if k not in dropped)
            pair = (
                (calibration, test)
                if not dropped
                else (calibration.without_heads(dropped), test.without_heads(dropped))
            )
            yield f"{name} exits {kept}", *pair


def choose_mean_bound(table: ReplayTable, share: float) -> float:
    """A bound on the mean latency, seconds: at the given share of the way from the cheapest exit to the dearest."""
    costs = table.mean_cost_s
    return float(costs[0] + share * (costs[-1] - costs[0]))


def record(name: str, body: Mapping[str, Any]) -> None:
    """Write a result to benchmarks/results/<device>/ and print it."""
    document = {
        "schema": f"edgeexit.benchmark.calibration-{name}/1",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tool": edgeexit.__version__,
        "device": {"key": find_device_key(), "facts": read_device_facts()},
        **body,
    }
    path = RESULTS / find_device_key() / f"calibration-{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(json.loads(json.dumps(document))), encoding="utf-8")
    print(json.dumps({k: v for k, v in body.items() if k != "instances"}, indent=2))
    print(f"recorded in {path}")
