"""`edgeexit cascade`: separately trained classifiers as one network with exits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexit.cli.common import Json, emit, redirect_user_output
from edgeexit.cli.data import DATA, NewClassNames, NewPreprocessing
from edgeexit.cli.factories import make_data_record
from edgeexit.cli.progress import open_progress_display

if TYPE_CHECKING:
    from edgeexit.cascades import CascadeResult
    from edgeexit.report.table import Table


def cascade_command(
    classifiers: Annotated[
        list[Path], typer.Argument(help="ONNX files, cheapest first, of any tool: each gives logits or probabilities.")
    ],
    data: Annotated[
        str, typer.Option(help=f"Labelled samples that no classifier was trained on: {DATA} digits:calibration.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    alpha: Annotated[
        float | None,
        typer.Option(
            help="Price of running the whole cascade, as a share of right answers: at 0.1 it may cost as much as one error in ten."
            " [default: 0.1, or the nearest at which policies have something to decide]"
        ),
    ] = None,
    cost: Annotated[
        str, typer.Option(help="What running costs: latency (measured on this machine), macs, or parameters.")
    ] = "latency",
    answers: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Outputs with the answers, one per file, where several could be."),
    ] = None,
    share: Annotated[
        float, typer.Option(help="Share of the samples to fit policies on; the others are kept to calibrate on.")
    ] = 0.5,
    rest: Annotated[
        Path | None, typer.Option(help="Where the other samples go. [default: OUTPUT-rest.npz, beside the output]")
    ] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Neurons of a policy's two hidden layers.")] = 64,
    preprocess: NewPreprocessing = None,
    classes: NewClassNames = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split and of the policies.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Fit although a classifier was trained on samples of --data; it is said.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make one network with exits of separately trained classifiers, and fit policies that say when to stop.

    A sample runs through the classifiers, cheapest first, until a small network that reads a classifier's probabilities says to stop. The
    classifiers stay as they are: files of scikit-learn (skl2onnx), Keras, torch or any other tool; torch is not needed here.
    Compile, calibrate and measure the output like any other network.

    Example: edgeexit cascade small.onnx middle.onnx large.onnx --data samples.npz -o cascade.onnx
    """
    from edgeexit.cascades import CascadePlan, PolicySettings, make_cascade
    from edgeexit.util.documents import to_document

    plan = CascadePlan(
        alpha=alpha,
        cost=cost,
        share=share,
        outputs=tuple(answers.split(",")) if answers else (),
        force=force,
        policy=PolicySettings(hidden=hidden, seed=seed),
    )
    record = make_data_record(preprocess, classes)
    with open_progress_display() as progress, redirect_user_output():
        result = make_cascade(classifiers, data, output, plan, record=record, rest=rest, progress=progress)
    emit(to_document(result), lambda: _print(result), as_json=as_json)


def _print(result: CascadeResult) -> None:
    from edgeexit.cli.printing import format_command, print_command, print_list, print_result, print_tables, print_text
    from edgeexit.report.tables import format_share_with_interval
    from edgeexit.util import units

    print_tables([_make_table(result)])
    total = sum(c.cost for c in result.classifiers)
    right = format_share_with_interval(result.accuracy, result.checked_on)
    print_text(
        f"Policies were fitted on {result.fitted_on} samples at alpha {result.alpha:g}. Stopping at a probability of 0.5, {right} of"
        f" {result.checked_on} others are right, at {units.percent(result.cost / total, 1)} of the cost of the whole cascade."
    )
    print_list(result.notes)
    print_result(
        f"{result.path}: {units.format_count(len(result.classifiers), 'exit')}; other samples in {result.rest}"
    )
    bundle = str(Path(result.path).with_suffix(".eexit"))
    print_command(format_command("compile", result.path, "-o", bundle), label="Next: ")
    calibrate = format_command("calibrate", bundle, "--data", result.rest, "--target", "drop<=0.5")
    print_command(calibrate, label="Then: ")


def _make_table(result: CascadeResult) -> Table:
    from edgeexit.report.table import Table
    from edgeexit.report.tables import format_share_with_interval
    from edgeexit.util import units

    rows = tuple(
        (
            str(k),
            c.path,
            c.answers,
            format_share_with_interval(c.accuracy, result.checked_on),
            units.seconds(c.cost) if result.unit == "seconds" else f"{units.format_number(c.cost)} {result.unit}",
            units.percent(c.stopped, 1),
        )
        for k, c in enumerate(result.classifiers, 1)
    )
    return Table("Classifiers", ("", "file", "answers", "accuracy", "cost by itself", "samples that stop"), rows)
