"""Open a bundle for running, with the calibration of this device."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexit.backends import Settings, find_backend
from edgeexit.bundle import Bundle, CalibrationDocument, PreferredSettings
from edgeexit.bundle.reading import read_manifest
from edgeexit.choices import BACKENDS, DEFAULT_BACKEND
from edgeexit.errors import InputError
from edgeexit.hardware import find_device_key, read_device_state
from edgeexit.hardware.cores import describe_kinds, pin_to_cores
from edgeexit.runtime.calibrations import (
    ActiveCalibration,
    explain_local_calibration,
    find_calibration,
    find_inactive_calibration,
    find_nearest_calibration,
    find_settings_key,
    find_timing_keys,
    find_usable_calibration,
)
from edgeexit.runtime.deadline import read_stage_times
from edgeexit.runtime.recheck import recheck_times
from edgeexit.runtime.runner import Runner
from edgeexit.stage_choices import PerStage, StageChoice
from edgeexit.util.arguments import as_path

if TYPE_CHECKING:
    from edgeexit.runtime.remote.limits import RemoteLimits
    from edgeexit.runtime.remote.payload import RemotePayload


class CalibrationWarning(UserWarning):
    """A bundle runs without a calibration of this device, or in another state than it was calibrated in.

    Example:
        >>> import warnings
        >>> import edgeexit
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", edgeexit.CalibrationWarning)
        ...     runner = edgeexit.load("lenet.eexit")
        >>> runner.close()
    """


def load(
    path: Path | str,
    *,
    backend: PerStage | None = None,
    mode: str | None = None,
    threads: int | None = None,
    spin: bool = False,
    options: str = "",
    cores: str | None = None,
    accept_device: bool = False,
    verify: Path | str | None = None,
    remote: Mapping[int, str] | None = None,
    remote_limits: RemoteLimits | None = None,
    remote_payload: RemotePayload | None = None,
) -> Runner:
    """Open a bundle for running.

    Args:
        path: the bundle's folder.
        backend: name of the backend, or one for each stage (`onnxruntime,2=openvino`, or `{2: "openvino"}`); None takes `onnxruntime`.
        mode: `staged` or `fused`; None takes the one that was faster on this device, or for which it was calibrated.
        threads: worker threads of the runtime; None takes 1, which has the tightest tail. Where all three are None and `edgeexit tune`
            or `edgeexit compile --backend auto` chose settings for this device, the bundle is opened with those.
        spin: let idle worker threads burn a core; faster with several threads, at many times the energy.
        options: options of the backend, as `optimization_level=5,workspace_mib=512` of tensorrt; what is left out, the backend chooses.
        cores: `big`, `little` or a list such as `0-3`: the calling thread, and the threads and processes that it starts from now on, run on
            these CPUs only; a bundle that was calibrated on other kinds of cores says so. None leaves it to the system.
        accept_device: where there is no calibration of this device, take the nearest of another one (another version of the runtime, say)
            if the times of its exits still hold; that is measured for 5 seconds. `edgeexit calibrations use` does so once and for all.
        verify: file of a public key that the bundle must be signed with (`edgeexit sign`); checked again by `Runner.reload`.
        remote: URLs of V2 models that run the last stages, by stage from 1, such as `{3: "https://host/v2/models/net-stage-3"}`
            or `{3: "grpc://host:8001/net-stage-3"}` (extra `[remote]`).
        remote_limits: what they may cost in time and requests; None takes the defaults of `RemoteLimits`.
        remote_payload: what is sent to them; None takes the defaults of `RemotePayload`.

    Warns:
        CalibrationWarning: there is no calibration for this device and settings (the Runner then leaves at the thresholds that the model
            came with, or never early), its target was not met, or it was made under another power mode, core count, spin setting or set of
            options, or on other kinds of cores.

    Raises:
        BundleError: the bundle is damaged, unsafe or too new, or not signed with the key.
        InputError: no such backend or mode, or a mode that the backend does not support for this number of exits.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> digits = load_data("digits:test")  # float32 [n, 1, 28, 28]
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     prediction = runner(digits.inputs[:1])
        >>> prediction.label == int(digits.labels[0])
        True
    """
    if cores is not None:
        pin_to_cores(cores)
    asked = RequestedSettings(backend, mode, threads, spin, options)
    key = None if verify is None else as_path("verify", verify)
    runner = _open_whole(as_path("path", path), asked, key)
    if remote is not None:
        from edgeexit.runtime.remote.runner import open_remote

        runner = open_remote(runner, remote, remote_limits, remote_payload)
    for remark in take_calibration(runner, accept_device=accept_device):
        _warn(remark)
    return runner


def load_quietly(path: Path | str, **settings: Any) -> Runner:
    """Open a bundle as `load` does, without its warning: it is about to be calibrated, or every exit is run whatever its thresholds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return load(path, **settings)


