"""`edgeexit demo`: the whole path on the shipped network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexit.cli.common import INTERRUPTED, Json, emit
from edgeexit.cli.printing import print_note
from edgeexit.cli.progress import open_progress_display
from edgeexit.util import units

if TYPE_CHECKING:
    from edgeexit.demo import DemoResult


_ABOUT_S = 40.0


def demo_command(
    target: Annotated[
        str | None, typer.Option(help="What to calibrate for. [default: mean<=0.6x, accuracy>=0.95]")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the bundle in this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Split, compile, calibrate and measure a shipped BranchyNet-LeNet on this machine. Base install only: no torch, no network.

    Ends with exit code 1 when the target is not met; on a machine too noisy to tell it is undecided, and the exit code is 0.

    Example: edgeexit demo --target "mean<=0.5x, agreement>=0.9"
    """
    from edgeexit.calibration.decision import NOT_MET
    from edgeexit.demo import TARGET, run_demo
    from edgeexit.util.documents import to_document

    print_note(f"compile, calibrate and measure: about {units.duration(_ABOUT_S)}, longer on a slow or busy machine.")
    with open_progress_display(_ABOUT_S) as progress:
        result = run_demo(target=target or TARGET, keep=keep, progress=progress)
    emit(to_document(result), lambda: _print(result, keep), as_json=as_json)
    if any(note.startswith("interrupted") for note in result.notes):
        raise typer.Exit(INTERRUPTED)
    if result.target_state == NOT_MET:
        raise typer.Exit(1)


def _print(result: DemoResult, keep: Path | None) -> None:
    from edgeexit.cli.printing import print_list, print_tables, print_text, print_verdict
    from edgeexit.report.table import Table
    from edgeexit.report.tables import format_share_with_interval

    rates = " · ".join(units.percent(r, 1) for r in result.exit_rates)
    rows = (
        (
            "accuracy",
            *(format_share_with_interval(a, result.samples) for a in (result.accuracy, result.backbone_accuracy)),
        ),
        ("drop", f"{units.fixed(result.drop_points, 2)} ± {units.fixed(result.drop_room_points, 2)} points", ""),
        ("mean latency", units.seconds(result.test_mean_s), units.seconds(result.backbone_mean_s)),
        ("p99 latency", units.seconds(result.test_p99_s), units.seconds(result.backbone_p99_s)),
        ("leave at exit 1, 2", rates, "all at 2"),
    )
    title = f"BranchyNet-LeNet on {result.samples} digits it has never seen, {result.device}"
    promise = (
        ("target", result.target),
        (
            "threshold",
            f"{', '.join(map(units.significant, result.thresholds))} {result.unit} ({result.criterion})",
        ),
        ("predicted mean", units.seconds(result.predicted_mean_s)),
        ("measured mean", units.seconds(result.measured_mean_s)),
        ("noise floor", units.percent(result.noise_floor, 1)),
    )
    print_tables(
        [
            Table(title, ("", "early exit", "backbone"), rows),
            Table("The promise of the calibration", ("", ""), promise),
        ]
    )
    print_list(result.notes, heading="What limits this measurement:", style="yellow")
    for statement in result.statements:
        print_verdict(*statement.split(": ", 1))
    print_list(result.advice)
    kept = "The bundle is in " + str(keep) if keep else "Keep the bundle with --output PATH; try another --target."
    print_text(kept)
    gain = f"early exit is {units.ratio(result.speedup)} as fast as the backbone in the mean"
    print_verdict(result.verdict, f"{gain} ({result.mode}, {result.backend}).")
