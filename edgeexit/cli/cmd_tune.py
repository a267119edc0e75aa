"""`edgeexit tune`: the whole policy chosen on this device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer

from edgeexit.cli.common import CommandInterrupted, Json, emit, make_resume_command
from edgeexit.cli.data import DATA, NewClassNames, NewPreprocessing, read_file_info
from edgeexit.cli.progress import open_progress_display

T = TypeVar("T")

_Model: TypeAlias = Annotated[Path, typer.Argument(help="ONNX model whose outputs include every exit's logits.")]
_Names: TypeAlias = str | None


def tune_command(
    model: _Model,
    *,
    data: Annotated[str, typer.Option(help=f"Samples that the network was not trained on: {DATA} mnist:calibration.")],
    target: Annotated[
        str,
        typer.Option(
            help="Bounds separated by commas, as of edgeexit calibrate. Multiples (mean<=0.6x) and drop are of the network as it is given."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Bundle to write. [default: MODEL.eexit]")
    ] = None,
    preprocess: NewPreprocessing = None,
    classes: NewClassNames = None,
    backends: Annotated[_Names, typer.Option(help="Backends to try. [default: all that are installed]")] = None,
    precisions: Annotated[
        _Names,
        typer.Option(help="Precisions to try. [default: float32, int8, and float16 where a backend computes in it]"),
    ] = None,
    modes: Annotated[_Names, typer.Option(help="Modes to try. [default: staged, fused]")] = None,
    threads: Annotated[_Names, typer.Option(help="Numbers of worker threads to try. [default: 1 and all CPUs]")] = None,
    criteria: Annotated[_Names, typer.Option(help="Exit criteria to try. [default: all that apply]")] = None,
    temperatures: Annotated[
        _Names, typer.Option(help="Temperatures of exits' logits to try: none, fitted. [default: both]")
    ] = None,
    mixed: Annotated[
        bool,
        typer.Option(
            "--mixed/--no-mixed",
            help="Also try a backend and a precision for each stage, where times of single stages speak for it.",
        ),
    ] = True,
    budget: Annotated[
        str,
        typer.Option(
            help="Wall time of the whole run, such as 90s or 10m. Timing gets what compiling, running the data and searching leave, and a "
            "fifth of it at least: where the others take longer, the run ends later, and says so before it times the setups."
        ),
    ] = "3m",
    seed: Annotated[int, typer.Option(min=0, help="Seed of splits and order.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Tune although the data checks fail.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take what an interrupted run has recorded and timed.")
    ] = False,
    from_tune: Annotated[
        Path | None,
        typer.Option(
            help="Choose from what an earlier run (its folder NAME.tune) recorded and timed: nothing is measured."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose precision, backend, mode, threads, exits, criterion and thresholds for a target, by measurement on this device.

    Everything is compared with the network as it is given, without exits. Writes the simplest of the fastest, calibrated;
    edgeexit run, bench and load open it with the settings that were chosen. Ends with exit code 1 where a bound is not met.

    Example: edgeexit tune lenet.onnx --data mnist:calibration --target "drop<=0.5" -o best.eexit
    """
    from edgeexit.calibration.decision import NOT_MET
    from edgeexit.cli.tuning_output import print_tuning
    from edgeexit.data import load_data
    from edgeexit.tuning import TuningSpace, tune
    from edgeexit.tuning.page import PAGE, write_tuning_page
    from edgeexit.util.documents import to_document

    space = TuningSpace(
        _split(backends, str),
        _split(precisions, str),
        _split(modes, str),
        _split(threads, _parse_threads),
        _split(criteria, str),
        _split(temperatures, str),
        mixed,
    )
    bundle = output or model.with_suffix(".eexit")
    page = bundle.with_name(f"{bundle.name.removesuffix('.eexit')}.tune") / PAGE
    samples = load_data(data, read_file_info(model, preprocess, classes), strict=True)
    try:
        with open_progress_display() as progress:
            result = tune(
                model,
                bundle,
                samples.inputs,
                samples.labels,
                target=target,
                space=space,
                seconds=parse_duration(budget),
                seed=seed,
                name=samples.name,
                resume=resume,
                from_tune=from_tune,
                force=force,
                progress=progress,
            )
    except KeyboardInterrupt:
        typer.echo(f"interrupted; what was recorded is kept. Go on with:\n  {make_resume_command()}", err=True)
        raise CommandInterrupted from None
    write_tuning_page(result, page)
    emit(to_document(result), lambda: print_tuning(result, page), as_json=as_json)
    if result.state == NOT_MET:
        raise typer.Exit(1)


def _split(text: str | None, convert: Callable[[str], T]) -> tuple[T, ...] | None:
    """The values of a list with commas; None where there is none."""
    return None if text is None else tuple(convert(part.strip()) for part in text.split(",") if part.strip())


def _parse_threads(text: str) -> int:
    from edgeexit.errors import InputError

    if not text.isdecimal() or int(text) < 1:
        msg = f"--threads takes whole numbers from 1 on, joined by commas, such as 1,4; not {text!r}."
        raise InputError(msg)
    return int(text)


_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds of a text such as `90s`, `10m` or `1h`; a plain number is in seconds.

    Raises:
        InputError: something else.
    """
    from edgeexit.errors import InputError

    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text.strip()[len(number) :].strip()
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        msg = f"{text!r} is no length of time; write 90s, 10m or 1h."
        raise InputError(msg) from None
    if not 0 < seconds < float("inf"):
        msg = f"{text!r} is no length of time; write 90s, 10m or 1h."
        raise InputError(msg)
    return seconds
