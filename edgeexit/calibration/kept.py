"""Stored calibrations of a bundle and their later use: another target, control.

The document and the replay table lie in the bundle under the device's key; nothing here measures.
"""

from __future__ import annotations

import io
from dataclasses import replace

from edgeexit.bundle import CalibrationDocument, CalibrationRecord
from edgeexit.bundle.archive import SCHEMA as ARCHIVE
from edgeexit.bundle.archive import Archive, ArchiveInfo
from edgeexit.calibration.aside import write_aside
from edgeexit.calibration.decision import NOISY
from edgeexit.calibration.headroom import compute_headroom
from edgeexit.calibration.judge import NOISE_FACTOR, check_predicted_bounds, judge_prediction
from edgeexit.calibration.margins import TimingErrors, tighten_target
from edgeexit.calibration.online.controller import STEP, ControlLaw, Controller, find_start
from edgeexit.calibration.online.drift import FALSE_ALARM, WINDOW, CellCounts, DriftAlarm
from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.result import Calibration, PolicyPerformance, parse_calibration
from edgeexit.calibration.solver.cross_validation import choose_policy_for
from edgeexit.calibration.solver.problem import build_problem
from edgeexit.calibration.solver.search import Effort, Policy
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.calibration.uncertainty import ExitSample
from edgeexit.calibration.verdicts import find_remarks
from edgeexit.errors import BundleError, InputError
from edgeexit.runtime import Runner
from edgeexit.runtime.calibrations import find_calibration, find_measured_calibration, find_settings_key
from edgeexit.util.arguments import as_share
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.timestamps import make_timestamp

REPLAY = "replay"
"""Name of the table among the attachments of a calibration."""


def retune(
    runner: Runner,
    target: str | Target,
    *,
    save_as: str | None = None,
    dry_run: bool = False,
    progress: Progress = show_nothing,
) -> Calibration:
    """Another target from what the last calibration measured, active or not: no new measurement, well under a second.

    The policy has not been run: `measured` is None, and `verdict` says what the replay table predicts, from the times that the last
    calibration measured; where its machine was noisy, bounds on time stay undecided.

    Args:
        runner: an open bundle; afterwards it has the thresholds, if the target is met.
        target: target as in `calibrate`.
        save_as: name of the calibration in the bundle's history; None takes `cal-<n>`.
        dry_run: write nothing, and leave the runner's thresholds.
        progress: callback with what is being done, how much is done, and of how much.

    Raises:
        InputError: the bundle has no calibration for this device and these settings.
        TargetNotMet: nothing meets the target.

    Example:
        >>> import edgeexit
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     found = edgeexit.retune(runner, "accuracy>=0.95", dry_run=True)
        >>> found.measured is None, found.predicted.accuracy >= 0.95
        (True, True)
    """
    if save_as is not None:
        runner.bundle.check_calibration_name(save_as)
    (old, table), parsed = _load_last_measurement(runner), parse_target(target)
    progress("choosing thresholds", 0, 1)
    timing = None if old.verdict.machine == NOISY else NOISE_FACTOR * old.noise_floor
    problem = build_problem(table, parsed)
    wanted = tighten_target(problem, TimingErrors(timing or 0.0, timing or 0.0), len(table), old.candidates)
    policy, choice = choose_policy_for(
        problem.with_target(wanted), seed=old.parts.seed, method=old.choice.method, effort=Effort(work=1.0)
    )
    progress("choosing thresholds", 1, 1)
    figures = PolicyPerformance.from_outcome(table, table.evaluate(policy.thresholds))
    checks = check_predicted_bounds(
        table, parsed, figures, ExitSample.from_thresholds(table, policy.thresholds, old.candidates), timing
    )
    verdict = judge_prediction(checks, old.verdict)
    result = replace(
        old,
        created=make_timestamp(),
        key=find_settings_key(runner.settings),
        target=str(parsed),
        confidence=None,
        certificate=None,
        thresholds=convert_to_own_thresholds(runner, policy),
        inner_thresholds=policy.thresholds,
        policy=policy,
        choice=choice,
        predicted=figures,
        measured=None,
        replayed_mean_s=None,
        on_track=None,
        checks=checks,
        met=verdict.met,
        verdicts=find_remarks(table, policy),
        chosen_for=str(wanted),
        verdict=verdict,
        headroom=compute_headroom(table, table.leaves_at(policy.thresholds)),
    )
    if not dry_run:
        keep(runner, result, table, save_as=save_as, progress=progress)
    return result


def load_active_calibration(runner: Runner) -> tuple[Calibration, ReplayTable]:
    """The active calibration of this device and these settings, with its replay table.

    Raises:
        InputError: no calibration, or none with its replay table.
    """
    found = find_calibration(runner.bundle, runner.settings)
    return _read(runner, None if found is None else found.record)


def _load_last_measurement(runner: Runner) -> tuple[Calibration, ReplayTable]:
    """The last calibration for this device and these settings, whether its target was met or not."""
    return _read(runner, find_measured_calibration(runner.bundle, runner.settings, REPLAY))


