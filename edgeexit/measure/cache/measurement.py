"""Cache behaviour of a bundle: per exit, of the mixture and of the backbone, by every means this machine has.

measure_runner_cache(runner, samples)                          counters, simulation and bytes on paper, each by itself
measure_runner_cache(runner, samples, device="jetson-nano")    the simulation with another device's caches
sweep_cache(runner, samples)                                   runtime and misses against threshold: BranchyNet (2016), figure 6
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeexit.errors import HardwareMissing, InputError
from edgeexit.hardware.validity import Finding, Validity, combine_findings
from edgeexit.measure.cache.analytic import compute_working_sets
from edgeexit.measure.cache.counters import Counters, Opener, open_event, plan_passes
from edgeexit.measure.cache.report import MIX, CacheReport, CacheResult, CallCache, compute_closures
from edgeexit.measure.cache.runs import (
    Run,
    build_call_report,
    count_events,
    find_cache_geometry,
    get_device_name,
    measure_exit_shares,
    name_shares,
    select_samples,
)
from edgeexit.measure.cache.simulation import (
    EVENTS,
    Geometry,
    Region,
    build_simulated_geometry,
    find_valgrind,
    simulate,
)
from edgeexit.util import units
from edgeexit.util.progress import Progress, show_nothing

if TYPE_CHECKING:
    from edgeexit.runtime import Runner

_MAX_CLOSURE = 0.05
_NOTES = (
    "simulated: first and last level only, no prefetching, no kernel, one thread, AVX2 code; compare exits and thresholds with "
    "each other, not machines",
)


def measure_runner_cache(
    runner: Runner,
    samples: Sequence[Any],
    *,
    device: str | None = None,
    simulated: bool = True,
    opener: Opener = open_event,
    progress: Progress = show_nothing,
) -> CacheResult:
    """Cache behaviour of leaving at each exit, of the mixture at the runner's thresholds, and of the backbone.

    Args:
        runner: an open bundle.
        samples: inputs as the runner takes them; of many, the simulation takes some, evenly spread.
        device: a profile whose caches are simulated; None for those of this machine.
        simulated: whether to simulate; it takes tens of seconds.
        opener: opens hardware counters; a test gives another one.
        progress: callback with what is being done.

    Raises:
        InputError: there are no samples, or no profile has that name.
    """
    if not samples:
        msg = "cache behaviour needs at least one sample."
        raise InputError(msg)
    known, unknown = find_cache_geometry(device)
    hardware, why_not = _try_measurement(partial(_count_caches, runner, samples, opener))
    simulation, why_no_simulation = None, unknown or "not asked for"
    if simulated:
        simulation, failure = _try_measurement(
            partial(_simulate_caches, runner, select_samples(samples), device, progress)
        )
        why_no_simulation = failure or ""
    return CacheResult(
        hardware,
        why_not,
        simulation,
        None if simulation else why_no_simulation,
        compute_working_sets(runner.bundle, known),
        known,
    )


def _try_measurement(work: Callable[[], CacheReport]) -> tuple[CacheReport | None, str | None]:
    try:
        return work(), None
    except HardwareMissing as error:
        return None, str(error)


def _simulate_caches(runner: Runner, samples: Sequence[Any], device: str | None, progress: Progress) -> CacheReport:
    find_valgrind()  # raises first on a machine that cannot simulate: naming a device would not help
    known, unknown = find_cache_geometry(device)
    if unknown is not None:
        raise HardwareMissing(unknown)
    geometry = build_simulated_geometry(known)
    regions = [Region(f"exit {k}", "forced", exit=k) for k in range(1, runner.exits + 1)]
    regions += [Region(MIX, "mix", inner_thresholds=runner.inner_thresholds), Region("backbone", "backbone")]
    calls = simulate(runner, samples, regions, geometry, progress)
    closure = compute_closures(calls, name_shares(measure_exit_shares(runner, samples)))
    return _build_simulation_report(calls, geometry, device, closure)


def _build_simulation_report(
    calls: tuple[CallCache, ...], geometry: Geometry, device: str | None, closure: Mapping[str, float]
) -> CacheReport:
    return CacheReport(
        source="simulated",
        device=device or get_device_name(),
        events=EVENTS,
        geometry=geometry.caches,
        calls=calls,
        closure=closure,
        running=1.0,
        notes=(*_NOTES, *geometry.notes),
        validity=Validity("suspect", ("simulated, not measured",)) & combine_findings(_find_closure_faults(closure)),
    )


def _count_caches(runner: Runner, samples: Sequence[Any], opener: Opener) -> CacheReport:
    """Every kind of inference under every pass of events, over all samples.

    Raises:
        HardwareMissing: a counter does not open.
    """
    sets = plan_passes()
    with Counters(sets[0], opener):  # says at once when counters do not open, before anything is run
        pass
    shares = measure_exit_shares(runner, samples)
    with runner.backbone() as backbone:
        runs: dict[str, Run] = {f"exit {k}": partial(runner.forced, exit=k) for k in range(1, runner.exits + 1)}
        runs |= {MIX: runner, "backbone": backbone}
        results = {name: [count_events(events, run, samples, opener) for events in sets] for name, run in runs.items()}
    calls = tuple(build_call_report(name, counted, len(samples)) for name, counted in results.items())
    closure = compute_closures(calls, name_shares(shares))
    running = min(c.running for counted in results.values() for c in counted)
    return CacheReport(
        source="hardware",
        device=get_device_name(),
        events={f"{e.level} {e.kind}": e.raw for events in sets for e in events},
        geometry=(),
        calls=calls,
        closure=closure,
        running=running,
        notes=("user space only, all threads of the process",),
        validity=combine_findings([*_find_closure_faults(closure), *_find_multiplexing(running)]),
    )


def _find_closure_faults(closure: Mapping[str, float]) -> list[Finding]:
    return [
        (
            "suspect",
            f"the exits explain the mixture's {name} misses only to {units.compact_percent(error, signed=True)}: "
            "exits share cache contents",
        )
        for name, error in closure.items()
        if abs(error) > _MAX_CLOSURE
    ]


def _find_multiplexing(running: float) -> list[Finding]:
    return (
        [("suspect", f"counters took turns: the rarest ran {units.compact_percent(running, 0)} of the time")]
        if running < 0.999
        else []
    )
