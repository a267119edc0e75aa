"""`edgeexit replay`: every exit on every sample, written in shards, for data that do not fit in memory; thresholds from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeexit.cli.common import BundlePath, Json, emit
from edgeexit.cli.data import DATA
from edgeexit.cli.options import PreparationOptions, RuntimeOptions
from edgeexit.cli.progress import open_progress_display, show_build_progress

if TYPE_CHECKING:
    from edgeexit.calibration import Policy
    from edgeexit.data import Dataset, ModelInfo
    from edgeexit.runtime import Runner
    from edgeexit.scale import ShardedTable


def replay_command(
    bundle: BundlePath,
    *,
    data: Annotated[str, typer.Option(help=f"{DATA} digits:calibration.")],
    output: Annotated[
        Path, typer.Option("--output", help="Folder of the shards; one that was begun with the same data goes on.")
    ],
    preparation: PreparationOptions,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Samples per shard. [default: as many as take 64 MiB, at most 65536]")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Choose thresholds for these bounds from all shards; see edgeexit calibrate.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="With --target, wall time of timing the exits; 0: count MACs alone.")
    ] = 6.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the timing and of the search.")] = 0,
    engine: Annotated[
        str,
        typer.Option(help="local: in this process; ray: by workers of Ray, in this machine or those of RAY_ADDRESS."),
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="With --engine ray, workers at once. [default: 2]")] = None,
    column: Annotated[
        str | None,
        typer.Option(help="With --engine ray, the column of Parquet or WebDataset with the inputs. [default: x]"),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="The same, with the classes; an empty text where there are none. [default: y]")
    ] = None,
    runtime: RuntimeOptions,
    as_json: Json = False,
) -> None:
    """Run every exit on every sample and write a replay table in shards, one block of samples in memory at a time.

    Interrupted, it goes on where it stopped when it is run again. With --target it then chooses thresholds over all shards; these are
    printed, not run and not kept in the bundle, as edgeexit calibrate --replay does.

    --engine ray (extra [ray]) takes files or folders of Parquet and WebDataset, too; it begins anew when it was interrupted.

    Example: edgeexit replay lenet.eexit --data digits:calibration -o replay/ --target "drop<=1"
    """
    from edgeexit.calibration import parse_target
    from edgeexit.data import open_data
    from edgeexit.scale import choose_rows, choose_thresholds, cut_blocks, write_shards

    wanted = None if target is None else parse_target(target)  # before hours of work
    by_ray = _list_ray_options(engine, workers, column, labels)
    info, policy = preparation.read_info(bundle), None
    source = None if by_ray is not None else open_data(data, info, strict=True)
    with _open_runner(bundle, runtime) as runner, open_progress_display() as progress:
        size = choose_rows(runner.bundle) if rows is None else rows
        if source is None:
            table, timed = _replay_by_ray(runner, data, output, info, {**(by_ray or {}), "rows": size}, runtime)
        else:
            table = write_shards(runner, cut_blocks(source, size, progress), output)
            timed = source.read(0, min(source.count, size, 512))
        if wanted is not None:
            policy = choose_thresholds(runner, table, wanted, timed, seconds=seconds, seed=seed, progress=progress)
        document = _make_document(runner, table, target, policy)
    emit(document, lambda: _print(bundle, data, document), as_json=as_json)


def _open_runner(bundle: Path, runtime: RuntimeOptions) -> Runner:
    from edgeexit.runtime import load_quietly

    with show_build_progress():
        return load_quietly(bundle, **runtime.make_arguments())


def _list_ray_options(
    engine: str, workers: int | None, column: str | None, labels: str | None
) -> dict[str, Any] | None:
    """Arguments of `replay_data_with_ray`; None for the engine `local`.

    Raises:
        InputError: another engine, or options of Ray without it.
        MissingExtra: Ray is not installed.
    """
    from edgeexit.errors import InputError
    from edgeexit.scale.ray_replay import import_ray

    given = {"workers": workers, "column": column, "labels": labels}
    found: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if engine == "local":
        if found:
            msg = f"{', '.join(f'--{name}' for name in found)} belongs to --engine ray: give that too, or leave it out."
            raise InputError(msg)
        return None
    if engine != "ray":
        msg = f"no engine named {engine!r}: local or ray."
        raise InputError(msg)
    import_ray()  # before anything is opened
    if found.get("labels") == "":
        found["labels"] = None
    return found


def _replay_by_ray(
    runner: Runner, data: str, output: Path, info: ModelInfo, options: dict[str, Any], runtime: RuntimeOptions
) -> tuple[ShardedTable, Dataset]:
    """The shards, and inputs to time the exits with: any will do."""
    from edgeexit.scale import make_blank, replay_data_with_ray

    table = replay_data_with_ray(data, runner.bundle.path, output, info=info, **options, **runtime.make_arguments())
    return table, make_blank(runner.bundle)


def _make_document(runner: Runner, table: ShardedTable, target: str | None, policy: Policy | None) -> dict[str, Any]:
    import math

    from edgeexit.util.documents import to_document

    document: dict[str, Any] = {
        "schema": "edgeexit.replay-summary/1",
        "folder": str(table.folder),
        "samples": len(table),
        "shards": len(table.shards.samples),
        "target": target,
        "thresholds": None,
        "accuracy": None,
        "agreement": None,
        "mean_s": None,
        "macs": None,
        "exit_rates": None,
        "gap": None,
    }
    if policy is not None:
        names = ("accuracy", "agreement", "mean_s", "macs", "exit_rates", "gap")
        found = {name: getattr(policy, name) for name in names}
        found["mean_s"] = None if math.isnan(policy.mean_s) else policy.mean_s
        document.update(to_document({"thresholds": runner.thresholds, **found}))
    return document


def _print(bundle: Path, data: str, document: dict[str, Any]) -> None:
    from edgeexit.cli.printing import format_command, print_command, print_result, print_tables
    from edgeexit.report.table import Table
    from edgeexit.util import units

    samples, shards = (units.format_count(document[name], name[:-1]) for name in ("samples", "shards"))
    print_result(f"{samples} in {shards}: {document['folder']}")
    if document["thresholds"] is None:
        return
    quality = "accuracy" if document["accuracy"] is not None else "agreement"
    thresholds = ",".join(map(str, document["thresholds"]))
    rows = (
        ("thresholds", thresholds),
        ("exit rates", ", ".join(units.percent(rate) for rate in document["exit_rates"])),
        (quality, units.percent(document[quality])),
        ("mean latency", units.seconds(document["mean_s"])),
        ("mean MACs", units.format_number(document["macs"])),
        ("proved gap", units.scientific(document["gap"])),
    )
    print_tables([Table(f"Thresholds for {document['target']}", ("", ""), rows)])
    print_command(format_command("bench", bundle, "--data", data, f"--thresholds={thresholds}"), label="Next: ")
