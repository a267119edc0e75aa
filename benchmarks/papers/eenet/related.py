"""Table 4.9, EENet beside other work: its rows that this repository has networks of, from what is recorded; nothing is trained.

The thesis compares shares of parameters, which it calls cost, with what the other papers print: B-AlexNet's 0.42 and B-ResNet's 0.53 are
times on a GPU as shares of the plain network's (BranchyNet, Table I: gains of 2.4 and 1.9). Here costs are times of a whole answer, so
that only accuracies and costs of one paper can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.papers.branchynet.table_1 import BESIDE, CHOSEN, find_case_records
from benchmarks.papers.frame.parts import Findings, Request
from benchmarks.papers.frame.printed import load_printed
from benchmarks.papers.frame.training import Runs
from edgeexit.report.table import Table
from edgeexit.util import units

PART = "related"
ROWS = {"alexnet": ("AlexNet", "B-AlexNet"), "resnet": ("ResNet", "B-ResNet")}
"""Names in Table 4.9 of the plain network and of the one with exits, by network of BranchyNet."""


def examine_related(request: Request, runs: Runs) -> Findings:  # noqa: ARG001 - one signature for all
    """Accuracy, and the mean time as a share of the plain network's, of BranchyNet's networks as they are recorded."""
    records, values = find_case_records(), dict[str, dict[int, float]]()
    for network, (plain, exits) in ROWS.items():
        row = records[BESIDE[network]]["chosen"][CHOSEN]
        found = {
            f"{plain}: accuracy": row["accuracy"] - row["over_plain"],
            f"{exits}: accuracy": row["accuracy"],
            f"{exits}: cost": 1 / row["gain"]["honest"],
        }
        values |= {key: {request.seeds[0]: value} for key, value in found.items()}
    notes = (
        "Printed costs of EENet are shares of parameters, those of BranchyNet shares of the time on a GPU; here they are shares of the "
        "time of a whole answer on a CPU, with the branches of BranchyNet's code. B-ResNet has 20 layers here and 110 there.",
    )
    return Findings(values=values, notes=notes)


def show_related(record: Mapping[str, Any]) -> Sequence[Table]:
    """Every printed row; beside it what is recorded here."""
    printed = {value.key: value.printed for value in load_printed("eenet").take_part(PART).value}
    here = {key: value["mean"] for key, value in record["values"].items()}
    names = dict.fromkeys(key.rsplit(":", 1)[0] for key in printed)
    rows = tuple(
        (name, *(_format(known, f"{name}: {what}") for what in ("accuracy", "cost") for known in (printed, here)))
        for name in names
    )
    columns = ("", "accuracy, printed", "here", "relative cost, printed", "here")
    return [Table("Table 4.9: other work on CIFAR-10", columns, rows, " ".join(record["notes"]))]


def _format(known: Mapping[str, float], key: str) -> str:
    if key not in known:
        return ""
    return units.percent(known[key]) if key.endswith("accuracy") else units.fixed(known[key], 2)
