"""A bundle in a real Triton server: round trips over gRPC of the fused and the staged model, one sample or 32 at once.

    .venv-serving/bin/python -m benchmarks triton [--case alexnet-light-cifar10] [--seconds 4]

`make .venv-serving/.made` installs the server (the wheel nvidia-pytriton). Server and client share one machine; all models run in the
server's Python backend, the only one of that wheel. Beside them stands the Runner in this process, and, in the second table, a Runner that
sends every sample to its last stage in Triton or in `edgeexit serve`. The answers of each way are compared with the Runner's before it is
timed; calls of all ways take turns.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Case, find_case, make_parser, open_uncalibrated, print_table, record
from benchmarks.serving._served import run_server
from benchmarks.serving._triton import TritonServer, refuse_missing_server, run_triton
from edgeexit import RemoteLimits
from edgeexit.calibration import optimise
from edgeexit.calibration.device import replay
from edgeexit.data import load_data
from edgeexit.hardware import read_device_state
from edgeexit.measure.statistics import Interval, mean_interval, nearest_rank
from edgeexit.measure.timing import TimedSamples, time_interleaved
from edgeexit.runtime import Runner, load_quietly
from edgeexit.serving import export_triton
from edgeexit.util import units

_PATIENCE_S = 60.0
_NEVER = float("inf")

Inputs: TypeAlias = NDArray[np.float32]
Answers: TypeAlias = list[tuple[int, int]]
"""Exit, from 1, and label of each sample."""
Way: TypeAlias = Callable[[Inputs], Answers]
"""Answers inputs [n, ...], in one call."""


@dataclass(frozen=True)
class TripRow:
    """Round trips of one way.

    Attributes:
        way: who was asked, and how.
        batch: samples of a call.
        calls: how many were timed.
        p50_s: of a call: mean of the repeats' medians. ci95: its 95 % interval.
        mean_s, p99_s: of all calls.
        compared: samples whose answers were compared with the Runner's. same_exit, same_label: of them.
    """

    way: str
    batch: int
    calls: int
    p50_s: float
    ci95: Interval | None
    mean_s: float
    p99_s: float
    compared: int
    same_exit: int
    same_label: int


def answer_here(runner: Runner, x: Inputs) -> Answers:
    """By a Runner, wherever its stages are."""
    found = [runner(x)] if len(x) == 1 else runner.batch(x)
    return [(p.exit, p.label) for p in found]


class TritonModel:
    """A model of a server, over gRPC.

    Args:
        client: of `tritonclient.grpc`.
        name: of the model.
        takes: name of the network's input.
    """

    def __init__(self, client: Any, name: str, takes: str) -> None:
        self._client, self._name, self._takes = client, name, takes

    def ask(self, x: Inputs) -> Answers:
        """In one request."""
        return _read(self._client.infer(self._name, self._make_inputs(x)))

    def ask_each(self, x: Inputs) -> Answers:
        """In one request a sample, all on their way at once."""
        came: SimpleQueue[tuple[int, Any]] = SimpleQueue()

        def take(place: int, result: Any, error: Any) -> None:
            came.put((place, result if error is None else error))

        for i in range(len(x)):
            self._client.async_infer(self._name, self._make_inputs(x[i : i + 1]), callback=partial(take, i))
        found = sorted((came.get(timeout=_PATIENCE_S) for _ in range(len(x))), key=itemgetter(0))
        return [answer for _, response in found for answer in _read(response)]

    def _make_inputs(self, x: Inputs) -> list[Any]:
        from tritonclient.grpc import InferInput

        return [InferInput(self._takes, x.shape, "FP32").set_data_from_numpy(x)]


def _read(response: Any) -> Answers:
    if isinstance(response, Exception):
        raise response
    exits, labels = response.as_numpy("exit").reshape(-1), response.as_numpy("logits").argmax(axis=1)
    return list(zip(exits.tolist(), labels.tolist(), strict=True))


@contextmanager
def open_whole(local: Runner, triton: TritonServer) -> Iterator[dict[str, Way]]:
    """The whole network: here, and as the two models of the server."""
    name, takes = local.bundle.name, local.bundle.manifest.inputs[0].name
    fused, staged = (TritonModel(triton.client, f"{name}-{kind}", takes) for kind in ("fused", "staged"))
    yield {
        "Runner": partial(answer_here, local),
        "Triton, fused": lambda x: fused.ask(x) if len(x) == 1 else fused.ask_each(x),
        "Triton, staged": staged.ask,
    }


@contextmanager
def open_split(local: Runner, triton: TritonServer) -> Iterator[dict[str, Way]]:
    """Runners that leave nowhere early, their last stage here or on a server."""
    stage = f"{local.bundle.name}-stage-{local.exits}"
    with ExitStack() as opened:
        served = opened.enter_context(run_server(local.bundle.path, "--stages", str(local.exits)))
        urls = {
            "last stage in Triton, gRPC": f"{triton.grpc_url}/{stage}",
            "last stage in Triton, HTTP": f"{triton.models_url}/{stage}",
            "last stage in edgeexit serve, HTTP": served.models[stage],
        }
        runners = {"Runner": opened.enter_context(local.clone())}
        for way, url in urls.items():
            limits = RemoteLimits(timeout_s=_PATIENCE_S)
            remote = load_quietly(local.bundle.path, mode="staged", remote={local.exits: url}, remote_limits=limits)
            runners[way] = opened.enter_context(remote)
        for runner in runners.values():
            runner.inner_thresholds = (_NEVER,) * (local.exits - 1)
        yield {way: partial(answer_here, runner) for way, runner in runners.items()}


def compare(ways: Mapping[str, Way], x: Inputs, batch: int) -> dict[str, list[int]]:
    """How many exits and labels of each way are those of the first."""
    parts = [x[i : i + batch] for i in range(0, len(x), batch)]
    found = {way: np.array([pair for part in parts for pair in ask(part)]) for way, ask in ways.items()}
    expected = next(iter(found.values()))
    return {way: (pairs == expected).sum(axis=0).tolist() for way, pairs in found.items()}


def time_ways(ways: Mapping[str, Way], x: Inputs, batch: int, arguments: argparse.Namespace) -> list[TripRow]:
    """Compared, then timed in turn."""
    same = compare(ways, x, batch)
    parts = [x[i : i + batch] for i in range(0, len(x) - batch + 1, batch)]
    calls = {way: partial(_ask_part, ask, parts) for way, ask in ways.items()}
    seconds, warmup_s = arguments.seconds, arguments.seconds / 8
    repeats = [time_interleaved(calls, seconds=seconds, warmup_s=warmup_s, seed=n) for n in range(arguments.repeats)]
    return [_summarise(way, batch, [one[way] for one in repeats], len(x), same[way]) for way in ways]


def _ask_part(ask: Way, parts: Sequence[Inputs], i: int) -> Answers:
    return ask(parts[i % len(parts)])


def _summarise(way: str, batch: int, repeats: Sequence[TimedSamples], compared: int, same: Sequence[int]) -> TripRow:
    took_s, medians = np.concatenate([one.values_s for one in repeats]), [one.median_s for one in repeats]
    middle_s, mean_s, p99_s = float(np.mean(medians)), float(took_s.mean()), nearest_rank(took_s, 99.0)
    return TripRow(way, batch, len(took_s), middle_s, mean_interval(medians), mean_s, p99_s, compared, *same)


def _print(title: str, rows: Sequence[TripRow]) -> None:
    columns = ("samples at once", "way", "p50", "95 % interval", "mean", "p99", "calls", "same exit and label")
    cells = [
        (
            str(row.batch),
            row.way,
            units.seconds(row.p50_s),
            "–" if row.ci95 is None else f"{units.seconds(row.ci95.low)} to {units.seconds(row.ci95.high)}",
            units.seconds(row.mean_s),
            units.seconds(row.p99_s),
            str(row.calls),
            f"{row.same_exit}, {row.same_label} of {row.compared}",
        )
        for row in rows
    ]
    print_table(title, columns, cells)


def time_server(local: Runner, x: Inputs, folder: Path, arguments: argparse.Namespace) -> dict[str, list[TripRow]]:
    """Rows of both tables, from one server."""
    export_triton(local, folder / "repository", stages="python")
    (folder / "server").mkdir()
    rows: dict[str, list[TripRow]] = {}
    with run_triton(folder / "repository", folder / "server") as triton:
        for title, opener in (("the whole network", open_whole), ("every sample to its last stage", open_split)):
            with opener(local, triton) as ways:
                rows[title] = [row for n in arguments.batches for row in time_ways(ways, x, n, arguments)]
    return rows


def choose_thresholds(local: Runner, case: Case, arguments: argparse.Namespace) -> None:
    """Give the runner those of the command line, or the best for its target by multiply-accumulates: the same on every machine."""
    if arguments.thresholds:
        local.thresholds = arguments.thresholds
    else:
        table = replay(local, load_data(case.calibration).take(slice(4000)))
        local.inner_thresholds = optimise(table, arguments.target).thresholds


def main() -> None:
    """Run it and record the result."""
    parser = make_parser(__doc__, target="drop<=0.5")
    parser.set_defaults(case="alexnet-light-cifar10", seconds=4.0, repeats=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="samples at once")
    parser.add_argument("--samples", type=int, default=1000, help="test samples whose answers are compared")
    arguments = parser.parse_args()
    refuse_missing_server()
    case, before = find_case(arguments.case), read_device_state()
    x = case.test_data().take(slice(arguments.samples)).x
    with tempfile.TemporaryDirectory() as folder, open_uncalibrated(case, Path(folder)) as local:
        choose_thresholds(local, case, arguments)
        rates = np.bincount([p.exit for p in local.batch(x)], minlength=local.exits + 1)[1:] / len(x)
        rows, thresholds = time_server(local, x, Path(folder), arguments), local.thresholds
    for title, found in rows.items():
        _print(title, found)
    body = {
        "reductions": "one machine: server and client share its cores; the server's Python backend, not its ONNX Runtime backend",
        "command": "python -m benchmarks triton",
        "seed": 0,
        "thresholds": thresholds,
        "exit_rates": rates.tolist(),
        "rows": rows,
    }
    record("triton", case, arguments, body, before)


if __name__ == "__main__":
    main()
