"""`edgeexit compile`: a multi-exit ONNX model into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from edgeexit.cli.common import Backend, BackendOptions, Json, Threads, emit, join_options
from edgeexit.cli.data import NewClassNames, NewPreprocessing, read_file_info
from edgeexit.cli.kept import list_calibration_names, print_dropped
from edgeexit.cli.progress import open_progress_display

if TYPE_CHECKING:
    from edgeexit.bundle import Bundle
    from edgeexit.report.table import Table


_Model: TypeAlias = Annotated[Path, typer.Argument(help="ONNX model whose outputs include every exit's logits.")]
_Output: TypeAlias = Annotated[
    Path | None, typer.Option("--output", "-o", help="Bundle to write. [default: MODEL.eexit]")
]
_Criterion: TypeAlias = Annotated[
    str | None,
    typer.Option(help="When an input leaves at an exit with threshold T. [default: the model's own, else entropy]"),
]
_Fallback: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="What answers an input for which no early exit is confident: last or most_confident. "
        "[default: what the model names, else last]"
    ),
]
_Exits: TypeAlias = Annotated[
    str | None, typer.Option(metavar="Z1,Z2,...", help="Logits outputs in order. [default: found]")
]
_Scores: TypeAlias = Annotated[
    str | None, typer.Option(metavar="H1,H2,...", help="Score outputs of the exits, for criterion learned.")
]
_Data: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Real inputs to verify with: .npz or .npy, image folder or named set. Their statistics, and with labels the accuracy of"
        " the last exit, are recorded."
    ),
]
_Temperatures: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="fit|T1,T2,...",
        help="What each exit's logits are divided by before the criterion takes them; fit takes labelled --data.",
    ),
]
_Precision: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Precision of the engines, or of single stages (float32,2=int8) and of early heads (int8,heads=float32); int8 takes its"
        " ranges from --data. [default: the model's own]"
    ),
]
_Seconds: TypeAlias = Annotated[
    float | None, typer.Option(help="Time for timing both modes; 0 skips it. [default: 2]", min=0)
]


def compile_command(
    model: _Model,
    output: _Output = None,
    criterion: _Criterion = None,
    fallback: _Fallback = None,
    exits: _Exits = None,
    scores: _Scores = None,
    temperatures: _Temperatures = None,
    data: _Data = None,
    preprocess: NewPreprocessing = None,
    classes: NewClassNames = None,
    backend: Backend = "onnxruntime",
    precision: _Precision = None,
    threads: Threads = 1,
    options: BackendOptions = None,
    seconds: _Seconds = None,
    as_json: Json = False,
) -> None:
    """Split a multi-exit network at its exits and compile it into a bundle.

    Example: edgeexit compile lenet.onnx -o lenet.eexit --criterion entropy
    """
    from edgeexit.compiler.compilation import compile_model
    from edgeexit.compiler.mode_timing import SECONDS
    from edgeexit.data import load_data

    samples = load_data(data, read_file_info(model, preprocess, classes), strict=True) if data else None
    names = classes or (samples.class_names if samples is not None and samples.class_names else None)
    folder = output or model.with_suffix(".eexit")
    before = list_calibration_names(folder)
    with open_progress_display() as progress:
        bundle = compile_model(
            model,
            folder,
            criterion=criterion,
            fallback=fallback,
            exits=_parse_names(exits),
            scores=_parse_names(scores),
            temperatures=temperatures,
            backend=backend,
            precision=precision,
            threads=threads,
            options=join_options(options),
            inputs=None if samples is None else samples.inputs,
            labels=None if samples is None else samples.labels,
            data_name="inputs" if samples is None else samples.name,
            preprocess=preprocess,
            class_names=names,
            seconds=SECONDS if seconds is None else seconds,
            progress=progress,
        )
    print_dropped(before, bundle)
    emit(_make_document(bundle), lambda: _print(bundle), as_json=as_json)


def _parse_names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] if text is not None else None


def _make_document(bundle: Bundle) -> dict[str, Any]:
    from edgeexit.util.documents import to_document

    return {"schema": "edgeexit.compiled/1", "bundle": str(bundle.path), "manifest": to_document(bundle.manifest)}


def _print(bundle: Bundle) -> None:
    """Print the split, its agreement with the original, its times, and the next commands."""
    from edgeexit.cli.printing import format_command, print_command, print_list, print_result, print_tables, print_text
    from edgeexit.fallbacks import FALLBACKS, LAST
    from edgeexit.report.bundle_facts import format_data_lines
    from edgeexit.report.bundle_tables import make_backend_table
    from edgeexit.report.doubts import find_unprofitable_exits
    from edgeexit.util import units

    manifest, checked = bundle.manifest, bundle.manifest.verified
    sizes = f"{units.format_count(manifest.exits, 'exit')}, {units.format_count(manifest.classes, 'class', 'classes')}"
    print_result(f"{bundle.path}: {sizes}, criterion {manifest.criterion}")
    if manifest.fallback != LAST:
        print_text(f"An input that leaves at no early exit is answered by {FALLBACKS[manifest.fallback].answered_by}.")
    if manifest.thresholds:
        own = ", ".join(map(units.significant, manifest.thresholds))
        print_text(f"Without a calibration an input leaves at the thresholds that the model came with: {own}.")
    if manifest.temperatures:
        hot = ", ".join(map(units.significant, manifest.temperatures))
        print_text(f"Logits are divided by temperatures before the criterion takes them: {hot}.")
    print_tables([_make_stages_table(bundle), *map(make_backend_table, manifest.backends.values())])
    worst = max(checked.staged_error, checked.fused_error)
    inputs = units.format_count(checked.random_inputs + checked.given_inputs, "input")
    print_text(f"Verified on {inputs}: largest difference {units.scientific(worst)} of the largest logit.")
    print_list(checked.remarks(manifest.precision))
    for line in format_data_lines(manifest.preprocess, manifest.class_names, manifest.reference):
        print_text(f"{line[0].upper()}{line[1:]}.")
    print_list(
        (*checked.warnings(manifest.precision), *find_unprofitable_exits(manifest)), heading="Warnings:", style="yellow"
    )
    print_command(
        format_command("calibrate", bundle.path, "--data", "DATA", "--target", "mean<=0.6x, agreement>=0.9"),
        label="Next: ",
    )


def _make_stages_table(bundle: Bundle) -> Table:
    """One row an exit; times where they were measured, of the mode that is faster here."""
    from edgeexit.report.names import format_exit_title
    from edgeexit.report.table import Table
    from edgeexit.util import units

    manifest = bundle.manifest
    timing = next(iter(manifest.timings.values()), None)
    times = [""] * manifest.exits if timing is None else map(units.seconds, getattr(timing, f"{timing.faster}_s"))
    rows = tuple(
        (
            format_exit_title(stage.exit, stage.name, stage.output),
            units.format_number(stage.macs),
            units.format_number(stage.parameters),
            units.bytes_(sum(t.bytes_at_1 for t in stage.boundaries_out)) if stage.boundaries_out else "–",
            time,
        )
        for stage, time in zip(manifest.stages, times, strict=True)
    )
    mode = "" if timing is None else f" ({timing.faster})"
    return Table("Stages", ("exit", "MACs", "parameters", "boundary tensors", f"time to leave here{mode}"), rows)
