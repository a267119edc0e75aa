"""Energy per inference: forced loops of every exit, the mixture, the backbone, with idle time around each.

    report = measure_energy({"exit 1": call, ..., "mix": call}, shares={"exit 1": 0.7, ...})
    report = measure_runner_energy(runner, samples)

The energy of a single inference cannot be seen by any board's meter, so each kind of inference is looped for seconds and divided.
Whether the exits' energies add up to the mix's is the closure. What cannot be measured is None with a reason, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeexit.errors import EdgeExitError, InputError
from edgeexit.hardware.power import PowerMeter, PowerReading, RejectedMeter, find_power_meter, find_power_meters
from edgeexit.hardware.power.recorder import ProcessRecorder, Recorder
from edgeexit.measure.energy.alignment import align
from edgeexit.measure.energy.options import EnergyOptions
from edgeexit.measure.energy.report import EnergyReport, build_empty_report, build_energy_report
from edgeexit.measure.energy.trace import build_trace
from edgeexit.measure.energy.windows import Frames, Window, run_windows
from edgeexit.measure.scenarios import Pace
from edgeexit.measure.timing import Call
from edgeexit.util import units
from edgeexit.util.progress import Progress, show_nothing

if TYPE_CHECKING:
    from edgeexit.runtime import Runner


def measure_energy(
    calls: Mapping[str, Call],
    options: EnergyOptions | None = None,
    *,
    shares: Mapping[str, float] | None = None,
    progress: Progress = show_nothing,
) -> EnergyReport:
    """The energy of one inference of every call.

    Args:
        calls: calls by name; `mix`, if there, is the mixture of the others.
        options: meters, lengths and repetitions; None for the defaults.
        shares: how often each other call happens in the mixture, for the closure.
        progress: callback, called after every loop.

    Raises:
        InputError: there are no calls.
    """
    if not calls:
        msg = "there is nothing to measure: calls is empty."
        raise InputError(msg)
    options = options or EnergyOptions()
    meters, recorders = _choose_recorders(options)
    rejected = meters[0].rejected if meters else ()
    if not recorders:
        missing = meters[0] if meters else find_power_meter()
        return build_empty_report(list(calls), _explain_missing_meter(missing), missing.rejected)
    plan = options.make_schedule(recorders)
    windows, readings = _record_while(recorders, lambda: run_windows(calls, plan, options.clock, progress))
    reports = [
        _build_report(r, found, windows, list(calls), shares=shares, rejected=rejected)
        for r, found in zip(recorders, readings, strict=True)
    ]
    main = next((report for report in reports if report.reason is None), reports[0])
    return replace(main, others=tuple(report for report in reports if report is not main))


def _choose_recorders(options: EnergyOptions) -> tuple[Sequence[PowerMeter], list[Recorder]]:
    """The meters of this machine that are looked at, and every recorder that records, the preferred one first."""
    if options.recorder is not None:
        return (), [options.recorder, *options.also]
    meters = find_power_meters() if options.meter is None else [options.meter]
    return meters, [*(ProcessRecorder(meter) for meter in meters if meter.present), *options.also]


def _record_while(
    recorders: Sequence[Recorder], work: Callable[[], list[Window]]
) -> tuple[list[Window], list[list[PowerReading] | str]]:
    """Do the work while all recorders record, each started one is also stopped; the windows, and the readings of each or why none.

    The fault of one meter leaves the others theirs; where none records, there is nothing to work for.
    """
    found: dict[int, list[PowerReading] | str] = {}
    windows: list[Window] = []
    with ExitStack() as started:
        for place, recorder in enumerate(recorders):
            fault = _start_recorder(recorder)
            if fault is None:
                started.callback(_stop_recorder, recorder, place, found)
            else:
                found[place] = fault
        if len(found) < len(recorders):
            windows = work()
    return windows, [found[place] for place in range(len(recorders))]


def _start_recorder(recorder: Recorder) -> str | None:
    """Start a recorder. Returns None, or why it does not start."""
    try:
        recorder.start()
    except EdgeExitError as error:
        return str(error)
    return None


def _stop_recorder(recorder: Recorder, place: int, found: dict[int, list[PowerReading] | str]) -> None:
    try:
        found[place] = recorder.stop()
    except EdgeExitError as error:
        found[place] = str(error)


def _build_report(
    recorder: Recorder,
    readings: Sequence[PowerReading] | str,
    windows: Sequence[Window],
    names: list[str],
    *,
    shares: Mapping[str, float] | None,
    rejected: tuple[RejectedMeter, ...],
) -> EnergyReport:
    """What one meter has to say of the windows, its clock aligned to theirs, or why it gave no readings."""
    if isinstance(readings, str):
        return build_empty_report(names, readings, rejected, build_trace(recorder.capability, ()))
    trace = build_trace(recorder.capability, readings)
    if recorder.aligned:
        return build_energy_report(trace, windows, names, shares=shares, rejected=rejected)
    aligned = align(trace, windows, recorder.expected_offset_s)
    if aligned.offset_s is None:
        return build_empty_report(names, aligned.reason, rejected, trace)
    shifted = trace.shift(aligned.offset_s)
    return build_energy_report(shifted, windows, names, shares=shares, rejected=rejected, notes=(aligned.reason,))


def measure_runner_energy(
    runner: Runner,
    samples: Sequence[Any],
    options: EnergyOptions | None = None,
    *,
    pace: Pace | None = None,
    progress: Progress = show_nothing,
) -> EnergyReport:
    """The energy of leaving at each exit (`exit 1`, ...), of the mixture (`mix`) and of the backbone (`backbone`).

    Args:
        runner: runner with the thresholds of the mixture.
        samples: inputs as the runner takes them; the mixture runs through them in order, again and again.
        options: meters, lengths and repetitions; None for the defaults.
        pace: also the joules of a frame at this rate, idle time up to the next one included (`paced mix`, `paced backbone`).
        progress: callback, called after every loop.

    Raises:
        InputError: there are no samples.
    """
    if not samples:
        msg = "energy needs at least one sample."
        raise InputError(msg)
    options = options or EnergyOptions()
    exits = Counter(runner(x).exit for x in samples)
    shares = {f"exit {k}": exits[k] / len(samples) for k in range(1, runner.exits + 1)}
    with runner.backbone() as backbone:
        calls: dict[str, Call] = {name: _make_forced_call(runner, samples, k + 1) for k, name in enumerate(shares)}
        looped = {"mix": _make_cycling_call(runner, samples), "backbone": _make_cycling_call(backbone, samples)}
        calls |= looped
        if pace is not None:
            paced = {f"paced {name}": Frames(call, pace, options.clock, options.seed) for name, call in looped.items()}
            calls |= paced
        report = measure_energy(calls, options, shares=shares, progress=progress)
    return report if pace is None else replace(report, notes=(*report.notes, *_count_achieved_frames(report, pace)))


def _count_achieved_frames(report: EnergyReport, pace: Pace) -> Iterator[str]:
    """One note for each paced call: how many of the frames that were asked for were run."""
    for call in report.calls:
        if call.name.startswith("paced ") and call.loops:
            ran_hz = units.significant(call.loops / (call.window_s * call.trials))
            yield (
                f"{call.name}: joules per frame, idle time between frames included; {ran_hz} of {pace.rate_hz:g} frames per "
                f"second were run, {pace.arrivals}"
            )


def _make_forced_call(runner: Runner, samples: Sequence[Any], exit: int) -> Call:
    n = len(samples)
    return lambda i: runner.forced(samples[i % n], exit=exit)


def _make_cycling_call(run: Any, samples: Sequence[Any]) -> Call:
    n = len(samples)
    return lambda i: run(samples[i % n])


def _explain_missing_meter(meter: PowerMeter) -> str:
    why = "; ".join(f"{r.name}: {r.why}" for r in meter.rejected)
    return f"no power meter on this machine ({why})"
