"""A measured result for the reports, the same as for the tests of measuring, with energy and cache documents of every kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeexit.measure import BenchResult
from edgeexit.measure.energy.report import EnergyReport
from edgeexit.measure.result.bench_result import CacheFindings
from edgeexit.util.documents import parse_document

_INTERVAL = {"low": 0.9e-3, "high": 1.1e-3}
_BUDGET = {"quantisation_j": 1e-5, "sampling_j": 2e-5, "idle_j": 1e-5, "offset_j": 0.0}


def _call(name: str, gross_j: float) -> dict[str, Any]:
    return {
        "name": name, "trials": 3, "loops": 1000, "window_s": 10.0, "power_w": 6.5, "gross_j": gross_j, "gross_ci95": _INTERVAL,
        "net_j": None, "net_ci95": None, "budget": _BUDGET, "rails_j": {"VDD_IN": gross_j}, "reason": "below the floor",
    }  # fmt: skip


def energy_document() -> dict[str, Any]:
    """A document `edgeexit.energy/1` of a Jetson, three exits."""
    calls = [_call(f"exit {k}", k * 1e-3) for k in (1, 2, 3)] + [_call("mix", 1.7e-3), _call("backbone", 2.8e-3)]
    return {
        "schema": "edgeexit.energy/1", "meter": "ina3221", "scope": "module", "kind": "sampled", "subject": ["VDD_IN"],
        "step": None, "interval_s": None, "poll_s": None, "read_s": None, "idle_drift": None, "reason": None, "rejected": [],
        "idle_w": 4.2, "calls": calls, "closure": 0.012, "notes": ["shunt of 5 mΩ"], "validity": {"status": "valid", "reasons": []},
    }  # fmt: skip


def _levels(misses: float) -> dict[str, Any]:
    level = {"name": "L1D", "accesses": 1000.0, "misses": misses, "per_1k_instructions": 1.0, "rate": misses / 1000.0}
    return {"name": "mix", "inferences": 10, "instructions": 4e5, "levels": [level]}


def cache_document() -> dict[str, Any]:
    """Simulated caches and a sweep of three thresholds."""
    simulated = {
        "source": "simulated", "device": "jetson-nano", "calls": [_levels(50.0)], "closure": {"L1D": 0.02}, "notes": ["no prefetch"],
        "events": {}, "geometry": [], "running": 1.0, "validity": {"status": "valid", "reasons": []},
    }  # fmt: skip
    points = [
        {
            "thresholds": ["-inf", "-inf"],
            "shares": [(1.0 - last) / 2, (1.0 - last) / 2, last],
            "latency_s": 1e-5 * (1.0 + last),
            "cache": _levels(10.0 + 90.0 * last),
        }
        for last in (1.0, 0.5, 0.0)
    ]
    analytic = [{"exit": 1, "weight_bytes": 2048, "activation_bytes": 4096, "fits": "L1D"}]
    report = {
        "hardware": None,
        "hardware_reason": "no counters",
        "simulated": simulated,
        "simulated_reason": None,
        "analytic": analytic,
        "caches": [],
    }
    sweep = {"source": "simulated", "device": "jetson-nano", "reason": None, "points": points}
    return {"report": report, "sweep": sweep}


@pytest.fixture(scope="session")
def full(result: BenchResult) -> BenchResult:
    """A result with everything in it."""
    energy = parse_document(EnergyReport, {k: v for k, v in energy_document().items() if k != "schema"}, "the energy")
    cache = parse_document(CacheFindings, cache_document(), "the cache")
    return replace(result, energy=energy, energy_reason=None, cache=cache)
