"""`edgeexit train`: a recipe carried out, its networks exported."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeexit.cli.common import CommandInterrupted, Json, emit, make_resume_command
from edgeexit.cli.data import DATA, NewClassNames, NewPreprocessing
from edgeexit.cli.factories import Checkpoint, FactoryOptions, make_data_record, parse_factory_options
from edgeexit.cli.progress import open_progress_display
from edgeexit.cli.training_data import OwnTraining
from edgeexit.cli.training_verdict import Verdict, list_places
from edgeexit.util import units

if TYPE_CHECKING:
    from edgeexit.adoption.result import ExitsOnDevice
    from edgeexit.data import TrainingParts
    from edgeexit.data.reference import DataRecord
    from edgeexit.training import TrainingResult


def train_command(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (lenet-digits, lenet-mnist, ...) or a .toml file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that the run is written to.")],
    preset: Annotated[
        str | None, typer.Option(help="Preset of the recipe, such as quick; several joined by commas.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of every phase instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed instead of the recipe's.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch; fixed, results repeat bit for bit.")
    ] = None,
    earlier: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Folder of an earlier run, whose phases are taken where they are the same as the recipe's."
        ),
    ] = None,
    plain: Annotated[
        Path | None,
        typer.Option(help="Plain network that is already trained: its weights (.pt), or the folder of an earlier run."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint in the output folder.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Download the recipe's data first if it is missing.")
    ] = False,
    write_data: Annotated[bool, typer.Option("--write-data", help="Also write calibration.npz and test.npz.")] = False,
    data: Annotated[
        str | None, typer.Option(help=f"Your own labelled data: {DATA} cifar10. [default: the recipe's]")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="Your own network, instead of the recipe's: file.py:factory or package.module:factory. The file is run."
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    option: FactoryOptions = None,
    preprocess: NewPreprocessing = None,
    classes: NewClassNames = None,
    target: Annotated[
        str | None,
        typer.Option(help="What to calibrate the trained network for before it is measured. [default: drop<=0.5]"),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET",
            help="Compile, calibrate and measure the trained network: a preset of bench, or none. "
            "[default: adopt where exits are added to a network, or a target is given; otherwise none]",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a multi-exit network, phase by phase as the recipe says.

    Writes model.onnx (every exit), plain.onnx (the same architecture trained without exits, where the recipe has such a phase), the
    weights of every phase (joint.pt, plain.pt, ...) and metrics.json.
    An interrupted run continues with --resume and gives the same result as an uninterrupted one.
    With recipe add-exits, early exits are added to your own classifier (--network, --checkpoint) and trained on your own data (--data).
    It ends with what they bring on this machine, beside the network without exits, and with exit code 1 where that is nothing.

    Example: edgeexit train lenet-digits -o runs/digits
    """
    from dataclasses import replace

    from edgeexit.data.named import fetch_set
    from edgeexit.training import load_recipe, train

    plan = load_recipe(recipe, preset=preset)
    plan = plan if seed is None else replace(plan, seed=seed)
    plan = plan if epochs is None else plan.with_epochs(epochs)
    own = OwnTraining(data, network, checkpoint, parse_factory_options(option))
    own.check(plan)
    verdict = Verdict.from_options(measure, target, plan)
    plan = plan if data is None else replace(plan, data=data)
    record = make_data_record(preprocess, classes)
    try:
        with open_progress_display() as progress:
            if download:
                fetch_set(plan.data, progress)
            module, parts, record = own.open(record, progress)
            trained = train(
                plan,
                out,
                resume=resume,
                earlier=earlier,
                plain=plain,
                network=own.make_source(plan, module, parts),
                parts=parts,
                threads=threads,
                progress=progress,
            )
            files = _export(trained, record, out) if trained.leads else []
            found = verdict.measure(trained, module, parts, out, progress) if trained.leads else None
    except KeyboardInterrupt:
        typer.echo(f"interrupted; the last finished epoch is kept. Go on with:\n  {make_resume_command()}", err=True)
        raise CommandInterrupted from None
    if not trained.leads:
        return
    if write_data:
        files += _write_data(plan.data, parts, out)
    document = {**trained.metrics, "files": [str(f) for f in files]}
    emit(document, lambda: _print(trained, files, found), as_json=as_json)
    if found is not None and not found.pays:
        raise typer.Exit(1)


