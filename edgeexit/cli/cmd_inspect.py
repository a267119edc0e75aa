"""`edgeexit inspect`: what a bundle holds, as tables, as JSON or as a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexit.cli.common import Json, Verify, emit
from edgeexit.util import units

if TYPE_CHECKING:
    from edgeexit.report.bundle_facts import BundleFacts


def inspect_command(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PAGE", help="Draw it on one self-contained page instead.")
    ] = None,
    calibrations: Annotated[
        bool, typer.Option("--calibrations", help="List every calibration instead, as `edgeexit calibrations list`.")
    ] = False,
    verify: Verify = None,
    as_json: Json = False,
) -> None:
    """Show a bundle: stages, boundary tensors, cost per stage, times of both modes, calibrations.

    Example: edgeexit inspect lenet.eexit -o lenet.html
    """
    from edgeexit.bundle import Bundle
    from edgeexit.bundle.signing import verify_signature
    from edgeexit.report.bundle_facts import collect_bundle_facts
    from edgeexit.util.documents import to_document

    opened = Bundle.open(bundle)
    if verify is not None:
        verify_signature(opened, verify)
    if calibrations:
        from edgeexit.cli.kept import describe_calibrations, print_calibrations

        emit(describe_calibrations(opened), lambda: print_calibrations(opened), as_json=as_json)
        return
    facts = collect_bundle_facts(opened)
    if html is not None:
        from edgeexit.report.bundle_page import write_bundle_page

        write_bundle_page(facts, html)
        emit({"schema": "edgeexit.inspect-page/1", "page": str(html)}, lambda: typer.echo(html), as_json=as_json)
        return
    emit(to_document(facts), lambda: _print(facts), as_json=as_json)


def _print(facts: BundleFacts) -> None:
    from edgeexit.cli.printing import merge_similar_lines, print_tables, print_text, print_warning
    from edgeexit.report.bundle_tables import (
        explain_missing_calibration,
        make_backend_table,
        make_boundary_table,
        make_calibration_table,
        make_stage_table,
        make_timing_table,
    )

    for line in _make_heading(facts):
        print_text(line)
    print_text("")
    print_tables(
        [
            make_stage_table(facts),
            make_boundary_table(facts),
            make_timing_table(facts),
            *(make_backend_table(one, key) for key, one in sorted(facts.backends.items())),
            make_calibration_table(facts),
        ]
    )
    if not facts.calibrations:
        print_text(explain_missing_calibration(facts))
    for doubt in merge_similar_lines((*facts.verified.warnings(facts.precision), *facts.doubts)):
        print_warning(doubt)


def _make_heading(facts: BundleFacts) -> Iterator[str]:
    from edgeexit.util.units import bytes_, format_count

    verified = facts.verified
    yield (
        f"{facts.path}: {format_count(len(facts.stages), 'exit')}, {format_count(facts.classes, 'class', 'classes')}, "
        f"criterion {facts.criterion} ({facts.unit}), {facts.precision}, {bytes_(facts.bytes)} on disk"
    )
    yield f"an input that leaves at no early exit is answered by {facts.answers_what_is_left}"
    if facts.thresholds:
        yield f"without a calibration an input leaves at {facts.default_thresholds}"
    if facts.temperatures:
        yield f"logits are divided by {', '.join(map(units.significant, facts.temperatures))} before the criterion takes them"
    yield f"made {facts.created} by {facts.tool} from {facts.source} (opset {facts.opset})"
    yield f"input: {', '.join(f'{t.name} {t}' for t in facts.inputs)}"
    yield from facts.data_lines()
    yield (
        f"verified on {verified.random_inputs} random and {verified.given_inputs} given inputs: largest error "
        f"staged {units.scientific(verified.staged_error)}, fused {units.scientific(verified.fused_error)} of the largest logit"
    )
    yield from verified.remarks(facts.precision)
