"""What EENet's parts share: a trained network at the thesis's threshold, what its exits cost in three units, the tables and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.papers.frame.parts import Findings
from benchmarks.papers.frame.training import Run, Runs
from edgeexit.leaving import find_collapse
from edgeexit.nets.costs import exit_costs
from edgeexit.util import units

THRESHOLD = 0.5
"""Algorithm 1: an input leaves where the confidence is at least this."""

THESIS_SHARES = (0.08, 0.26, 1.0)
"""Table 4.1: what EENet-8's exits are said to cost."""


@dataclass(frozen=True)
class Leaving:
    """What a trained network does on the test part at the thesis's threshold.

    Attributes:
        run: its training.
        labels: int64 [n].
        answers: int64 [n], the class that each sample gets.
        leaves: int64 [n], the exit at which each sample leaves, from 0.
        exits: the number of exits.
    """

    run: Run
    labels: NDArray[np.int64]
    answers: NDArray[np.int64]
    leaves: NDArray[np.int64]
    exits: int

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which samples are answered rightly, [n]."""
        right: NDArray[np.bool_] = self.answers == self.labels
        return right

    @property
    def exit_rates(self) -> list[float]:
        """Share of the samples that leave at each exit, [N]."""
        return [float(share) for share in np.bincount(self.leaves, minlength=self.exits) / len(self.leaves)]

    @cached_property
    def shares(self) -> dict[str, list[float]]:
        """What leaving at each exit costs as a share of the whole network, [N], by unit: `parameters`, `macs`."""
        counted = exit_costs(self.run.load_network(), torch.zeros(1, *self.run.load_part("test").shape))
        found = {"parameters": counted.reach_parameters, "macs": counted.reach_macs}
        return {unit: [cost / costs[-1] for cost in costs] for unit, costs in found.items()}

    def cost(self, shares: Sequence[float]) -> NDArray[np.float64]:
        """What each sample costs where its exit costs that share, [n]."""
        return np.asarray(shares, np.float64)[self.leaves]

    def count_classes(self) -> list[list[int]]:
        """Samples of each class that leave at each exit, [N][classes]: figures 4.10 to 4.12 in numbers."""
        classes = int(self.labels.max()) + 1
        return [np.bincount(self.labels[self.leaves == k], minlength=classes).tolist() for k in range(self.exits)]


def observe_leaving(run: Run) -> Leaving:
    """Run a trained network on the test part; one without early exits answers everything at its end."""
    recorded = run.record_exits("test")
    n, exits, _ = recorded.logits.shape
    leaves = np.zeros(n, np.int64)
    if exits > 1:
        leaves = recorded.make_table("learned", run.list_macs()).leaves_at([THRESHOLD] * (exits - 1))
    answers = recorded.logits.argmax(-1)[np.arange(n), leaves]
    return Leaving(run, recorded.labels, answers, leaves, exits)


def observe_all(runs: Runs, prefix: str) -> dict[str, dict[int, Leaving]]:
    """Every trained network by its name without the prefix, and seed."""
    return {
        name.removeprefix(prefix): {seed: observe_leaving(run) for seed, run in by_seed.items()}
        for name, by_seed in runs.items()
    }


def make_findings(
    observed: Mapping[str, Mapping[int, Leaving]], *, thesis: Sequence[float] | None = None, **more: Any
) -> Findings:
    """Accuracy, exits and costs of every network for the record and the printed table.

    Args:
        observed: by name and seed.
        thesis: what the thesis says its exits cost, [N]; None: their parameters, counted.
        more: other fields of the findings; `details` and `notes` are added to.
    """
    details = {
        "exits": {name: _describe(by_seed) for name, by_seed in observed.items()},
        "epochs": {name: average_epochs(by_seed) for name, by_seed in observed.items()},
        **more.pop("details", {}),
    }
    notes = [*more.pop("notes", ()), *list_collapses(observed)]
    return Findings(samples=collect_samples(observed, thesis), details=details, notes=notes, **more)


def collect_samples(
    observed: Mapping[str, Mapping[int, Leaving]], thesis: Sequence[float] | None
) -> dict[str, dict[int, NDArray[Any]]]:
    """One number per test sample for each figure of each network."""
    found: dict[str, dict[int, NDArray[Any]]] = {}
    for name, by_seed in observed.items():
        found[f"{name}: accuracy"] = {seed: one.right for seed, one in by_seed.items()}
        exits = max(one.exits for one in by_seed.values())
        if exits == 1:
            continue
        for k in range(exits):
            found[f"{name}: exit {k + 1}"] = {seed: one.leaves == k for seed, one in by_seed.items()}
        found[f"{name}: cost"] = {seed: one.cost(thesis or one.shares["parameters"]) for seed, one in by_seed.items()}
        found[f"{name}: cost in MACs"] = {seed: one.cost(one.shares["macs"]) for seed, one in by_seed.items()}
    return found


def _describe(by_seed: Mapping[int, Leaving]) -> dict[str, Any]:
    first = next(iter(by_seed.values()))
    return {
        "shares": first.shares if first.exits > 1 else {},
        "macs": first.run.list_macs() if first.exits > 1 else None,
        "collapsed_at": {str(seed): find_collapse(one.exit_rates) for seed, one in by_seed.items() if one.exits > 1},
        "classes": {str(seed): one.count_classes() for seed, one in by_seed.items()},
        "accuracy_of_exits": {
            str(seed): one.run.metrics["results"][one.run.choose_phase(None)]["test_accuracy"]
            for seed, one in by_seed.items()
        },
    }


def list_collapses(observed: Mapping[str, Mapping[int, Leaving]]) -> Iterator[str]:
    """A sentence for every network nearly all of whose samples leave at one exit: it is that exit with parts nobody uses."""
    for name, by_seed in observed.items():
        for seed, one in by_seed.items():
            if one.exits > 1 and (exit_ := find_collapse(one.exit_rates)) is not None:
                rate = units.percent(one.exit_rates[exit_ - 1])
                yield f"{name}, seed {seed}: exits have collapsed, {rate} of the test samples leave at exit {exit_}."


def average_epochs(by_seed: Mapping[int, Leaving]) -> dict[str, list[float]]:
    """Training loss, and accuracy and mean cost (share of parameters) on the calibration part after every epoch; means over the seeds."""
    histories = [one.run.list_history() for one in by_seed.values()]
    shortest = min(map(len, histories))
    found = {"loss": [[epoch["loss"] for epoch in h[:shortest]] for h in histories]}
    if all("early_exit" in epoch for h in histories for epoch in h):
        shares = [one.shares["parameters"] for one in by_seed.values()]
        early = [[epoch["early_exit"] for epoch in h[:shortest]] for h in histories]
        found["accuracy"] = [[e["accuracy"] for e in h] for h in early]
        found["cost"] = [[float(np.dot(e["exit_rates"], s)) for e in h] for h, s in zip(early, shares, strict=True)]
    return {name: np.mean(values, axis=0).tolist() for name, values in found.items()}
