"""The analysis of a compiled network: every exit run on data, with the costs that its calibration measured on this device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeexit.analysis.network import AnalysisNames, NetworkAnalysis, analyse_network
from edgeexit.calibration.device import Replayed, replay_answers
from edgeexit.calibration.kept import load_active_calibration
from edgeexit.calibration.replay import ReplayTable
from edgeexit.data import Dataset, split_calibration
from edgeexit.errors import InputError
from edgeexit.runtime import Runner
from edgeexit.util.progress import Progress, show_nothing


def analyse_bundle(
    runner: Runner,
    data: Dataset,
    *,
    choose_on: Dataset | None = None,
    seed: int = 0,
    progress: Progress = show_nothing,
) -> NetworkAnalysis:
    """Analyse a compiled network on labelled data.

    Costs are multiply-accumulates; where a calibration of this device and these settings is active, seconds as well, and its thresholds
    are the policy that is compared with a perfect exit rule. Otherwise the policy is the cheapest that loses no accuracy on `choose_on`.

    Args:
        runner: an open bundle.
        data: with labels; every figure is of it.
        choose_on: with labels; thresholds are chosen on it. None halves `data` by the seed, one half to choose on.
        seed: of that.
        progress: called with what is being done.

    Raises:
        InputError: data without labels, or a network whose multiply-accumulates are unknown and that has no calibration here.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     found = edgeexit.analysis.analyse_bundle(runner, load_data("digits:test"))
        >>> found.samples, len(found.exits), found.overthinking.any_pair <= 0.05
        (250, 2, True)
    """
    if choose_on is None:
        chosen, used = split_calibration(len(data), seed, (0.5, 0.5))
        halves = data.take(used), data.take(chosen)
        found = _analyse(
            runner,
            replace(halves[0], name=f"half of {data.name}"),
            replace(halves[1], name="the other half"),
            progress,
        )
        listed = (replace(s, sample=int(used[s.sample])) for s in found.overthought)
        return replace(found, overthought=tuple(listed))
    return _analyse(runner, data, choose_on, progress)


def _analyse(runner: Runner, data: Dataset, choose_on: Dataset, progress: Progress) -> NetworkAnalysis:
    for part in (data, choose_on):
        _ = part.y  # refused without labels
    names = AnalysisNames(Path(runner.bundle.path).name, choose_on.name, data.name, data.class_names)
    costs = _find_costs(runner)
    replayed = replay_answers(runner, data, progress)
    chosen_table = _attach(replay_answers(runner, choose_on, progress), costs)
    return analyse_network(
        chosen_table,
        _attach(replayed, costs),
        thresholds=None if costs is None else runner.inner_thresholds,
        policy="calibrated",
        labels=data.y,
        answers=replayed.answers,
        names=names,
    )


def _find_costs(runner: Runner) -> list[float] | None:
    """Seconds of leaving at each exit, as the active calibration of this device and these settings measured them."""
    try:
        calibration, _ = load_active_calibration(runner)
    except InputError:
        return None
    return [row.mean_s for row in calibration.exits]


def _attach(replayed: Replayed, costs: list[float] | None) -> ReplayTable:
    if costs is not None:
        return replayed.table.with_costs(costs)
    if replayed.table.macs is None:
        msg = "the multiply-accumulates of this network are unknown, so that its exits have no cost: calibrate it here first."
        raise InputError(msg)
    return replayed.table.without_seconds()
