"""BranchyNet's Table I and figures 3 and 4 for one trained network, under the authors' timing protocol and an honest one.

    python -m benchmarks branchynet [--case lenet-mnist] [--criterion entropy]

paper:   the clock runs over the trunk up to the branch and nothing else, as in the authors' code; heads, softmax, entropy and decision
         are free, and the plain network beside it is timed whole.
honest:  the clock runs over everything that the user waits for.

Both compare with the plain network on the same runtime and settings, through the same Runner. Thresholds are the authors' screens
(entropy, nats); for exits of our own and for other criteria they are finer. The best is chosen on the calibration part: the fastest at
which accuracy is not below the plain network's, by the screen and by edgeexit's own search over every threshold; and the fastest at
which it is above it by one standard error of the paired difference, so that it is likely to hold on other data, too. The figures shown
are from the test part. The authors chose on the test part; `printed` rows use the thresholds that the paper prints. `python -m
benchmarks.papers branchynet table-1` puts what is recorded beside the paper's table.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import (
    HERE,
    Case,
    find_case,
    make_parser,
    open_plain,
    open_uncalibrated,
    print_table,
    record,
    save_pictures,
    time_variants,
)
from benchmarks.experiments._trunk import Trunk
from benchmarks.papers.branchynet.table_1_printed import read_printed_row
from edgeexit.analysis import compute_anytime_curve
from edgeexit.calibration import ReplayTable, optimise, replay_table
from edgeexit.criteria import Criterion, criterion
from edgeexit.data import Dataset, load_data
from edgeexit.errors import InputError, TargetNotMet
from edgeexit.hardware import DeviceState, find_device_key, read_device_state
from edgeexit.report.plot.figure import BACKBONE, POLICY, Axis, Figure, Line, Points, choose_exit_tone
from edgeexit.runtime import Runner
from edgeexit.util import units

Floats = NDArray[np.float64]

CLOCKS = ("paper", "honest")

SCREENS = {
    "lenet": (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2, 3, 5, 10),
    "alexnet": (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 0.75, 1, 5, 10),
    "resnet": (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 5, 10),
}
"""Thresholds that the authors' code screens; those of B-ResNet were not read, the paper's own 0.2 and 0.3 are among ours."""

FINE_SCREENS = {
    "nats": tuple(float(t) for t in np.geomspace(0.003, 2.3, 24).round(4)),
    "probability": (
        0.3,
        0.4,
        0.45,
        0.5,
        0.55,
        0.6,
        0.65,
        0.7,
        0.75,
        0.8,
        0.85,
        0.9,
        0.93,
        0.95,
        0.97,
        0.98,
        0.99,
        0.995,
        0.999,
    ),
}
"""By the criterion's unit: for exits that the authors did not have, and for criteria that they did not use."""


def replay(runner: Runner, plain: Runner, data: Dataset, honest: Floats) -> ReplayTable:
    """Scores and right answers of every exit on one part of the data, beside the plain network; costs are of the honest clock, [N]."""
    scores, logits = runner.replay(data.inputs)
    plain_labels = np.array([plain(x[None]).label for x in data.x])
    return replay_table(logits, data.y, None, scores=scores, cost_s=honest, plain=plain_labels)


def choose_screen(case: Case, rule: Criterion) -> Sequence[float]:
    """The thresholds to try at each exit: the paper's for its own exits under entropy, else a finer screen in the criterion's unit."""
    if rule.name == "entropy" and case.exits != "light":
        return SCREENS[case.network]
    if rule.unit not in FINE_SCREENS:
        msg = f"no thresholds to try for criterion {rule.name!r} ({rule.unit}); take one in {' or '.join(FINE_SCREENS)}"
        raise InputError(msg)
    return FINE_SCREENS[rule.unit]


def measure_costs(case: Case, runner: Runner, plain: Runner, bare: Runner, arguments: Any) -> dict[str, Any]:
    """Seconds of each variant: the plain network, each forced exit, the trunk up to each branch.

    The trunk is cut from `bare`, the same network under a criterion that hands nothing from stage to stage.
    """
    variants: dict[str, Any] = {"plain": plain, "backbone": runner.backbone()}
    for k in range(1, runner.exits + 1):
        variants[f"forced {k}"] = partial(runner.forced, exit=k)
    for k in range(1, runner.exits):
        variants[f"trunk {k}"] = Trunk(bare, k)
    timed = time_variants(variants, case.test_data(), seconds=arguments.seconds, repeats=arguments.repeats)
    typical = {name: variant.latency.typical_s for name, variant in timed.items()}
    last = [typical["backbone"]]
    return {
        "lanes_s": typical,
        "plain": typical["plain"],
        "honest": np.array([typical[f"forced {k}"] for k in range(1, runner.exits + 1)]),
        "paper": np.array([typical[f"trunk {k}"] for k in range(1, runner.exits)] + last),
    }


