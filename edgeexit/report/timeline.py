"""Latency over time, and below it what the machine's clocks and temperatures did meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeexit.measure import BenchResult
from edgeexit.report.plot.figure import (
    BACKBONE,
    MUTED,
    Axis,
    Figure,
    Floats,
    Line,
    Mark,
    Panels,
    Picture,
    ReferenceLine,
    choose_exit_tone,
    make_latency_axis,
    share_x_axis,
    thin_curves,
)

_MOST_CHANNELS = 4
_TITLE = "Latency over time"
_KINDS = {"clock": Axis("clock (MHz)", 1e6), "temperature": Axis("temperature (°C)")}


def plot_over_time(result: BenchResult) -> list[Picture]:
    """The latency over time, above the clocks and temperatures that can be read here; nothing without raw samples."""
    if "mixture_block" not in result.raw or "rounds_s" not in result.raw:
        return []
    below = [panel for kind in _KINDS if (panel := _plot_state(result, kind)) is not None]
    latency = _plot_latency(result, alone=not below)
    if not below:
        return [latency]
    caption = (
        f"{latency.caption} Below, what was read of the machine ten times a second, also between the processes; "
        f"of many clocks or zones the {_MOST_CHANNELS} that moved most."
    )
    return [Panels("over-time", _TITLE, caption, share_x_axis([latency, *below]))]


def _plot_latency(result: BenchResult, *, alone: bool) -> Figure:
    """The mean of every block, at the time at which its round ended."""
    raw, marks, largest_s = result.raw, list[Mark](), 0.0
    shifts = _compute_pauses(result) if alone else {}
    for name, tone, label in (("mixture", choose_exit_tone(1), "early exit"), ("backbone", BACKBONE, "backbone")):
        lines = _collect_blocks(result, name, shifts)
        marks += [_make_line(*line, tone, label if place == 0 else "") for place, line in enumerate(lines)]
        largest_s = max(largest_s, *(float(np.median(ys)) for _, ys in lines))
    for p in np.unique(raw["rounds_process"])[1:]:
        first_s = float(raw["rounds_s"][raw["rounds_process"] == p][0]) - shifts.get(int(p), 0.0)
        marks.append(ReferenceLine(first_s, vertical=True, tone=MUTED, label=""))
    y = make_latency_axis("mean of a block" if alone else "latency", largest_s)
    caption = "The mean of each interleaved block; dashed lines begin the fresh processes. A drift or a step here is the machine's."
    x = Axis("seconds of measuring, pauses left out" if alone else "seconds since the start")
    return Figure("over-time", _TITLE, caption, x, Axis(y.label, y.scale, False, 0.0), tuple(marks))


def _compute_pauses(result: BenchResult) -> dict[int, float]:
    """How long, before each process, nothing was timed, seconds; without these the processes stand side by side."""
    raw, shifts, free_s = result.raw, dict[int, float](), 0.0
    for p in np.unique(raw["rounds_process"]):
        ends = raw["rounds_s"][raw["rounds_process"] == p]
        round_s = float(np.median(np.diff(ends))) if len(ends) > 1 else float(ends[0])
        shifts[int(p)] = float(ends[0]) - round_s - free_s
        free_s = float(ends[-1]) - shifts[int(p)]
    return shifts


def _make_line(xs: Floats, ys: Floats, tone: str, label: str) -> Line:
    xs, ys = thin_curves(xs, ys)
    return Line(xs, ys, tone, label)


def _collect_blocks(result: BenchResult, name: str, shifts: Mapping[int, float]) -> list[tuple[Floats, Floats]]:
    """Of each process: when the round of each block ended, less its shift, and the mean of the block."""
    raw, lines = result.raw, list[tuple[Floats, Floats]]()
    values, process, block = (raw[f"{name}_{part}"] for part in ("s", "process", "block"))
    for p in np.unique(process):
        here = process == p
        rounds, place = np.unique(block[here], return_inverse=True)
        ends = raw["rounds_s"][raw["rounds_process"] == p][rounds] - shifts.get(int(p), 0.0)
        lines.append((ends, np.bincount(place, weights=values[here]) / np.bincount(place)))
    return lines


def _plot_state(result: BenchResult, kind: str) -> Figure | None:
    """The channels of one kind that moved most; the snapshots' hottest point or fastest clock where none was recorded, or None."""
    found = [
        (channel.name, result.raw[f"state_{i}"])
        for i, channel in enumerate(result.device.channels)
        if channel.kind == kind and f"state_{i}" in result.raw and result.raw[f"state_{i}"].size
    ]
    found = found or _collect_snapshots(result, kind)
    if not found:
        return None
    found.sort(key=lambda named: -float(np.ptp(named[1][1])))
    marks = tuple(
        _make_line(series[0], series[1], choose_exit_tone(place), name)
        for place, (name, series) in enumerate(found[:_MOST_CHANNELS], 1)
    )
    return Figure(kind, kind, "", Axis("seconds since the start"), _KINDS[kind], marks)


def _collect_snapshots(result: BenchResult, kind: str) -> list[tuple[str, Floats]]:
    name, field = {"clock": ("fastest clock", "clock_hz"), "temperature": ("hottest point", "temperature_c")}[kind]
    seen = [(m.at_s, getattr(m, field)) for m in result.device.timeline if getattr(m, field) is not None]
    return [(f"{name}, between processes", np.array(seen, np.float64).T)] if seen else []