def _export(trained: TrainingResult, record: DataRecord, out: Path) -> list[Path]:
    from edgeexit.data.fingerprint import KEY
    from edgeexit.exporter import ExportWarning, export

    known = {KEY: trained.fingerprint.as_text(), **record.as_metadata()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExportWarning)  # the plain network has one exit
        return [
            export(
                trained.networks[phase],
                trained.example,
                out / f"{role}.onnx",
                metadata=known | trained.metadata(phase),
                **_list_method(trained, phase),
            ).path
            for role, phase in trained.roles.items()
        ]


def _list_method(trained: TrainingResult, phase: str) -> dict[str, Any]:
    """Criterion and thresholds of the recipe's method, for a network with exits; edgeexit's default criterion needs no mention."""
    recipe: Mapping[str, Any] = trained.metrics["recipe"]
    named = recipe["criterion"] != "entropy" or recipe["thresholds"]
    if not named or "early_exit" not in trained.metrics["results"][phase]:
        return {}
    thresholds = recipe["thresholds"] or None
    return {
        "criterion": recipe["criterion"],
        "thresholds": thresholds[0] if thresholds is not None and len(thresholds) == 1 else thresholds,
    }


def _write_data(name: str, parts: TrainingParts | None, out: Path) -> list[Path]:
    from edgeexit.data import gather_samples, load_data, write_npz

    files = []
    for part in ("calibration", "test"):
        samples = load_data(f"{name}:{part}") if parts is None else gather_samples(parts.by_name[part])
        write_npz(out / f"{part}.npz", samples)
        files.append(out / f"{part}.npz")
    return files


def _print(trained: TrainingResult, files: list[Path], found: ExitsOnDevice | None) -> None:
    from edgeexit.cli.adoption_output import print_exits_on_device
    from edgeexit.cli.printing import print_list, print_tables, print_text
    from edgeexit.criteria import criterion
    from edgeexit.report.table import Table
    from edgeexit.report.tables import format_share_with_interval
    from edgeexit.util.units import percent

    results: dict[str, Any] = trained.metrics["results"]
    sizes = {part: int(about["samples"]) for part, about in trained.metrics["data"].items()}
    rows = [
        (
            name if i == 1 else "",
            str(i),
            format_share_with_interval(calibration, sizes["calibration"]),
            format_share_with_interval(test, sizes["test"]),
        )
        for name, result in results.items()
        for i, (calibration, test) in enumerate(
            zip(result["calibration_accuracy"], result["test_accuracy"], strict=True), 1
        )
    ]
    print_tables([Table("Accuracy", ("network", "exit", "calibration", "test"), tuple(rows))])
    for row in results.get(trained.roles.get("model", ""), {}).get("early_exit", [])[:1]:
        rates = ", ".join(f"exit {k} {percent(r, 1)}" for k, r in enumerate(row["exit_rates"], 1))
        rule = criterion(row["criterion"])
        print_text(
            f"Leaving early at {rule.name} {units.significant(row['threshold'], 3)} {rule.unit} (no loss on the calibration part): "
            f"{format_share_with_interval(row['accuracy'], sizes['test'])} on the test part; {rates}"
        )
    if collapse := _describe_last_collapse(trained):
        print_text(f"After the last epoch, {collapse}.")
    print_list(map(str, files), heading="Written:")
    if found is not None:
        print_exits_on_device(found, list_places(trained))


def _describe_last_collapse(trained: TrainingResult) -> str:
    from edgeexit.training.metrics import describe_collapse

    history = trained.metrics["history"].get(trained.roles.get("model", ""), [])
    return describe_collapse(history[-1]) if history else ""
