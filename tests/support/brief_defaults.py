"""Defaults that are right for users and long for tests: brief wherever a test names none of its own.

Times are then rough, and no test looks at how long anything took; a searched curve has a few points, and none of its rules needs forty.
Nothing waits for the disk: a compile alone does so sixteen times. That it does, and in which order, is tested by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, cast

import pytest
import typer.main
import typer.testing

from edgeexit.analysis import compute_searched_curve
from edgeexit.calibration import procedure
from edgeexit.calibration.solver import cross_validation
from edgeexit.cascades import costs
from edgeexit.compiler import compilation, mode_timing
from edgeexit.hardware import checks

CALIBRATE_S, COMPILE_S, COSTS_S, LOAD_S = 0.2, 0.0, 0.05, 0.02
CURVE_POINTS = 8


def shorten_defaults(patch: pytest.MonkeyPatch) -> None:
    """In this process: seconds of calibrating (6 for users), timing a cascade (2), other load (0.5); points of a curve (40); no fsync.

    A compile times no mode (2 seconds for users), but where a test asks for it, and then in one process (3): these take longer to start
    than a small network takes to compile.
    """
    patch.setattr(os, "fsync", lambda handle: None)
    patch.setattr(procedure, "SECONDS", CALIBRATE_S)
    patch.setattr(mode_timing, "SECONDS", COMPILE_S)
    patch.setattr(mode_timing, "_PROCESSES", 1)
    patch.setattr(costs, "_SECONDS", COSTS_S)
    patch.setattr(checks, "_LOAD_S", LOAD_S)
    change_default(patch, procedure.calibrate, "seconds", CALIBRATE_S)
    change_default(patch, compilation.compile_model, "seconds", COMPILE_S)
    change_default(patch, compute_searched_curve, "steps", CURVE_POINTS)


def build_commands_once(patch: pytest.MonkeyPatch) -> None:
    """The commands of the command line, which typer builds anew for each call, are those of the first call."""
    build = cache(typer.main.get_command)
    patch.setattr(typer.main, "get_command", build)
    patch.setattr(typer.testing, "_get_command", build)


def make_choices_brief(patch: pytest.MonkeyPatch) -> None:
    """For tests that calibrate on the way to something else: policies are compared on few resamples, as that takes seconds."""
    patch.setattr(cross_validation, "FOLDS", 2)
    patch.setattr(cross_validation, "BOOTSTRAPS", 2)


def change_default(patch: pytest.MonkeyPatch, function: Callable[..., Any], name: str, value: float) -> None:
    """Another default of a parameter that is given by name only, wherever the function was imported to."""
    defaults = cast("FunctionType", function).__kwdefaults__
    assert defaults is not None
    patch.setitem(defaults, name, value)
