"""`edgeexit tune` beside three choices by hand, on the trained networks; and whether what it chooses holds on data never seen.

    python -m benchmarks tune measured [--cases lenet-mnist,...]      minutes a network, on a quiet machine
    python -m benchmarks tune splits [--cases lenet-mnist,...]        answers recorded once, then 100 random splits; needs no quiet machine

Cases whose record is there already are skipped, so that a run that was interrupted goes on; `--again` makes them anew.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeexit
from benchmarks.common import HERE, Case, find_case, print_table, record
from edgeexit.calibration import parse_target
from edgeexit.calibration.device import compute_relative_error, compute_round_mixes, make_cycling_call, time_variants
from edgeexit.calibration.uncertainty import FLOOR
from edgeexit.data import Dataset, load_data
from edgeexit.hardware import find_device_key, read_device_state
from edgeexit.measure.statistics import NORMAL_95
from edgeexit.runtime import CalibrationWarning, Runner, load_quietly
from edgeexit.tuning.answers import Judged, NetworkBuilder
from edgeexit.tuning.choice import Chooser, FoundPolicy
from edgeexit.tuning.confirm import MeasuredFinalist, pick_simplest
from edgeexit.tuning.finalists import list_by_hand, pick_by_hand, pick_contenders, search_contenders
from edgeexit.tuning.space import DecisionRule, EngineSetup, TuningSpace, find_rules
from edgeexit.tuning.store import RECORD, SetupTiming, TuningRecord, TuningStore
from edgeexit.tuning.timing import Stopwatch
from edgeexit.util.units import format_ratio, percent, points, ratio

BY_HAND = {
    "entropy float32": ("entropy", "float32"),
    "entropy int8": ("entropy", "int8"),
    "max_softmax float32": ("max_softmax", "float32"),
}
_CHOOSE = 0.8
_RANGES = 512


def read_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser("tune", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=("measured", "splits", "summary"), help="summary: only show the records")
    known = ",".join(sorted(p.parent.name for p in HERE.glob("models/*/model.onnx")))
    parser.add_argument("--cases", default=known, help="names between commas; by default all in benchmarks/models")
    parser.add_argument("--target", default="drop<=0.5")
    parser.add_argument("--samples", type=int, default=5000, help="of the calibration part that are tuned on")
    parser.add_argument("--test-samples", type=int, default=4000, help="of the test part")
    parser.add_argument(
        "--seconds",
        type=float,
        default=180.0,
        help="of each run of tune; and a twelfth of it for each variant compared at last",
    )
    parser.add_argument("--draws", type=int, default=100, help="random splits")
    parser.add_argument("--work", type=Path, default=Path("runs/tune"), help="folder for what is compiled and recorded")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="make records that are there anew")
    return parser.parse_args()


def main() -> None:
    """Run a part on each case that has no record yet, then show all records."""
    warnings.simplefilter("ignore", CalibrationWarning)
    arguments = read_arguments()
    for name in arguments.cases.split(","):
        case, arguments.output = find_case(name), _make_path(arguments.part, name, arguments.samples)
        if arguments.part == "summary" or (
            arguments.samples in _find_records(arguments.part, name) and not arguments.again
        ):
            continue
        before = read_device_state()
        part = measure_case if arguments.part == "measured" else resample_case
        body = part(case, arguments.work / name, arguments)
        record(f"tune-{arguments.part}", case, arguments, body, before)
    show_records(arguments.cases.split(","))


def _make_path(part: str, case: str, samples: int) -> Path:
    return HERE / "results" / find_device_key() / f"tune-{part}-{case}-{samples}.json"


def _find_records(part: str, case: str) -> dict[int, dict[str, Any]]:
    """Records of a case on this machine by the number of samples that chose; names without that number, as they once were, too."""
    found: dict[int, dict[str, Any]] = {}
    for path in sorted(_make_path(part, case, 0).parent.glob(f"tune-{part}-{case}*.json")):
        if re.fullmatch(rf"tune-{part}-{case}(-\d+)?", path.stem):
            document = json.loads(path.read_text(encoding="utf-8"))
            found[int(document["options"]["samples"])] = document
    return dict(sorted(found.items()))


def _load(name: str, count: int) -> Dataset:
    return load_data(name).take(slice(count))


# measured


def measure_case(case: Case, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Tune, choose by hand, and run all in turn on the test part."""
    shutil.rmtree(folder, ignore_errors=True)
    data, test = _load(case.calibration, arguments.samples), _load(case.test, arguments.test_samples)
    began = time.monotonic()
    tuned = edgeexit.tune(
        case.model,
        folder / "tuned.eexit",
        data.inputs,
        data.labels,
        target=arguments.target,
        seconds=arguments.seconds,
        seed=arguments.seed,
        name=data.name,
    )
    took_s = time.monotonic() - began
    with load_quietly(folder / "tuned.tune" / "own.eexit") as runner, runner.backbone() as backbone:
        plain = np.array([backbone(x).label for x in _split(data)])
    paths = {"tuned": folder / "tuned.eexit"}
    for name in BY_HAND:
        path = choose_by_hand(case, name, folder, data, plain=plain, arguments=arguments)
        paths |= {} if path is None else {name: path}
    return {
        "tune_s": took_s,
        "chosen": tuned.chosen,
        "contributions": tuned.contributions,
        "candidates": len(tuned.tried),
        "variants": compare(paths, folder / "tuned.tune" / "own.eexit", test, arguments),
    }


