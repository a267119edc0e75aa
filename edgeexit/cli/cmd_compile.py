"""`edgeexit compile`: a multi-exit ONNX model into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeexit.cli.common import BackendOptions, Json, emit
from edgeexit.cli.progress import progress_bar

if TYPE_CHECKING:
    from edgeexit.bundle import Bundle


def compile_command(
    model: Annotated[Path, typer.Argument(help="ONNX model whose outputs include every exit's logits.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Bundle to write. [default: MODEL.eexit]")
    ] = None,
    criterion: Annotated[
        str,
        typer.Option(help="entropy, normalized_entropy, max_softmax, margin, learned, running_mean or patience."),
    ] = "entropy",
    exits: Annotated[
        str | None, typer.Option(metavar="Z1,Z2,...", help="Logits outputs in order. [default: found]")
    ] = None,
    scores: Annotated[str | None, typer.Option(metavar="H1,H2,...", help="Own score outputs, for learned.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Real inputs to verify with: .npz, image folder or named set.")
    ] = None,
    backend: Annotated[str, typer.Option(help="Backend to verify and time with.")] = "onnxruntime",
    precision: Annotated[
        str | None, typer.Option(help="float32, float16, or int8 with ranges from --data. [default: the model's own]")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads for the timing.")] = 1,
    options: BackendOptions = "",
    seconds: Annotated[float, typer.Option(help="Time for comparing both forms; 0 skips it.", min=0)] = 2.0,
    json: Json = False,
) -> None:
    """Split a multi-exit network at its exits and compile it into a bundle.

    Example: edgeexit compile lenet.onnx -o lenet.eexit --criterion entropy
    """
    from edgeexit.compiler import compile_model
    from edgeexit.data import load_data

    with progress_bar() as progress:
        bundle = compile_model(
            model,
            output or model.with_suffix(".eexit"),
            criterion=criterion,
            exits=_names(exits),
            scores=_names(scores),
            backend=backend,
            precision=precision,
            threads=threads,
            options=options,
            inputs=load_data(data).inputs if data else None,
            seconds=seconds,
            progress=progress,
        )
    emit(_document(bundle), lambda: _print(bundle), as_json=json)


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] if text is not None else None


def _document(bundle: Bundle) -> dict[str, Any]:
    from edgeexit.documents import to_document

    return {"schema": "edgeexit.compiled/1", "bundle": str(bundle.path), "manifest": to_document(bundle.manifest)}


def _print(bundle: Bundle) -> None:
    from edgeexit import units
    from edgeexit.report.doubts import doubts

    manifest = bundle.manifest
    typer.echo(f"{bundle.path}: {manifest.exits} exits, {manifest.classes} classes, criterion {manifest.criterion}")
    for stage in manifest.stages:
        crosses = sum(t.bytes_at_1 for t in stage.boundaries_out)
        typer.echo(
            f"  stage {stage.exit}  {units.count(stage.macs)} MAC  {units.count(stage.parameters)} parameters"
            + (f"  hands on {units.bytes_(crosses)}" if crosses else "")
        )
    checked = manifest.verified
    worst = max(checked.staged_error, checked.fused_error)
    typer.echo(
        f"  verified on {checked.random_inputs + checked.given_inputs} inputs: largest difference {worst:.1e} of the logits"
    )
    for remark in checked.remarks(manifest.precision):
        typer.echo(f"  {remark}")
    for timing in manifest.timings.values():
        shown = " / ".join(units.seconds(t) for t in getattr(timing, f"{timing.faster}_s"))
        typer.echo(f"  {timing.faster} is faster here: {shown} to leave at each exit")
    for doubt in (*checked.warnings(manifest.precision), *doubts(manifest)):
        typer.echo(f"  warning: {doubt}")
    typer.echo(f"Next: edgeexit calibrate {bundle.path} --data DATA --target 'mean<=0.6x, drop<=0.5'")
