"""Table I beside what `python -m benchmarks branchynet` recorded, and what the exit rates make of the gain.

Nothing is measured here: accuracy, exit rates and the seconds of each exit are in the records of the device. With them the gain that
the printed exit rates would give is one division, which separates the two causes of another gain: other costs and other exit rates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.common import HERE, Case, find_case
from benchmarks.papers.branchynet.table_1_printed import PrintedRow, compute_gain, read_printed_row
from benchmarks.papers.frame.parts import BySeed, Findings
from edgeexit.report.table import Table
from edgeexit.util import units

SCHEMA = "edgeexit.benchmark.branchynet/1"
"""Of the records that are read."""
NETWORKS = {"lenet": "B-LeNet", "alexnet": "B-AlexNet", "resnet": "B-ResNet"}
DEPTH = {"resnet": "-20"}
"""What is added to the name here: the paper's has 110 layers."""
EXITS = {"paper": "the paper's exits", "code": "the code's exits", "light": "exits of our own"}
BESIDE = {"lenet": "lenet-mnist", "alexnet": "alexnet-cifar10", "resnet": "resnet-cifar10"}
"""The case whose figures stand beside the printed ones: the authors' branches, as in the code where the paper differs."""
CLOCKS = ("paper", "honest")
CHOSEN, AT_PRINTED = "not below", "printed thresholds"
MISSING = (
    "Not reproduced, for want of a GPU: the GPU half of Table I and of figure 3, and B-ResNet with 110 layers; it has 20 here.",
    "B-ResNet with the paper's branches was not trained.",
)
METHOD = (
    "Each row is the fastest setting on a screen of thresholds that is not below the plain network on the calibration part, its figures "
    "from the test part; B-ResNet-20 with the code's exits is below it at every one, and has its most accurate. "
    "Times are of the honest clock: all that a user waits for."
)


