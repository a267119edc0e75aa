"""A calibration on the terminal."""

from __future__ import annotations

from edgeexit.calibration import Calibration
from edgeexit.cli.printing import print_list, print_tables, print_text, print_verdict
from edgeexit.report.calibration_tables import make_calibration_tables
from edgeexit.util import units


def print_calibration(result: Calibration) -> None:
    """Print the tables, the remarks, and the verdict last."""
    print_tables(make_calibration_tables(result))
    print_list([f"implausible data, used with --force: {finding.text}" for finding in result.findings])
    print_list([f"note: {remark.text}" for remark in result.verdicts])
    for what, sentence in result.verdict.lines():
        state, _, rest = sentence.partition(": ")
        print_verdict(f"{what} {state}", rest)
    print_list(result.verdict.advice)
    if result.headroom is not None:
        print_text(result.headroom.describe())
    print_text(f"{units.ratio(result.speedup)} the speed of the backbone; {result.verdict.summary()}")
