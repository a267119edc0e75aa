"""`edgeexit analyse`: what a perfect exit rule would gain, and where later exits hurt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexit.cli.common import BundlePath, Json, emit
from edgeexit.cli.data import DATA
from edgeexit.cli.options import PreparationOptions, RuntimeOptions
from edgeexit.cli.progress import open_progress_display, show_build_progress

if TYPE_CHECKING:
    from edgeexit.analysis import NetworkAnalysis
    from edgeexit.data import Dataset
    from edgeexit.runtime import Runner


def analyse_command(
    bundle: BundlePath,
    *,
    data: Annotated[str, typer.Option(help=f"Labelled data that every figure is of: {DATA} digits:test.")],
    choose_on: Annotated[
        str | None,
        typer.Option(
            "--choose-on",
            metavar="DATA",
            help="Other labelled data, on which thresholds are chosen. [default: half of --data, the other half for the figures]",
        ),
    ] = None,
    preparation: PreparationOptions,
    limit: Annotated[int | None, typer.Option(min=4, help="Use this many samples, the first ones.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the halves.", min=0)] = 0,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PAGE", help="Draw it on one self-contained page instead.")
    ] = None,
    runtime: RuntimeOptions,
    as_json: Json = False,
) -> None:
    """Say how much a perfect exit rule would gain, how much of it is reached, and where later exits hurt.

    Costs are multiply-accumulates, and seconds where the bundle has a calibration for this machine, whose thresholds are then looked at.

    Example: edgeexit analyse lenet.eexit --data digits:test --choose-on digits:calibration
    """
    from edgeexit.analysis import analyse_bundle
    from edgeexit.data import load_data

    info = preparation.read_info(bundle)
    samples = load_data(data, info, limit=limit, strict=True)
    chosen = None if choose_on is None else load_data(choose_on, info, limit=limit, strict=True)
    with _open_runner(bundle, runtime) as runner, open_progress_display() as progress:
        found = analyse_bundle(runner, samples, choose_on=chosen, seed=seed, progress=progress)
    if html is not None:
        _write_page(found, samples, html)
    emit(found.to_document(), lambda: _print(found, html), as_json=as_json)


def _open_runner(bundle: Path, runtime: RuntimeOptions) -> Runner:
    from edgeexit.runtime import load_quietly

    with show_build_progress():
        return load_quietly(bundle, **runtime.make_arguments())


def _write_page(found: NetworkAnalysis, samples: Dataset, page: Path) -> None:
    from edgeexit.report.analysis_page import write_analysis_page

    write_analysis_page(found, page, None if isinstance(samples.inputs, dict) else samples.inputs)


def _print(found: NetworkAnalysis, page: Path | None) -> None:
    from edgeexit.cli.printing import print_tables, print_text
    from edgeexit.report.analysis_tables import make_analysis_tables

    if page is not None:
        typer.echo(page)
        return
    print_text(
        f"{found.network}: {found.samples} samples of {found.used_on}, thresholds from {found.chosen_samples} of {found.chosen_on}"
    )
    print_text("")
    print_tables(make_analysis_tables(found))
    print_text(found.headroom[-1].describe())
