"""`edgeexit serve` under load: requests per second and latencies at 1, 8 and 32 connections; what is lost when it ends under load.

    python -m benchmarks serve_load [--case alexnet-light-cifar10] [--seconds 8] [--workers 2]

Requests bring the boundary tensors of one sample to the last stage, in binary. The load generator (`_load.py`) is a process of its own on
the same machine. Each number of connections takes its turn `--repeats` times. Then `--ends` servers get SIGTERM with all connections busy.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import find_case, make_parser, open_uncalibrated, print_table, record
from benchmarks.serving._load import Load, Plan, generate_load, make_request
from benchmarks.serving._served import Served, run_server
from edgeexit.hardware import read_device_state
from edgeexit.measure.statistics import nearest_rank
from edgeexit.runtime import Runner
from edgeexit.runtime.remote.protocol import HEADER_LENGTH, encode_request
from edgeexit.runtime.remote.stages import list_stage_outputs
from edgeexit.util import units

_WARM_S = 0.5


@dataclass(frozen=True)
class LoadRow:
    """Figures of one number of connections, over all its repeats.

    Attributes:
        connections: kept connections, each with one request on its way.
        requests: answered with 200. refused: answered with another status. lost: not answered.
        per_s: answered per second, of each repeat.
        p50_s, p99_s: latencies of all of them.
        generator: share of a core that the load generator took.
    """

    connections: int
    requests: int
    refused: int
    lost: int
    per_s: tuple[float, ...]
    p50_s: float
    p99_s: float
    generator: float


def make_stage_request(local: Runner, sample: dict[str, Any], served: Served) -> bytes:
    """A request for the last stage, with the boundary tensors of one sample."""
    manifest = local.bundle.manifest
    stage, tensors, batch = manifest.stages[-1], dict(sample), local._batch_program()  # noqa: SLF001 - below the Runner
    for entry in manifest.stages[:-1]:
        tensors |= batch.run(entry.exit, tensors)
    names = [*stage.inputs, *(spec.name for spec in stage.boundaries_in)]
    body, length = encode_request({name: tensors[name] for name in names}, list_stage_outputs(manifest, stage))
    path = f"/v2/models/{local.bundle.name}-stage-{local.exits}/infer"
    return make_request(served.address[0], path, body, [(HEADER_LENGTH, str(length))])


def summarise(connections: int, loads: Sequence[Load]) -> LoadRow:
    """All repeats of one number of connections."""
    took_s = np.concatenate([np.array(load.took_s) for load in loads])
    statuses = sum((load.statuses for load in loads), Counter[int]())
    return LoadRow(
        connections,
        statuses[200],
        sum(n for status, n in statuses.items() if status not in (0, 200)),
        statuses[0],
        tuple(load.statuses[200] / load.wall_s for load in loads),
        nearest_rank(took_s, 50.0),
        nearest_rank(took_s, 99.0),
        sum(load.cpu_s for load in loads) / sum(load.wall_s for load in loads),
    )


def time_load(local: Runner, sample: dict[str, Any], arguments: argparse.Namespace) -> list[LoadRow]:
    """Every number of connections in turn, on one server."""
    loads: dict[int, list[Load]] = {n: [] for n in arguments.connections}
    with run_server(local.bundle.path, "--stages", str(local.exits), "--workers", str(arguments.workers)) as served:
        request = make_stage_request(local, sample, served)
        generate_load(Plan(served.address, request, max(loads), _WARM_S))
        for _ in range(arguments.repeats):
            for connections, found in loads.items():
                found.append(generate_load(Plan(served.address, request, connections, arguments.seconds)))
        assert served.end() == 0
    return [summarise(connections, found) for connections, found in loads.items()]


def end_under_load(local: Runner, sample: dict[str, Any], arguments: argparse.Namespace) -> dict[str, int]:
    """What became of requests that were on their way at SIGTERM, over several servers."""
    total: Counter[int] = Counter()
    for _ in range(arguments.ends):
        options = ("--stages", str(local.exits), "--workers", str(arguments.workers))
        with run_server(local.bundle.path, *options) as served:
            request = make_stage_request(local, sample, served)
            plan = Plan(served.address, request, max(arguments.connections), _WARM_S, served.process.pid)
            total += generate_load(plan).in_flight
            assert served.process.wait(60) == 0
    refused = sum(n for status, n in total.items() if status not in (0, 200))
    return {
        "servers": arguments.ends,
        "on their way": sum(total.values()),
        "answered": total[200],
        "refused": refused,
        "lost": total[0],
    }


def _print(rows: Sequence[LoadRow], ended: dict[str, int]) -> None:
    columns = ("connections", "requests/s", "p50", "p99", "answered", "refused", "lost", "generator")
    cells = [
        (
            str(row.connections),
            f"{np.median(row.per_s):.0f} ({min(row.per_s):.0f} to {max(row.per_s):.0f})",
            units.seconds(row.p50_s),
            units.seconds(row.p99_s),
            str(row.requests),
            str(row.refused),
            str(row.lost),
            units.percent(row.generator, 0),
        )
        for row in rows
    ]
    print_table("edgeexit serve under load", columns, cells)
    print_table("SIGTERM under load", tuple(ended), [tuple(map(str, ended.values()))])


def main() -> None:
    """Run it and record the result."""
    parser = make_parser(__doc__)
    parser.set_defaults(case="alexnet-light-cifar10", seconds=8.0, repeats=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--workers", type=int, default=2, help="of the server")
    parser.add_argument("--ends", type=int, default=10, help="servers that get SIGTERM under load")
    arguments = parser.parse_args()
    case, before = find_case(arguments.case), read_device_state()
    with tempfile.TemporaryDirectory() as folder:
        local = open_uncalibrated(case, Path(folder))
        name, data = local.bundle.manifest.inputs[0].name, case.test_data()
        sample = {name: data.x[:1]}
        rows, ended = time_load(local, sample, arguments), end_under_load(local, sample, arguments)
        local.close()
    _print(rows, ended)
    body = {
        "reductions": "one machine: the load generator shares the cores with the server",
        "command": "python -m benchmarks serve_load",
        "seed": 0,
        "rows": rows,
        "ended": ended,
    }
    record("serve_load", case, arguments, body, before)


if __name__ == "__main__":
    main()
