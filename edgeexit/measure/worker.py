"""One fresh process of a measurement: opens the bundle as a user would, times it, writes what it measured to a file.

    start ─ import ─ load ─ first inference ─ every exit forced 10 × ─ warm-up ─ timing ─ [paced] ─ [cold] ─ arrays to .npz

Memory layout and address randomisation differ from process to process and move a result by percents, so that several processes
are needed to know how sure it is; everything that is compared runs interleaved within each.
"""

from __future__ import annotations

import json
import signal
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.measure.scenarios import run_cold, run_paced, schedule
from edgeexit.measure.timing import Call, Samples, harness_overhead_s, time_interleaved

if TYPE_CHECKING:
    from edgeexit.runtime import Prediction, Runner

Run: TypeAlias = "Callable[[Any], Prediction]"
"""One input in, its prediction out: a Runner, its backbone, or a Runner forced to an exit."""
Arrays: TypeAlias = dict[str, NDArray[Any]]

_FORCED_WARMUPS = 10


@dataclass(frozen=True)
class Job:
    """What a worker is to do; JSON.

    Attributes:
        bundle: path of the bundle.
        settings: keyword arguments of `edgeexit.load`.
        inner_thresholds: as the engines see them; "inf" and "-inf" for never and always.
        inputs: path of an .npz with the pool of inputs, `trace` (int, places in the pool) and nothing else.
        seconds: of timing, all lanes together.
        warmup_s: of the natural trace.
        seed: of the order of the lanes.
        rate_hz: of paced requests; None for none.
        arrivals: "fixed" or "poisson".
        paced_s: length of the schedule of each lane.
        cold: inferences with flushed caches per lane.
        flush_bytes: size of the flushing buffer.
    """

    bundle: str
    settings: dict[str, Any]
    inner_thresholds: tuple[str, ...]
    inputs: str
    seconds: float
    warmup_s: float
    seed: int
    rate_hz: float | None = None
    arrivals: str = "fixed"
    paced_s: float = 0.0
    cold: int = 0
    flush_bytes: int = 0

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def split_samples(inputs: Any) -> list[Any]:
    """Inputs [n, ...], or a mapping of such, as n inputs [1, ...]; views, not copies."""
    if isinstance(inputs, Mapping):
        n = len(next(iter(inputs.values())))
        return [{name: array[i : i + 1] for name, array in inputs.items()} for i in range(n)]
    return [inputs[i : i + 1] for i in range(len(inputs))]


def traced(run: Run, feed: Sequence[Any], exits: list[int]) -> Call:
    """A timing call that runs input i of the trace, round and round, and notes the exit that answered it."""
    length = len(feed)

    def call(i: int) -> None:
        place = i % length
        exits[place] = run(feed[place]).exit

    return call


def measure(job: Job, started_s: float) -> Arrays:
    """Everything that the job asks for, as arrays by name.

    Args:
        job: what to do.
        started_s: `perf_counter` when this process began to import edgeexit.
    """
    from edgeexit.runtime import load

    imported_s = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the caller's runner has said what there is to say about its calibration
        runner = load(job.bundle, **job.settings)
    runner.inner_thresholds = tuple(float(t) for t in job.inner_thresholds)
    loaded_s = perf_counter()
    feed, trace = _read_inputs(Path(job.inputs))
    fed_s = perf_counter()
    runner(feed[0])
    cold_start = [imported_s - started_s, loaded_s - imported_s, perf_counter() - fed_s]
    with runner, runner.backbone() as backbone:
        found: Arrays = {"cold_start_s": np.array(cold_start), "trace": trace}
        found["overhead_s"] = np.array([harness_overhead_s(call=_idle_call(runner, feed))])
        _warm_up(runner, backbone, feed, job.warmup_s)
        found |= _time_lanes(runner, backbone, feed, job)
        found |= _paced(runner, backbone, feed, job)
        found |= _cold(runner, backbone, feed, job)
    return found


def _read_inputs(path: Path) -> tuple[list[Any], NDArray[np.int64]]:
    with np.load(path, allow_pickle=False) as arrays:
        trace = arrays["trace"]
        named = {name.removeprefix("input."): arrays[name] for name in arrays.files if name != "trace"}
    pool = split_samples(named.get("", named))
    return [pool[place] for place in trace], trace


def _idle_call(runner: Runner, feed: Sequence[Any]) -> Call:
    """The same call as a timed one, around an inference that is already done."""
    answer = runner(feed[0])
    return traced(lambda _: answer, feed, [0] * len(feed))


def _warm_up(runner: Runner, backbone: Run, feed: Sequence[Any], seconds: float) -> None:
    for i in range(_FORCED_WARMUPS):
        backbone(feed[i % len(feed)])
        for exit in range(1, runner.exits + 1):
            runner.forced(feed[i % len(feed)], exit=exit)
    end, i = perf_counter() + seconds, 0
    while perf_counter() < end:
        runner(feed[i % len(feed)])
        i += 1


def _time_lanes(runner: Runner, backbone: Run, feed: Sequence[Any], job: Job) -> Arrays:
    runs: dict[str, Run] = {"mixture": runner, "backbone": backbone}
    for exit in range(1, runner.exits + 1):
        runs[f"forced_{exit}"] = partial(runner.forced, exit=exit)
    seen = {name: [0] * len(feed) for name in runs}
    calls = {name: traced(run, feed, seen[name]) for name, run in runs.items()}
    found = time_interleaved(calls, seconds=job.seconds, seed=job.seed)
    arrays: Arrays = {f"{name}.seen": np.array(exits, np.int16) for name, exits in seen.items()}
    for name, samples in found.items():
        arrays |= _pack(name, samples)
    return arrays


def _pack(name: str, samples: Samples) -> Arrays:
    return {f"{name}.values_s": samples.values_s, f"{name}.blocks": samples.blocks}


def _paced(runner: Runner, backbone: Run, feed: Sequence[Any], job: Job) -> Arrays:
    if job.rate_hz is None:
        return {}
    due_s = schedule(job.arrivals, job.rate_hz, job.paced_s, job.seed)
    runs: dict[str, Run] = {"mixture": runner, "backbone": backbone}
    found: Arrays = {}
    for name, run in runs.items():
        samples = run_paced(traced(run, feed, [0] * len(feed)), due_s)
        found |= {f"paced.{name}.{part}": getattr(samples, part) for part in ("due_s", "start_s", "end_s")}
    return found


def _cold(runner: Runner, backbone: Run, feed: Sequence[Any], job: Job) -> Arrays:
    if job.cold <= 0:
        return {}
    runs: dict[str, Run] = {"mixture": runner, "backbone": backbone}
    seen = {name: [0] * len(feed) for name in runs}
    calls = {name: traced(run, feed, seen[name]) for name, run in runs.items()}
    found: Arrays = {}
    for name, samples in run_cold(calls, job.cold, job.flush_bytes).items():
        found |= _pack(f"cold.{name}", samples)
    return found


def main(started_s: float, job_path: str, out_path: str) -> None:
    """Read a job, measure, write the arrays. Ctrl-C is left to the parent, which ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    document = json.loads(Path(job_path).read_text(encoding="utf-8"))
    job = Job(**{**document, "inner_thresholds": tuple(document["inner_thresholds"])})
    np.savez(out_path, allow_pickle=False, **measure(job, started_s))