@dataclass(frozen=True)
class RequestedSettings:
    """The settings that a caller names, as the arguments of `load`; what is None is chosen by `resolve`."""

    backend: PerStage | None = None
    mode: str | None = None
    threads: int | None = None
    spin: bool = False
    options: str = ""

    def __post_init__(self) -> None:
        """Check what is named before a bundle is opened."""
        StageChoice.read("backend", self.backend, BACKENDS)
        self._complete("staged")

    @classmethod
    def from_settings(cls, settings: Settings) -> RequestedSettings:
        """Settings in use, all of them named."""
        return cls(settings.backend, settings.mode, settings.threads, settings.spin, settings.options)

    def _complete(self, mode: str, backend: str = DEFAULT_BACKEND, precision: str = "float32") -> Settings:
        threads = 1 if self.threads is None else self.threads
        return Settings(backend, mode, precision, threads, self.spin, self.options)

    def resolve(self, bundle: Bundle) -> Settings:
        """The settings for a bundle: those named, else those that `tune` chose on this device, else the defaults."""
        precision = bundle.manifest.precision
        tuned = find_preferred(bundle) if (self.backend, self.mode, self.threads) == (None, None, None) else None
        if tuned is not None:
            return Settings(tuned.backend, tuned.mode, precision, tuned.threads, self.spin, self.options)
        backend = StageChoice.read("backend", self.backend, BACKENDS).resolve(bundle.manifest.exits, DEFAULT_BACKEND)
        settings = self._complete(self.mode or "staged", backend, precision)
        return settings if self.mode else settings.with_mode(choose_mode(bundle, settings))


def find_preferred(bundle: Bundle) -> PreferredSettings | None:
    """The settings that `edgeexit tune`, or a compile, chose for a bundle on this device; None where none were chosen."""
    for key, preferred in bundle.manifest.preferred.items():
        if key == find_device_key(backend=preferred.backend):
            return preferred
    return None


def _open_whole(path: Path, asked: RequestedSettings, verify: Path | None) -> Runner:
    """The bundle opened; where it is recompiled while that is done, the new one."""
    while True:
        bundle = _open_signed(path, verify)
        chosen = asked.resolve(bundle)
        try:
            runner = open_runner(bundle, chosen)
        except (OSError, InputError):
            if not bundle.is_recompiled():
                raise
        else:
            runner.verify = verify
            return runner


def _open_signed(path: Path, verify: Path | None) -> Bundle:
    bundle = Bundle.open(path)
    if verify is not None:
        from edgeexit.bundle.signing import verify_signature

        verify_signature(bundle, verify)
    return bundle


def take_calibration(runner: Runner, *, accept_device: bool = False) -> list[str]:
    """Give a Runner the thresholds of the calibration that is active for it; returns remarks about it.

    Raises:
        BundleError: the calibration is damaged or too new.
    """
    bundle, settings = runner.bundle, runner.settings
    found = find_usable_calibration(bundle, settings)
    if found is None and accept_device:
        return _take_nearest(runner)
    runner.take(found, _read_staged_times(bundle, settings))
    if found is None:
        return _take_defaults(runner, _explain_missing(bundle, settings))
    runner.inner_thresholds = read_inner_thresholds(found.document, bundle)
    remarks = [*explain_local_calibration(found, settings), *_find_doubts(found)]
    changes = _find_changes(found.document, settings)
    if changes:
        remarks.append(
            f"calibrated with another {'; another '.join(changes)}: its latencies will not hold. Calibrate again."
        )
    return remarks


