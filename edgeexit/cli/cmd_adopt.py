"""`edgeexit adopt`: early exits for a classifier that has none, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexit.cli.common import CommandInterrupted, Json, emit, make_resume_command, redirect_user_output
from edgeexit.cli.data import DATA, NewClassNames, NewPreprocessing
from edgeexit.cli.factories import Checkpoint, FactoryOptions, make_data_record, parse_factory_options
from edgeexit.cli.progress import open_progress_display
from edgeexit.cli.training_data import find_preprocess, open_parts


def adopt_command(
    network: Annotated[
        str,
        typer.Argument(
            help="What makes the classifier: file.py:factory, package.module:factory, or a network of edgeexit."
        ),
    ],
    data: Annotated[str, typer.Option(help=f"Labelled {DATA} cifar10. Parts are taken as it has them, or split off.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that everything is written to.")],
    checkpoint: Checkpoint = None,
    target: Annotated[
        str, typer.Option(help="What to calibrate for, such as drop<=0.5: at most half a point of accuracy less.")
    ] = "drop<=0.5",
    after: Annotated[
        str | None,
        typer.Option(metavar="PART,...", help="Parts after which exits stand. [default: searched on this machine]"),
    ] = None,
    exits: Annotated[int, typer.Option(min=1, max=8, help="Most exits that the search adds.")] = 2,
    head: Annotated[
        str,
        typer.Option(help="Head of the exits: pool, bnpool, conv, reduce, first, last, mean, fc; auto tries several."),
    ] = "auto",
    criterion: Annotated[str, typer.Option(help="Exit criterion.")] = "entropy",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the heads' training. [default: 30; with --fine-tune 15]")
    ] = None,
    loss: Annotated[
        str, typer.Option(help="What the heads learn from: labels, the network's own answers (distillation), or both.")
    ] = "both",
    fine_tune: Annotated[
        bool,
        typer.Option(
            "--fine-tune", help="Train the network too. Its own answers change, and every epoch runs all of it."
        ),
    ] = False,
    preset: Annotated[str, typer.Option(help="How long the measurement takes.")] = "adopt",
    preprocess: NewPreprocessing = None,
    classes: NewClassNames = None,
    option: FactoryOptions = None,
    read: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:FUNCTION", help="Function that takes the logits out of what forward returns."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in the output folder.")] = False,
    as_json: Json = False,
) -> None:
    """Add early exits to a trained classifier that has none: places, heads, export, compile, calibrate, measure.

    The network keeps its weights and its own answers. Exits are put where they pay on this machine, their heads are trained from features
    that are computed once, and early exit is measured beside the network without exits, in turn. Ends with exit code 1 where it brings
    nothing. The network's file is run, as Python runs any module that it imports.

    Example: edgeexit adopt net.py:make --checkpoint net.pt --data cifar10 --target "drop<=0.5" -o runs/net
    """
    from edgeexit.adoption import AdoptionPlan, adopt_exits
    from edgeexit.calibration import parse_target
    from edgeexit.cli.adoption_output import print_adoption
    from edgeexit.nets.modules import load_function, load_module
    from edgeexit.nets.weights import load_weights
    from edgeexit.training import make_head_recipe
    from edgeexit.util.documents import to_document

    plan = AdoptionPlan(
        target=parse_target(target),
        after=tuple(after.split(",")) if after else (),
        budget=exits,
        head=head,
        criterion=criterion,
        training=make_head_recipe(epochs=epochs, loss=loss, fine_tune=fine_tune),
        freeze=not fine_tune,
        preset=preset,
        seed=seed,
        threads=threads,
        read=load_function(read) if read is not None else None,
    )
    record = make_data_record(preprocess, classes)
    try:
        with open_progress_display() as progress, redirect_user_output():
            module = load_module(network, parse_factory_options(option))
            if checkpoint is not None:
                load_weights(module, checkpoint)
            record = find_preprocess(record, data, checkpoint, module)
            parts, record = open_parts(data, network, record, progress)
            result = adopt_exits(module.eval(), parts, out, plan, record=record, resume=resume, progress=progress)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; what was done is kept. Go on with:\n  {make_resume_command()}", err=True)
        raise CommandInterrupted from None
    emit(to_document(result), lambda: print_adoption(result), as_json=as_json)
    if not result.pays:
        raise typer.Exit(1)
