"""The interface of a target's metrics; `metrics` has the table of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

from edgeexit.calibration.bounds import count_samples_for_share
from edgeexit.calibration.replay import Floats, Indices, ReplayTable
from edgeexit.calibration.sums import SampleSum
from edgeexit.calibration.uncertainty import ExitSample, RunTimes
from edgeexit.util import units

if TYPE_CHECKING:
    from edgeexit.calibration.targets import Bound

PictureAxis: TypeAlias = Literal["latency", "quality", ""]
UNPROVABLE = 2**31
"""The number of samples that a bound needs which no number of samples proves."""


class Performance(Protocol):
    """Source of a metric's value: an `Outcome` of a table, or the figures of a run."""

    @property
    def accuracy(self) -> float | None: ...
    @property
    def agreement(self) -> float | None: ...
    @property
    def mean_s(self) -> float: ...
    @property
    def exit_rates(self) -> tuple[float, ...]: ...


@dataclass(frozen=True)
class Metric(ABC):
    """One thing that a target can bound.

    Attributes:
        name: name used in targets; a numbered one takes the number of an exit after it.
        what: description used in messages.
        units: unit -> power of ten of the SI value; a single "" for a plain number.
        tail: for percentiles, the share of inferences that may take longer than the limit.
        sign: "<=" or ">=", the only direction that makes sense for it.
        low, high: legal limits, in SI.
        possible: the least and the largest value that the quantity can have.
        of_cost: True where it bounds what an inference costs, False where it bounds how good the answers are.
        of_time: True where the limit is a time.
        numbered: True where the number of an exit follows the name.
        relative: True where the limit may be a multiple of the backbone's, as in `mean<=0.6x`.
        metered: True where an energy meter must measure it.
        axis: the axis of the accuracy-latency picture on which the limit can be drawn, or "".
    """

    name: str
    what: str
    units: Mapping[str, int]
    tail: float | None = None
    metered: bool = False
    sign: ClassVar[str] = "<="
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    possible: ClassVar[tuple[float, float]] = (0.0, math.inf)
    of_cost: ClassVar[bool] = True
    of_time: ClassVar[bool] = False
    numbered: ClassVar[bool] = False
    relative: ClassVar[bool] = False
    axis: ClassVar[PictureAxis] = ""

    @property
    def machine_dependent(self) -> bool:
        """Whether a busy machine changes it: time, and the energy that everything on the machine draws."""
        return self.of_time or self.metered

    @abstractmethod
    def build_sum(self, table: ReplayTable, bound: Bound) -> SampleSum:
        """The sum over samples that a bound limits.

        Raises:
            InputError: the table lacks what it takes (labels, energy, multiply-accumulates, agreement, the exit).
        """

    @abstractmethod
    def compute_p_values(
        self, test: ReplayTable, bound: Bound, leaves: Sequence[Indices], delta: float, seed: int
    ) -> Floats:
        """p-value of "the bound is broken" for each policy, given the exit where each sample of `test` leaves under it."""

    @abstractmethod
    def get_value(self, bound: Bound, performance: Performance, table: ReplayTable) -> float:
        """Its value for a policy that does this on the samples of a table."""

    @abstractmethod
    def compute_half_width(self, bound: Bound, sample: ExitSample, timing: float) -> float:
        """Uncertainty of its estimate, in its unit (relative for tails, whose limit is a latency).

        Args:
            bound: what is bounded.
            sample: who leaves where.
            timing: relative error of measured times, without FLOOR.
        """

    def resolve_limit(self, table: ReplayTable, bound: Bound) -> float:
        """The limit that its value is compared with, in the unit of the value."""
        return bound.limit

    def convert_average(self, table: ReplayTable, bound: Bound, average: float) -> float:
        """The limit, as a bound writes it, at which the average of its sum stands."""
        return average

    def tighten_sum(self, limited: SampleSum, bound: Bound, samples: int, tightness: float) -> float:
        """The limit of its sum moved inwards: part of a cost, four times that part of a tail, as much of what answers may still lose."""
        return limited.limit * (1 - tightness)

    def tighten_bound(self, bound: Bound, sample: ExitSample, room: float, fewer: float, bias: float) -> Bound | None:
        """The bound kept by its half width; None where that is as large as the bound, so that no choice would help.

        Args:
            bound: bound as asked.
            sample: who leaves where under the best policy for it.
            room: half width of the value on these samples.
            fewer: factor of the part of the room that falls with more samples.
            bias: relative, of the policy's mean latency above that of its exits.
        """
        room *= fewer
        return replace(bound, limit=bound.limit - room) if room < bound.limit else None

    def count_needed_samples(self, bound: Bound, delta: float) -> int:
        """Number of samples that prove the bound at level `delta` if none violates it."""
        return math.ceil(2 * math.log(1 / delta))

    def measure(self, bound: Bound, performance: Performance, table: ReplayTable, latency_s: Floats) -> float:
        """Its value in a run on the device, whose inferences took `latency_s`."""
        return self.get_value(bound, performance, table)

    def compute_predicted_range(
        self, bound: Bound, value: float, table: ReplayTable, sample: ExitSample, timing: float
    ) -> tuple[float, float]:
        """The interval of the value for data never seen, from its prediction."""
        half = self.compute_half_width(bound, sample, timing)
        return value - half, value + half

    def compute_run_range(self, bound: Bound, sample: ExitSample, timing: float, run: RunTimes) -> tuple[float, float]:
        """The interval of the value for data never seen, after a run."""
        value = self.get_value(bound, sample.table.evaluate_leaves(sample.leaves), sample.table)
        return self.compute_predicted_range(bound, value, sample.table, sample, timing)

    def can_decide(self, limit: float, half: float) -> bool:
        """Whether an interval of this half width can say anything about the limit."""
        return True

    def compute_allowed_loss(self, bound: Bound) -> float | None:
        """The share of the answers that may be lost; None where it bounds no answers."""
        return None

    def scale_allowed_loss(self, bound: Bound, share: float) -> Bound:
        """The bound under which this share of what the answers may lose may still be lost; the same one where it bounds no answers."""
        return bound

    def format_value(self, value: float) -> str:
        """A value with its unit, for tables."""
        return units.percent(value)


class AtLeastShare(Metric):
    """Base of exit rates and answer metrics: a share between 0 and 1 that must be large enough."""

    sign: ClassVar[str] = ">="
    high: ClassVar[float] = 1.0
    possible: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def convert_average(self, table: ReplayTable, bound: Bound, average: float) -> float:
        return -average  # the sum is that of minus the samples that count

    def tighten_sum(self, limited: SampleSum, bound: Bound, samples: int, tightness: float) -> float:
        return limited.limit - tightness * (samples + limited.limit)

    def tighten_bound(self, bound: Bound, sample: ExitSample, room: float, fewer: float, bias: float) -> Bound | None:
        limit = bound.limit + room * fewer
        return replace(bound, limit=limit) if limit < 1 else None

    def count_needed_samples(self, bound: Bound, delta: float) -> int:
        return count_samples_for_share(1 - bound.limit, delta) if bound.limit < 1 else UNPROVABLE
