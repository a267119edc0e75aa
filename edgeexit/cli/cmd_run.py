"""`edgeexit run`: classify data with a bundle."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeexit.cli.common import (
    Backend,
    BackendOptions,
    BundlePath,
    Json,
    Mode,
    Spin,
    Threads,
    Thresholds,
    emit,
    join_options,
    parse_numbers,
)
from edgeexit.cli.data import DATA, ClassNames, Preprocessing, read_bundle_info
from edgeexit.cli.kept import AcceptDevice, Verify, describe_thresholds
from edgeexit.cli.progress import open_progress_display, show_build_progress

if TYPE_CHECKING:
    from edgeexit.cli.predictions import PredictedSamples
    from edgeexit.data import DataSource
    from edgeexit.runtime import Prediction, Runner

_SHOWN = 20
_FEWEST_COMPARED, _MOST_COMPARED = 20, 1000


def run_command(
    bundle: BundlePath,
    data: Annotated[str, typer.Option(help=f"{DATA} digits:test.")],
    preprocess: Preprocessing = None,
    classes: ClassNames = None,
    thresholds: Thresholds = None,
    exit: Annotated[int | None, typer.Option(help="Force every sample to this exit, from 1.")] = None,
    deadline_ms: Annotated[float | None, typer.Option(help="Best answer within this time, per sample.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Number of samples to classify, the first ones. [default: all]", min=1)
    ] = None,
    mode: Mode = None,
    backend: Backend = "onnxruntime",
    threads: Threads = 1,
    spin: Spin = False,
    options: BackendOptions = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the predictions: .csv or .json.")
    ] = None,
    accept_device: AcceptDevice = False,
    verify: Verify = None,
    as_json: Json = False,
) -> None:
    """Classify data with a bundle, one sample at a time, and say where each left.

    Pictures are prepared as the bundle records (size, mean and standard deviation, colour order), or as --preprocess says.

    Example: edgeexit run lenet.eexit --data digits:test --limit 10
    """
    import warnings

    import edgeexit
    from edgeexit.cli.predictions import (
        PredictedSamples,
        check_predictions_file,
        make_predictions_document,
        save_predictions,
    )
    from edgeexit.data import open_data
    from edgeexit.runtime import CalibrationWarning

    own = None if thresholds is None else parse_numbers("--thresholds", thresholds)
    source = open_data(data, read_bundle_info(bundle, preprocess, classes))
    wanted = range(min(limit or source.count, source.count))
    if output is not None:
        check_predictions_file(output)
    with warnings.catch_warnings(), show_build_progress():
        if thresholds is not None or exit is not None:
            warnings.simplefilter("ignore", CalibrationWarning)  # then no calibration says who leaves where
        opened = edgeexit.load(
            bundle,
            mode=mode,
            backend=backend,
            threads=threads,
            spin=spin,
            options=join_options(options),
            accept_device=accept_device and thresholds is None and exit is None,
            verify=verify,
        )
        if deadline_ms is not None and exit is None:
            opened.prepare_deadlines()
    with opened as runner:
        if own is not None:
            runner.thresholds = own
        _warn_of_unlike_inputs(runner, source, len(wanted))
        classify = partial(_classify, runner, exit, deadline_ms)
        with open_progress_display() as progress:
            answered = PredictedSamples.of(source, wanted, runner.classes, classify, progress)
        document = make_predictions_document(runner, answered)
        emit(document, lambda: _print(runner, answered), as_json=as_json)
        if output is not None:
            save_predictions(document, output)


def _warn_of_unlike_inputs(runner: Runner, source: DataSource, count: int) -> None:
    """Arrays of another scale than the bundle records; pictures are prepared here, and a few samples show no statistics."""
    from edgeexit.calibration.plausibility import recorded_differences
    from edgeexit.cli.printing import print_warning

    if not source.pictures and count >= _FEWEST_COMPARED:
        for difference in recorded_differences(runner.bundle.manifest, source.read(0, min(count, _MOST_COMPARED))):
            print_warning(f"{source.name}: {difference}")


def _classify(runner: Runner, exit: int | None, deadline_ms: float | None, x: Any) -> Prediction:
    if exit is not None:
        return runner.forced(x, exit=exit)
    return runner(x, deadline_s=deadline_ms / 1e3 if deadline_ms is not None else None)


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
