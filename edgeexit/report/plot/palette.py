"""What drawings look like, as SVG and as PNG: colours by name for light and dark paper, widths of lines, opacities.

A colour's name means one thing: red is only ever a bad verdict.
"""

from __future__ import annotations

import numpy as np

INK, MUTED, BACKBONE, WARN, GRID, BAD = "ink", "muted", "backbone", "warn", "grid", "bad"
POLICY, TARGET, CRITERION = "policy", "target", "criterion"

CATEGORIES = 7
"""Exits with a colour of their own kind; a network with more has a ramp from its first exit to its last."""
RAMP_STEPS = 32

LINE_WIDTH, THICK_WIDTH, GRID_WIDTH = 1.8, 2.6, 1.0
"""Of lines, in CSS pixels."""
DASHES = (5, 4)
"""Lengths of a dash and of the gap behind it, in CSS pixels."""
AREA_OPACITY, BAR_OPACITY = 0.42, 0.86
DOT_RADIUS, LARGE_DOT_RADIUS = 2.4, 5.5
"""In CSS pixels."""

_RAMP_LIGHT = ("#27408b", "#0f86b5", "#2a9d5c", "#b59400", "#d9661f", "#a8326e")
_RAMP_DARK = ("#7f9cf5", "#4cc3ee", "#5bd894", "#e6c84c", "#f59a5c", "#e581b3")


def _make_ramp(anchors: tuple[str, ...]) -> dict[str, str]:
    """`ramp1` to `ramp32`, between the anchors in equal steps."""
    rgb = np.array([[int(a[i : i + 2], 16) for i in (1, 3, 5)] for a in anchors], np.float64)
    at = np.linspace(0, len(anchors) - 1, RAMP_STEPS)
    mixed = np.stack([np.interp(at, np.arange(len(anchors)), rgb[:, c]) for c in range(3)], axis=1).round().astype(int)
    return {f"ramp{k}": f"#{r:02x}{g:02x}{b:02x}" for k, (r, g, b) in enumerate(mixed.tolist(), 1)}


LIGHT = {
    "ink": "#1f2933", "muted": "#5f6b78", "grid": "#e4e8ec", "paper": "#ffffff", "bad": "#b42318", "good": "#08764f",
    "warn": "#b54708", "backbone": "#66727f", "policy": "#5b21b6", "target": "#a21caf", "criterion": "#3e4c59",
    "exit1": "#0f6fc5", "exit2": "#e08a00", "exit3": "#0b8a62", "exit4": "#b0509b", "exit5": "#3aa0d8", "exit6": "#c4451c",
    "exit7": "#8a6a3b", **_make_ramp(_RAMP_LIGHT),
}  # fmt: skip
DARK = {
    "ink": "#e6eaee", "muted": "#9aa5b1", "grid": "#2b3440", "paper": "#161b22", "bad": "#ff8a7a", "good": "#3ecf9a",
    "warn": "#f7b267", "backbone": "#94a1af", "policy": "#c4a7ff", "target": "#f0a6fa", "criterion": "#c3ccd5",
    "exit1": "#5aaaf5", "exit2": "#f5b041", "exit3": "#3ecf9a", "exit4": "#df8fce", "exit5": "#7fcdf5", "exit6": "#f08a66",
    "exit7": "#cbb083", **_make_ramp(_RAMP_DARK),
}  # fmt: skip


def choose_exit_tone(exit: int, exits: int = CATEGORIES) -> str:
    """The colour of an exit (from 1) of a network with `exits` exits; the same in every picture of it."""
    if exits <= CATEGORIES:
        return f"exit{(exit - 1) % CATEGORIES + 1}"
    return f"ramp{1 + round((min(exit, exits) - 1) * (RAMP_STEPS - 1) / (exits - 1))}"


def render_palette_css() -> str:
    """Custom properties for both colour schemes, and the classes that the drawings use."""
    light, dark = ("".join(f"--{name}:{value};" for name, value in tones.items()) for tones in (LIGHT, DARK))
    tones = "".join(f".s-{name}{{stroke:var(--{name})}}.f-{name}{{fill:var(--{name})}}" for name in LIGHT)
    return (
        f":root{{{light}color-scheme:light dark}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}{tones}"
        "svg text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:12px}"
        f"svg .line{{fill:none;stroke-width:{LINE_WIDTH:g};stroke-linejoin:round}}svg .thick{{stroke-width:{THICK_WIDTH:g}}}"
        f"svg .dash{{stroke-dasharray:{DASHES[0]} {DASHES[1]}}}svg .area{{opacity:{AREA_OPACITY:g};stroke:none}}"
        f"svg .bar{{opacity:{BAR_OPACITY:g}}}svg .grid{{stroke:var(--grid);stroke-width:{GRID_WIDTH:g}}}"
        "svg .halo{stroke:var(--paper);stroke-width:3.5px;paint-order:stroke}"
    )
