"""A policy network in front of a network, against calibrated thresholds on the exits' confidence, in time measured on this machine.

The thesis trains policies and deploys none. Here both rules are bundles of the same network, calibrated and timed in turn. The policy is
trained on the calibration part, so that thresholds of either rule are chosen on the first half of the test part and judged on the second.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeexit
from benchmarks.common import calibrate_runner, open_other_mode, time_variants
from benchmarks.experiments._runs import open_network
from benchmarks.papers.frame.deployment import make_example
from benchmarks.papers.frame.estimates import compare_samples
from benchmarks.papers.frame.parts import Findings, Request
from benchmarks.papers.frame.training import Run, Runs, Variant
from benchmarks.papers.overthinking.answers import CRITERION, REDUCED, Answers, list_msdnet
from benchmarks.papers.overthinking.policy import OUTER, POLICIES, list_maxmin, train_policy
from edgeexit.calibration import Calibration, ReplayTable, choose_policy
from edgeexit.calibration.device import replay
from edgeexit.data import Dataset
from edgeexit.measure.verdict import compare_processes
from edgeexit.nets import WithPolicy
from edgeexit.nets.policy import THRESHOLD
from edgeexit.runtime import Runner

TARGET = "drop<=0.5"
CALIBRATED, MEDIAN = "calibrated", "the predicted exit"
"""How both rules are set: each calibrated to the target; the policy's predicted exit, and thresholds that are as accurate as it."""


def list_deployed(request: Request) -> Mapping[str, Variant]:
    """The networks on Max-Min MNIST and on CIFAR-10; in the short version the first."""
    return {**list_maxmin(request), **({} if request.quick else list_msdnet(request))}


def examine_policy_deployed(request: Request, runs: Runs) -> Findings:
    """Every network with each policy in front, beside thresholds."""
    samples: dict[str, dict[int, Any]] = {}
    values: dict[str, dict[int, float]] = {}
    details: dict[str, Any] = {}
    for variant, by_seed in runs.items():
        data, only = ("cifar10", OUTER) if variant == "msdnet" else (variant, None)
        for seed, run in by_seed.items():
            for kind in ("light",) if request.quick else POLICIES:
                policy = train_policy(request, run, Answers(run), data, only=only, kind=kind)
                both = WithPolicy(run.load_network(), policy.network, only=only)
                with tempfile.TemporaryDirectory() as folder:
                    found = compare_in_time(run, both, Path(folder), brief=request.quick)
                name = f"{data}, {POLICIES[kind]}"
                details[f"{name}, seed {seed}"] = {"policy_macs": policy.macs, **found.details}
                for setting, pair in found.pairs.items():
                    for rule, right in pair.right.items():
                        samples.setdefault(f"{name}, {setting}: {rule}", {})[seed] = right
                    values.setdefault(f"{name}, {setting}: time, policy over thresholds", {})[seed] = pair.ratio
    notes = (
        REDUCED,
        "The networks and policies of parts maxmin and policy-cifar10, and lighter policies (EENet-8 of 4 filters). "
        "Thresholds of both rules are chosen on the first half of the test part, as the policy has seen the calibration "
        "part; all figures are of the second half.",
        f"Calibrated: both to {TARGET}. The predicted exit: the policy at {THRESHOLD:g}, beside it the quickest "
        "thresholds that are as accurate on the first half. Ratios of time are paired by repeat, differences of accuracy "
        "by sample, with 95 % intervals.",
    )
    return Findings(samples=samples, values=values, details=details, notes=notes)


# ---------------------------------------------------------------- one network with one policy


@dataclass(frozen=True, eq=False)
class Rule:
    """One way to leave, on this machine.

    Attributes:
        runner: its bundle, open, with the thresholds of the calibration.
        calibration: to `TARGET`.
        chosen, used: tables of both halves, in seconds of this machine.
    """

    runner: Runner
    calibration: Calibration
    chosen: ReplayTable
    used: ReplayTable


@dataclass(frozen=True, eq=False)
class Pair:
    """Both rules under one setting.

    Attributes:
        right: whether each sample of the second half is answered rightly, bool [n], by rule.
        ratio: mean time of the policy over that of the thresholds.
    """

    right: Mapping[str, NDArray[np.bool_]]
    ratio: float


@dataclass(frozen=True, eq=False)
class Compared:
    """What was found: pairs by setting, and the rest for the record."""

    pairs: Mapping[str, Pair]
    details: Mapping[str, Any]


