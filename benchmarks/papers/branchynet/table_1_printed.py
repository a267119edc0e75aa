"""The rows of BranchyNet's Table I, from `printed/branchynet.toml`; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count, takewhile

from benchmarks.papers.frame.printed import load_printed
from edgeexit.errors import InputError

TABLE_1 = "table-1"
"""The part that has these values."""


@dataclass(frozen=True)
class PrintedRow:
    """A network of Table I.

    Attributes:
        thresholds: nats, [N-1].
        exit_rates: [N]; printed ones need not sum to 1.
        accuracy, plain_accuracy: with exits and without.
        time_cpu_s, time_gpu_s, plain_time_cpu_s, plain_time_gpu_s: seconds per sample, likewise.
        gain_cpu, gain_gpu: plain network's time over that with exits.
    """

    thresholds: tuple[float, ...]
    exit_rates: tuple[float, ...]
    accuracy: float
    plain_accuracy: float
    time_cpu_s: float
    plain_time_cpu_s: float
    gain_cpu: float
    time_gpu_s: float
    plain_time_gpu_s: float
    gain_gpu: float

    @property
    def shares(self) -> tuple[float, ...]:
        """Exit rates that sum to 1, [N]."""
        return tuple(rate / sum(self.exit_rates) for rate in self.exit_rates)


@cache
def read_printed_row(network: str) -> PrintedRow:
    """The row of `lenet`, `alexnet` or `resnet`.

    Raises:
        InputError: the paper has no such network.
    """
    values = {v.key: v.printed for v in load_printed("branchynet").value if v.part == TABLE_1}
    if f"{network}: accuracy" not in values:
        msg = f"BranchyNet's Table I has no network {network!r}; it has lenet, alexnet and resnet"
        raise InputError(msg)

    def read(what: str) -> float:
        return values[f"{network}: {what}"]

    def read_all(what: str) -> tuple[float, ...]:
        keys = (f"{network}: {what} {k}" for k in count(1))
        return tuple(values[key] for key in takewhile(values.__contains__, keys))

    return PrintedRow(
        thresholds=read_all("threshold"),
        exit_rates=read_all("leave at exit"),
        accuracy=read("accuracy"),
        plain_accuracy=read("plain accuracy"),
        time_cpu_s=read("time, CPU"),
        plain_time_cpu_s=read("plain time, CPU"),
        gain_cpu=read("gain, CPU"),
        time_gpu_s=read("time, GPU"),
        plain_time_gpu_s=read("plain time, GPU"),
        gain_gpu=read("gain, GPU"),
    )


def compute_gain(exit_rates: Sequence[float], costs_s: Sequence[float], plain_s: float) -> float:
    """The plain network's time over the mean of early exit's.

    Args:
        exit_rates: [N], summing to 1.
        costs_s: seconds of leaving at each exit, [N].
        plain_s: seconds of the plain network.

    Example:
        >>> compute_gain([0.5, 0.5], [1.0, 3.0], 4.0)
        2.0
    """
    return plain_s / sum(rate * cost for rate, cost in zip(exit_rates, costs_s, strict=True))
