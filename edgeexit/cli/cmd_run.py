"""`edgeexit run`: classify data with a bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from edgeexit.cli.common import BundlePath, Json, Thresholds, emit, parse_numbers
from edgeexit.cli.data import DATA
from edgeexit.cli.kept import describe_thresholds
from edgeexit.cli.options import LoadOptions, PreparationOptions
from edgeexit.cli.progress import open_progress_display, show_build_progress

if TYPE_CHECKING:
    from edgeexit.cli.predictions import PredictedSamples
    from edgeexit.data import DataSource
    from edgeexit.runtime import Prediction, Runner

_SHOWN = 20
_FEWEST_COMPARED, _MOST_COMPARED = 20, 1000


_Data: TypeAlias = Annotated[str, typer.Option(help=f"{DATA} digits:test.")]
_Exit: TypeAlias = Annotated[int | None, typer.Option(help="Force every sample to this exit, from 1.")]
_Deadline: TypeAlias = Annotated[float | None, typer.Option(help="Best answer within this time, per sample.")]
_Limit: TypeAlias = Annotated[
    int | None, typer.Option(help="Number of samples to classify, the first ones. [default: all]", min=1)
]
_Output: TypeAlias = Annotated[
    Path | None, typer.Option("--output", "-o", help="File for the predictions: .csv or .json.")
]


@dataclass(frozen=True)
class _Policy:
    """Where samples leave: as calibrated, at thresholds given, at one exit, or in time.

    Attributes:
        thresholds: one per early exit, own units; None for the calibrated ones.
        exit: the exit that every sample is forced to, from 1; None for none.
        deadline_s: time for each sample; None for no limit.
    """

    thresholds: list[float] | None
    exit: int | None
    deadline_s: float | None

    @property
    def is_calibrated(self) -> bool:
        """Whether a calibration says who leaves where."""
        return self.thresholds is None and self.exit is None

    def classify(self, runner: Runner, x: Any) -> Prediction:
        """The answer for one sample [1, ...]."""
        return runner(x, deadline_s=self.deadline_s) if self.exit is None else runner.forced(x, exit=self.exit)


def run_command(
    bundle: BundlePath,
    data: _Data,
    *,
    preparation: PreparationOptions,
    thresholds: Thresholds = None,
    exit: _Exit = None,
    deadline_ms: _Deadline = None,
    limit: _Limit = None,
    loading: LoadOptions,
    output: _Output = None,
    as_json: Json = False,
) -> None:
    """Classify data with a bundle, one sample at a time, and say where each left.

    Pictures are prepared as the bundle records (size, mean and standard deviation, colour order), or as --preprocess says.

    Example: edgeexit run lenet.eexit --data digits:test --limit 10
    """
    from edgeexit.cli.predictions import check_predictions_file, make_predictions_document, save_predictions
    from edgeexit.data import open_data

    policy = _Policy(
        None if thresholds is None else parse_numbers("--thresholds", thresholds),
        exit,
        None if deadline_ms is None else deadline_ms / 1e3,
    )
    source = open_data(data, preparation.read_info(bundle))
    if output is not None:
        check_predictions_file(output)
    with _open_runner(bundle, policy, loading) as runner:
        answered = _classify_all(runner, policy, source, min(limit or source.count, source.count))
        document = make_predictions_document(runner, answered)
        emit(document, lambda: _print(runner, answered), as_json=as_json)
        if output is not None:
            save_predictions(document, output)


def _open_runner(bundle: Path, policy: _Policy, loading: LoadOptions) -> Runner:
    import warnings

    import edgeexit
    from edgeexit.runtime import CalibrationWarning

    with warnings.catch_warnings(), show_build_progress():
        if not policy.is_calibrated:
            warnings.simplefilter("ignore", CalibrationWarning)
        accepted = loading.accept_device and policy.is_calibrated
        runner = edgeexit.load(bundle, **replace(loading, accept_device=accepted).make_arguments())
        if policy.deadline_s is not None and policy.exit is None:
            runner.prepare_deadlines()
    return runner


def _classify_all(runner: Runner, policy: _Policy, source: DataSource, count: int) -> PredictedSamples:
    """The answers for the first `count` samples."""
    from edgeexit.cli.predictions import predict_samples

    if policy.thresholds is not None:
        runner.thresholds = policy.thresholds
    _warn_of_unlike_inputs(runner, source, count)
    with open_progress_display() as progress:
        return predict_samples(source, range(count), runner.classes, partial(policy.classify, runner), progress)


def _warn_of_unlike_inputs(runner: Runner, source: DataSource, count: int) -> None:
    """Arrays of another scale than the bundle records; pictures are prepared here, and a few samples show no statistics."""
    from edgeexit.calibration.plausibility import recorded_differences
    from edgeexit.cli.printing import print_warning

    if not source.pictures and count >= _FEWEST_COMPARED:
        for difference in recorded_differences(runner.bundle.manifest, source.read(0, min(count, _MOST_COMPARED))):
            print_warning(f"{source.name}: {difference}")


def _print(runner: Runner, answered: PredictedSamples) -> None:
    from edgeexit.cli.printing import print_result, print_tables, print_text
    from edgeexit.report.table import Table
    from edgeexit.report.tables import format_share_with_interval
    from edgeexit.util import units

    columns, rows = answered.table(_SHOWN)
    score = f"{runner.criterion.name} ({runner.criterion.unit})"
    print_tables([Table("", tuple(score if c == "score" else c for c in columns), rows)])
    if answered.count > _SHOWN:
        print_text(f"... and {answered.count - _SHOWN} more (--json lists all, --output FILE.csv writes them)")
    summary = answered.summary(runner.exits)
    shares = ", ".join(f"exit {k} {units.percent(r, 1)}" for k, r in enumerate(summary["exit_rates"], 1))
    print_result(
        f"{units.format_count(answered.count, 'sample')}, accuracy "
        f"{format_share_with_interval(summary['accuracy'], answered.count)}; {shares}"
    )
    print_text(f"Thresholds: {describe_thresholds(runner)}")