def compare_in_time(run: Run, both: WithPolicy, folder: Path, *, brief: bool) -> Compared:
    """Compile the network with and without the policy, calibrate both, and time them in turn under each setting.

    Args:
        run: the network.
        both: it with the policy in front.
        folder: for the bundles.
        brief: a moment, for tests.
    """
    test, example = run.load_part("test"), make_example(run)
    halves = test.take(slice(len(test) // 2)), test.take(slice(len(test) // 2, None))
    with ExitStack() as opened:
        rules = {
            "policy": open_rule(open_network(both, example, folder / "policy", "learned"), halves, brief=brief),
            "thresholds": open_rule(
                open_network(run.load_network(), example, folder / "exits", CRITERION), halves, brief=brief
            ),
        }
        for rule in rules.values():
            opened.callback(rule.runner.close)
        settings = choose_settings(rules)
        ways: dict[str, Any] = {"backbone": opened.enter_context(rules["thresholds"].runner.backbone())}
        for setting, by_rule in settings.items():
            for name, thresholds in by_rule.items():
                way = opened.enter_context(open_other_mode(rules[name].runner, rules[name].runner.settings.mode))
                way.inner_thresholds = thresholds
                ways[f"{setting}: {name}"] = way
        seconds, repeats = (0.05, 1) if brief else (6.0, 5)
        timed = time_variants(ways, halves[1], seconds=seconds, repeats=repeats, trace=256 if brief else 1024)
    return _describe(rules, settings, timed)


def open_rule(runner: Runner, halves: tuple[Dataset, Dataset], *, brief: bool) -> Rule:
    """Calibrate on the first half, and replay both."""
    target, seconds = ("drop<=100", 0.1) if brief else (TARGET, 6.0)
    calibration = calibrate_runner(runner, halves[0], target, seconds=seconds, force=brief)
    costs = [[row.mean_s] for row in calibration.exits]
    return Rule(runner, calibration, *(replay(runner, half).with_costs(costs) for half in halves))


def choose_settings(rules: Mapping[str, Rule]) -> dict[str, dict[str, tuple[float, ...]]]:
    """Inner thresholds by setting and rule; the predicted exit is left out where no thresholds are as accurate as it."""
    settings = {CALIBRATED: {name: rule.calibration.inner_thresholds for name, rule in rules.items()}}
    asked = rules["policy"].chosen
    median = (THRESHOLD,) * (asked.exits - 1)
    reached = asked.evaluate(median).accuracy or 0.0
    try:
        found, _ = choose_policy(
            rules["thresholds"].chosen, f"accuracy>={math.floor(1e6 * reached) / 1e6:f}", method="exact"
        )
    except edgeexit.TargetNotMet:
        return settings
    return {**settings, MEDIAN: {"policy": median, "thresholds": tuple(found.thresholds)}}


def _describe(rules: Mapping[str, Rule], settings: Mapping[str, Any], timed: Mapping[str, Any]) -> Compared:
    pairs, compared = {}, {}
    for setting, by_rule in settings.items():
        right = {name: answer_rightly(rules[name].used, thresholds) for name, thresholds in by_rule.items()}
        sides = [timed[f"{setting}: {name}"].latency for name in ("thresholds", "policy")]
        ratio = compare_processes(sides[0].processes, sides[1].processes, paired=True).typical
        pairs[setting] = Pair(right, ratio.value)
        lost = compare_samples({0: right["policy"]}, {0: right["thresholds"]})
        compared[setting] = {
            "thresholds": {name: list(thresholds) for name, thresholds in by_rule.items()},
            "typical_s": dict(zip(("thresholds", "policy"), (side.typical_s for side in sides), strict=True)),
            "ratio": ratio,
            "accuracy": {name: float(flags.mean()) for name, flags in right.items()},
            "policy above thresholds": {"mean": lost.mean, "low": lost.low, "high": lost.high},
        }
    used = rules["thresholds"].used
    details = {
        "exits_s": {name: [row.mean_s for row in rule.calibration.exits] for name, rule in rules.items()},
        "backbone_s": timed["backbone"].latency.typical_s,
        "last exit": float(answer_rightly(used, (math.inf,) * (used.exits - 1)).mean()),
        "verdicts": {name: rule.calibration.verdict.lines() for name, rule in rules.items()},
        "settings": compared,
    }
    return Compared(pairs, details)


def answer_rightly(table: ReplayTable, thresholds: tuple[float, ...]) -> NDArray[np.bool_]:
    """Whether each sample is answered rightly at these inner thresholds, [n]."""
    assert table.correct is not None, "test samples have labels"
    right: NDArray[np.bool_] = table.correct[np.arange(len(table)), table.leaves_at(thresholds)]
    return right
