"""`edgeexit inspect`: what a bundle holds, as tables, as JSON or as a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexit.cli.common import Json, emit
from edgeexit.cli.kept import Verify

if TYPE_CHECKING:
    from edgeexit.report.bundle_facts import BundleFacts


def inspect_command(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PAGE", help="Draw it on one self-contained page instead.")
    ] = None,
    verify: Verify = None,
    as_json: Json = False,
) -> None:
    """Show a bundle: stages, boundary tensors, cost per stage, times of both modes, calibrations.

    Example: edgeexit inspect lenet.eexit -o lenet.html
    """
    from edgeexit.bundle import Bundle
    from edgeexit.bundle.signing import verify_signature
    from edgeexit.report.bundle_facts import bundle_facts
    from edgeexit.util.documents import to_document

    opened = Bundle.open(bundle)
    if verify is not None:
        verify_signature(opened, verify)
    facts = bundle_facts(opened)
    if html is not None:
        from edgeexit.report.bundle_page import write_bundle_page

        write_bundle_page(facts, html)
        emit({"schema": "edgeexit.inspect-page/1", "page": str(html)}, lambda: typer.echo(html), as_json=as_json)
        return
    emit(to_document(facts), lambda: _print(facts), as_json=as_json)


def _print(facts: BundleFacts) -> None:
    from edgeexit.cli.printing import merge_alike, print_tables, print_text, print_warning
    from edgeexit.report.bundle_tables import (
        boundary_table,
        calibration_table,
        stage_table,
        timing_table,
        without_calibration,
    )

    for line in _heading(facts):
        print_text(line)
    print_text("")
    print_tables([stage_table(facts), boundary_table(facts), timing_table(facts), calibration_table(facts)])
    if not facts.calibrations:
        print_text(without_calibration(facts))
    for doubt in merge_alike((*facts.verified.warnings(facts.precision), *facts.doubts)):
        print_warning(doubt)


def _heading(facts: BundleFacts) -> Iterator[str]:
    from edgeexit.util.units import bytes_, plural

    verified = facts.verified
    yield (
        f"{facts.path}: {plural(len(facts.stages), 'exit')}, {plural(facts.classes, 'class', 'classes')}, "
        f"criterion {facts.criterion} ({facts.unit}), {facts.precision}, {bytes_(facts.bytes)} on disk"
    )
    yield f"an input that leaves at no early exit is answered by {facts.answers_what_is_left}"
    yield f"made {facts.created} by {facts.tool} from {facts.source} (opset {facts.opset})"
    yield f"input: {', '.join(f'{t.name} {t}' for t in facts.inputs)}"
    yield from facts.data_lines()
    yield (
        f"verified on {verified.random_inputs} random and {verified.given_inputs} given inputs: largest error "
        f"staged {verified.staged_error:.1e}, fused {verified.fused_error:.1e} of the largest logit"
    )
    yield from verified.remarks(facts.precision)
