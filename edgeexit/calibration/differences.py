"""Two calibrations side by side: what was asked, what was chosen, what was measured, and on what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeexit.calibration.result import Calibration, PolicyPerformance
from edgeexit.util import units


@dataclass(frozen=True)
class Difference:
    """One line of a comparison, as text; `same` where both say the same."""

    what: str
    first: str
    second: str

    @property
    def same(self) -> bool:
        """Whether both say the same."""
        return self.first == self.second


def compare_calibrations(first: Calibration, second: Calibration) -> tuple[Difference, ...]:
    """Every line that the comparison of two calibrations has, those that agree included."""
    rows = [(what, say(first), say(second)) for what, say in _PLAIN.items()]
    exits = max(len(first.exits), len(second.exits))
    rows += [(f"exit {k + 1}, mean", _format_exit_mean(first, k), _format_exit_mean(second, k)) for k in range(exits)]
    names = sorted((first.device.keys() | second.device.keys()) - {"isa", "memory"})
    rows += [(name, first.device.get(name, "n/a"), second.device.get(name, "n/a")) for name in names]
    return tuple(Difference(*row) for row in rows)


def _format_exit_mean(calibration: Calibration, k: int) -> str:
    return units.seconds(calibration.exits[k].mean_s) if k < len(calibration.exits) else "n/a"


def _list(values: Sequence[str]) -> str:
    return ", ".join(values)


def _read_from_run(say: Callable[[PolicyPerformance], str]) -> Callable[[Calibration], str]:
    return lambda c: "n/a" if c.measured is None else say(c.measured)


_PLAIN: dict[str, Callable[[Calibration], str]] = {
    "device and settings": lambda c: c.key,
    "made": lambda c: c.created,
    "target": lambda c: c.target,
    "target met": lambda c: "yes" if c.met else "no",
    "thresholds": lambda c: f"{_list([f'{t:.6g}' for t in c.thresholds])} {c.unit}",
    "data": lambda c: f"{c.parts.data}, {c.parts.choose + c.parts.certify + c.parts.validate} samples",
    "predicted mean": lambda c: units.seconds(c.predicted.mean_s),
    "measured mean": _read_from_run(lambda f: units.seconds(f.mean_s)),
    "measured p99": _read_from_run(lambda f: units.seconds(f.p99_s)),
    "measured accuracy": _read_from_run(lambda f: units.percent(f.accuracy)),
    "exit rates": _read_from_run(lambda f: _list([units.percent(r, 1) for r in f.exit_rates])),
    "backbone, mean": lambda c: units.seconds(c.backbone_mean_s),
}