def find_case_records() -> dict[str, dict[str, Any]]:
    """The newest record of each case, by its name, in the order of the paper's networks and of the exits."""
    found: dict[str, dict[str, Any]] = {}
    for path in HERE.glob("results/*/branchynet-*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            continue
        if record["case"] not in found or record["created"] > found[record["case"]]["created"]:
            found[record["case"]] = record
    kinds = [*EXITS]

    def place(name: str) -> tuple[int, int]:
        case = find_case(name)
        return ([*NETWORKS].index(case.network), kinds.index(case.exits))

    return {name: found[name] for name in sorted(found, key=place)}


def examine_table_1() -> Findings:
    """What is recorded of every case."""
    records = find_case_records()
    rows = {name: describe_case(find_case(name), record) for name, record in records.items()}
    values: dict[str, BySeed] = {}
    for network, name in BESIDE.items():
        if name in rows:
            values |= {f"{network}: {key}": {rows[name]["seed"]: v} for key, v in list_values(rows[name])}
    return Findings(values=values, details={"cases": rows}, notes=[METHOD, *MISSING])


def describe_case(case: Case, record: Mapping[str, Any]) -> dict[str, Any]:
    """What Table I says of a case, from its record: its rows, and the gains that the printed exit rates would give."""
    costs, printed = record["costs_s"], read_printed_row(case.network)
    training = json.loads((HERE / "results" / "training" / f"{case.name}.json").read_text(encoding="utf-8"))
    rows = {name: record["chosen"][name] for name in (CHOSEN, AT_PRINTED) if name in record["chosen"]}
    return {
        "network": case.network,
        "exits": case.exits,
        "criterion": record["options"]["criterion"],
        "machine": record["device"]["key"],
        "seed": training["seed"],
        "plain_accuracy": record["plain_accuracy"]["test"],
        "plain_s": costs["plain"],
        "rows": rows,
        "gain_at_printed_rates": {c: compute_gain(printed.shares, costs[c], costs["plain"]) for c in CLOCKS},
        "below_at_exit_1": count_below(record),
    }


def count_below(record: Mapping[str, Any]) -> dict[str, float]:
    """Figure 4's curve: the share of samples at or below each threshold of the screen at exit 1, by threshold."""
    return {f"{row['thresholds'][0]:g}": row["exit_rates"][0] for row in record["sweep_on_test"]}


def list_values(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The figures of a case under the keys of the printed ones."""
    chosen = row["rows"][CHOSEN]
    yield "plain accuracy", row["plain_accuracy"]
    yield "accuracy", chosen["accuracy"]
    for kind, many in (("threshold", chosen["thresholds"]), ("leave at exit", chosen["exit_rates"])):
        yield from ((f"{kind} {k}", value) for k, value in enumerate(many, 1))
    yield "plain time, CPU", row["plain_s"]
    yield "time, CPU", chosen["mean_s"]["honest"]
    yield "gain, CPU", chosen["gain"]["paper"]
    for clock in CLOCKS:
        name = "paper's clock" if clock == "paper" else "honest clock"
        yield f"gain at the printed exit rates, {name}", row["gain_at_printed_rates"][clock]


# ---------------------------------------------------------------- tables


def show_table_1(record: Mapping[str, Any]) -> Sequence[Table]:
    """Table I with the paper's rows; the rows at the printed thresholds; the first exit's entropies (figure 4)."""
    cases = record["details"]["cases"]
    return [
        Table("Table I", COLUMNS, tuple(list_table_1(cases)), " ".join(record["notes"])),
        Table("Table I at the printed thresholds", AT_COLUMNS, tuple(list_at_printed(cases))),
        Table("Figure 4: samples at or below a threshold at exit 1", *list_entropies(cases)),
    ]


COLUMNS = (
    "",
    "accuracy",
    "time",
    "gain, paper's clock",
    "gain, honest clock",
    "T",
    "leave at exit 1, 2, …",
    "at the printed rates: paper's clock",
    "honest",
)


def list_table_1(cases: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """The printed rows of each network, then ours."""
    for network, name in NETWORKS.items():
        printed = read_printed_row(network)
        yield from list_printed_rows(name, printed)
        for case, row in cases.items():
            if row["network"] == network:
                yield from list_case_rows(case, f"{name}{DEPTH.get(network, '')}", row)


def list_printed_rows(name: str, row: PrintedRow) -> Iterator[tuple[str, ...]]:
    """A network's rows of the paper, on its CPU and its GPU."""
    thresholds, rates = format_thresholds(row.thresholds), format_rates(row.exit_rates)
    accuracy, plain = units.percent(row.accuracy), units.percent(row.plain_accuracy)
    for where, plain_s, time_s, gain in (
        ("CPU", row.plain_time_cpu_s, row.time_cpu_s, row.gain_cpu),
        ("GPU", row.plain_time_gpu_s, row.time_gpu_s, row.gain_gpu),
    ):
        yield (f"printed, {where}: plain network", plain, units.seconds(plain_s), *[""] * 6)
        yield (
            f"printed, {where}: {name}",
            accuracy,
            units.seconds(time_s),
            units.ratio(gain),
            "",
            thresholds,
            rates,
            "",
            "",
        )


def list_case_rows(case: str, name: str, row: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The plain network of a case, and its exits."""
    chosen, own = row["rows"][CHOSEN], row["exits"] == "light"
    at_printed = ("", "") if own else tuple(units.ratio(row["gain_at_printed_rates"][clock]) for clock in CLOCKS)
    yield ("here: plain network", units.percent(row["plain_accuracy"]), units.seconds(row["plain_s"]), *[""] * 6)
    yield (
        f"here: {name}, {EXITS[row['exits']]} ({case})",
        format_accuracy(chosen),
        units.seconds(chosen["mean_s"]["honest"]),
        *(units.ratio(chosen["gain"][clock]) for clock in CLOCKS),
        format_thresholds(chosen["thresholds"], row["criterion"]),
        format_rates(chosen["exit_rates"]),
        *at_printed,
    )


AT_COLUMNS = (
    "",
    "T",
    "accuracy",
    "leave at exit 1, 2, …",
    "printed",
    "gain, paper's clock",
    "gain, honest clock",
    "printed gain, CPU",
)


def list_at_printed(cases: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Of each case with the authors' exits what the printed thresholds do."""
    for case, row in cases.items():
        if row["exits"] != "light" and (at := row["rows"].get(AT_PRINTED)):
            printed = read_printed_row(row["network"])
            yield (
                f"{NETWORKS[row['network']]}{DEPTH.get(row['network'], '')}, {EXITS[row['exits']]} ({case})",
                format_thresholds(at["thresholds"]),
                format_accuracy(at),
                format_rates(at["exit_rates"]),
                format_rates(printed.exit_rates),
                *(units.ratio(at["gain"][clock]) for clock in CLOCKS),
                units.ratio(printed.gain_cpu),
            )


def list_entropies(cases: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows: per case with the authors' exits the share of samples at or below each threshold."""
    shown = {name: row["below_at_exit_1"] for name, row in cases.items() if row["exits"] != "light"}
    thresholds = sorted({t for below in shown.values() for t in below if float(t) <= 1}, key=float)
    rows = [
        (name, *(units.percent(below[t], 1) if t in below else "" for t in thresholds)) for name, below in shown.items()
    ]
    return ("", *(f"{t} nats" for t in thresholds)), tuple(rows)


def format_accuracy(row: Mapping[str, Any]) -> str:
    """The accuracy, and in brackets the points over the plain network with their 95 % interval."""
    over, half = 100 * row["over_plain"], 196 * row["standard_error"]
    return f"{units.percent(row['accuracy'])} ({over:+.2f} ± {half:.2f})"


def format_thresholds(thresholds: Sequence[float], criterion: str = "entropy") -> str:
    """As Table I has them; under another criterion with its name."""
    shown = ", ".join(f"{t:.3g}" for t in thresholds)
    return shown if criterion == "entropy" else f"{shown} ({criterion})"


def format_rates(rates: Sequence[float]) -> str:
    """Percent at each exit."""
    return f"{' · '.join(f'{100 * rate:.1f}' for rate in rates)} %"
