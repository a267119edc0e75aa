"""From windows and a trace to joules per inference, each with its error budget, or with the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edgeexit.hardware.power import RejectedMeter
from edgeexit.hardware.validity import Finding, Validity, combine_findings
from edgeexit.measure.energy.trace import MeanPower, Trace
from edgeexit.measure.energy.windows import IDLE, Window
from edgeexit.measure.statistics import Interval, mean_interval
from edgeexit.util import units
from edgeexit.util.documents import to_document

_FLOOR_STEPS = 3
"""Net power below this number of resolution steps of the meter cannot be distinguished from zero."""
_MAX_DRIFT = 0.02
_MAX_CLOSURE = 0.05
_UPDATES = 200
"""A window should hold this many updates of a sampled meter: the trapezoid's ends then weigh less than 1 %."""
_MAX_MISSING = 0.05


@dataclass(frozen=True)
class EnergyUncertainty:
    """What may be wrong with an energy, J per inference; the parts are bounds and add up.

    Attributes:
        quantisation_j: half a step of the meter over the whole time, as if every reading were rounded the same way.
        sampling_j: the moments at which it was read.
        idle_j: half the change of idle power from before to after; only net energy carries it.
        offset_j: a meter that shows negative power has at least this offset; only gross energy includes it.
    """

    quantisation_j: float
    sampling_j: float
    idle_j: float
    offset_j: float

    @property
    def gross_j(self) -> float:
        """Bound of the error of gross energy, J."""
        return self.quantisation_j + self.sampling_j + self.offset_j

    @property
    def net_j(self) -> float:
        """Bound of the error of net energy; both the loop and the idle time are quantised."""
        return 2 * self.quantisation_j + self.sampling_j + self.idle_j


@dataclass(frozen=True)
class CallEnergy:
    """Energy of one inference of one kind.

    Attributes:
        name: `exit 1`, ..., `mix`, `backbone`.
        trials: windows that it rests on.
        loops: inferences, all windows together.
        window_s: mean length of a window.
        power_w: mean power during the loops, or None.
        gross_j: everything the meter's scope drew, or None.
        gross_ci95: over trials; None below two.
        net_j: above idle, or None.
        net_ci95: over trials; None below two.
        budget: error budget of both energies; None without a gross energy.
        rails_j: gross, by channel, where it could be read.
        reason: why gross or net energy is None; None when neither is.
    """

    name: str
    trials: int
    loops: int
    window_s: float
    power_w: float | None
    gross_j: float | None
    gross_ci95: Interval | None
    net_j: float | None
    net_ci95: Interval | None
    budget: EnergyUncertainty | None
    rails_j: Mapping[str, float]
    reason: str | None

    @classmethod
    def unmeasured(cls, name: str, reason: str) -> CallEnergy:
        """A call of which nothing was measured, and why."""
        return cls(
            name=name,
            trials=0,
            loops=0,
            window_s=0.0,
            power_w=None,
            gross_j=None,
            gross_ci95=None,
            net_j=None,
            net_ci95=None,
            budget=None,
            rails_j={},
            reason=reason,
        )