def sweep(
    part: ReplayTable, rule: Criterion, costs: Mapping[str, Any], screen: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Every combination of the screen's thresholds on one part, with its mean time under both protocols."""
    for thresholds in product(screen, repeat=part.exits - 1):
        yield make_row(part, rule, costs, thresholds)


def make_row(
    part: ReplayTable, rule: Criterion, costs: Mapping[str, Any], thresholds: Sequence[float]
) -> dict[str, Any]:
    """One point of figure 3: thresholds in the criterion's unit, and how far their accuracy is above the plain network's."""
    leaves = part.leaves_at([rule.inner(t) for t in thresholds])
    assert part.correct is not None
    right = part.correct[np.arange(len(part)), leaves]
    over = right.astype(float) - part.backbone_right
    rates = part.evaluate_leaves(leaves).exit_rates
    means = {protocol: float(np.dot(rates, costs[protocol])) for protocol in CLOCKS}
    return {
        "thresholds": list(thresholds),
        "accuracy": float(right.mean()),
        "over_plain": float(over.mean()),
        "standard_error": float(over.std() / np.sqrt(len(over))),
        "exit_rates": list(rates),
        "mean_s": means,
        "gain": {protocol: costs["plain"] / mean for protocol, mean in means.items()},
    }


class Found(NamedTuple):
    """The case replayed on both parts, with what was chosen on the calibration part and how the choice does on the test part."""

    rule: Criterion
    costs: dict[str, Any]
    calibration: ReplayTable
    test: ReplayTable
    chosen: dict[str, Any]
    measured_gain: float


def find_knee(rows: Sequence[Mapping[str, Any]], protocol: str, *, errors: float = 0.0) -> Mapping[str, Any]:
    """The fastest policy whose accuracy exceeds the plain network's by this number of standard errors; otherwise the most accurate."""
    good = [r for r in rows if r["over_plain"] >= errors * r["standard_error"] - 1e-12]
    return min(good, key=lambda r: r["mean_s"][protocol]) if good else max(rows, key=lambda r: r["accuracy"])


def search_thresholds(part: ReplayTable, rule: Criterion) -> list[float]:
    """The fastest thresholds of all that are not below the plain network on this part; empty where none are."""
    try:
        policy = optimise(part, "drop<=0")
    except TargetNotMet:
        return []
    return [rule.own(t) for t in policy.thresholds]


def make_table_1(
    test: ReplayTable, costs: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, ...]]:
    """The rows of Table I as text, the paper's beside ours."""
    plain = ("plain", "", units.percent(float(test.backbone_right.mean())), units.seconds(costs["plain"]), "", "")
    rows: list[tuple[str, ...]] = [plain]
    for name, r in chosen.items():
        thresholds = ", ".join(f"{t:.3g}" for t in r["thresholds"])
        rates = ", ".join(units.percent(s, 1) for s in r["exit_rates"])
        gain = f"{units.ratio(r['gain']['paper'])} / {units.ratio(r['gain']['honest'])}"
        accuracy = f"{units.percent(r['accuracy'])} ({100 * r['over_plain']:+.2f} ± {196 * r['standard_error']:.2f})"
        rows.append((name, thresholds, accuracy, units.seconds(r["mean_s"]["honest"]), gain, rates))
    return rows


# ---------------------------------------------------------------- pictures