def _read(runner: Runner, record: CalibrationRecord | None) -> tuple[Calibration, ReplayTable]:
    bundle = runner.bundle
    if record is None or REPLAY not in record.attachments:
        key = find_settings_key(runner.settings)
        msg = f"{bundle.path} has no calibration for {key} to start from. Run edgeexit calibrate with --data first."
        raise InputError(msg)
    result = parse_calibration(bundle.read_record(record), f"calibration {record.name!r} of {bundle.path}")
    return result, ReplayTable.load(bundle.file(record.attachments[REPLAY]))


def control(runner: Runner, target: str | Target, *, step: float = STEP) -> Controller:
    """Make a Controller that holds a bound on time (one mean or one percentile) under drift, by moving along the calibrated front.

    Args:
        runner: runner with a calibration of this device; its thresholds are set before every inference from now on.
        target: such as "mean<=2ms" or "p99<=10ms"; bounds on anything else are not controlled.
        step: how far one overspending inference moves, between 0 and 1; larger reacts faster and fluctuates more.

    Raises:
        InputError: no calibration, not exactly one bound on time, or no such step.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> x = load_data("digits:test").inputs
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     held = edgeexit.control(runner, "mean<=0.9x")
        ...     labels = [held(x[i : i + 1]).label for i in range(10)]
        >>> len(labels), 0 <= held.saturation <= 1
        (10, True)
    """
    result, table = load_active_calibration(runner)
    law = ControlLaw.from_target(table, target, as_share("step", step))
    return Controller(runner, result.front, law, start=find_start(result.front, law, table))


def drift_alarm(runner: Runner, *, window: int = WINDOW, false_alarm: float = FALSE_ALARM) -> DriftAlarm:
    """Make a DriftAlarm that compares what a runner is given with what its calibration saw, under the runner's present thresholds.

    Args:
        runner: runner with a calibration of this device.
        window: inferences per test.
        false_alarm: probability of a false alarm, over an endless stream.

    Raises:
        InputError: no calibration, a window of less than one inference, or a probability that is not between 0 and 1.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> x = load_data("digits:test").inputs
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     alarm = edgeexit.drift_alarm(runner)
        ...     for p in runner.batch(x[:100]):
        ...         raised = alarm.observe(p.exit, p.score)
        >>> raised, alarm.reason
        (False, None)
    """
    _, table = load_active_calibration(runner)
    seen = CellCounts.from_table(table, runner.inner_thresholds)
    return DriftAlarm(seen, sign=runner.criterion.sign, window=window, false_alarm=false_alarm)


def keep(
    runner: Runner,
    result: Calibration,
    table: ReplayTable,
    *,
    save_as: str | None = None,
    progress: Progress = show_nothing,
) -> None:
    """Write a calibration and its replay table into the bundle; where its target is met it becomes active, also in the runner, unless the
    one that is active is pinned.

    Another process that writes the bundle is waited for. Where the bundle cannot be written, or was recompiled meanwhile, the
    calibration goes to a file elsewhere.

    Raises:
        BundleError: the bundle cannot be written; with the calibration, and the file that it was written to.
    """
    document = result.to_document()
    file = io.BytesIO()
    table.save(file)
    attachments = {f"{REPLAY}.npz": file.getvalue()}
    try:
        before = find_calibration(runner.bundle, runner.settings)
        bundle = runner.bundle.write_calibration(
            result.key,
            document,
            attachments,
            name=save_as,
            activate=result.met,
            old_key=before.key if before else None,
            waiting=progress,
        )
    except (BundleError, OSError) as error:
        raise _save_elsewhere(
            runner, result, Archive(_make_archive_info(runner, result, save_as), document, attachments), error
        ) from error
    runner.bundle = bundle
    active = bundle.active(result.key)
    if active is not None and active.name == bundle.history[-1].name:
        runner.calibration, runner.calibration_name = CalibrationDocument(document), bundle.history[-1].name
        runner.inner_thresholds = result.inner_thresholds


def _make_archive_info(runner: Runner, result: Calibration, save_as: str | None) -> ArchiveInfo:
    return ArchiveInfo(ARCHIVE, save_as or "calibration", result.key, runner.bundle.manifest.network_sha256)


def _save_elsewhere(runner: Runner, result: Calibration, archive: Archive, cause: Exception) -> BundleError:
    bundle = runner.bundle
    path = write_aside(f"{bundle.name}-{archive.about.name}", archive.to_bytes())
    if path is None:
        note = "The calibration could not be written to any other place either."
    elif bundle.is_recompiled():
        note = (
            f"The bundle was recompiled from another network meanwhile; the calibration was written to {path} and"
            " fits a bundle of the earlier network."
        )
    else:
        note = f"The calibration was written to {path} instead. To add it: edgeexit calibrations import {bundle.path} {path}"
    error = BundleError(f"{cause} {note}")
    error.calibration, error.written_to = result, path
    return error


def convert_to_own_thresholds(runner: Runner, policy: Policy) -> tuple[float, ...]:
    """A policy's thresholds in the unit of the bundle's criterion."""
    return tuple(runner.criterion.own(t) for t in policy.thresholds)
