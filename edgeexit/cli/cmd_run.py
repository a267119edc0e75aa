"""`edgeexit run`: classify data with a bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeexit.cli.common import BackendOptions, Json, Spin, emit, numbers
from edgeexit.cli.progress import builds_shown, progress_bar

if TYPE_CHECKING:
    from edgeexit.data import Dataset
    from edgeexit.progress import Progress
    from edgeexit.runtime import Prediction, Runner


def run_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle made by edgeexit compile.")],
    data: Annotated[str, typer.Option(help=".npz (x, and y if known), image folder or named set such as digits:test.")],
    thresholds: Annotated[
        str | None, typer.Option(metavar="T1,T2,...", help="In the criterion's unit. [default: calibrated]")
    ] = None,
    exit: Annotated[int | None, typer.Option(help="Force every sample to this exit, from 1.")] = None,
    deadline_ms: Annotated[float | None, typer.Option(help="Best answer within this time, per sample.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many samples.", min=1)] = None,
    mode: Annotated[str | None, typer.Option(help="staged or fused. [default: the faster one here]")] = None,
    backend: Annotated[str, typer.Option(help="Backend.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(help="Worker threads.")] = 1,
    spin: Spin = False,
    options: BackendOptions = "",
    json: Json = False,
) -> None:
    """Classify data with a bundle, one sample at a time, and say where each left.

    Example: edgeexit run lenet.eexit --data digits:test --limit 10
    """
    import warnings

    import edgeexit
    from edgeexit.data import check_labels, load_data
    from edgeexit.runtime import CalibrationWarning

    samples = load_data(data)
    samples = samples.take(slice(limit)) if limit else samples
    with warnings.catch_warnings(), builds_shown():
        if thresholds is not None or exit is not None:
            warnings.simplefilter("ignore", CalibrationWarning)  # then no calibration says who leaves where
        opened = edgeexit.load(bundle, mode=mode, backend=backend, threads=threads, spin=spin, options=options)
        if deadline_ms is not None and exit is None:
            opened.prepare_deadlines()
    with opened as runner:
        if thresholds is not None:
            runner.thresholds = numbers("--thresholds", thresholds)
        with progress_bar() as progress:
            answers = _classify(runner, samples, exit, deadline_ms, progress)
        if samples.labels is not None:
            check_labels(samples, runner.classes)
        emit(_document(runner, samples, answers), lambda: _print(runner, samples, answers), as_json=json)


def _classify(
    runner: Runner, samples: Dataset, exit: int | None, deadline_ms: float | None, progress: Progress
) -> list[Prediction]:
    answers = []
    for i in range(len(samples)):
        x = samples.take(slice(i, i + 1)).inputs
        if exit is not None:
            answers.append(runner.forced(x, exit=exit))
        else:
            answers.append(runner(x, deadline_s=deadline_ms / 1e3 if deadline_ms is not None else None))
        if i % 64 == 0 or i + 1 == len(samples):
            progress("classifying", i + 1, len(samples))
    return answers


def _summary(runner: Runner, samples: Dataset, answers: Sequence[Prediction]) -> dict[str, Any]:
    rates = [sum(a.exit == k for a in answers) / len(answers) for k in range(1, runner.exits + 1)]
    right = (
        None if samples.labels is None else sum(int(a.label == y) for a, y in zip(answers, samples.labels, strict=True))
    )
    accuracy = None if right is None else right / len(answers)
    return {"samples": len(answers), "accuracy": accuracy, "exit_rates": rates, "late": sum(a.late for a in answers)}


def _document(runner: Runner, samples: Dataset, answers: Sequence[Prediction]) -> dict[str, Any]:
    from edgeexit.documents import to_document

    rows = [
        # logits that overflow have no score
        {"label": a.label, "exit": a.exit, "score": None if math.isnan(a.score) else a.score, "late": a.late}
        for a in answers
    ]
    summary = _summary(runner, samples, answers)
    document = {
        "schema": "edgeexit.run/1",
        "bundle": str(runner.bundle.path),
        "thresholds": runner.thresholds,
        **summary,
    }
    return dict(to_document({**document, "predictions": rows}))


def _print(runner: Runner, samples: Dataset, answers: Sequence[Prediction]) -> None:
    from rich.console import Console
    from rich.table import Table

    from edgeexit import units

    table = Table("sample", "label", "exit", f"{runner.criterion.name} ({runner.criterion.unit})", "true label")
    for i, a in enumerate(answers[:20]):
        true = "" if samples.labels is None else str(samples.labels[i])
        table.add_row(str(i), str(a.label), str(a.exit), f"{a.score:.4g}", true)
    Console().print(table)
    if len(answers) > 20:
        typer.echo(f"... and {len(answers) - 20} more (--json lists all)")
    summary = _summary(runner, samples, answers)
    shares = ", ".join(f"exit {k} {units.percent(r, 1)}" for k, r in enumerate(summary["exit_rates"], 1))
    typer.echo(f"{len(answers)} samples, accuracy {units.percent(summary['accuracy'])}; {shares}")