def _split(data: Dataset) -> list[Any]:
    return [data.take(slice(i, i + 1)).inputs for i in range(len(data))]


def choose_by_hand(
    case: Case, name: str, folder: Path, data: Dataset, *, plain: NDArray[np.int64], arguments: argparse.Namespace
) -> Path | None:
    """A choice compiled and calibrated on the same data, the drop counted from the float32 network; None where nothing meets the target."""
    criterion, precision = BY_HAND[name]
    path = folder / f"{name.replace(' ', '-')}.eexit"
    few = data.take(slice(_RANGES))
    edgeexit.compile(case.model, path, criterion=criterion, precision=precision, inputs=few.inputs, seconds=0)
    with load_quietly(path, mode="staged") as runner:
        try:
            edgeexit.calibrate(
                runner,
                data.inputs,
                data.labels,
                target=arguments.target,
                seed=arguments.seed,
                seconds=0.05 * arguments.seconds,
                plain=plain,
            )
        except edgeexit.TargetNotMet:
            return None
    bundle = edgeexit.Bundle.open(path)
    bundle.use(bundle.history[-1].name)  # active whatever its verdict, as those of tune are
    return path


def compare(paths: Mapping[str, Path], own: Path, test: Dataset, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every variant and the network without exits in turn, on the test part: mean over that of entropy-float32, and accuracies, paired."""
    assert test.labels is not None
    samples = _split(test)
    with ExitStack() as opened:
        runners = {name: opened.enter_context(_open(path)) for name, path in paths.items()}
        whole = opened.enter_context(load_quietly(own, mode="staged"))
        backbone = opened.enter_context(whole.backbone())
        answers = {name: [runner(x) for x in samples] for name, runner in runners.items()}
        plain = np.array([backbone(x).label for x in samples]) == test.labels
        calls: dict[str, Callable[[int], object]] = {n: make_cycling_call(r, samples) for n, r in runners.items()}
        calls["backbone"] = make_cycling_call(backbone, samples)
        timed = time_variants(calls, arguments.seconds / 24 * len(calls), arguments.seed, lambda *_: None)
    mixes = {}
    for name, given in answers.items():
        leaves = np.array([one.exit - 1 for one in given])
        mixes[name] = compute_round_mixes(timed[name], leaves, np.bincount(leaves) / len(leaves))
    first, beside = "entropy float32", timed["backbone"].block_means_s
    found: dict[str, Any] = {"backbone": {"mean_s": float(np.median(beside)), "accuracy": float(plain.mean())}}
    for name, given in answers.items():
        right = np.array([one.label for one in given]) == test.labels
        against = mixes[name] / mixes.get(first, beside)
        found[name] = {
            "mean_s": float(np.median(mixes[name])),
            "ratio_to_backbone": float(np.median(mixes[name] / beside)),
            "ratio_to_first": float(np.median(against)),
            "ratio_error": compute_relative_error(against),
            "accuracy": float(right.mean()),
            "drop": _compute_drop(plain, right),
        }
    return found


def _open(path: Path) -> Runner:
    """With the thresholds of its last calibration, active or not, and the settings that were chosen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return edgeexit.load(path) if path.name == "tuned.eexit" else edgeexit.load(path, mode="staged")


def _compute_drop(plain: NDArray[np.bool_], right: NDArray[np.bool_]) -> dict[str, float]:
    """Drop in percentage points with half of its 95 % interval, paired by sample."""
    lost = 100 * (plain.astype(np.float64) - right)
    return {"points": float(lost.mean()), "room": float(NORMAL_95 * lost.std() / len(lost) ** 0.5)}


# splits


def resample_case(case: Case, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Choose on random draws of all samples that the network was not trained on, and hold each choice against the rest."""
    pool = _join(load_data(case.calibration), load_data(case.test))
    judged, timings, rules = record_once(case, folder, pool, arguments)
    found: dict[str, list[dict[str, float]]] = {"tuned": [], "entropy, usual setup": []}
    by_setup = {timing.setup: timing for timing in timings}
    for draw in range(arguments.draws):
        order = np.random.default_rng([arguments.seed, draw]).permutation(len(pool))
        part, rest = order[: arguments.samples], order[arguments.samples :]
        cut = int(_CHOOSE * len(part))
        choose = judged.take(part[:cut]).fit()
        chooser = Chooser(parse_target(arguments.target), choose, len(part))
        every = chooser.find_all_without_room(timings, rules)
        counted = chooser.account_for_candidates(every, timings)
        usual = chooser.find(timings[0], DecisionRule("entropy"), tuple(range(1, len(timings[0].costs.cost_s))))
        tuned = choose_at_last(
            search_last(counted, every, timings),
            choose.share_temperatures(judged.take(part[cut:])),
            by_setup,
            np.random.default_rng([arguments.seed, draw, 1]),
        )
        for name, one in (("tuned", tuned), ("entropy, usual setup", usual)):
            if one.policy is not None:
                timing = by_setup[one.candidate.setup]
                held = hold_against(one, choose.share_temperatures(judged.take(rest)), timing)
                found[name].append({**held, "independent_candidates": counted.candidates})
        print(f"{case.name}: split {draw + 1} of {arguments.draws}", flush=True)
    limit = parse_target(arguments.target).bounds[0].limit
    costs = {str(t.setup): [float(c) for c in t.costs.typical_s] for t in timings}
    figures = {name: summarise(rows, limit) for name, rows in found.items()}
    return {"candidates": len(every), "costs_s": costs, "figures": figures, "splits": found}


def search_last(
    counted: Chooser, every: Sequence[FoundPolicy], timings: Sequence[SetupTiming]
) -> tuple[FoundPolicy, ...]:
    """The candidates that can be among the last: those that contend, and those made by hand; not all, which takes minutes a network."""
    contending = search_contenders(counted, every, timings)
    known = {one.candidate for one in contending}
    by_hand = list_by_hand(every, timings[0].setup) - known
    return (*contending, *(counted.find_again(one, timings) for one in every if one.candidate in by_hand))


def choose_at_last(
    found: Sequence[FoundPolicy],
    validate: Judged,
    by_setup: Mapping[EngineSetup, SetupTiming],
    rng: np.random.Generator,
) -> FoundPolicy:
    """As tune chooses among the last candidates: the close ones and those made by hand, each with a mean on the validation part that is
    off by what processes differ by.
    """
    reference = next(iter(by_setup))
    found = sorted(found, key=lambda one: one.key, reverse=True)
    last = list({one.candidate: one for one in (*pick_contenders(found), *pick_by_hand(found, reference))}.values())
    if not last:
        return found[0]
    measured = {}
    for place, one in enumerate(last):
        assert one.policy is not None
        timing = by_setup[one.candidate.setup]
        table = validate.build_table(one.candidate, timing.costs, timing.reference_s)
        ratio_s = (
            table.evaluate(one.policy.thresholds).mean_s / timing.reference_s * (1 + FLOOR * rng.standard_normal())
        )
        leaves = table.leaves_at(one.policy.thresholds)
        measured[place] = MeasuredFinalist(leaves, leaves, np.full(8, ratio_s), ratio_s * timing.reference_s)
    return last[pick_simplest(measured, [one.candidate for one in last], reference)]


def _join(one: Dataset, other: Dataset) -> Dataset:
    assert one.labels is not None
    assert other.labels is not None
    return Dataset("pool", np.concatenate([one.x, other.x]), np.concatenate([one.labels, other.labels]))


def record_once(
    case: Case, folder: Path, pool: Dataset, arguments: argparse.Namespace
) -> tuple[Judged, tuple[SetupTiming, ...], tuple[DecisionRule, ...]]:
    """Answers of every exit in float32 and int8, and the time of each, once; taken from the folder where they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    builder = NetworkBuilder(
        case.model, folder, pool, load_data(case.calibration).take(slice(_RANGES)), lambda *_: None
    )
    own = builder.prepare_own()
    network = builder.prepare(own, ("int8",))
    identity = TuningRecord(model=case.name, data=pool.sha256, seed=arguments.seed, device=find_device_key())
    begun = (folder / RECORD).exists()
    store = TuningStore.open(folder, identity) if begun else TuningStore.begin(folder, identity)
    reference = EngineSetup(network.own, "onnxruntime", "staged", 1)
    watch = Stopwatch.start(own, reference, pool, store, 2.0).with_bundles(network.bundles)
    timings = tuple(watch.find_or_time(EngineSetup(p, "onnxruntime", "staged", 1), 4.0) for p in network.bundles)
    answers = network.answers[network.own]
    rules, _ = find_rules(TuningSpace(), own_scores=answers.scores is not None, costs_known=answers.macs is not None)
    return Judged(network.answers, pool.labels, answers.labels), timings, rules


def hold_against(one: FoundPolicy, rest: Judged, timing: SetupTiming) -> dict[str, float]:
    """What was predicted of a choice, and what it does on the rest; the same costs in both."""
    assert one.policy is not None
    assert rest.labels is not None
    table = rest.build_table(one.candidate, timing.costs, timing.reference_s)
    outcome = table.evaluate(one.policy.thresholds)
    leaves = table.leaves_at(one.policy.thresholds)
    assert table.correct is not None
    right = table.correct[np.arange(len(leaves)), leaves]
    lost = _compute_drop(rest.reference == rest.labels, right)
    return {
        "predicted_s": one.policy.mean_s,
        "mean_s": outcome.mean_s,
        "predicted_accuracy": float(one.policy.accuracy or 0.0),
        "accuracy": float(outcome.accuracy or 0.0),
        "drop": lost["points"],
        "room": lost["room"],
    }


def summarise(rows: list[dict[str, float]], limit: float) -> dict[str, float]:
    """Shares of the splits on which the bound held, and how far means were from what was predicted."""
    if not rows:
        return {"splits": 0.0}
    get = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    error = get["mean_s"] / get["predicted_s"] - 1
    return {
        "splits": float(len(rows)),
        "held": float(np.mean(get["drop"] <= limit)),
        "held_within_interval": float(np.mean(get["drop"] - get["room"] <= limit)),
        "mean_drop": float(get["drop"].mean()),
        "mean_accuracy_lost_to_choice": float((get["predicted_accuracy"] - get["accuracy"]).mean()),
        "mean_error": float(error.mean()),
        "mean_within_3_percent": float(np.mean(np.abs(error) <= 0.03)),
        "mean_error_p95": float(np.quantile(np.abs(error), 0.95)),
    }


# records


def show_records(cases: list[str]) -> None:
    """Tables of all records of this machine, and the geometric mean over the cases."""
    measured: list[tuple[str, ...]] = []
    splits: list[tuple[str, ...]] = []
    gains: list[float] = []
    for name in cases:
        for found in _find_records("measured", name).values():
            measured += _list_measured(name, found)
            gains.append(1 / found["variants"]["tuned"]["ratio_to_first"])
        for samples, found in _find_records("splits", name).items():
            splits += _list_splits(name, samples, found["figures"])
    if measured:
        note = f"tuned over entropy float32, geometric mean of {len(gains)}: {format_ratio(np.exp(np.mean(np.log(gains))))} times as fast"
        columns = ("case", "variant", "mean over entropy float32", "accuracy", "drop, points", "tune took")
        print_table("Tuned and by hand, in turn on test data", columns, measured, note)
    if splits:
        names = (
            "case",
            "samples",
            "choice",
            "splits",
            "held",
            "held within its interval",
            "mean drop",
            "mean off",
            "mean within 3 %",
        )
        print_table("Chosen on random draws, held against the rest", names, splits)


def _list_measured(case: str, found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            case,
            name,
            f"{ratio(one['ratio_to_first'])} ± {percent(one['ratio_error'], 1)}",
            percent(one["accuracy"]),
            f"{one['drop']['points']:+.2f} ± {one['drop']['room']:.2f}",
            f"{found['tune_s']:.0f} s" if name == "tuned" else "",
        )
        for name, one in found["variants"].items()
        if name != "backbone"
    ]


def _list_splits(case: str, samples: int, figures: Mapping[str, Mapping[str, float]]) -> list[tuple[str, ...]]:
    return [
        (
            case,
            f"{samples:,}",
            name,
            f"{one['splits']:.0f}",
            percent(one["held"], 0),
            percent(one["held_within_interval"], 0),
            points(one["mean_drop"] / 100),
            percent(one["mean_error"]),
            percent(one["mean_within_3_percent"], 0),
        )
        for name, one in figures.items()
        if one["splits"]
    ]


if __name__ == "__main__":
    main()
