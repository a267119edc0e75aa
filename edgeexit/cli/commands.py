"""The names of the commands, in the order in which `edgeexit --help` lists them."""

from __future__ import annotations

COMMANDS: tuple[str, ...] = (
    "demo",
    "train",
    "adopt",
    "cascade",
    "export",
    "compile",
    "inspect",
    "calibrate",
    "calibrations",
    "replay",
    "tune",
    "run",
    "bench",
    "compare",
    "compare-criteria",
    "analyse",
    "report",
    "serve",
    "serve-export",
    "sign",
    "devices",
    "doctor",
)
"""In the order in which `edgeexit --help` lists them. Command `x-y` is `x_y_command` of `edgeexit/cli/cmd_x_y.py`: a function, or a
group."""
ABOUT = ("help", "version")
"""Commands about edgeexit itself."""
