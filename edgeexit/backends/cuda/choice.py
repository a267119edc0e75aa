"""Choice of the decider: the fastest by measurement among those that work here and give the same answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends.cuda.deciders import Decider, DeviceDecider, GraphDecider, HostDecider, StagePlan
from edgeexit.backends.cuda.device import CudaStream
from edgeexit.backends.cuda.errors import DeciderUnavailable
from edgeexit.backends.cuda.memory import DeviceMemory

ROUNDS = 30
"""Runs of each decider to each exit that a median is of."""

WARM_S = 1.0
"""Seconds of work before anything is timed: a GPU that was idle is slow until its clock has risen."""

_MARK = 0x7FC0ED9E
"""Bits of a float32 NaN that no arithmetic makes: a score that holds it was not written."""


@dataclass(frozen=True)
class DeciderChoice:
    """The chosen decider, with the times of all and the reasons against the others.

    Attributes:
        name: name of the decider.
        median_s: per decider that works, the median time of leaving at each exit, seconds.
        reasons: per decider that does not, why.
    """

    name: str
    median_s: dict[str, tuple[float, ...]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def make_forced_thresholds(exits: int, exit: int) -> tuple[float, ...]:
    """Thresholds with which every sample leaves at `exit`, from 1."""
    return (math.inf,) * (exit - 1) + (-math.inf,) * (exits - exit)


def fill_random(inputs: Mapping[str, NDArray[np.generic]]) -> None:
    """Write random values into input buffers: 0 to 1 into floats, 0 or 1 into integers and booleans; zeros decide too much alike."""
    rng = np.random.default_rng(0)
    for buffer in inputs.values():
        floats = buffer.dtype.kind == "f"
        buffer[...] = (rng.random(buffer.shape) if floats else rng.integers(0, 2, buffer.shape)).astype(buffer.dtype)


def find_disagreement(decider: Decider, reference: Decider) -> str | None:
    """How a decider differs from the host's decision on what now lies in the input buffers; None where it does not.

    Looked at are every forced exit, a score equal to its threshold, and which stages ran: the score of a stage behind the exit must stay as
    it was marked. A score of NaN never leaves, and equals another.
    """
    for exit in range(1, reference.exits + 1):
        thresholds = make_forced_thresholds(reference.exits, exit)
        expected = reference.run(thresholds)  # behind the exit where its score is NaN
        scores = [float(plan.score[0]) for plan in reference.plans[:expected]]
        for plan in decider.plans:
            plan.score.view(np.uint32)[...] = _MARK
        found = decider.run(thresholds)
        seen = [float(plan.score[0]) for plan in decider.plans]
        ran = [int(plan.score.view(np.uint32)[0]) != _MARK for plan in decider.plans]
        if found != expected:
            return f"forced to exit {exit} it left at exit {found}, the host at exit {expected}"
        if any(ran[expected:]):
            return f"a stage behind exit {expected} ran though the sample had left"
        if not all(ran[:expected]) or not all(map(_same, seen, scores)):
            return f"scores up to exit {expected} are {seen[:expected]}, the host's are {scores}"
    return _disagreement_at_equality(decider, reference)


def _disagreement_at_equality(decider: Decider, reference: Decider) -> str | None:
    first = float(reference.plans[0].score[0])
    equal = (first, *make_forced_thresholds(reference.exits, reference.exits)[1:])
    if reference.exits < 2 or decider.run(equal) == (reference.run(equal) if math.isnan(first) else 1):
        return None
    return "a score of NaN left" if math.isnan(first) else "a score equal to its threshold did not leave"


def _same(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-6) or (math.isnan(found) and math.isnan(expected))


def compare_deciders(
    stream: CudaStream,
    plans: Sequence[StagePlan],
    memory: DeviceMemory,
    inputs: Mapping[str, NDArray[np.generic]],
) -> DeciderChoice:
    """Build every decider, prove each against the host's decision, time those that work in turn; nothing is kept open.

    Args:
        stream: stream that it runs on.
        plans: its stages.
        memory: memory that deciders take theirs from.
        inputs: the network's input buffers, which are filled with random values.
    """
    fill_random(inputs)
    working: dict[str, Decider] = {"host": HostDecider(stream, plans)}
    reasons: dict[str, str] = {}
    with ExitStack() as opened:
        for name, make in _list_decider_factories(stream, plans, memory).items():
            try:
                working[name] = _open_tested(make, working["host"])
            except DeciderUnavailable as error:
                reasons[name] = str(error)
                continue
            opened.callback(working[name].close)
        medians = time_deciders(working)
    fastest = min(medians, key=lambda name: sum(medians[name]))
    return DeciderChoice(fastest, medians, reasons)


def choose_decider(
    stream: CudaStream,
    plans: Sequence[StagePlan],
    memory: DeviceMemory,
    inputs: Mapping[str, NDArray[np.generic]],
    wanted: Sequence[str],
) -> tuple[Decider, Mapping[str, str]]:
    """The first of the wanted deciders that works here; the host's always does.

    Args:
        stream: stream that it runs on.
        plans: its stages.
        memory: memory that deciders take theirs from.
        inputs: the network's input buffers, which are filled with random values.
        wanted: names of deciders, the most wanted first.

    Returns:
        the decider, and why those before it do not work.
    """
    fill_random(inputs)
    reasons: dict[str, str] = {}
    host = HostDecider(stream, plans)
    for name in wanted:
        make = _list_decider_factories(stream, plans, memory).get(name)
        if make is None:
            return host, reasons
        try:
            return _open_tested(make, host), reasons
        except DeciderUnavailable as error:
            reasons[name] = str(error)
    return host, reasons


def _open_tested(make: Callable[[], Decider], reference: Decider) -> Decider:
    """A decider that was proved against the reference on what now lies in the input buffers.

    Raises:
        DeciderUnavailable: it cannot be built here, or decides otherwise than the reference; it is closed then.
    """
    decider = make()
    try:
        wrong = find_disagreement(decider, reference)
    except BaseException:
        decider.close()
        raise
    if wrong is not None:
        decider.close()
        msg = f"its self-test failed: {wrong}"
        raise DeciderUnavailable(msg)
    return decider


def _list_decider_factories(
    stream: CudaStream, plans: Sequence[StagePlan], memory: DeviceMemory
) -> dict[str, Callable[[], Decider]]:
    return {
        "graph": lambda: GraphDecider(stream, plans),
        "device": lambda: DeviceDecider(stream, plans, memory),
    }


def time_deciders(deciders: Mapping[str, Decider]) -> dict[str, tuple[float, ...]]:
    """Median seconds of leaving at each exit, per decider; in turn, on a clock that is warm.

    Every round runs each decider to each exit once and begins with the next one, so that a clock that still moves moves for all.
    """
    runs = [
        (name, partial(decider.run, make_forced_thresholds(decider.exits, exit)))
        for name, decider in deciders.items()
        for exit in range(1, decider.exits + 1)
    ]
    _warm_up([run for _, run in runs])
    spent: list[list[float]] = [[] for _ in runs]
    for turn in range(ROUNDS):
        first = turn % len(runs)
        for place in (*range(first, len(runs)), *range(first)):
            start = perf_counter()
            runs[place][1]()
            spent[place].append(perf_counter() - start)
    return {
        name: tuple(median(times) for (of, _), times in zip(runs, spent, strict=True) if of == name)
        for name in deciders
    }


def _warm_up(runs: Sequence[Callable[[], object]]) -> None:
    """Run all of them, again and again until the time is over."""
    end = perf_counter() + WARM_S
    while True:
        for run in runs:
            run()
        if perf_counter() >= end:
            return
