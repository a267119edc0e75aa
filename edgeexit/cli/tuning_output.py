"""What `edgeexit tune` prints: the front of what was tried, what each choice brings, the last candidates measured, and the conclusion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeexit.cli.printing import print_list, print_tables, print_text, print_verdict

if TYPE_CHECKING:
    from edgeexit.tuning.result import TuningResult


def print_tuning(result: TuningResult, page: Path) -> None:
    """Tables, what was not tried, and the conclusion last."""
    from edgeexit.tuning.tables import describe_contribution, list_not_tried, make_tuning_tables

    print_tables(list(make_tuning_tables(result)))
    if result.contributions:
        print_text(f"Predicted gains: {'; '.join(map(describe_contribution, result.contributions))}.")
    print_list(list_not_tried(result), heading="Not tried, or not to the end:")
    for statement in result.chosen.statements:
        print_verdict(*statement.split(": ", 1))
    print_verdict(result.verdict.upper(), f"{result.conclusion}.")
    print_list([result.bundle, str(page)], heading="Written:")
