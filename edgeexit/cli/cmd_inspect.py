"""`edgeexit inspect`: what a bundle holds, as tables, as JSON or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexit.cli.common import Json, emit, plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgeexit.report.bundle_facts import BundleFacts


def inspect_command(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PAGE", help="Draw it on one self-contained page instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a bundle: stages, boundary tensors, cost per stage, times of both modes, calibrations.

    Example: edgeexit inspect lenet.eexit --html lenet.html
    """
    from edgeexit.bundle import Bundle
    from edgeexit.documents import to_document
    from edgeexit.report.bundle_facts import bundle_facts

    facts = bundle_facts(Bundle.open(bundle))
    if html is not None:
        from edgeexit.report.bundle_page import write_bundle_page

        write_bundle_page(facts, html)
        emit({"schema": "edgeexit.inspect-page/1", "page": str(html)}, lambda: typer.echo(html), as_json=as_json)
        return
    emit(to_document(facts), lambda: _print(facts), as_json=as_json)


def _print(facts: BundleFacts) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    _print_heading(console, facts)
    console.print(_stage_table(facts))
    if any(stage.makes for stage in facts.stages):
        console.print(_boundary_table(facts))
    if facts.timings:
        console.print(_timing_table(facts))
    _print_calibrations(console, facts)
    for doubt in (*facts.verified.warnings(facts.precision), *facts.doubts):
        console.print(f"warning: {escape(plain(doubt))}", style="yellow", highlight=False)


def _print_heading(console: Console, facts: BundleFacts) -> None:
    from rich.markup import escape

    from edgeexit.units import bytes_

    verified = facts.verified
    inputs = ", ".join(f"{t.name} {t}" for t in facts.inputs)
    lines = (
        f"{facts.path}: {len(facts.stages)} exits, {facts.classes} classes, criterion {facts.criterion} ({facts.unit}), {facts.precision},"
        f" {bytes_(facts.bytes)} on disk",
        f"made {facts.created} by {facts.tool} from {facts.source} (opset {facts.opset})",
        f"input: {inputs}",
        f"verified on {verified.random_inputs} random and {verified.given_inputs} given inputs: largest error"
        f" staged {verified.staged_error:.1e}, fused {verified.fused_error:.1e} of the largest logit",
        *verified.remarks(facts.precision),
    )
    for line in lines:
        console.print(escape(plain(line)), highlight=False)


def _table(title: str, *headings: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i == 0 else "right", overflow="fold")
    return table


def _stage_table(facts: BundleFacts) -> Table:
    from rich.markup import escape

    from edgeexit.units import bytes_, count, percent

    table = _table("Stages", "exit", "MACs", "MACs so far", "parameters", "weights", "kept for later", "must leave")
    for s in facts.stages:
        kept = "–" if s.cut_bytes is None else bytes_(s.cut_bytes)
        table.add_row(
            escape(plain(f"{s.exit} {s.name}")),
            count(s.macs),
            count(s.macs_so_far),
            count(s.parameters),
            bytes_(s.weight_bytes),
            kept,
            "–" if s.break_even is None else f">= {percent(s.break_even, 0)}",
        )
    return table


def _boundary_table(facts: BundleFacts) -> Table:
    from rich.markup import escape

    from edgeexit.units import bytes_

    table = _table("Boundary tensors", "tensor", "made by stage", "read by stages", "shape", "bytes")
    for stage in facts.stages:
        for tensor in stage.makes:
            readers = [str(s.exit) for s in facts.stages if tensor.name in {t.name for t in s.reads}]
            table.add_row(
                escape(plain(tensor.name)),
                str(stage.exit),
                ", ".join(readers),
                escape(str(tensor)),
                bytes_(tensor.bytes),
            )
    return table


def _timing_table(facts: BundleFacts) -> Table:
    from rich.markup import escape

    from edgeexit.units import seconds

    exits = [f"exit {s.exit}" for s in facts.stages]
    table = _table("Median time of leaving at each exit, as the compile measured it", "device", "mode", *exits)
    for name, timing in facts.timings.items():
        key = escape(plain(name))
        for mode, medians_s in (("staged", timing.staged_s), ("fused", timing.fused_s)):
            mark = f"{mode} (faster)" if mode == timing.faster else mode
            table.add_row(key, mark, *(seconds(t) for t in medians_s))
        if timing.backbone_s is not None:
            table.add_row(key, "backbone", *[""] * (len(exits) - 1), seconds(timing.backbone_s))
    return table


def _print_calibrations(console: Console, facts: BundleFacts) -> None:
    from rich.markup import escape

    if not facts.calibrations:
        console.print("No calibration yet: it never leaves early. Make one: edgeexit calibrate", highlight=False)
        return
    table = _table("Calibrations", "device and settings", "target", f"thresholds ({facts.unit})", "made")
    for c in facts.calibrations:
        thresholds = "n/a" if c.thresholds is None else ", ".join(f"{t:.4g}" for t in c.thresholds)
        told = (escape(plain(text or "n/a")) for text in (c.key, c.target, c.created))
        key, target, created = told
        table.add_row(key, target, thresholds, created)
    console.print(table)