def _take_nearest(runner: Runner) -> list[str]:
    nearest = find_nearest_calibration(runner.bundle, runner.settings)
    if nearest is None:
        return _take_defaults(runner, _explain_missing(runner.bundle, runner.settings))
    inner = read_inner_thresholds(nearest.document, runner.bundle)
    checked = recheck_times(runner, nearest.document)
    made = f"calibration {nearest.record.name!r} was made on another device ({'; '.join(nearest.changes)})"
    if not checked.agrees:
        what = _describe_uncalibrated(runner.bundle)
        return _take_defaults(
            runner, f"{made}, and its times do not hold here ({checked}): it is not used, and {what}. Calibrate again."
        )
    runner.take(nearest, _read_staged_times(runner.bundle, runner.settings))
    runner.inner_thresholds = inner
    return [f"{made}; its times hold here ({checked}), so it is used.", *_find_doubts(nearest)]


def _take_defaults(runner: Runner, remark: str) -> list[str]:
    """Give a Runner without a calibration the thresholds that belong to the method, if there are any; returns the remark."""
    if runner.bundle.manifest.thresholds:
        runner.thresholds = runner.bundle.manifest.thresholds
    return [remark]


def _describe_uncalibrated(bundle: Bundle) -> str:
    """Where inputs leave without a calibration, as text."""
    manifest = bundle.manifest
    if not manifest.thresholds:
        return "it never leaves early"
    own = ", ".join(f"{t:.4g}" for t in manifest.thresholds)
    return f"it leaves at the thresholds that the model came with ({manifest.criterion} {own}), which were not chosen for this device"


def _find_doubts(found: ActiveCalibration) -> list[str]:
    """Reasons not to trust an active calibration."""
    record = found.record
    if record.verdict not in ("not met", "undecided"):
        return []
    target = f"its target {record.target}" if record.target else "its target"
    what = f"calibration {record.name!r} is active although {target} was {record.verdict} when it was measured."
    return [f"{what} Calibrate again, or go back: edgeexit calibrations rollback"]


def _explain_missing(bundle: Bundle, settings: Settings) -> str:
    """Message that there is no calibration, with a remedy."""
    key, what = find_settings_key(settings), _describe_uncalibrated(bundle)
    text = f"{bundle.path} has no calibration for {key}: {what}. Run: edgeexit calibrate"
    inactive, nearest = find_inactive_calibration(bundle, settings), find_nearest_calibration(bundle, settings)
    if inactive is not None:
        kept = f"Calibration {inactive.name!r} ({inactive.target}: {inactive.verdict}) is kept but not active"
        return f"{text}. {kept}; to use it all the same: edgeexit calibrations use {bundle.path} {inactive.name}"
    if nearest is not None:
        made = f"The nearest is {nearest.record.name!r}, made on another device ({'; '.join(nearest.changes)})"
        return f"{text}. {made}; to use it if its times hold here: --accept-device, or load(accept_device=True)"
    return text


def reload_runner(runner: Runner) -> bool:
    """See `Runner.reload`."""
    if read_manifest(runner.bundle.path) == runner.bundle.manifest:
        return False
    fresh = _open_signed(runner.bundle.path, runner.verify)
    if not fresh.manifest.agrees_with(runner.bundle.manifest):
        runner.take_over(_open_whole(fresh.path, RequestedSettings.from_settings(runner.settings), runner.verify))
    else:
        runner.bundle = fresh
        found = find_usable_calibration(fresh, runner.settings)
        if found is None or found.document == runner.calibration:
            return False
    for remark in take_calibration(runner):
        _warn(remark, called_from=4)
    return True


