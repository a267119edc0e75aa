"""Energy and caches of a bundle: passes of their own after the timing, because what measures them disturbs the times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeexit.errors import EdgeExitError
from edgeexit.hardware.power.recorder import Recorder
from edgeexit.measure.cache.measurement import measure_runner_cache
from edgeexit.measure.cache.sweep import sweep_cache
from edgeexit.measure.energy.measurement import measure_runner_energy
from edgeexit.measure.energy.options import EnergyOptions
from edgeexit.measure.energy.report import EnergyReport
from edgeexit.measure.options import BenchOptions
from edgeexit.measure.result.bench_result import CacheFindings
from edgeexit.util.progress import Progress

if TYPE_CHECKING:
    from edgeexit.runtime import Runner

_CACHE_SAMPLES = 200


@dataclass(frozen=True)
class EnergyAndCache:
    """What the passes for energy and caches found, or why there is nothing.

    Attributes:
        energy: the energy of every kind of inference, or None.
        energy_reason: why there is no energy, or None.
        cache: behaviour of the caches, or None.
        cache_reason: why there is nothing of the caches, or None.
    """

    energy: EnergyReport | None = None
    energy_reason: str | None = "interrupted"
    cache: CacheFindings | None = None
    cache_reason: str | None = "interrupted"


def measure_energy_and_cache(
    runner: Runner, samples: Sequence[Any], options: BenchOptions, meter_log: Recorder | None, progress: Progress
) -> EnergyAndCache:
    """Measure energy, then caches; Ctrl-C keeps what was measured before.

    Args:
        runner: an open bundle with the thresholds to measure.
        samples: inputs [1, ...] as the runner takes them.
        options: what to measure.
        meter_log: log of an external power meter, which has been started; None without one.
        progress: callback with what is being done.
    """
    found = EnergyAndCache()
    try:
        energy, reason = _measure_energy(runner, samples, options, meter_log, progress)
        found = EnergyAndCache(energy, reason)
        return EnergyAndCache(energy, reason, _measure_cache(runner, samples, options, progress), None)
    except KeyboardInterrupt:
        return found


def _measure_energy(
    runner: Runner, samples: Sequence[Any], options: BenchOptions, meter_log: Recorder | None, progress: Progress
) -> tuple[EnergyReport | None, str | None]:
    """The report or None, and why there is none."""
    suite = options.suite
    if suite.energy_trials == 0:
        return None, f"not part of preset {suite.name} (--energy)"
    trace = np.random.default_rng(options.seed).integers(len(samples), size=suite.trace)
    also = () if meter_log is None else (meter_log,)
    how = EnergyOptions(also=also, trials=suite.energy_trials, seed=options.seed)
    try:
        report = measure_runner_energy(runner, [samples[i] for i in trace], how, pace=options.pace, progress=progress)
    except EdgeExitError as error:  # everything else has been measured by now
        return None, str(error)
    return (None, report.reason) if report.reason else (report, None)


def _measure_cache(runner: Runner, samples: Sequence[Any], options: BenchOptions, progress: Progress) -> CacheFindings:
    some, full, device = samples[:_CACHE_SAMPLES], options.suite.cache, options.cache_device
    report = measure_runner_cache(runner, some, device=device, simulated=full, progress=progress)
    swept = sweep_cache(runner, some, device=device, progress=progress) if full else None
    return CacheFindings(report, swept)
