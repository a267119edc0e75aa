"""The last stage on a server: all here, all there, or split, over links of 1, 10 and 50 ms; and whether every request is answered.

A real `edgeexit serve` runs behind a proxy on loopback that delays both ways (`_link.py`). Thresholds are chosen on calibration data for
`offload<=5%`; all figures are of test data. Then a bad link: connections are lost, and the server is killed and started again on the way.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import find_case, make_parser, open_uncalibrated, print_table, record
from benchmarks.serving._link import Link, open_link
from benchmarks.serving._served import Served, run_server
from edgeexit import RemoteLimits, RemotePayload
from edgeexit.calibration import optimise
from edgeexit.calibration.device import replay
from edgeexit.data import Dataset, load_data
from edgeexit.hardware import read_device_state
from edgeexit.measure.shares import share_interval
from edgeexit.runtime import Runner, load_quietly
from edgeexit.runtime.remote.endpoint import HttpEndpoint
from edgeexit.runtime.remote.protocol import decode_response, encode_request, find_largest_response
from edgeexit.runtime.remote.runner import RemoteRunner
from edgeexit.runtime.remote.stages import list_stage_outputs
from edgeexit.util import units

_PATIENCE_S = 60.0
_UNMARKED = "late and not marked so"
_KILLED_AT, _BACK_AT = 0.3, 0.6
"""Parts of the requests after which the server is killed, and after which another one is there."""


@dataclass(frozen=True)
class Way:
    """One way to answer over one link.

    Attributes:
        link_ms: its round trip; 0 where there is none.
        way: `all here`, `all there` or `split`.
        requests: how many samples were answered.
        mean_s, p50_s, p99_s: of the whole answer. up: share of samples that went up. up_low, up_high: its 95 % interval.
        accuracy: on these samples.
        bytes_up: bytes to the server, for each request that went up.
        round_trip_s: median time of a sample that went up, less that of those that did not; None where none did or all.
    """

    link_ms: float
    way: str
    requests: int
    mean_s: float
    p50_s: float
    p99_s: float
    up: float
    up_low: float
    up_high: float
    accuracy: float
    bytes_up: float
    round_trip_s: float | None


def serve_last(local: Runner) -> AbstractContextManager[Served]:
    """`edgeexit serve` with the last stage."""
    return run_server(local.bundle.path, "--stages", f"{local.exits}-")


def open_split(local: Runner, port: int, limits: RemoteLimits, payload: RemotePayload) -> RemoteRunner:
    """The bundle with its last stage behind a port."""
    url = f"http://127.0.0.1:{port}/v2/models/{local.bundle.name}-stage-{local.exits}"
    runner = load_quietly(
        local.bundle.path, mode="staged", remote={local.exits: url}, remote_limits=limits, remote_payload=payload
    )
    assert isinstance(runner, RemoteRunner)
    runner.inner_thresholds = local.inner_thresholds
    return runner


def time_all_there(local: Runner, port: int, data: Dataset, link_ms: float) -> Way:
    """Every sample goes up as it is; the server runs the whole network."""
    manifest = local.bundle.manifest
    outputs = list_stage_outputs(manifest, manifest.stages[-1])[:1]
    endpoint = HttpEndpoint(f"http://127.0.0.1:{port}/v2/models/{local.bundle.name}-stage-{local.exits}")
    largest, name = find_largest_response(outputs, 1), manifest.inputs[0].name
    taken, right, sent = [], 0, 0
    for i in range(len(data)):
        start = perf_counter()
        body, length = encode_request({name: data.x[i : i + 1]}, outputs)
        found = decode_response(*endpoint.post(body, length, largest, _PATIENCE_S), outputs, 1)
        taken.append(perf_counter() - start)
        right += int(found[outputs[0].name][0].argmax() == data.y[i])
        sent = len(body)
    endpoint.close()
    return _make_way((link_ms, "all there"), taken, [True] * len(data), right / len(data), sent)


def time_runner(runner: Runner, way: str, data: Dataset, link_ms: float, bytes_up: float) -> Way:
    """Sample by sample, as a board would."""
    for i in range(min(20, len(data))):
        runner(data.x[i : i + 1])
    taken, up, right = [], [], 0
    for i in range(len(data)):
        x = data.x[i : i + 1]
        start = perf_counter()
        found = runner(x)
        taken.append(perf_counter() - start)
        up.append(found.exit == runner.exits and isinstance(runner, RemoteRunner))
        right += int(found.label == data.y[i])
    return _make_way((link_ms, way), taken, up, right / len(data), bytes_up)


def _make_way(name: tuple[float, str], taken: list[float], up: list[bool], accuracy: float, bytes_up: float) -> Way:
    times, went = np.array(taken), np.array(up)
    interval = share_interval(float(went.mean()), len(went))
    mixed = 0 < went.sum() < len(went)
    return Way(
        *name,
        len(times),
        float(times.mean()),
        float(np.percentile(times, 50)),
        float(np.percentile(times, 99)),
        float(went.mean()),
        interval.low,
        interval.high,
        accuracy,
        bytes_up if went.any() else 0.0,
        float(np.median(times[went]) - np.median(times[~went])) if mixed else None,
    )


def compare_ways(local: Runner, data: Dataset, arguments: argparse.Namespace) -> list[Way]:
    """All here; then for each link all there, and split with whatever is answered sooner on the way up."""
    ways = [time_runner(local, "all here", data.take(slice(arguments.samples)), 0.0, 0.0)]
    with serve_last(local) as served:
        for link_ms in arguments.links:
            with open_link(Link(link_ms / 1000, arguments.megabits * 1e6 / 8), served.address[1]) as proxy:
                few = data.take(slice(max(100, int(arguments.samples / (1 + link_ms / 2)))))
                ways.append(time_all_there(local, proxy.port, few, link_ms))
                limits = RemoteLimits(timeout_s=_PATIENCE_S)
                with open_split(local, proxy.port, limits, RemotePayload(arguments.send, arguments.wire)) as split:
                    before, answered = proxy.bytes_up, sum(split.remote.gate.counts.values())
                    way = time_runner(split, "split", data.take(slice(arguments.samples)), link_ms, 1.0)
                    count = sum(split.remote.gate.counts.values()) - answered
                    sent = (proxy.bytes_up - before) / max(1, count)
                    ways.append(replace(way, way=f"split ({split.remote.sends[local.exits]} up)", bytes_up=sent))
    return ways


def survive(local: Runner, data: Dataset, arguments: argparse.Namespace) -> dict[str, Any]:
    """Requests over a link that loses connections, with the server killed on the way and started again: what has become of each."""
    link = Link(0.010, arguments.megabits * 1e6 / 8, loss=arguments.loss)
    limits = RemoteLimits(timeout_s=arguments.deadline, failures=3, pause_s=1.0)
    became: Counter[str] = Counter()
    taken: list[float] = []
    kill, back = (int(part * arguments.requests) for part in (_KILLED_AT, _BACK_AT))
    with (
        serve_last(local) as served,
        open_link(link, served.address[1]) as proxy,
        open_split(local, proxy.port, limits, RemotePayload("boundary")) as split,
    ):
        _ask_all(split, _cycle(data, range(kill)), arguments.deadline, became, taken)
        served.process.kill()
        served.process.wait()
        _ask_all(split, _cycle(data, range(kill, back)), arguments.deadline, became, taken)
        with serve_last(local) as another:
            proxy.server_port = another.address[1]
            _ask_all(split, _cycle(data, range(back, arguments.requests)), arguments.deadline, became, taken)
        gate = dict(split.remote.gate.counts)
    times = np.array(taken)
    longest_in_time = float(times[times <= arguments.deadline].max())
    return {
        "requests": arguments.requests,
        "answered": len(taken),
        "became": dict(became),
        "remote_requests": gate,
        "longest_s": float(times.max()),
        "longest_in_time_s": longest_in_time,
        "unmarked_late": became[_UNMARKED],
    }


def _cycle(data: Dataset, numbers: Iterable[int]) -> Iterator[NDArray[np.float32]]:
    """Samples [1, ...] by their numbers, from the first again after the last."""
    x = data.x
    return (x[i % len(x) : i % len(x) + 1] for i in numbers)


def _ask_all(
    runner: Runner, samples: Iterable[NDArray[np.float32]], deadline_s: float, became: Counter[str], taken: list[float]
) -> None:
    for x in samples:
        start = perf_counter()
        found = runner(x, deadline_s=deadline_s)
        took_s = perf_counter() - start
        taken.append(took_s)
        where = "here, as a fallback" if found.fallback else "there" if found.exit == runner.exits else "here"
        became[f"{where}{', late' if found.late else ''}"] += 1
        if took_s > 1.1 * deadline_s and not found.late:  # the caller's clock has the return in it too
            became[_UNMARKED] += 1


def _print(local_stage_s: float, ways: Sequence[Way], survived: dict[str, Any]) -> None:
    rows = [
        (
            f"{w.link_ms:g} ms" if w.link_ms else "–",
            w.way,
            units.seconds(w.mean_s),
            units.seconds(w.p99_s),
            units.percent(w.accuracy, 2),
            f"{units.percent(w.up, 1)} ({100 * w.up_low:.1f}–{100 * w.up_high:.1f})" if w.link_ms else "–",
            f"{w.bytes_up:.0f}" if w.bytes_up else "–",
            "–" if w.round_trip_s is None else units.seconds(w.round_trip_s),
        )
        for w in ways
    ]
    columns = ("link", "way", "mean", "p99", "accuracy", "goes up", "bytes up", "a sample that goes up takes longer by")
    note = f"The last stage takes {units.seconds(local_stage_s)} here: asking pays where it takes longer than the last column."
    print_table("The last stage on a server", columns, rows, note)
    print_table("A bad link", ("what", "requests"), [(k, str(v)) for k, v in survived["became"].items()])
    print(json.dumps(survived, indent=2))


def time_last_stage(local: Runner, data: Dataset) -> float:
    """Median seconds that the last stage adds to leaving at the exit before it."""
    x = data.x[:1]
    taken: dict[int, list[float]] = {k: [] for k in (local.exits - 1, local.exits)}
    for _ in range(200):
        for exit, times in taken.items():
            start = perf_counter()
            local.forced(x, exit=exit)
            times.append(perf_counter() - start)
    before, last = (float(np.median(times)) for times in taken.values())
    return last - before


def main() -> None:
    """Run it and record the result."""
    parser = make_parser(__doc__, target="offload<=5%")
    parser.set_defaults(case="alexnet-light-cifar10")
    parser.add_argument("--links", type=float, nargs="+", default=[1.0, 10.0, 50.0], help="round trips, ms")
    parser.add_argument("--megabits", type=float, default=100.0, help="bandwidth each way, Mbit/s")
    parser.add_argument("--samples", type=int, default=2000, help="test samples for each way")
    parser.add_argument("--requests", type=int, default=10_000, help="over the bad link")
    parser.add_argument("--loss", type=float, default=0.02, help="share of requests that lose their connection")
    parser.add_argument("--deadline", type=float, default=0.1, help="of each request over the bad link, seconds")
    parser.add_argument("--send", default="auto", help="auto, boundary or input")
    parser.add_argument("--wire", default="float32", help="float32, float16 or int8")
    arguments = parser.parse_args()
    case, before = find_case(arguments.case), read_device_state()
    with tempfile.TemporaryDirectory() as folder:
        local = open_uncalibrated(case, Path(folder))
        chosen_on = load_data(case.calibration).take(slice(4000))
        table = replace(replay(local, chosen_on), remote_from=local.exits)
        local.inner_thresholds = optimise(table, arguments.target).thresholds
        data = case.test_data()
        stage_s = time_last_stage(local, data)
        ways = compare_ways(local, data, arguments)
        survived = survive(local, data, arguments)
        local.close()
    _print(stage_s, ways, survived)
    body = {
        "reductions": "one machine: server, link and board share its cores; the link is a proxy, its loss closed or stalled connections",
        "command": "python -m benchmarks remote",
        "seed": 0,
        "chosen_on": len(chosen_on),
        "last_stage_s": stage_s,
        "ways": ways,
        "survived": survived,
    }
    record("remote", case, arguments, body, before)


if __name__ == "__main__":
    main()
