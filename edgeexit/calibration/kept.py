"""What a bundle keeps of a calibration, and what is done with it later: another target, control.

The document and the replay table lie in the bundle under the device's key; nothing here measures.
"""

from __future__ import annotations

import io
from datetime import datetime, timezone

from edgeexit.calibration.control import STEP, Controller, Law, start_of
from edgeexit.calibration.guard import choose
from edgeexit.calibration.judge import checks_of
from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.result import Calibration, Figures, calibration_from
from edgeexit.calibration.search import Effort, Policy
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.calibration.verdicts import verdicts_of
from edgeexit.errors import InputError
from edgeexit.hardware import device_key
from edgeexit.progress import Progress, silent
from edgeexit.runtime import Runner

REPLAY = "replay"
"""Name of the table among the attachments of a calibration."""


def retune(runner: Runner, target: str | Target, *, progress: Progress = silent) -> Calibration:
    """Another target from what the last calibration measured: no new measurement, well under a second.

    The policy has not been run: `measured` is None, and `met` says what the replay table predicts.

    Raises:
        InputError: the bundle has no calibration for this device and these settings.
        TargetNotMet: nothing meets the target.
    """
    (old, table), parsed = kept(runner), parse_target(target)
    progress("choosing thresholds", 0, 1)
    policy, choice = choose(table, parsed, seed=old.parts.seed, method=old.choice.method, effort=Effort(work=1.0))
    progress("choosing thresholds", 1, 1)
    figures = Figures.predicted(table, table.outcome(policy.thresholds))
    result = old.retuned(
        created=now(),
        target=str(parsed),
        confidence=None,
        certificate=None,
        thresholds=own_thresholds(runner, policy),
        inner_thresholds=policy.thresholds,
        policy=policy,
        choice=choice,
        predicted=figures,
        measured=None,
        replayed_mean_s=None,
        on_track=None,
        checks=checks_of(table, parsed, figures, None, 0.0),
        met=True,
        verdicts=verdicts_of(table, policy),
    )
    keep(runner, result, table)
    return result


def kept(runner: Runner) -> tuple[Calibration, ReplayTable]:
    """What the bundle holds for this device and these settings.

    Raises:
        InputError: no calibration, or none with its replay table.
    """
    key = runner.settings.key(device_key())
    document, path = runner.bundle.read_calibration(key), runner.bundle.attachment(key, REPLAY)
    if document is None or path is None:
        msg = f"{runner.bundle.path} has no calibration for {key} to go by. Run edgeexit calibrate with --data first."
        raise InputError(msg)
    return calibration_from(document, f"the calibration of {runner.bundle.path}"), ReplayTable.load(path)


def controller(runner: Runner, target: str | Target, *, step: float = STEP) -> Controller:
    """A Controller that holds a bound on time (one mean or one percentile) by moving along the calibrated front.

    Args:
        runner: with a calibration of this device; its thresholds are set before every inference from now on.
        target: such as "mean<=2ms" or "p99<=10ms"; bounds on anything else are not controlled.
        step: how far one overspending inference moves; larger reacts faster and wanders more.

    Raises:
        InputError: no calibration, or not exactly one bound on time.
    """
    result, table = kept(runner)
    law = Law.of(table, target, step)
    return Controller(runner, result.front, law, start=start_of(result.front, law, table))


def keep(runner: Runner, result: Calibration, table: ReplayTable) -> None:
    """Write a calibration and its replay table into the bundle, and set the runner's thresholds."""
    document = result.to_document()
    file = io.BytesIO()
    table.save(file)
    runner.bundle = runner.bundle.write_calibration(result.key, document, {f"{REPLAY}.npz": file.getvalue()})
    runner.calibration = document
    runner.inner_thresholds = result.inner_thresholds


def own_thresholds(runner: Runner, policy: Policy) -> tuple[float, ...]:
    """A policy's thresholds in the unit of the bundle's criterion."""
    return tuple(runner.criterion.own(t) for t in policy.thresholds)


def now() -> str:
    """The time as documents have it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