def open_runner(
    bundle: Bundle,
    settings: Settings,
    calibration: CalibrationDocument | None = None,
    *,
    stage_p99_s: tuple[float, ...] | None = None,
) -> Runner:
    """A Runner with exactly these settings; its thresholds are "never" until they are set.

    `stage_p99_s` are the times of the staged mode where they are known from elsewhere than `calibration`, for deadlines.
    """
    opened = find_backend(settings.backend)
    opened.check_options(settings.options)
    reason = opened.explain_unsupported(settings.mode, bundle.manifest.exits, settings.options)
    if reason:
        msg = f"backend {settings.backend} does not run this bundle in mode {settings.mode}: {reason}. Use mode staged."
        raise InputError(msg)
    program = (opened.open_fused if settings.mode == "fused" else opened.open_staged)(bundle, settings)
    return Runner(bundle, settings, program, calibration, stage_p99_s=stage_p99_s, reload=reload_runner)


def choose_mode(bundle: Bundle, settings: Settings) -> str:
    """The faster mode on this device as the compile measured it; else one that is calibrated; else staged, which every backend has."""
    for key in find_timing_keys(settings):
        if key in bundle.manifest.timings:
            return bundle.manifest.timings[key].faster
    if find_backend(settings.backend).explain_unsupported("fused", bundle.manifest.exits, settings.options):
        return "staged"
    calibrated = [m for m in ("fused", "staged") if find_calibration(bundle, settings.with_mode(m))]
    return calibrated[0] if calibrated else "staged"


def _read_staged_times(bundle: Bundle, settings: Settings) -> tuple[float, ...] | None:
    """p99 of each stage of the staged mode, which is what deadlines run in fused mode too; None in staged mode.

    None as well where the bundle has no calibration of it for this device, or one that was made under other conditions or by a newer
    edgeexit: the fused mode's times are then nearer, though each stage alone takes longer than it does inside the fused graph.
    """
    if settings.mode == "staged":
        return None
    found = find_calibration(bundle, settings.with_mode("staged"))
    if found is None or not found.document.is_current or _find_changes(found.document, settings):
        return None
    return read_stage_times(found.document, bundle.manifest.exits)


def read_inner_thresholds(calibration: CalibrationDocument, bundle: Bundle) -> tuple[float, ...]:
    """Inner thresholds of a calibration for a bundle.

    Raises:
        BundleError: it was written by a newer edgeexit, or they are not one number per early exit.
    """
    return calibration.require_thresholds(bundle.manifest.exits, f"the calibration in {bundle.path}")


_CHOSEN = {"spin": "spinning", "options": "set of backend options"}
"""Settings outside the calibration's key that must be now what they were when the latencies were measured."""

_HELD = {
    "power_mode": "power mode",
    "boost": "clock boost",
    "cores_online": "number of cores online",
    "cpu_limit": "CPU limit",
}
"""Fields of the device state that must be now what they were when the latencies were measured."""


def _find_changes(calibration: CalibrationDocument, settings: Settings) -> list[str]:
    """Changes since the latencies were measured, as text."""
    now = {name: getattr(settings, name) for name in _CHOSEN}
    changes = _format_differences(_CHOSEN, calibration.settings, now)
    if calibration.state_before is not None:
        found = read_device_state()
        changes += _find_other_cores(calibration.state_before, found.affinity)
        changes += _format_differences(_HELD, calibration.state_before, {name: getattr(found, name) for name in _HELD})
    return changes


def _find_other_cores(then: Mapping[str, Any], now: Iterable[int]) -> list[str]:
    """Other kinds of cores than the latencies were measured on, where this machine has several."""
    listed = then.get("affinity")
    cpus = [cpu for cpu in listed if isinstance(cpu, int)] if isinstance(listed, (list, tuple)) else []
    old, new = describe_kinds(cpus), describe_kinds(now)
    different = old and new and old.partition(" (")[0] != new.partition(" (")[0]
    return [f"kind of cores ({old}, now {new})"] if different else []


def _format_differences(
    names: Mapping[str, str], then: Mapping[str, object] | None, now: Mapping[str, object]
) -> list[str]:
    if then is None:
        return []
    return [
        f"{text} ({_format_value(then[name])}, now {_format_value(now[name])})"
        for name, text in names.items()
        if name in then and then[name] != now[name]
    ]


def _format_value(value: object) -> object:
    return "none" if value == "" else value


def _warn(message: str, called_from: int = 3) -> None:
    warnings.warn(message, CalibrationWarning, stacklevel=called_from)  # the caller of `load`
