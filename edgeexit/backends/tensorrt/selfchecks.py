"""Checks that only this backend can make: one scratch memory, no copies between stages, graph capture, and each decider with its times."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends.cuda import DeciderChoice
from edgeexit.backends.self_check import SelfCheck
from edgeexit.backends.tensorrt.device_program import DeviceProgram
from edgeexit.backends.tensorrt.engines import Engines
from edgeexit.backends.tensorrt.measured_choices import (
    COPIED,
    choose_input_memory,
    find_faster_memory,
    measure_deciders,
    time_input_memories,
)
from edgeexit.bundle import Manifest
from edgeexit.util.units import bytes_
from edgeexit.util.units import seconds as as_time

_LETTERS = {"host": "(a) host", "graph": "(b) host, a graph per stage", "device": "(c) GPU, conditional graph"}
_ROUNDS = 50


def run_self_checks(engines: Engines, manifest: Manifest) -> tuple[SelfCheck, ...]:
    """Run them on these engines, which are released at the end."""
    try:
        with engines.device.active("checking the engines"):
            exits = [(s.logits, s.score) for s in manifest.stages]
            memory = choose_input_memory(engines, exits)
            bound = DeviceProgram(engines, exits, copy_inputs=memory == COPIED)
            try:
                return (_check_memory(bound), *_check_inputs(engines, exits), *_check_deciders(bound))
            finally:
                bound.close()
    finally:
        engines.release()


def _check_memory(bound: DeviceProgram) -> SelfCheck:
    """No stage disturbs what another one made or makes: results stay while later stages run, and come again in the reverse order."""
    engines = bound.engines
    sizes = engines.scratch_bytes
    rng = np.random.default_rng(0)
    for host in bound.inputs.values():
        host[...] = rng.random(host.shape).astype(host.dtype)
    places = range(len(bound.plans))
    first = [_run(bound, k) for k in places]
    kept = [_copy_results(bound, k) for k in places]
    again = [_run(bound, k) for k in reversed(places)][::-1]
    holds = all(
        np.allclose(a, b, rtol=1e-5, equal_nan=True)
        for found in (kept, again)
        for a, b in zip(first, found, strict=True)
    )
    detail = f"{bytes_(max(sizes))} instead of {bytes_(sum(sizes))}; typing {', '.join(engines.typings)}; waits by {engines.device.wait}"
    values = {"scratch_bytes": float(max(sizes)), "separate_bytes": float(sum(sizes))}
    return SelfCheck("stages share one scratch memory", holds, detail, values)


def _run(bound: DeviceProgram, index: int) -> NDArray[np.float64]:
    bound.plans[index].enqueue(bound.stream.handle)
    bound.stream.synchronize()
    return _copy_results(bound, index)


def _copy_results(bound: DeviceProgram, index: int) -> NDArray[np.float64]:
    """A copy of a stage's score and logits."""
    made = bound.results[index]
    return np.concatenate([made.score.astype(np.float64), made.logits.astype(np.float64).ravel()])


def _check_inputs(engines: Engines, exits: Sequence[tuple[str, str | None]]) -> list[SelfCheck]:
    """Where inputs are read faster, on a GPU that shares the CPU's memory; figures only."""
    if not engines.device.facts.integrated:
        return []
    times = time_input_memories(engines, exits)
    shown = "; ".join(f"{name} {' / '.join(map(as_time, median_s))}" for name, median_s in times.items())
    values = {f"{name}_{k}_s": t for name, median_s in times.items() for k, t in enumerate(median_s, 1)}
    return [SelfCheck("inputs lie in", None, f"{shown}; {find_faster_memory(times)} is faster", values)]


def _check_deciders(bound: DeviceProgram) -> list[SelfCheck]:
    choice = measure_deciders(bound)
    alone = _time_stages_alone(bound)
    return [_check_decider(name, choice, alone) for name in _LETTERS]


def _check_decider(name: str, choice: DeciderChoice, alone: tuple[float, ...]) -> SelfCheck:
    what = f"decides: {_LETTERS[name]}"
    if name not in choice.median_s:
        reason = choice.reasons.get(name, "not tried")
        wrong = "self-test failed" in reason
        return SelfCheck(what, False if wrong else None, f"not available: {reason}")
    times = choice.median_s[name]
    gap = times[-1] - sum(alone)
    mark = "; chosen" if name == choice.name else ""
    detail = (
        f"{' / '.join(as_time(t) for t in times)}; to the last exit {as_time(gap)} over the sum of the stages{mark}"
    )
    values = {f"exit_{k}_s": t for k, t in enumerate(times, 1)} | {"gap_s": gap}
    return SelfCheck(what, True, detail, values)


def _time_stages_alone(bound: DeviceProgram) -> tuple[float, ...]:
    """Time on the GPU of each stage, from many enqueued behind each other: what the host adds overlaps and falls out."""
    return tuple(_time_back_to_back(bound, index) for index in range(len(bound.plans)))


def _time_back_to_back(bound: DeviceProgram, index: int) -> float:
    stream, enqueue = bound.stream, bound.plans[index].enqueue
    runs = []
    for _ in range(5):
        stream.synchronize()
        start = perf_counter()
        for _ in range(_ROUNDS):
            enqueue(stream.handle)
        stream.synchronize()
        runs.append((perf_counter() - start) / _ROUNDS)
    return median(runs)