def draw_figure_3(case: Case, found: Found, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Accuracy against mean time over all thresholds, knee marked."""
    best = found.chosen["above by its error"]

    def points(chosen: Sequence[Mapping[str, Any]], tone: str, label: str, *, large: bool = False) -> Points:
        xs = np.array([r["mean_s"]["honest"] for r in chosen])
        return Points(xs, np.array([r["accuracy"] for r in chosen]), tone, label, large=large)

    plain = Points(
        np.array([found.costs["plain"]]),
        np.array([found.test.backbone_right.mean()]),
        BACKBONE,
        "plain network",
        large=True,
    )
    return Figure(
        f"branchynet-fig3-{case.name}",
        f"{case.name}: accuracy against time (BranchyNet, figure 3)",
        f"Each point is one combination of thresholds ({found.rule.name}), timed honestly; the large one is the chosen one.",
        Axis("mean time, µs", scale=1e-6),
        Axis("accuracy on the test part, %", scale=0.01),
        (points(rows, choose_exit_tone(1), "thresholds"), points([best], POLICY, "chosen", large=True), plain),
    )


def draw_figure_4(case: Case, rule: Criterion, test: ReplayTable) -> Figure:
    """Overall accuracy against the share that leaves at exit 1, everything else going to the last exit."""
    order = np.argsort(-test.scores[:, 0], kind="stable")
    assert test.correct is not None
    early, late = test.correct[order, 0].cumsum(), test.correct[order, -1]
    overall = (early + late.sum() - late.cumsum()) / len(order)
    share = np.arange(1, len(order) + 1) / len(order)
    own = rule.sign * test.scores[order, 0]
    drawn = slice(None, None, max(1, len(order) // 500))
    return Figure(
        f"branchynet-fig4-{case.name}",
        f"{case.name}: the first exit's threshold (BranchyNet, figure 4)",
        f"Samples in the order of their score ({rule.name}) at exit 1; those that do not leave there go to the last exit.",
        Axis("share leaving at exit 1, %", scale=0.01),
        Axis("overall accuracy, %", scale=0.01),
        (
            Line(share[drawn], overall[drawn], choose_exit_tone(1), "accuracy", thick=True),
            Line(
                share[drawn],
                (overall.min() + (overall.max() - overall.min()) * own / own.max())[drawn],
                BACKBONE,
                f"{rule.name} (scaled)",
                dashed=True,
            ),
        ),
    )


def measure(case: Case, plain_path: Path, screen: Sequence[float], arguments: argparse.Namespace) -> Found:
    """Time the case, replay it, choose thresholds and run one choice."""
    with tempfile.TemporaryDirectory() as scratch:
        runner = open_uncalibrated(case, Path(scratch), arguments.criterion)
        bare = open_uncalibrated(case, Path(scratch)) if runner.criterion.combine else runner
        plain = open_plain(runner, plain_path)
        costs = measure_costs(case, runner, plain, bare, arguments)
        calibration, test = (
            replay(runner, plain, load_data(d), costs["honest"]) for d in (case.calibration, case.test)
        )
        chosen = choose(calibration, test, runner.criterion, costs, screen)
        if arguments.criterion == "entropy":
            printed = read_printed_row(case.network)
            chosen["printed thresholds"] = make_row(test, runner.criterion, costs, printed.thresholds)
        runner.thresholds = chosen["above by its error"]["thresholds"]
        mixed = time_variants(
            {"plain": plain, "mixed": runner}, case.test_data(), seconds=arguments.seconds, repeats=arguments.repeats
        )
    gain = mixed["plain"].latency.mean_s / mixed["mixed"].latency.mean_s
    return Found(runner.criterion, costs, calibration, test, chosen, gain)


def choose(
    calibration: ReplayTable,
    test: ReplayTable,
    rule: Criterion,
    costs: Mapping[str, Any],
    screen: Sequence[float],
) -> dict[str, Any]:
    """Thresholds chosen on the calibration part in several ways, each evaluated on the test part."""
    rows = list(sweep(calibration, rule, costs, screen))
    knees = {
        "not below": find_knee(rows, "honest"),
        "above by its error": find_knee(rows, "honest", errors=1.0),
        "not below, paper's clock": find_knee(rows, "paper"),
    }
    chosen = {name: make_row(test, rule, costs, found["thresholds"]) for name, found in knees.items()}
    if exact := search_thresholds(calibration, rule):
        chosen["not below, exact search"] = make_row(test, rule, costs, exact)
    return chosen


def save(case: Case, found: Found, screen: Sequence[float], arguments: argparse.Namespace, before: DeviceState) -> None:
    """Record everything, with the figures drawn."""
    costs, calibration, test = found.costs, found.calibration, found.test
    test_rows = list(sweep(test, found.rule, costs, screen))
    body = {
        "costs_s": {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in costs.items()},
        "plain_accuracy": {
            "calibration": float(calibration.backbone_right.mean()),
            "test": float(test.backbone_right.mean()),
        },
        "exit_accuracy": {
            "calibration": compute_anytime_curve(calibration).accuracy.tolist(),
            "test": compute_anytime_curve(test).accuracy.tolist(),
        },
        "chosen": found.chosen,
        "mixed_gain_of_means": found.measured_gain,
        "printed": asdict(read_printed_row(case.network)),
        "sweep_on_test": test_rows,
        "pictures": save_pictures(
            HERE / "results" / find_device_key(),
            [
                draw_figure_3(case, found, test_rows),
                draw_figure_4(case, found.rule, test),
            ],
        ),
    }
    record("branchynet", case, arguments, body, before)


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--criterion", default="entropy", help="what decides: entropy as in the paper, running_mean, ..."
    )
    parser.set_defaults(thresholds=[])
    arguments = parser.parse_args()
    case, before = find_case(arguments.case), read_device_state()
    if case.plain is None:
        msg = f"case {case.name!r} has no plain network beside it"
        raise InputError(msg)
    printed, screen = read_printed_row(case.network), choose_screen(case, criterion(arguments.criterion))
    found = measure(case, case.plain, screen, arguments)
    note = (
        "Gain: plain network's time over the mean, paper / honest. The second row run as a mixture:"
        f" {units.ratio(found.measured_gain)} by means. "
        f"The paper prints {printed.gain_cpu} × on its CPU at {units.percent(printed.accuracy)}."
    )
    columns = (
        "chosen on calibration data",
        "thresholds",
        "test accuracy (over plain)",
        "time",
        "gain paper / honest",
        "leave",
    )
    print_table(f"{case.name}: Table I", columns, make_table_1(found.test, found.costs, found.chosen), note)
    save(case, found, screen, arguments, before)


if __name__ == "__main__":
    main()
