"""Every precision beside float32: time of leaving at each exit, interleaved in one process, and accuracy of each exit on the test set.

python -m benchmarks precisions --case resnet-cifar10 [--precisions float32,float16,int8] [--seconds 6]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import edgeexit
from benchmarks.common import Case, find_case, make_parser, print_table, record
from edgeexit.backends import Settings
from edgeexit.bundle import Bundle
from edgeexit.data import Dataset, load_data
from edgeexit.hardware import read_device_state
from edgeexit.measure.statistics import NORMAL_95
from edgeexit.measure.timing import TimedSamples, time_interleaved
from edgeexit.runtime import Runner
from edgeexit.runtime.loading import open_runner
from edgeexit.util.samples import split_samples
from edgeexit.util.units import percent, ratio
from edgeexit.util.units import seconds as as_time

_RANGE_SAMPLES = 512
_TIMED = 64


def main() -> None:
    """Compile, time, classify, print, record."""
    parser = make_parser(__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--precisions", default="float32,float16,int8", help="names; the first is what is compared with"
    )
    parser.add_argument("--mode", default="staged", help="staged or fused")
    arguments = parser.parse_args()
    case, names = find_case(arguments.case), arguments.precisions.split(",")
    before = read_device_state()
    with tempfile.TemporaryDirectory() as folder:
        bundles = {name: compile_case(case, name, Path(folder)) for name in names}
        found = measure(bundles, case.test_data(), arguments.mode, arguments.seconds)
    _print(case, found)
    record("precisions", case, arguments, {"precisions": found}, before)


def compile_case(case: Case, precision: str, folder: Path) -> Bundle:
    """The case in a precision; int8 takes its ranges from calibration data."""
    inputs = load_data(case.calibration).take(slice(_RANGE_SAMPLES)).inputs
    return edgeexit.compile(case.model, folder / f"{precision}.eexit", precision=precision, inputs=inputs, seconds=0)


def measure(bundles: Mapping[str, Bundle], test: Dataset, mode: str, seconds: float) -> dict[str, Any]:
    """Per precision: median seconds of each exit, its ratio to the first precision by pairs of blocks, accuracies, file sizes."""
    samples = split_samples(test.take(slice(_TIMED)).inputs)
    with ExitStack() as opened:
        runners = {
            name: opened.enter_context(open_runner(bundle, Settings(mode=mode, precision=bundle.manifest.precision)))
            for name, bundle in bundles.items()
        }
        calls: dict[str, Callable[[int], object]] = {
            f"{name} {k}": partial(_leave, runner, samples, k)
            for name, runner in runners.items()
            for k in range(1, runner.exits + 1)
        }
        timed = time_interleaved(calls, seconds=seconds)
        right = {name: _find_right(runner, test) for name, runner in runners.items()}
    first = next(iter(bundles))
    return {
        name: {
            "bytes": sum(entry.bytes for entry in bundle.manifest.files.values()),
            "exits": [
                {
                    "median_s": timed[f"{name} {k}"].median_s,
                    "ratio": _compute_ratio(timed[f"{name} {k}"], timed[f"{first} {k}"]),
                    "accuracy": float(right[name][:, k - 1].mean()),
                    "change": _compute_change(right[name][:, k - 1], right[first][:, k - 1]),
                }
                for k in range(1, bundle.manifest.exits + 1)
            ],
        }
        for name, bundle in bundles.items()
    }


def _leave(runner: Runner, samples: list[Any], exit: int, i: int) -> object:
    return runner.forced(samples[i % len(samples)], exit=exit)


def _find_right(runner: Runner, test: Dataset) -> np.ndarray:
    """Whether each exit is right on each sample, [n, N]."""
    assert test.labels is not None
    _, logits = runner.replay(test.inputs)
    return np.asarray(logits.argmax(axis=-1) == test.labels[:, None])


def _compute_ratio(one: TimedSamples, other: TimedSamples) -> float:
    return float(np.median(one.block_medians_s / other.block_medians_s))


def _compute_change(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Difference of the accuracies with half of its 95 % interval, paired by sample."""
    differences = one.astype(np.float64) - other
    return {"mean": float(differences.mean()), "room": float(NORMAL_95 * differences.std() / len(differences) ** 0.5)}


def _print(case: Case, found: Mapping[str, Any]) -> None:
    rows = [
        (
            name,
            str(k),
            as_time(e["median_s"]),
            ratio(e["ratio"]),
            percent(e["accuracy"]),
            f"{100 * e['change']['mean']:+.2f} ± {100 * e['change']['room']:.2f}",
        )
        for name, one in found.items()
        for k, e in enumerate(one["exits"], 1)
    ]
    columns = ("precision", "exit", "median", "beside the first", "accuracy", "change, points")
    print_table(f"{case.name}: precisions side by side", columns, rows)


if __name__ == "__main__":
    main()
