"""One fresh process of a measurement: opens the bundle as a user would, times it, writes what it measured to a file.

    start ─ import ─ load ─ first inference ─ every exit forced ─ warm-up ─ timing ─ parts ─ [audit] ─ [paced] ─ [cold] ─ arrays to .npz

Memory layout and address randomisation differ from process to process and move a result by percents, so that several processes
are needed to know how sure it is; everything that is compared runs interleaved within each.
"""

from __future__ import annotations

import json
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import EdgeExitError
from edgeexit.measure.breakdown import time_parts
from edgeexit.measure.options import BenchOptions
from edgeexit.measure.scenarios import CacheFlush, run_cold, run_paced, schedule
from edgeexit.measure.timing import Call, TimedSamples, measure_harness_overhead, time_interleaved
from edgeexit.runtime import Prediction, Runner, load
from edgeexit.util.documents import dumps, parse_document
from edgeexit.util.samples import split_samples

Run: TypeAlias = Callable[[Any], Prediction]
"""One input in, its prediction out: a Runner, its backbone, or a Runner forced to an exit."""
Arrays: TypeAlias = dict[str, NDArray[Any]]

_FORCED_WARMUPS = 10
_SHORTEST_PARTS_S, _PARTS_SHARE = 0.2, 0.1


@dataclass(frozen=True)
class RunnerSpec:
    """Arguments to open a bundle as another process has it open.

    Attributes:
        bundle: its path.
        settings: keyword arguments of `edgeexit.load`.
        inner_thresholds: inner thresholds as the engines see them; "inf" and "-inf" for never and always.
    """

    bundle: str
    settings: dict[str, Any]
    inner_thresholds: tuple[str, ...]

    @classmethod
    def from_runner(cls, runner: Runner) -> RunnerSpec:
        """The arguments with which an open runner can be opened again."""
        settings = {name: getattr(runner.settings, name) for name in ("backend", "mode", "threads", "spin", "options")}
        return cls(str(Path(runner.bundle.path).resolve()), settings, tuple(map(str, runner.inner_thresholds)))

    def open(self) -> Runner:
        """Open a runner with these settings and thresholds."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parent process has already warned about the calibration
            runner = load(self.bundle, **self.settings)
        runner.inner_thresholds = tuple(float(t) for t in self.inner_thresholds)
        return runner


@dataclass(frozen=True)
class Job:
    """What one process has to measure, stored as JSON.

    Attributes:
        subject: the bundle to measure.
        options: what to measure, how long and in which order.
        against: another early exit, timed as a variant of its own; None for none.
        process: number of the process, from 0.
        inputs: path of an .npz with the pool of inputs, `trace` (int, places in the pool) and nothing else.
    """

    subject: RunnerSpec
    options: BenchOptions
    against: RunnerSpec | None = None
    process: int = 0
    inputs: str = ""

    @property
    def seed(self) -> int:
        """Random seed of the order of the variants, another one for each process."""
        return self.options.seed * 1000 + self.process

    def write(self, path: Path) -> None:
        """Write it as JSON to a file, which `main` reads in the process."""
        path.write_text(dumps(self), encoding="utf-8")


def make_traced_call(run: Run, feed: Sequence[Any], exits: list[int]) -> Call:
    """A timing call that runs input i of the trace, round and round, and notes the exit that answered it."""
    length = len(feed)

    def call(i: int) -> None:
        place = i % length
        exits[place] = run(feed[place]).exit

    return call


def measure(job: Job, import_s: float) -> Arrays:
    """Run the job; returns its results as arrays by name.

    Args:
        job: what to do.
        import_s: time that importing the runtime took in this process, seconds.
    """
    start_s = perf_counter()
    runner = job.subject.open()
    load_s = perf_counter() - start_s
    feed, trace = _read_inputs(Path(job.inputs))
    start_s = perf_counter()
    runner(feed[0])
    cold_start = [import_s, load_s, perf_counter() - start_s]
    with ExitStack() as opened:
        bench = _Bench(opened.enter_context(runner), opened.enter_context(runner.backbone()), feed, job)
        if job.against is not None:
            bench.others["against"] = opened.enter_context(job.against.open())
        found: Arrays = {"cold_start_s": np.array(cold_start), "trace": trace}
        found["overhead_s"] = np.array([measure_harness_overhead(call=_make_idle_call(runner, feed))])
        bench.warm_up()
        found |= bench.time_variants() | bench.time_parts() | bench.time_audit(trace)
        found |= bench.time_paced_requests() | bench.time_cold_inferences()
        return found | {"end_s": np.array([monotonic()])}


def _read_inputs(path: Path) -> tuple[list[Any], NDArray[np.int64]]:
    with np.load(path, allow_pickle=False) as arrays:
        trace = arrays["trace"]
        named = {name.removeprefix("input."): arrays[name] for name in arrays.files if name != "trace"}
    pool = split_samples(named.get("", named))
    return [pool[place] for place in trace], trace


def _make_idle_call(runner: Runner, feed: Sequence[Any]) -> Call:
    """A call with all the bookkeeping of a timed one and without the inference, to measure what the harness adds."""
    answer = runner(feed[0])
    return make_traced_call(lambda _: answer, feed, [0] * len(feed))


class _Bench:
    """The timing loops of one process, over the runners that it has opened."""

    def __init__(self, runner: Runner, backbone: Run, feed: Sequence[Any], job: Job) -> None:
        self.runner, self.backbone, self.feed, self.job = runner, backbone, feed, job
        self.suite = job.options.suite
        self.others: dict[str, Run] = {}

    def warm_up(self) -> None:
        """Run every exit ten times, then the trace as the early exit runs it for a fixed time."""
        for i in range(_FORCED_WARMUPS):
            self.backbone(self.feed[i % len(self.feed)])
            for exit in range(1, self.runner.exits + 1):
                self.runner.forced(self.feed[i % len(self.feed)], exit=exit)
        end, i = perf_counter() + self.suite.warmup_s, 0
        while perf_counter() < end:
            self.runner(self.feed[i % len(self.feed)])
            i += 1

    def time_variants(self) -> Arrays:
        """Time early exit, backbone, every forced exit and a second bundle, interleaved."""
        runs = self._list_main_runs() | self.others
        for exit in range(1, self.runner.exits + 1):
            runs[f"forced_{exit}"] = partial(self.runner.forced, exit=exit)
        calls, seen = self._make_calls(runs)
        times = [monotonic()]
        found = time_interleaved(
            calls, seconds=self.suite.seconds, seed=self.job.seed, progress=lambda *_: times.append(monotonic())
        )
        arrays: Arrays = {f"{name}.seen": np.array(exits, np.int16) for name, exits in seen.items()}
        arrays |= {
            "start_s": np.array(times[:1]),
            "rounds_s": np.array(times[1:-1]),
        }  # sent after each round, and at the end
        for name, samples in found.items():
            arrays |= _pack_samples(name, samples)
        return arrays

    def time_parts(self) -> Arrays:
        """Stages, criteria and overhead; `parts.reason` where its engines fail, which costs nothing that was timed before."""
        seconds = max(_SHORTEST_PARTS_S, _PARTS_SHARE * self.suite.seconds)
        try:
            found = time_parts(self.runner, self.feed, seconds, self.job.seed)
        except (EdgeExitError, MemoryError) as error:
            return {"parts.reason": np.array(str(error) or "out of memory")}
        return {f"parts.{name}": values for name, values in found.items()}

    def time_audit(self, trace: NDArray[np.int64]) -> Arrays:
        """One input again and again beside every input of the trace in turn, all forced to the last exit."""
        audit_s = self.job.options.audit_s
        if audit_s <= 0:
            return {}
        _, first = np.unique(trace, return_index=True)
        feeds = {"unique": [self.feed[place] for place in first], "same": self.feed[:1]}
        deepest = partial(self.runner.forced, exit=self.runner.exits)
        calls = {name: make_traced_call(deepest, feed, [0] * len(feed)) for name, feed in feeds.items()}
        found: Arrays = {"audit.inputs": np.array([len(first)])}
        for name, samples in time_interleaved(calls, seconds=audit_s, seed=self.job.seed).items():
            found |= _pack_samples(f"audit.{name}", samples)
        return found

    def time_paced_requests(self) -> Arrays:
        """Time requests on a schedule: first those of the early exit, then those of the backbone."""
        pace = self.job.options.pace
        if pace is None:
            return {}
        due_s = schedule(pace.arrivals, pace.rate_hz, self.job.options.paced_s, self.job.seed)
        calls, seen = self._make_calls(self._list_main_runs())
        found: Arrays = {}
        for name, call in calls.items():
            samples = run_paced(call, due_s)
            found[f"paced.{name}.seen"] = np.array(seen[name], np.int16)
            found |= {f"paced.{name}.{part}": getattr(samples, part) for part in ("due_s", "start_s", "end_s")}
        return found

    def time_cold_inferences(self) -> Arrays:
        """Time inferences of early exit and backbone in turn, each after its caches were flushed."""
        if self.suite.cold <= 0:
            return {}
        calls, seen = self._make_calls(self._list_main_runs())
        found: Arrays = {}
        for name, samples in run_cold(calls, self.suite.cold, CacheFlush(self.job.options.flush_bytes)).items():
            found |= _pack_samples(f"cold.{name}", samples)
            found[f"cold.{name}.seen"] = np.array(seen[name], np.int16)
        return found

    def _list_main_runs(self) -> dict[str, Run]:
        return {"mixture": self.runner, "backbone": self.backbone}

    def _make_calls(self, runs: Mapping[str, Run]) -> tuple[dict[str, Call], dict[str, list[int]]]:
        """A timing call for each, and the exits that it notes; 0 where an input of the trace was never run."""
        seen = {name: [0] * len(self.feed) for name in runs}
        return {name: make_traced_call(run, self.feed, seen[name]) for name, run in runs.items()}, seen


def _pack_samples(name: str, samples: TimedSamples) -> Arrays:
    return {f"{name}.values_s": samples.values_s, f"{name}.blocks": samples.blocks}


def name_error_file(out_path: str | Path) -> Path:
    """File in which a worker reports why it measured nothing: the exit code and message of an edgeexit error, as JSON."""
    return Path(out_path).with_suffix(".refused")


def serve(job_path: str, out_path: str, work: Callable[[Any], Arrays]) -> None:
    """Read a job's document, work, write the arrays, or why not. Ctrl-C is left to the parent, which ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    document = json.loads(Path(job_path).read_text(encoding="utf-8"))
    try:
        np.savez(out_path, allow_pickle=False, **work(document))
    except EdgeExitError as error:
        name_error_file(out_path).write_text(dumps({"code": error.exit_code, "message": str(error)}), encoding="utf-8")
        sys.exit(error.exit_code)


def main(import_s: float, job_path: str, out_path: str) -> None:
    """Measure a `Job`, in a process of its own."""
    serve(job_path, out_path, lambda document: measure(parse_document(Job, document, job_path), import_s))
