"""The tables of a bundle, as the terminal and the page show them."""

from __future__ import annotations

import shlex

from edgeexit.bundle import BackendComparison
from edgeexit.choices import MODES
from edgeexit.report.bundle_facts import BundleFacts
from edgeexit.report.names import format_exit_title
from edgeexit.report.table import Table
from edgeexit.util import units
from edgeexit.util.units import bytes_, format_count, format_number, percent, seconds


def make_stage_table(facts: BundleFacts) -> Table:
    """Table of the cost of each stage."""
    rows = tuple(
        (
            format_exit_title(s.exit, s.name, s.output),
            format_number(s.macs),
            format_number(s.macs_so_far),
            format_number(s.parameters),
            bytes_(s.weight_bytes),
            "–" if s.cut_bytes is None else bytes_(s.cut_bytes),
            "–" if s.break_even is None else f"≥ {percent(s.break_even, 0)}",
        )
        for s in facts.stages
    )
    columns = ("exit", "MACs", "MACs so far", "parameters", "weights", "kept for later", "must leave")
    note = "Must leave: share of the samples that reach an exit from which on it pays, counted in multiply-accumulates."
    return Table("Stages", columns, rows, note)


def make_boundary_table(facts: BundleFacts) -> Table:
    """Table of boundary tensors."""
    rows = tuple(
        (
            t.name,
            str(stage.exit),
            ", ".join(str(s.exit) for s in facts.stages if t.name in {r.name for r in s.reads}),
            str(t),
            bytes_(t.bytes),
        )
        for stage in facts.stages
        for t in stage.makes
    )
    return Table("Boundary tensors", ("tensor", "made by stage", "read by stages", "shape", "one sample"), rows)


def make_timing_table(facts: BundleFacts) -> Table:
    """Median time of leaving at each exit, both modes, beside the backbone; exits are rows, so that many fit."""
    keys = sorted(facts.timings)
    columns = ["exit", *(f"{mode}{_format_key_number(key, keys)}" for key in keys for mode in _list_modes(facts, key))]
    rows = []
    for k, stage in enumerate(facts.stages):
        times = [m[k] if k < len(m) else None for key in keys for m in _get_medians(facts, key)]
        rows.append((f"{stage.exit} {stage.name}", *map(seconds, times)))
    if any(facts.timings[key].backbone_s is not None for key in keys):
        rows.append(("backbone", *(seconds(facts.timings[key].backbone_s) for key in keys for _ in range(2))))
    note = f"Medians, all measured in turn when the bundle was compiled. {'; '.join(_list_devices(keys))}"
    return Table("Time to leave at each exit", tuple(columns), tuple(rows) if keys else (), note)


def make_backend_table(comparison: BackendComparison, key: str = "") -> Table:
    """Time of each stage in each backend, and of each backend as a whole, as `edgeexit compile --backend auto` measured them."""
    stages = range(max(map(len, comparison.stages_s.values()), default=0))
    forms = dict(comparison.mean_s)
    rows = []
    for name, times in comparison.stages_s.items():
        own = {form.split()[1]: forms.pop(form) for form in list(forms) if form.split()[0] == name}
        rows.append((name, *map(seconds, times), *(seconds(own.get(mode)) for mode in MODES)))
    for form, mean_s in forms.items():  # mixes, and backends that do not share stages
        rows.append(
            (form.split()[0], *("" for _ in stages), *(seconds(mean_s) if form.endswith(m) else "" for m in MODES))
        )
    columns = ("backend", *(f"stage {k + 1}" for k in stages), *(f"{mode}, mean over the exits" for mode in MODES))
    device = f" Device: {key}" if key else ""
    return Table("Backends", columns, tuple(rows), f"{explain_backend_choice(comparison)}{device}")


def explain_backend_choice(comparison: BackendComparison) -> str:
    """Which backend was kept, and what decided."""
    lines = [f"Kept: {comparison.chosen}."]
    if comparison.mix is None:
        lines.append("No mix was tried: one backend is the fastest in every stage.")
    elif comparison.ratio is not None and comparison.ratio_low is not None and comparison.ratio_high is not None:
        interval = f"{units.format_ratio(comparison.ratio_low)} to {units.format_ratio(comparison.ratio_high)}"
        ratio = units.format_ratio(comparison.ratio)
        lines.append(f"The mix {comparison.mix} takes {ratio} times ({interval}) as long as {comparison.single} alone.")
    lines += [f"Without {name}: {reason}" for name, reason in comparison.left_out.items()]
    return " ".join(lines)


def _format_key_number(key: str, keys: list[str]) -> str:
    return f" [{keys.index(key) + 1}]" if len(keys) > 1 else ""


def _list_devices(keys: list[str]) -> list[str]:
    return [f"Device{_format_key_number(key, keys)}: {key}" for key in keys]


def _list_modes(facts: BundleFacts, key: str) -> list[str]:
    return [f"{mode}, faster" if mode == facts.timings[key].faster else mode for mode in MODES]


def _get_medians(facts: BundleFacts, key: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return facts.timings[key].staged_s, facts.timings[key].fused_s


def make_calibration_table(facts: BundleFacts) -> Table:
    """The calibrations in use, one per device and settings."""
    rows = tuple(
        (
            c.key,
            c.name or "n/a",
            c.verdict or "n/a",
            c.target or "n/a",
            "n/a" if c.thresholds is None else ", ".join(map(units.significant, c.thresholds)),
            c.created or "n/a",
        )
        for c in facts.calibrations
    )
    columns = ("device and settings", "name", "verdict", "target", f"thresholds ({facts.unit})", "made")
    note = f"Active of {format_count(facts.kept, 'calibration')}; all of them: edgeexit calibrations list {shlex.quote(facts.path)}"
    return Table("Active calibrations", columns, rows, note)


def explain_missing_calibration(facts: BundleFacts) -> str:
    """Text shown for a bundle without an active calibration."""
    where = f"leaves at {facts.default_thresholds}" if facts.thresholds else "never leaves early"
    if not facts.kept:
        return f"No calibration yet: it {where}. Make one: edgeexit calibrate {shlex.quote(facts.path)}"
    return (
        f"No calibration is active, so it {where}; {format_count(facts.kept, 'calibration')} kept. "
        f"See edgeexit calibrations list {shlex.quote(facts.path)}"
    )
