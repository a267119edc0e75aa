"""The fastest mix of backends beside every single backend, on trained networks at one calibration.

    python -m benchmarks mixes [--cases lenet-mnist,alexnet-cifar10,resnet-cifar10] [--precision float32] [--seconds 10]

`compile --backend auto` measures and chooses (its comparison is recorded). Then every backend that is installed, staged and fused, and the
mix of the fastest backend of each stage, whether auto kept it or not, run the same trace of the test set in turn, with the thresholds of
one calibration; answers and exits are compared with those of the default backend. Ratios are paired by repeat, with 95 % intervals.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import edgeexit
from benchmarks.common import Case, calibrate_runner, find_case, print_table, record, time_variants
from edgeexit.backends import Settings, find_backend
from edgeexit.bundle import BackendComparison, Bundle
from edgeexit.choices import DEFAULT_BACKEND, MODES
from edgeexit.data import load_data
from edgeexit.hardware import read_device_state
from edgeexit.measure.statistics import ratio_interval
from edgeexit.runtime import CalibrationWarning, Runner
from edgeexit.runtime.loading import open_runner
from edgeexit.util.documents import to_document
from edgeexit.util.samples import split_samples
from edgeexit.util.units import fixed, percent

_RANGES = 512
_ANSWERS = 1000


def main() -> None:
    """Measure, print and record each case."""
    warnings.simplefilter("ignore", CalibrationWarning)
    parser = argparse.ArgumentParser("mixes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", default="lenet-mnist,alexnet-cifar10,resnet-cifar10", help="names between commas")
    parser.add_argument("--target", default="drop<=0.5")
    parser.add_argument("--precision", default="float32", help="one for all stages, or one for each: float32,2=int8")
    parser.add_argument("--seconds", type=float, default=10.0, help="of auto's unit of timing, and of each repeat")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    for name in arguments.cases.split(","):
        case, before = find_case(name), read_device_state()
        with tempfile.TemporaryDirectory() as scratch:
            body = measure_case(case, Path(scratch), arguments)
        arguments.output = None
        record(
            "mixes" if arguments.precision == "float32" else f"mixes-{arguments.precision}",
            case,
            arguments,
            body,
            before,
        )


def measure_case(case: Case, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What auto measured, and every form at one calibration."""
    data, test = load_data(case.calibration), load_data(case.test)
    few = data.take(slice(_RANGES))
    bundle = edgeexit.compile(
        case.model,
        folder / f"{case.name}.eexit",
        backend="auto",
        precision=arguments.precision,
        inputs=few.inputs,
        seconds=arguments.seconds,
    )
    [comparison] = bundle.manifest.backends.values()
    with edgeexit.load(bundle.path, backend=DEFAULT_BACKEND, mode="staged") as runner:
        calibrate_runner(runner, data, arguments.target)
        thresholds = runner.inner_thresholds
    with ExitStack() as opened:
        runners = _open_forms(bundle, comparison, opened)
        for runner in runners.values():
            runner.inner_thresholds = thresholds
        alike = _compare_answers(runners, split_samples(test.inputs)[:_ANSWERS])
        timed = time_variants(runners, test, seconds=arguments.seconds, repeats=arguments.repeats)
    means = {form: list(one.latency.process_typical_s) for form, one in timed.items()}
    usual = f"{DEFAULT_BACKEND} staged"
    ratios = {form: _compare(means[usual], values) for form, values in means.items()}
    _print(case, comparison, ratios, alike)
    return {
        "comparison": to_document(comparison),
        "thresholds": [str(t) for t in thresholds],
        "mean_s": means,
        "ratio_to_default_staged": ratios,
        "same_exit_and_label": alike,
    }


def _open_forms(bundle: Bundle, comparison: BackendComparison, opened: ExitStack) -> dict[str, Runner]:
    """Every backend of the comparison that runs every stage, in its modes, and the mix, by backend and mode."""
    alone = [name for name, stages_s in comparison.stages_s.items() if None not in stages_s]
    names = [*alone, *([comparison.mix] if comparison.mix else [])]
    precision = bundle.manifest.precision
    return {
        f"{name} {mode}": opened.enter_context(open_runner(bundle, Settings(name, mode, precision)))
        for name in names
        for mode in MODES
        if not find_backend(name).explain_unsupported(mode, bundle.manifest.exits)
    }


def _compare_answers(runners: dict[str, Runner], inputs: Sequence[Any]) -> dict[str, float]:
    """Share of the inputs that leave at the same exit with the same label as in the default backend, staged."""
    answers = {form: [(a.exit, a.label) for a in map(runner, inputs)] for form, runner in runners.items()}
    usual = answers[f"{DEFAULT_BACKEND} staged"]
    return {
        form: sum(a == b for a, b in zip(found, usual, strict=True)) / len(usual) for form, found in answers.items()
    }


def _compare(usual: list[float], values: list[float]) -> list[float]:
    """Ratio and the ends of its 95 % interval over the repeats."""
    found, interval = ratio_interval(usual, values, paired=True)
    return [found] if interval is None else [found, interval.low, interval.high]


def _print(case: Case, comparison: BackendComparison, ratios: dict[str, list[float]], alike: dict[str, float]) -> None:
    rows = [
        (form, fixed(found[0], 3), " to ".join(fixed(end, 3) for end in found[1:]), percent(alike[form], 2))
        for form, found in sorted(ratios.items(), key=lambda item: item[1][0])
    ]
    columns = ("backend and mode", f"mean, {DEFAULT_BACKEND} staged = 1", "95 % interval", "same exit and label")
    print_table(f"{case.name}: kept by auto: {comparison.chosen}", columns, rows)


if __name__ == "__main__":
    main()
