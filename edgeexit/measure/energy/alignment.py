"""Aligning an external meter's clock with ours: the shift at which its power is high in our loops and low when we idled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgeexit.measure.energy.trace import Floats, Trace
from edgeexit.measure.energy.windows import IDLE, Window
from edgeexit.util import units

_NEAR_S = 10.0
"""How far a computer's clock may be off when both logs have the time of day."""
_FINE_STEPS = 20
_CLEAR = 0.95
"""The best shift must beat every other one, half a window away, by 5 %."""


class ClockOffset(NamedTuple):
    """The seconds to add to the log's times, or None; and how it was found, or why it was not, as text."""

    offset_s: float | None
    reason: str


def align(trace: Trace, windows: Sequence[Window], expected_offset_s: float | None) -> ClockOffset:
    """Find the shift between a trace and the windows.

    Args:
        trace: trace of the external meter, on its own clock.
        windows: on ours; their idle lengths differ, so that only one shift fits.
        expected_offset_s: the shift if both clocks were right, or None when the log's clock has an origin of its own.
    """
    times_s, power_w = trace.sum_channels(trace.capability.subject)
    if times_s.size < 2:
        return ClockOffset(None, "the external meter's log has no readings")
    low, high = _compute_shift_range(times_s, windows, expected_offset_s)
    if high < low:
        span = windows[-1].end_s - windows[0].start_s
        return ClockOffset(
            None,
            f"the log of {units.fixed(times_s[-1] - times_s[0], 0)} s does not hold the whole measurement of {units.fixed(span, 0)} s",
        )
    step_s = max(float(np.median(np.diff(times_s))), (high - low) / 200_000)
    offsets = np.arange(low, high + step_s, step_s)
    contrast = _compute_contrast(_compute_window_powers(times_s, power_w, windows, offsets), windows)
    best = float(offsets[int(np.argmax(contrast))])
    fine = best + np.linspace(-step_s, step_s, 2 * _FINE_STEPS + 1)
    powers = _compute_window_powers(times_s, power_w, windows, fine)
    chosen = int(np.argmax(_compute_contrast(powers, windows)))
    elsewhere = contrast[np.abs(offsets - fine[chosen]) > min(w.span_s for w in windows) / 2]
    return _judge_shift(float(fine[chosen]), powers[:, chosen], windows, float(elsewhere.max(initial=0.0)))


def _judge_shift(best: float, powers: Floats, windows: Sequence[Window], elsewhere: float) -> ClockOffset:
    """Every loop must draw more than every idle window, and no other shift may fit nearly as well."""
    loops = [power for power, w in zip(powers, windows, strict=True) if w.name != IDLE]
    idles = [power for power, w in zip(powers, windows, strict=True) if w.name == IDLE]
    rise = float(np.mean(loops) - np.mean(idles))
    if min(loops) <= max(idles) or elsewhere > _CLEAR * rise:
        return ClockOffset(
            None, "the external meter's log cannot be aligned: its power does not follow the loops that were run"
        )
    shift, power = units.fixed(best, 3, signed=True), units.significant(rise, 3)
    return ClockOffset(
        best, f"the external log was shifted by {shift} s, where its power rises by {power} W in the loops"
    )


def _compute_shift_range(times_s: Floats, windows: Sequence[Window], expected: float | None) -> tuple[float, float]:
    """Shifts at which the log holds every window, near the expected one where there is one."""
    low, high = windows[-1].end_s - float(times_s[-1]), windows[0].start_s - float(times_s[0])
    return (low, high) if expected is None else (max(low, expected - _NEAR_S), min(high, expected + _NEAR_S))


def _compute_window_powers(times_s: Floats, power_w: Floats, windows: Sequence[Window], offsets: Floats) -> Floats:
    """Mean power of every window for every shift [windows, shifts], from the running integral of the log."""
    steps = np.diff(times_s) * (power_w[1:] + power_w[:-1]) / 2
    energy_j = np.concatenate([[0.0], np.cumsum(steps)])
    edges = ((np.interp(edge - offsets, times_s, energy_j) for edge in (w.start_s, w.end_s)) for w in windows)
    return np.stack([(end - start) / w.span_s for (start, end), w in zip(edges, windows, strict=True)])


def _compute_contrast(powers: Floats, windows: Sequence[Window]) -> Floats:
    """Mean power of the loops minus that of the idle windows, for every shift [shifts]."""
    idle = np.array([w.name == IDLE for w in windows])
    return np.asarray(powers[~idle].mean(axis=0) - powers[idle].mean(axis=0), np.float64)
