"""The tables of the parts on overthinking, beside those of printed values: what there is to see of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.papers.frame.printed import format_estimate
from edgeexit.report.table import Table
from edgeexit.util import units


def show_trained(record: Mapping[str, Any]) -> Sequence[Table]:
    """One row per trained network."""
    columns = (
        "network",
        "last exit",
        "perfect rule",
        "its cost",
        "thresholds",
        "their cost",
        "of the saving",
        "overthink",
        "at the last exit",
    )
    rows = []
    for name in record["details"]:
        keys = ("last exit", "perfect rule", "perfect rule: cost", "thresholds", "thresholds: cost")
        shares = [format_mean(record, f"{name}: {key}") for key in keys]
        reached = units.percent(record["details"][name]["headroom"]["reached"], 0)
        over, last = f"{name}: overthinking", f"{name}: overthinking at the last exit"
        rows.append((name, *shares, reached, format_interval(record, over), format_mean(record, last)))
    note = (
        "Accuracies and mean multiply-accumulates, of the last exit's, on the test part. Thresholds under entropy, chosen on the "
        "calibration part for a loss of at most 0.1 points there."
    )
    return [Table("A perfect exit rule and calibrated thresholds", columns, tuple(rows), note)]


def show_curves(record: Mapping[str, Any]) -> Sequence[Table]:
    """Every rule with its accuracy and cost."""
    names = [key for key in record["values"] if key.startswith("exit ")]
    rules = ("budgeted", "thresholds", "perfect rule")
    rows = [
        *((name, format_interval(record, name), "") for name in names),
        *((name, format_interval(record, name), format_mean(record, f"{name}: cost")) for name in rules),
        *((name, format_interval(record, name), "") for name in ("overthinking", "overthinking at the last exit")),
    ]
    columns = ("", "share of the test samples", "multiply-accumulates, of the last exit's")
    return [Table("Exits, rules, overthinking", columns, tuple(rows))]


def show_collaboration(record: Mapping[str, Any]) -> Sequence[Table]:
    """One row per training of table 3.1."""
    rows = tuple(
        (
            name,
            format_interval(record, f"{name}: overthinking"),
            *(format_interval(record, f"{name}: {key}") for key in ("exit 1", "last exit")),
            units.fixed(record["values"][f"{name}: rank correlation"]["mean"], 3),
        )
        for name in ("n", "2n", "n + n")
    )
    return [Table("Trainings", ("epochs", "overthink", "exit 1", "last exit", "rank correlation, exits 1 and 2"), rows)]


def show_policy(record: Mapping[str, Any]) -> Sequence[Table]:
    """The policy in front of the network, beside thresholds."""
    shown = {
        "policy": "the policy, at 0.5",
        "thresholds": "thresholds at its cost",
        "thresholds, policy free": "thresholds, were the policy free",
    }
    rows = tuple((words, format_mean(record, f"deployed: {key}")) for key, words in shown.items())
    cost = format_mean(record, "deployed: cost")
    macs = next(iter(record["details"].values()))["deployed"]
    note = (
        f"Cost: {cost} of the last exit's multiply-accumulates; the policy alone has {units.format_number(macs['policy_macs'])} of "
        f"{units.format_number(macs['last_macs'])}."
    )
    return [_show_labels(record), Table("Deployed", ("", "accuracy"), rows, note)]


def _show_labels(record: Mapping[str, Any]) -> Table:
    """Each label of D_ee: how many have it, and how often the policy predicts it."""
    described, found = next(iter(record["details"].values()))["labels"], record["values"]
    levels = [f", {level}" for level in described["levels"]]

    def show(key: str) -> str:
        return format_interval(record, key) if key in found else "none"

    rows = [
        (
            f"exit {exit_}",
            *(format_mean(record, f"label {exit_}: share of the {part} set") for part in ("training", "test")),
            show(f"label {exit_}: policy"),
            *(show(f"label {exit_}{level}: policy") for level in levels),
        )
        for exit_ in described["exits"]
    ]
    whole = ("all", "100 %", "100 %", show("policy"), *(show(f"{level}: policy") for level in described["levels"]))
    columns = ("label", "of the training set", "of the test set", "policy right", *described["levels"])
    prices = ", ".join(
        f"{units.fixed(value['mean'], 2)} for {key}" for key, value in found.items() if key.startswith("λ = ")
    )
    note = f"Mean label, of all exits, on the training set of D_ee: {prices}."
    if levels:
        known = format_interval(record, "commonest label of the level")
        note += f" The commonest label of each image's level is right for {known} of the test set."
    return Table("Labels, and what the policy recognises", columns, (*rows, whole), note)


def show_policy_deployed(record: Mapping[str, Any]) -> Sequence[Table]:
    """The policy over thresholds, in time and in accuracy, and what every exit takes with and without it."""
    rows = [
        (name, *_list_pair(setting, pair))
        for name, found in record["details"].items()
        for setting, pair in found["settings"].items()
    ]
    costs = [
        (name, rule, *map(units.seconds, seconds))
        for name, found in record["details"].items()
        for rule, seconds in found["exits_s"].items()
    ]
    columns = ("", "set by", "policy", "thresholds", "ratio", "policy right", "thresholds right", "difference")
    note = (
        "Mean times. Ratio: of the policy's over the thresholds', paired by repeat; difference of accuracy: paired by "
        "sample; with 95 % intervals."
    )
    exits = tuple(f"exit {k}" for k in range(1, max(map(len, costs)) - 1))
    return [
        Table("A policy in front, and thresholds", columns, tuple(rows), note),
        Table("Leaving at each exit", ("", "rule", *exits), tuple(costs)),
    ]


def _list_pair(setting: str, pair: Mapping[str, Any]) -> tuple[str, ...]:
    rules, lost = ("policy", "thresholds"), pair["policy above thresholds"]
    between = format_estimate(lost, units.points).replace(" points", "") + " points"
    times = (units.seconds(pair["typical_s"][rule]) for rule in rules)
    shares = (units.percent(pair["accuracy"][rule]) for rule in rules)
    return (setting, *times, _format_ratio(pair["ratio"]), *shares, between)


def _format_ratio(ratio: Mapping[str, Any]) -> str:
    """With its interval, where it has one."""
    shown, interval = units.fixed(ratio["value"], 3), ratio["ci95"]
    return f"{shown} ({units.fixed(interval['low'], 3)} to {units.fixed(interval['high'], 3)})" if interval else shown


def show_agreement(record: Mapping[str, Any]) -> Sequence[Table]:
    """Kappa with its interval."""
    rows = tuple(
        (
            name,
            units.percent(found["agreement"]),
            units.percent(found["by chance"]),
            f"{found['kappa']:.3f} ({found['kappa_low']:.3f} to {found['kappa_high']:.3f})",
        )
        for name, found in record["details"].items()
    )
    return [Table("Two trainings", ("", "agree", "by chance", "kappa"), rows)]


def show_frequencies(record: Mapping[str, Any]) -> Sequence[Table]:
    """The share of frequencies with its spread."""
    spread = record["details"]["standard deviation"]
    rows = tuple(
        (key, units.fixed(value["mean"], 3), units.fixed(spread[key], 3)) for key, value in record["values"].items()
    )
    return [Table("Share of the frequencies", ("images", "mean", "standard deviation"), rows)]


def show_deployed(record: Mapping[str, Any]) -> Sequence[Table]:
    """What was measured."""
    found = {key: value["mean"] for key, value in record["values"].items()}
    rows = (
        ("backbone, mean", units.seconds(found["backbone"])),
        ("leaving early, mean", units.seconds(found["mean"])),
        ("gain", units.ratio(found["gain"])),
        ("accuracy", units.percent(found["accuracy"])),
        ("exit tax", units.percent(found["exit tax"], 1)),
        ("of the perfect rule's saving", units.percent(found["share of the saving reached"], 0)),
    )
    return [Table("Compiled and calibrated", ("", ""), rows)]


def format_mean(record: Mapping[str, Any], key: str) -> str:
    """A share of the record."""
    return units.percent(record["values"][key]["mean"])


def format_interval(record: Mapping[str, Any], key: str) -> str:
    """A share with its interval, where it has one."""
    found = record["values"][key]
    if found["low"] is None:
        return units.percent(found["mean"])
    return f"{units.percent(found['mean'])} ({units.percent_range(found['low'], found['high'])})"
