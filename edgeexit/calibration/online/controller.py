"""Online control: one number moves along the front so that the mean latency, or a tail, stays where the target wants it under drift.

    u  <- calibrated place on the front, 0 the cheapest, 1 the dearest
    each inference:  run with the thresholds of u (u <= 0: always the first exit, u >= 1: always the last);  u <- u + η·(L - cost)/cost_max

For a tail the cost is [latency > L_p] and L the share allowed. One look-up and one addition per inference, no labels, no assumption on the
stream. Summing the updates telescopes, so after T inferences, whatever happened,

    |mean cost - L| <= cost_max·(1 + 2η)/(η·T)

under its condition: costs are clipped at cost_max, leaving at the first exit never costs more than L and at the last never less. Where the
condition fails, u stays at an end of its range and `saturation` says what share of inferences were spent there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.solver.pareto_front import Front
from edgeexit.calibration.targets import Bound, Target, parse_target
from edgeexit.errors import InputError

if TYPE_CHECKING:
    from edgeexit.runtime import Prediction, Runner

STEP = 0.03
"""η: how much of the path one full overspending moves. Larger reacts faster and fluctuates more."""
CLIP = 2.0
"""cost_max, as a multiple of the last exit's mean cost: one stalled inference must not empty the budget of the next thousand."""


@dataclass(frozen=True)
class ControlLaw:
    """The bound that the controller keeps.

    Attributes:
        wanted: L, the mean cost to hold (seconds, or a share for a tail).
        most: cost_max, at which costs are clipped.
        step: η.
        over_s: for a tail, the latency beyond which an inference costs 1; None where the cost is the latency itself.
    """

    wanted: float
    most: float
    step: float = STEP
    over_s: float | None = None

    @classmethod
    def from_target(cls, table: ReplayTable, target: str | Target, step: float = STEP) -> ControlLaw:
        """The law of a target with exactly one bound on time.

        Raises:
            InputError: no bound on time, or several.
        """
        times = [b for b in parse_target(target).cost_bounds if b.kind.of_time]
        if len(times) != 1:
            msg = f"control holds exactly one bound on time, a mean or a percentile; '{target}' has {len(times)}."
            raise InputError(msg)
        return cls._from_bound(table, times[0], step)

    @classmethod
    def _from_bound(cls, table: ReplayTable, bound: Bound, step: float) -> ControlLaw:
        if bound.kind.tail is not None:
            return cls(bound.kind.tail, 1.0, step, bound.limit)
        return cls(bound.kind.resolve_limit(table, bound), CLIP * float(table.mean_cost_s.max()), step)

    def cost(self, latency_s: float) -> float:
        """Cost of an inference of this latency, clipped."""
        if self.over_s is not None:
            return 1.0 if latency_s > self.over_s else 0.0
        return min(latency_s, self.most)

    def bound(self, inferences: int) -> float:
        """How far the mean cost can be from `wanted` after this number of inferences, under the condition of the module."""
        return self.most * (1 + 2 * self.step) / (self.step * inferences)


class FrontPosition:
    """The place on the path, moved by costs; knows nothing of runners or clocks.

    Args:
        law: the bound to keep.
        points: number of policies of the path; the two ends "always first" and "always last" lie beyond them.
        start: calibrated place, 0..1.
    """

    def __init__(self, law: ControlLaw, points: int, start: float) -> None:
        self.law = law
        self.points = points
        self.place = start
        self.inferences = 0
        self.total_cost = 0.0
        self._saturated = 0

    @property
    def index(self) -> int:
        """Which policy to use: 0 always first, 1..points the path, points + 1 always last."""
        if self.place <= 0:
            return 0
        if self.place >= 1:
            return self.points + 1
        return 1 + min(self.points - 1, int(self.place * self.points))

    @property
    def mean_cost(self) -> float | None:
        """Total cost of all inferences so far, each clipped."""
        return self.total_cost / self.inferences if self.inferences else None

    @property
    def saturation(self) -> float:
        """Share of inferences at which the place was held at an end of its range: the condition of the bound did not hold there."""
        return self._saturated / self.inferences if self.inferences else 0.0

    def move(self, latency_s: float) -> None:
        """Take in the latency of the last inference."""
        law = self.law
        cost = law.cost(latency_s)
        self.inferences += 1
        self.total_cost += cost
        wanted = self.place + law.step * (law.wanted - cost) / law.most
        self.place = min(max(wanted, -law.step), 1 + law.step)
        self._saturated += wanted != self.place


def list_path_thresholds(front: Front, exits: int) -> list[tuple[float, ...]]:
    """Inner thresholds per index of a `FrontPosition`: always first, the front, always last."""
    never, always = float("inf"), float("-inf")
    ends = (always,) + (never,) * (exits - 2)
    return [ends, *(p.thresholds for p in front.policies), (never,) * (exits - 1)]


def find_start(front: Front, law: ControlLaw, table: ReplayTable) -> float:
    """The place on the front whose cost on the table is the nearest below what the law wants."""
    per_exit = table.mean_cost_s if law.over_s is None else table.compute_share_over(law.over_s)
    costs = np.array([np.dot(p.exit_rates, per_exit) for p in front.policies])
    kept = np.flatnonzero(costs <= law.wanted)
    return (int(kept[-1]) + 0.5) / len(front) if len(kept) else 0.0


class Controller:
    """A Runner whose thresholds follow a target: call it like the Runner.

    Args:
        runner: runner to control; its thresholds are set before every inference.
        front: the policies to move along.
        law: the bound to keep.
        start: calibrated position on the front.
        clock: returns the time in seconds; replaceable for tests.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> x = load_data("digits:test").inputs
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     held = edgeexit.control(runner, "mean<=0.9x")
        ...     exit = held(x[:1]).exit
        >>> exit in (1, 2), held.mean_cost > 0
        (True, True)
    """

    def __init__(
        self,
        runner: Runner,
        front: Front,
        law: ControlLaw,
        *,
        start: float = 0.5,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.runner = runner
        self.position = FrontPosition(law, len(front), start)
        self._paths: Sequence[tuple[float, ...]] = list_path_thresholds(front, runner.exits)
        self._clock = clock

    @property
    def place(self) -> float:
        """Position on the front: at most 0 always the first exit, at least 1 always the last."""
        return self.position.place

    @property
    def mean_cost(self) -> float | None:
        """Mean cost so far: clipped seconds, or the share over the tail's limit."""
        return self.position.mean_cost

    @property
    def saturation(self) -> float:
        """Share of inferences at which the target could not be held by any threshold."""
        return self.position.saturation

    def bound(self) -> float:
        """How far `mean_cost` can be from what is wanted, under the condition of the module."""
        return self.position.law.bound(max(1, self.position.inferences))

    def __call__(self, x: Any) -> Prediction:
        """Classify one input with the thresholds of the moment, and move."""
        self.runner.inner_thresholds = self._paths[self.position.index]
        start = self._clock()
        prediction = self.runner(x)
        self.position.move(self._clock() - start)
        return prediction
