"""A bundle in short."""

from __future__ import annotations

from pathlib import Path

from edgeexit.bundle.manifest import Manifest
from edgeexit.fallbacks import FALLBACKS
from edgeexit.util.display import Summary
from edgeexit.util.units import bytes_, format_count, format_number


def format_bundle_summary(path: Path, manifest: Manifest) -> Summary:
    """Exits, criterion, cost, and for which devices it is calibrated."""
    m, unit = manifest, manifest.rule.unit
    macs = [stage.macs for stage in m.stages]
    whole = None if None in macs else sum(n for n in macs if n is not None)
    calibrated = format_count(len(m.calibrations), "calibration") if m.calibrations else "not calibrated"
    line = f"{format_count(m.exits, 'exit')}, {format_count(m.classes, 'class', 'classes')}, {m.criterion}, {m.precision}, {calibrated}"
    inputs = ", ".join(f"{t.name} {t.dtype}[{', '.join(map(str, t.shape))}]" for t in m.inputs)
    facts = (
        ("exits", ", ".join(f"{stage.exit} {stage.name}" for stage in m.stages)),
        ("criterion", f"{m.criterion} (thresholds in {unit})"),
        *((("default thresholds", ", ".join(f"{t:.4g}" for t in m.thresholds)),) if m.thresholds else ()),
        *((("temperatures", ", ".join(f"{t:.4g}" for t in m.temperatures)),) if m.temperatures else ()),
        ("answers what leaves at no early exit", FALLBACKS[m.fallback].answered_by),
        ("inputs", inputs),
        ("classes", str(m.classes)),
        ("multiply-accumulates", "unknown" if whole is None else format_number(whole)),
        ("precision", m.precision),
        ("on disk", bytes_(sum(entry.bytes for entry in m.files.values()))),
        ("model", f"{m.source.name} (opset {m.source.opset})"),
        ("calibrated for", ", ".join(sorted(m.calibrations)) or "nothing yet"),
        ("made", f"{m.created} by {m.tool}"),
    )
    return Summary(path.name, line, facts)
