"""Energy per inference: forced loops of every exit, the natural mix, the backbone, with idle time around each.

    report = measure_energy({"exit 1": call, ..., "mix": call}, shares={"exit 1": 0.7, ...})
    report = energy_of(runner, samples)

The energy of a single inference cannot be seen by any board's meter, so each kind of inference is looped for seconds and divided.
Whether the exits' energies add up to the mix's is the closure. What cannot be measured is None with a reason, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeexit.errors import InputError
from edgeexit.hardware.power import NoPowerMeter, PowerMeter, find_power_meter
from edgeexit.hardware.power.recorder import ProcessRecorder, Recorder
from edgeexit.measure.energy_align import align
from edgeexit.measure.energy_report import EnergyReport, nothing_measured, report_of
from edgeexit.measure.energy_trace import trace_of
from edgeexit.measure.energy_windows import Clock, Plan, SystemClock, run_windows
from edgeexit.measure.timing import Call
from edgeexit.progress import Progress, silent

if TYPE_CHECKING:
    from edgeexit.runtime import Runner

_UPDATES = 200


def measure_energy(
    calls: Mapping[str, Call],
    *,
    shares: Mapping[str, float] | None = None,
    meter: PowerMeter | None = None,
    recorder: Recorder | None = None,
    seconds: float = 10.0,
    idle_s: float = 5.0,
    trials: int = 5,
    seed: int = 0,
    clock: Clock | None = None,
    progress: Progress = silent,
) -> EnergyReport:
    """The energy of one inference of every call.

    Args:
        calls: by name; `mix`, if there, is the natural mix of the others.
        shares: how often each other call happens in the mix, for the closure.
        meter: whose; None takes the best of this machine.
        recorder: instead of sampling `meter` by another process: an external meter's log, or a test's simulation.
        seconds: of every loop; more where the meter needs it (200 of its updates).
        idle_s: of the idle windows.
        trials: how often all calls are measured.
        seed: of the order of the calls.
        clock: on which the recorder stamps.
        progress: told after every loop.

    Raises:
        InputError: there are no calls, or a length is not positive.
    """
    _check(calls, seconds, idle_s, trials)
    if recorder is None:
        meter = meter or find_power_meter()
        if isinstance(meter, NoPowerMeter) or not meter.present:
            return nothing_measured(list(calls), _no_meter(meter), meter.rejected)
        recorder = ProcessRecorder(meter)
    rejected = meter.rejected if meter else ()
    update_s = max(recorder.capability.interval_s or 0.0, 1.0 / recorder.capability.rate_hz)
    plan = Plan(max(seconds, _UPDATES * update_s), max(idle_s, 10 * update_s), trials=trials, seed=seed)
    recorder.start()
    try:
        windows = run_windows(calls, plan, clock or SystemClock(), progress)
    finally:
        readings = recorder.stop()
    trace = trace_of(recorder.capability, readings)
    if recorder.aligned:
        return report_of(trace, windows, list(calls), shares=shares, rejected=rejected)
    aligned = align(trace, windows, recorder.expected_offset_s)
    if aligned.offset_s is None:
        return nothing_measured(list(calls), aligned.reason, rejected, trace)
    return report_of(
        trace.shifted(aligned.offset_s), windows, list(calls), shares=shares, rejected=rejected, notes=(aligned.reason,)
    )


def energy_of(
    runner: Runner,
    samples: Sequence[Any],
    *,
    meter: PowerMeter | None = None,
    recorder: Recorder | None = None,
    seconds: float = 10.0,
    idle_s: float = 5.0,
    trials: int = 5,
    seed: int = 0,
    progress: Progress = silent,
) -> EnergyReport:
    """The energy of leaving at each exit (`exit 1`, ...), of the mix (`mix`) and of the backbone (`backbone`).

    Args:
        runner: with the thresholds of the mix.
        samples: inputs as the runner takes them; the mix runs through them in order, again and again.
        meter: see `measure_energy`, as for all that follow.
        recorder: the same.
        seconds: the same.
        idle_s: the same.
        trials: the same.
        seed: the same.
        progress: the same.

    Raises:
        InputError: there are no samples.
    """
    if not samples:
        msg = "energy needs at least one sample."
        raise InputError(msg)
    exits = Counter(runner(x).exit for x in samples)
    shares = {f"exit {k}": exits[k] / len(samples) for k in range(1, runner.exits + 1)}
    with runner.backbone() as backbone:
        calls = {name: _forced(runner, samples, k + 1) for k, name in enumerate(shares)}
        calls |= {"mix": _looped(runner, samples), "backbone": _looped(backbone, samples)}
        return measure_energy(
            calls,
            shares=shares,
            meter=meter,
            recorder=recorder,
            seconds=seconds,
            idle_s=idle_s,
            trials=trials,
            seed=seed,
            progress=progress,
        )


def _forced(runner: Runner, samples: Sequence[Any], exit: int) -> Call:
    n = len(samples)
    return lambda i: runner.forced(samples[i % n], exit=exit)


def _looped(run: Any, samples: Sequence[Any]) -> Call:
    n = len(samples)
    return lambda i: run(samples[i % n])


def _check(calls: Mapping[str, Call], seconds: float, idle_s: float, trials: int) -> None:
    if not calls:
        msg = "there is nothing to measure: calls is empty."
        raise InputError(msg)
    if min(seconds, idle_s) <= 0 or trials < 1:
        msg = f"seconds ({seconds}) and idle_s ({idle_s}) must be positive, trials ({trials}) at least 1."
        raise InputError(msg)


def _no_meter(meter: PowerMeter) -> str:
    why = "; ".join(f"{r.name}: {r.why}" for r in meter.rejected)
    return f"no power meter on this machine ({why})"
