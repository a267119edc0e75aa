"""Calibration search: gap to brute force for four exits, certificates for five to eight, and how long it takes.

python -m benchmarks.calibration.search_gap [--random 200] [--largest 3000]     needs a C compiler for the brute force
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.calibration._shared import HERE, choose_mean_bound, make_table, real_networks, record
from edgeexit.calibration import Effort, ReplayTable, front, optimise
from edgeexit.calibration.solver.ranks import RankedScores

SHARES = (0.15, 0.3, 0.45, 0.6)


class Oracle:
    """Brute force in C, compiled for this machine."""

    def __init__(self, folder: Path) -> None:
        library = folder / "oracle.so"
        subprocess.run(
            [
                "cc",
                "-O3",
                "-march=native",
                "-ffast-math",
                "-shared",
                "-fPIC",
                str(HERE / "oracle.c"),
                "-o",
                str(library),
            ],
            check=True,
        )
        self._call = ctypes.CDLL(str(library)).brute_force
        self._call.restype = ctypes.c_long

    def best(self, table: ReplayTable, mean_s: float) -> tuple[float, float]:
        """The highest accuracy of any thresholds within the mean, and the lowest mean that reaches it."""
        ranked = RankedScores.from_scores(table.scores)
        ranks = np.ascontiguousarray(np.stack(ranked.ranks), np.int32)
        tops, least = np.array(ranked.tops, np.int32), ctypes.c_double()
        assert table.correct is not None
        right, cost = np.ascontiguousarray(table.correct, np.uint8), np.ascontiguousarray(table.mean_cost_s)
        arrays = [a.ctypes.data_as(ctypes.c_void_p) for a in (ranks, tops, right, cost)]
        limit = ctypes.c_double(mean_s * len(table) * (1 + 1e-10))
        found = self._call(ctypes.c_int(len(table)), *arrays, limit, ctypes.byref(least))
        return found / len(table), least.value / len(table)


def compare_with_oracle(oracle: Oracle, name: str, table: ReplayTable, share: float) -> dict[str, Any]:
    """Search thresholds for one instance, and find the best by brute force."""
    limit = choose_mean_bound(table, share)
    start = time.process_time()
    policy = optimise(table, f"mean<={limit!r}s")
    took = time.process_time() - start
    best, mean = oracle.best(table, limit)
    assert policy.accuracy is not None
    assert policy.gap is not None
    gap = 100 * (best - policy.accuracy)
    return {
        "name": name,
        "samples": len(table),
        "share": share,
        "gap_points": round(gap, 6),
        "same_mean": bool(abs(mean - policy.mean_s) < 1e-9) if gap == 0 else False,
        "certificate_points": round(100 * policy.gap, 4),
        "certificate_holds": bool(best <= policy.accuracy + policy.gap + 1e-12),
        "cpu_s": round(took, 3),
    }


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How often the search found the optimum, and the largest gap."""
    gaps = np.array([r["gap_points"] for r in rows])
    return {
        "instances": len(rows),
        "zero_gap_share": float((gaps == 0).mean()),
        "largest_gap_points": float(gaps.max()),
        "certificates_hold": all(r["certificate_holds"] for r in rows),
        "largest_certificate_points": max(r["certificate_points"] for r in rows),
    }


def measure_certificates(effort: Effort, samples: int) -> list[dict[str, Any]]:
    """The optimality gaps that the search states for networks of five to eight exits, which brute force cannot check."""
    rows = []
    tables = [(f"synthetic {n} exits seed {s}", make_table(s, samples, n)) for n in (5, 6, 7, 8) for s in (1, 2, 3)]
    tables += [(name, table) for name, table, _ in real_networks(5)]
    for name, table in tables:
        for share in (0.25, 0.5):
            start = time.process_time()
            policy = optimise(table, f"mean<={choose_mean_bound(table, share)!r}s", effort=effort)
            assert policy.gap is not None
            row = {
                "name": name,
                "samples": len(table),
                "share": share,
                "certificate_points": round(100 * policy.gap, 4),
            }
            rows.append({**row, "cpu_s": round(time.process_time() - start, 2)})
            print(rows[-1], flush=True)
    return rows


def measure_speed() -> list[dict[str, Any]]:
    """CPU time of one core for one target with its certificate, and for the front of all targets; best of three."""
    rows = []
    for exits, samples in ((2, 10_000), (3, 10_000), (4, 10_000), (8, 50_000)):
        table = make_table(1, samples, exits)
        target = f"mean<={choose_mean_bound(table, 0.45)!r}s"
        jobs = {
            "optimise": lambda table=table, target=target: optimise(table, target),
            "optimise_without_certificate": lambda table=table, target=target: optimise(
                table, target, effort=Effort(work=0)
            ),
            "front": lambda table=table: front(table),
        }
        rows += [
            {"exits": exits, "samples": samples, "job": job, "cpu_s": round(_fastest(run), 3)}
            for job, run in jobs.items()
        ]
    return rows


def _fastest(run: Any) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=200)
    parser.add_argument("--largest", type=int, default=3000)
    parser.add_argument("--certificate-work", type=float, default=60.0)
    options = parser.parse_args()
    sizes = np.random.default_rng(0).choice(
        [200, 500, 1000, 1500, options.largest], options.random, p=[0.3, 0.4, 0.2, 0.08, 0.02]
    )
    with tempfile.TemporaryDirectory() as folder:
        oracle = Oracle(Path(folder))
        made = [
            compare_with_oracle(oracle, f"synthetic seed {s}", make_table(s, int(m), 4), SHARES[s % 4])
            for s, m in enumerate(sizes)
        ]
        real = []
        for i, (name, table, _) in enumerate(real_networks(4)):
            part = table.take(np.arange(1500 if i else options.largest))
            real += [compare_with_oracle(oracle, name, part, share) for share in (0.2, 0.5)]
    wide = measure_certificates(Effort(work=options.certificate_work), 3000)
    body = {
        "random": summarize(made),
        "real": summarize(real) if real else None,
        "certificates_points": {
            "work": options.certificate_work,
            "largest": max(r["certificate_points"] for r in wide),
            "rows": wide,
        },
        "speed": measure_speed(),
        "instances": made + real,
    }
    record("search-gap", body)


if __name__ == "__main__":
    main()
