"""Open a bundle for running, with the calibration of this device."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeexit.backends import Settings, find_backend
from edgeexit.bundle import Bundle
from edgeexit.documents import check_schema, number_in
from edgeexit.errors import BundleError
from edgeexit.hardware import device_key, snapshot
from edgeexit.runtime.deadline import stage_times
from edgeexit.runtime.runner import Runner

_SCHEMA = "edgeexit.calibration/1"


class CalibrationWarning(UserWarning):
    """A bundle runs without a calibration of this device, or in another state than it was calibrated in."""


def load(
    path: Path | str,
    *,
    backend: str = "onnxruntime",
    mode: str | None = None,
    threads: int = 1,
    spin: bool = False,
    options: str = "",
) -> Runner:
    """Open a bundle for running.

    Args:
        path: the bundle's folder.
        backend: name of the backend.
        mode: `staged` or `fused`; None takes the one that was faster on this device, or for which it was calibrated.
        threads: worker threads of the runtime; 1 has the tightest tail.
        spin: let idle worker threads burn a core; faster with several threads, at many times the energy.
        options: of the backend, as `optimization_level=5,workspace_mib=512` of tensorrt; what is left out, the backend chooses.

    Warns:
        CalibrationWarning: there is no calibration for this device and settings (the Runner then never leaves early), or it was made
            under another power mode, core count, spin setting or set of options.

    Raises:
        BundleError: the bundle is damaged, unsafe or too new.
        InputError: no such backend or mode.
    """
    bundle = Bundle.open(path)
    settings = Settings(backend, mode or "staged", bundle.manifest.precision, threads, spin, options)
    if mode is None:
        settings = settings.with_mode(chosen_mode(bundle, settings))
    calibration = bundle.read_calibration(settings.key(device_key()))
    runner = open_runner(bundle, settings, calibration, stage_p99_s=_staged_times(bundle, settings))
    if calibration is None:
        _warn(
            f"{bundle.path} has no calibration for {settings.key(device_key())}: it never leaves early. Run: edgeexit calibrate"
        )
    else:
        runner.inner_thresholds = thresholds_of(calibration, bundle)
        changes = _changes(calibration, settings)
        if changes:
            _warn(
                f"calibrated with another {'; another '.join(changes)}: its latencies will not hold. Calibrate again."
            )
    return runner


def open_runner(
    bundle: Bundle,
    settings: Settings,
    calibration: Mapping[str, Any] | None = None,
    *,
    stage_p99_s: tuple[float, ...] | None = None,
) -> Runner:
    """A Runner with exactly these settings; its thresholds are "never" until they are set.

    `stage_p99_s` are the times of the staged form where they are known from elsewhere than `calibration`, for deadlines.
    """
    opened = find_backend(settings.backend)
    opened.check_options(settings.options)
    program = (opened.open_fused if settings.mode == "fused" else opened.open_staged)(bundle, settings)
    return Runner(bundle, settings, program, calibration, stage_p99_s=stage_p99_s)


def chosen_mode(bundle: Bundle, settings: Settings) -> str:
    """The faster mode on this device as the compile measured it; else one that is calibrated; else staged, which every backend has."""
    device = device_key()
    timing = bundle.manifest.timings.get(settings.timing_key(device))
    if timing is not None:
        return timing.faster
    calibrated = [m for m in ("fused", "staged") if settings.with_mode(m).key(device) in bundle.manifest.calibrations]
    return calibrated[0] if calibrated else "staged"


def _staged_times(bundle: Bundle, settings: Settings) -> tuple[float, ...] | None:
    """p99 of each stage of the staged form, which is what deadlines run in fused mode too; None in staged mode.

    None as well where the bundle has no calibration of it for this device, or one that was made under other conditions or by a newer
    edgeexit: the fused form's times are then nearer, though each stage alone takes longer than it does inside the fused graph.
    """
    if settings.mode == "staged":
        return None
    calibration = bundle.read_calibration(settings.with_mode("staged").key(device_key()))
    if calibration is None or calibration.get("schema") != _SCHEMA or _changes(calibration, settings):
        return None
    return stage_times(calibration, bundle.manifest.exits)


def thresholds_of(calibration: Mapping[str, Any], bundle: Bundle) -> tuple[float, ...]:
    """Inner thresholds of a calibration document.

    Raises:
        BundleError: it was written by a newer edgeexit, or they are not one number per early exit.
    """
    check_schema(calibration, "calibration", 1, f"the calibration in {bundle.path}", BundleError)
    values = calibration.get("inner_thresholds")
    inner = tuple(number_in(v) for v in values) if isinstance(values, list) else ()
    if len(inner) != bundle.manifest.exits - 1 or any(math.isnan(v) for v in inner):
        needed = bundle.manifest.exits - 1
        msg = f"the calibration in {bundle.path} has inner_thresholds {values!r}; it needs {needed} numbers: calibrate again."
        raise BundleError(msg)
    return inner


_CHOSEN = {"spin": "spinning", "options": "set of backend options"}
"""Settings outside the calibration's key that must be now what they were when the latencies were measured."""

_HELD = {
    "power_mode": "power mode",
    "boost": "clock boost",
    "cores_online": "number of cores online",
    "cpu_limit": "CPU limit",
}
"""Fields of the device state that must be now what they were when the latencies were measured."""


def _changes(calibration: Mapping[str, Any], settings: Settings) -> list[str]:
    """What is not as it was when the latencies were measured, for people."""
    now = {name: getattr(settings, name) for name in _CHOSEN}
    changes = _differences(_CHOSEN, calibration.get("settings"), now)
    state = calibration.get("state")
    before = state.get("before") if isinstance(state, Mapping) else None
    if isinstance(before, Mapping):
        found = snapshot()
        changes += _differences(_HELD, before, {name: getattr(found, name) for name in _HELD})
    return changes


def _differences(names: Mapping[str, str], then: object, now: Mapping[str, object]) -> list[str]:
    if not isinstance(then, Mapping):
        return []
    return [
        f"{said} ({_shown(then[name])}, now {_shown(now[name])})"
        for name, said in names.items()
        if name in then and then[name] != now[name]
    ]


def _shown(value: object) -> object:
    return "none" if value == "" else value


def _warn(message: str) -> None:
    warnings.warn(message, CalibrationWarning, stacklevel=3)  # whoever called `load`