@dataclass(frozen=True)
class EnergyReport:
    """The energy of every call.

    Attributes:
        meter: name of the adapter, or `none`.
        scope: what the reported joules cover; joules of different scopes are never compared.
        kind: `sampled` or `counter`.
        subject: channels whose sum is reported.
        step: resolution of the measured channels: W when sampled, J when a counter; None when not known.
        interval_s: time between the meter's own updates, seconds, or None.
        poll_s: between readings, or None.
        read_s: time that one reading takes, seconds, or None.
        idle_w: mean power when idle, or None.
        idle_drift: relative change of idle power from the first to the last idle window, or None.
        calls: calls in the order in which they were given.
        closure: predicted energy of the mixture from the exits' energies and shares, over the measured one, minus 1; or None.
        reason: why nothing at all was measured; None otherwise.
        notes: what a reader must know.
        rejected: meters that are not there, and why.
        validity: findings that make the values suspect.
        others: the same work by other meters, side by side: their scopes overlap, so nothing is ever added.
    """

    meter: str
    scope: str
    kind: str
    subject: tuple[str, ...]
    step: float | None
    interval_s: float | None
    poll_s: float | None
    read_s: float | None
    idle_w: float | None
    idle_drift: float | None
    calls: tuple[CallEnergy, ...]
    closure: float | None
    reason: str | None
    notes: tuple[str, ...]
    rejected: tuple[RejectedMeter, ...]
    validity: Validity
    others: tuple[EnergyReport, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """The document `edgeexit.energy/1`; what was not measured is null."""
        return {"schema": "edgeexit.energy/1", **to_document(self)}

    def find_call(self, name: str) -> CallEnergy:
        """The energy of one call, by its name, such as `exit 1` or `mix`."""
        return next(call for call in self.calls if call.name == name)


class _Slice(NamedTuple):
    """The power of one loop, and the idle power around it."""

    window: Window
    active: MeanPower
    before: MeanPower
    after: MeanPower

    @property
    def idle_w(self) -> float:
        return (self.before.power_w + self.after.power_w) / 2

    @property
    def per_inference_s(self) -> float:
        return self.window.span_s / self.window.loops


def build_empty_report(
    names: Sequence[str],
    reason: str,
    rejected: tuple[RejectedMeter, ...],
    trace: Trace | None = None,
    notes: tuple[str, ...] = (),
) -> EnergyReport:
    """A report without any energy, and why."""
    capability = trace.capability if trace else None
    calls = tuple(CallEnergy.unmeasured(name, reason) for name in names)
    return EnergyReport(
        meter=capability.name if capability else "none",
        scope=capability.subject_scope if capability else "none",
        kind=capability.kind if capability else "sampled",
        subject=capability.subject if capability else (),
        step=None,
        interval_s=None,
        poll_s=None,
        read_s=None,
        idle_w=None,
        idle_drift=None,
        calls=calls,
        closure=None,
        reason=reason,
        notes=notes,
        rejected=rejected,
        validity=Validity("valid"),
    )


def build_energy_report(
    trace: Trace,
    windows: Sequence[Window],
    names: Sequence[str],
    *,
    shares: Mapping[str, float] | None = None,
    mix: str = "mix",
    rejected: tuple[RejectedMeter, ...] = (),
    notes: tuple[str, ...] = (),
) -> EnergyReport:
    """Energy per inference of every call that the windows hold.

    Args:
        trace: the meter's readings, on the windows' clock.
        windows: as `run_windows` gave them.
        names: names of the calls, in the order of the report.
        shares: shares of the mixture: name of a call -> how often it happens in it; for the closure.
        mix: name of the call that is the mixture.
        rejected: meters that are not there.
        notes: notes to copy into the report.
    """
    capability = trace.capability
    unusable = _explain_unusable(trace)
    if unusable is not None:
        return build_empty_report(names, unusable, rejected, trace, notes)
    slices = {name: _make_slices(trace, windows, name) for name in names}
    step = capability.step if capability.step is not None else trace.find_smallest_step(capability.subject)
    calls = tuple(_build_call_energy(name, slices[name], trace, step) for name in names)
    idle = [p.power_w for w in windows if w.name == IDLE and (p := _compute_power(trace, w)) is not None]
    idle_w = float(np.mean(idle)) if idle else None
    drift = (idle[-1] - idle[0]) / idle_w if len(idle) > 1 and idle_w else None
    closure = _compute_closure(calls, shares, mix)
    return EnergyReport(
        meter=capability.name,
        scope=capability.subject_scope,
        kind=capability.kind,
        subject=capability.subject,
        step=step,
        interval_s=capability.interval_s,
        poll_s=trace.poll_s,
        read_s=float(np.median(trace.costs_s)),
        idle_w=idle_w,
        idle_drift=drift,
        calls=calls,
        closure=closure,
        reason=None,
        notes=(*capability.notes, *notes),
        rejected=rejected,
        validity=combine_findings(_find_faults(trace, windows, drift, closure)),
    )


def _explain_unusable(trace: Trace) -> str | None:
    """Why no energy can be computed from the readings; None where it can."""
    subject = trace.capability.subject
    if not subject:
        return f"{trace.capability.name} has no total and no rail that computing alone moves"
    readings, name = len(trace.sum_channels(subject)[0]), " + ".join(subject)
    if readings < 2:
        return f"{name} gave {readings} readings"
    if trace.find_smallest_step(subject) is None:
        return f"{name} showed one and the same value in {readings} readings: it is stuck, or the load is below its resolution"
    return None


def _compute_power(trace: Trace, window: Window) -> MeanPower | None:
    return trace.compute_mean_power(trace.capability.subject, window.start_s, window.end_s)


def _make_slices(trace: Trace, windows: Sequence[Window], name: str) -> list[_Slice]:
    found = []
    for i, window in enumerate(windows):
        if window.name == name:
            powers = [_compute_power(trace, w) for w in (window, windows[i - 1], windows[i + 1])]
            if all(p is not None for p in powers):
                found.append(_Slice(window, *(p for p in powers if p is not None)))
    return found


def _build_call_energy(name: str, slices: list[_Slice], trace: Trace, step: float | None) -> CallEnergy:
    if not slices:
        reason = "too few readings fell into its windows: they were too short for this meter"
        return CallEnergy.unmeasured(name, reason)
    gross = np.array([s.active.power_w * s.per_inference_s for s in slices])
    net = np.array([(s.active.power_w - s.idle_w) * s.per_inference_s for s in slices])
    below_floor = _is_below_floor(slices, trace, step)
    return CallEnergy(
        name=name,
        trials=len(slices),
        loops=sum(s.window.loops for s in slices),
        window_s=float(np.mean([s.window.span_s for s in slices])),
        power_w=float(np.mean([s.active.power_w for s in slices])),
        gross_j=float(gross.mean()),
        gross_ci95=mean_interval(gross),
        net_j=None if below_floor else float(net.mean()),
        net_ci95=None if below_floor else mean_interval(net),
        budget=_compute_uncertainty(slices, trace, step),
        rails_j=_compute_rail_powers(slices, trace),
        reason=below_floor,
    )


def _is_below_floor(slices: list[_Slice], trace: Trace, step: float | None) -> str | None:
    """Why the meter is too coarse for the net power of these loops; None where it is not."""
    net_w = float(np.mean([s.active.power_w - s.idle_w for s in slices]))
    floor_w = _FLOOR_STEPS * _compute_step_w(slices, trace, step)
    if net_w >= floor_w:
        return None
    rise, floor = units.significant(net_w, 3), units.significant(floor_w, 3)
    return f"no net energy: power rose by {rise} W over idle, less than {_FLOOR_STEPS} resolution steps of the meter ({floor} W)"


def _compute_step_w(slices: list[_Slice], trace: Trace, step: float | None) -> float:
    """The meter's resolution as power, W; the step of a counter, J, is divided by the length of the window."""
    if step is None:
        return 0.0
    return step / float(np.mean([s.active.span_s for s in slices])) if trace.capability.kind == "counter" else step


def _compute_uncertainty(slices: list[_Slice], trace: Trace, step: float | None) -> EnergyUncertainty:
    per_inference_s = float(np.mean([s.per_inference_s for s in slices]))
    sampling_w = math.sqrt(sum(s.active.error_w**2 for s in slices)) / len(slices)
    drift_w = float(np.mean([abs(s.after.power_w - s.before.power_w) for s in slices]))
    quantum = 1.0 if trace.capability.kind == "counter" else 0.5
    return EnergyUncertainty(
        quantisation_j=quantum * _compute_step_w(slices, trace, step) * per_inference_s,
        sampling_j=sampling_w * per_inference_s,
        idle_j=drift_w / 2 * per_inference_s,
        offset_j=_estimate_offset(trace) * per_inference_s,
    )


def _estimate_offset(trace: Trace) -> float:
    """What a sampled meter shows below zero: nothing draws negative power, so it is at least this far off."""
    if trace.capability.kind == "counter":
        return 0.0
    columns = [trace.capability.names.index(name) for name in trace.capability.subject]
    lowest = np.nanmin(trace.values[:, columns], axis=0)
    return float(-np.minimum(lowest, 0.0).sum())


def _compute_rail_powers(slices: list[_Slice], trace: Trace) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in trace.capability.names:
        powers = [trace.compute_mean_power([name], s.window.start_s, s.window.end_s) for s in slices]
        energies = [p.power_w * s.per_inference_s for p, s in zip(powers, slices, strict=True) if p is not None]
        if energies:
            found[name] = float(np.mean(energies))
    return found


def _compute_closure(calls: Sequence[CallEnergy], shares: Mapping[str, float] | None, mix: str) -> float | None:
    energies = {call.name: call.gross_j for call in calls}
    measured = energies.get(mix)
    if not shares or not measured:
        return None
    parts = [(share, energies.get(name)) for name, share in shares.items() if share > 0]
    if any(energy is None for _, energy in parts):
        return None
    return sum(share * energy for share, energy in parts if energy is not None) / measured - 1.0


def _find_faults(
    trace: Trace, windows: Sequence[Window], drift: float | None, closure: float | None
) -> Iterator[Finding]:
    if drift is not None and abs(drift) > _MAX_DRIFT:
        yield "suspect", f"idle power drifted by {units.compact_percent(drift, signed=True)} during the energy pass"
    if closure is not None and abs(closure) > _MAX_CLOSURE:
        yield (
            "suspect",
            f"the exits' energies explain the mixture to {units.compact_percent(closure, signed=True)} only: "
            "exits disturb each other (caches, clocks)",
        )
    update_s = max(trace.capability.interval_s or 0.0, trace.poll_s)
    shortest_s = min((w.span_s for w in windows if w.name != IDLE), default=math.inf)
    if trace.capability.kind == "sampled" and shortest_s < _UPDATES * update_s * 0.99:
        yield (
            "suspect",
            f"a window of {units.significant(shortest_s, 2)} s holds fewer than {_UPDATES} updates of "
            f"{units.significant(update_s * 1e3, 3)} ms",
        )
    missing = float(np.isnan(trace.values).any(axis=1).mean())
    if missing > _MAX_MISSING:
        yield "suspect", f"{units.compact_percent(missing, 0)} of the readings lack a channel"
    offset_w = _estimate_offset(trace)
    if offset_w > 0:
        off = units.significant(offset_w, 3)
        yield (
            "suspect",
            f"the meter shows negative power: its zero is off by at least {off} W, which gross energy includes",
        )
