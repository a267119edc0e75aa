"""Runtime and cache behaviour while the thresholds loosen: figure 6 of BranchyNet (Teerapittayanon 2016), for any bundle."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeexit.errors import HardwareMissing, InputError
from edgeexit.measure.cache.counters import Opener, open_event, plan_passes
from edgeexit.measure.cache.report import MIX, CallCache
from edgeexit.measure.cache.runs import (
    build_call_report,
    count_events,
    find_cache_geometry,
    get_device_name,
    measure_exit_shares,
    select_samples,
)
from edgeexit.measure.cache.simulation import Region, build_simulated_geometry, find_valgrind, simulate
from edgeexit.util.documents import to_document
from edgeexit.util.progress import Progress, show_nothing

if TYPE_CHECKING:
    from edgeexit.runtime import Runner

_REPEATS = 5
_Settings = Sequence[tuple[float, ...]]


@dataclass(frozen=True)
class SweepPoint:
    """One setting of the thresholds.

    Attributes:
        thresholds: own units; "inf" and "-inf" in documents.
        shares: shares of the samples leaving at each exit.
        latency_s: mean time of one inference on this machine.
        cache: misses of one inference, or None.
    """

    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    latency_s: float
    cache: CallCache | None


@dataclass(frozen=True)
class CacheSweep:
    """Runtime and cache behaviour against threshold, strictest first.

    Attributes:
        source: source of the cache numbers: `hardware` or `simulated`; None without any.
        device: name of the device whose caches were used.
        reason: why there are no cache numbers, or None.
        points: points of the sweep.
    """

    source: str | None
    device: str
    reason: str | None
    points: tuple[SweepPoint, ...]

    def to_document(self) -> dict[str, Any]:
        """The document `edgeexit.cache-sweep/1`."""
        return {"schema": "edgeexit.cache-sweep/1", **to_document(self)}


def sweep_cache(
    runner: Runner,
    samples: Sequence[Any],
    *,
    points: int = 9,
    device: str | None = None,
    opener: Opener = open_event,
    progress: Progress = show_nothing,
) -> CacheSweep:
    """Runtime and misses while the thresholds loosen from "no one leaves early" to "all leave at the first exit".

    At point q of `points` every exit's threshold lies at the share q of that exit's own scores, so that the first exit lets that
    share leave. Counters are used where they open, else the simulation.

    Args:
        runner: its thresholds are as before afterwards.
        samples: inputs as the runner takes them.
        points: at least 2.
        device: simulate this device's caches, even where counters open.
        opener: opens hardware counters; a test gives another one.
        progress: callback with what is being done.

    Raises:
        InputError: too few points or samples, or no profile has that name.
    """
    if points < 2 or not samples:
        msg = f"a sweep needs at least 2 points and 1 sample, not {points} and {len(samples)}."
        raise InputError(msg)
    settings = _choose_settings(runner, samples, points)
    shares, latencies = _run_sweep(runner, samples, settings)
    caches = _count_settings(runner, samples, settings, opener) if device is None else _CacheReports(None, (), None)
    if not caches.calls:
        caches = _simulate_settings(runner, samples, settings, device, progress)
    swept = tuple(
        SweepPoint(
            tuple(runner.criterion.own(t) for t in inner),
            shares[i],
            latencies[i],
            caches.calls[i] if caches.calls else None,
        )
        for i, inner in enumerate(settings)
    )
    return CacheSweep(caches.source, device or get_device_name(), caches.reason, swept)


def _choose_settings(runner: Runner, samples: Sequence[Any], points: int) -> list[tuple[float, ...]]:
    """Inner thresholds of every point, strictest first: quantiles of each exit's own scores."""
    whole = (
        {name: np.concatenate([s[name] for s in samples]) for name in samples[0]}
        if isinstance(samples[0], Mapping)
        else np.concatenate(list(samples))
    )
    scores = np.sort(runner.replay(whole)[0][:, :-1], axis=0)
    shares = np.linspace(0.0, 1.0, points)
    return [tuple(_find_threshold(scores[:, k], share) for k in range(scores.shape[1])) for share in shares]


def _find_threshold(ascending: Any, share: float) -> float:
    """The inner threshold that lets the given share of the samples leave; `ascending` are their sorted scores."""
    leaving = round(share * len(ascending))
    return (
        math.inf
        if leaving == 0
        else -math.inf
        if leaving == len(ascending)
        else float(ascending[len(ascending) - leaving])
    )


def _run_sweep(
    runner: Runner, samples: Sequence[Any], settings: _Settings
) -> tuple[list[tuple[float, ...]], list[float]]:
    """Shares and mean latency of every setting; settings take turns, so that a drift of the machine meets all alike."""
    before = runner.inner_thresholds
    times: list[list[float]] = [[] for _ in settings]
    shares: list[tuple[float, ...]] = []
    try:
        for repeat in range(_REPEATS):
            for i, inner in enumerate(settings):
                runner.inner_thresholds = inner
                if repeat == 0:
                    shares.append(measure_exit_shares(runner, samples))
                start = perf_counter()
                for x in samples:
                    runner(x)
                times[i].append((perf_counter() - start) / len(samples))
    finally:
        runner.inner_thresholds = before
    return shares, [statistics.median(t) for t in times]


class _CacheReports(NamedTuple):
    """Cache numbers, one per setting; without any, the reason."""

    source: str | None
    calls: Sequence[CallCache]
    reason: str | None


def _simulate_settings(
    runner: Runner, samples: Sequence[Any], settings: _Settings, device: str | None, progress: Progress
) -> _CacheReports:
    regions = [Region(f"{MIX} {i}", "mix", inner_thresholds=inner) for i, inner in enumerate(settings)]
    try:
        find_valgrind()
        known, unknown = find_cache_geometry(device)
        if unknown is not None:
            return _CacheReports(None, (), unknown)
        return _CacheReports(
            "simulated",
            simulate(runner, select_samples(samples), regions, build_simulated_geometry(known), progress),
            None,
        )
    except HardwareMissing as error:
        return _CacheReports(None, (), str(error))


def _count_settings(runner: Runner, samples: Sequence[Any], settings: _Settings, opener: Opener) -> _CacheReports:
    before = runner.inner_thresholds
    found = []
    try:
        for i, inner in enumerate(settings):
            runner.inner_thresholds = inner
            counted = [count_events(events, runner, samples, opener) for events in plan_passes()]
            found.append(build_call_report(f"{MIX} {i}", counted, len(samples)))
    except HardwareMissing as error:
        return _CacheReports(None, (), str(error))
    finally:
        runner.inner_thresholds = before
    return _CacheReports("hardware", found, None)
