"""Cache behaviour of a bundle: per exit, of the natural mix and of the backbone, by every means this machine has.

cache_of(runner, samples)                          counters, simulation and bytes on paper, each by itself
cache_of(runner, samples, device="jetson-nano")    the simulation with another device's caches
sweep_of(runner, samples)                          runtime and misses against threshold: BranchyNet (2016), figure 6
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeexit.errors import HardwareMissing, InputError
from edgeexit.hardware.validity import Finding, Validity, verdict
from edgeexit.measure.cache.analytic import working_sets
from edgeexit.measure.cache.counters import Counters, Opener, open_event, passes
from edgeexit.measure.cache.report import MIX, CacheReport, CacheResult, CallCache, closures
from edgeexit.measure.cache.runs import Run, call_of, count, geometry_source, named, shares_of, some_of, this_device
from edgeexit.measure.cache.simulation import EVENTS, Geometry, Region, find_valgrind, geometry_of, simulate
from edgeexit.util.progress import Progress, silent

if TYPE_CHECKING:
    from edgeexit.runtime import Runner

_MAX_CLOSURE = 0.05
_NOTES = (
    "simulated: first and last level only, no prefetching, no kernel, one thread, AVX2 code; compare exits and thresholds with "
    "each other, not machines",
)


def cache_of(
    runner: Runner,
    samples: Sequence[Any],
    *,
    device: str | None = None,
    simulated: bool = True,
    opener: Opener = open_event,
    progress: Progress = silent,
) -> CacheResult:
    """Cache behaviour of leaving at each exit, of the mix at the runner's thresholds, and of the backbone.

    Args:
        runner: an open bundle.
        samples: inputs as the runner takes them; of many, the simulation takes some, evenly spread.
        device: a profile whose caches are simulated; None for those of this machine.
        simulated: whether to simulate; it takes tens of seconds.
        opener: opens hardware counters; a test gives another one.
        progress: told what is being done.

    Raises:
        InputError: there are no samples, or no profile has that name.
    """
    if not samples:
        msg = "cache behaviour needs at least one sample."
        raise InputError(msg)
    known, unknown = geometry_source(device)
    hardware, why_not = _attempt(partial(_counted, runner, samples, opener))
    simulation, why_no_simulation = None, unknown or "not asked for"
    if simulated:
        simulation, failure = _attempt(partial(_simulated, runner, some_of(samples), device, progress))
        why_no_simulation = failure or ""
    return CacheResult(
        hardware,
        why_not,
        simulation,
        None if simulation else why_no_simulation,
        working_sets(runner.bundle, known),
        known,
    )


def _attempt(work: Callable[[], CacheReport]) -> tuple[CacheReport | None, str | None]:
    try:
        return work(), None
    except HardwareMissing as error:
        return None, str(error)


def _simulated(runner: Runner, samples: Sequence[Any], device: str | None, progress: Progress) -> CacheReport:
    find_valgrind()  # a machine that cannot simulate is told so first: naming a device would not help it
    known, unknown = geometry_source(device)
    if unknown is not None:
        raise HardwareMissing(unknown)
    geometry = geometry_of(known)
    regions = [Region(f"exit {k}", "forced", exit=k) for k in range(1, runner.exits + 1)]
    regions += [Region(MIX, "mix", inner_thresholds=runner.inner_thresholds), Region("backbone", "backbone")]
    calls = simulate(runner, samples, regions, geometry, progress)
    closure = closures(calls, named(shares_of(runner, samples)))
    return _simulation_report(calls, geometry, device, closure)


def _simulation_report(
    calls: tuple[CallCache, ...], geometry: Geometry, device: str | None, closure: Mapping[str, float]
) -> CacheReport:
    return CacheReport(
        source="simulated",
        device=device or this_device(),
        events=EVENTS,
        geometry=geometry.caches,
        calls=calls,
        closure=closure,
        running=1.0,
        notes=(*_NOTES, *geometry.notes),
        validity=Validity("suspect", ("simulated, not measured",)) & verdict(_closure_findings(closure)),
    )


def _counted(runner: Runner, samples: Sequence[Any], opener: Opener) -> CacheReport:
    """Every kind of inference under every pass of events, over all samples.

    Raises:
        HardwareMissing: a counter does not open.
    """
    sets = passes()
    with Counters(sets[0], opener):  # says at once when counters do not open, before anything is run
        pass
    shares = shares_of(runner, samples)
    with runner.backbone() as backbone:
        runs: dict[str, Run] = {f"exit {k}": partial(runner.forced, exit=k) for k in range(1, runner.exits + 1)}
        runs |= {MIX: runner, "backbone": backbone}
        results = {name: [count(events, run, samples, opener) for events in sets] for name, run in runs.items()}
    calls = tuple(call_of(name, counted, len(samples)) for name, counted in results.items())
    closure = closures(calls, named(shares))
    running = min(c.running for counted in results.values() for c in counted)
    return CacheReport(
        source="hardware",
        device=this_device(),
        events={f"{e.level} {e.kind}": e.raw for events in sets for e in events},
        geometry=(),
        calls=calls,
        closure=closure,
        running=running,
        notes=("user space only, all threads of the process",),
        validity=verdict([*_closure_findings(closure), *_running_findings(running)]),
    )


def _closure_findings(closure: Mapping[str, float]) -> list[Finding]:
    return [
        ("suspect", f"the exits explain the mix's {name} misses to {error:+.1%} only: exits share cache contents")
        for name, error in closure.items()
        if abs(error) > _MAX_CLOSURE
    ]


def _running_findings(running: float) -> list[Finding]:
    return [("suspect", f"counters took turns: the rarest ran {running:.0%} of the time")] if running < 0.999 else []
