"""The replay table: every exit run once on every calibration sample, and the measured cost of leaving at each exit.

Everything that calibration decides is read from it. A policy only says at which exit each sample leaves, so accuracy, mean latency,
P(latency > L), energy and exit rates are all sums over samples of a value that depends on the exit alone (costs) or on the exit and the
sample (right or wrong). Inner scores: higher means more confident; a sample leaves at the first exit whose score is >= its threshold.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.calibration.arrays import (
    as_costs,
    as_flags,
    as_scores,
    as_vector,
    check_thresholds,
    parse_exit_number,
    read_arrays,
)
from edgeexit.calibration.head_costs import drop_head_costs
from edgeexit.calibration.outcome import Outcome, compute_mean_cost
from edgeexit.calibration.table_faults import NO_SECONDS, find_table_faults
from edgeexit.errors import InputError
from edgeexit.leaving import find_leaves

SCHEMA = "edgeexit.replay/1"
_OPTIONAL = ("energy_j", "head_s", "agreement", "macs", "typical_s", "backbone_correct")

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Indices: TypeAlias = NDArray[np.int64]

_CONVERSIONS: Mapping[str, Callable[[Any], object]] = {
    "scores": as_scores,
    "correct": partial(as_flags, name="correct"),
    "cost_s": as_costs,
    "energy_j": as_vector,
    "head_s": as_vector,
    "agreement": partial(as_flags, name="agreement"),
    "macs": as_vector,
    "typical_s": as_vector,
    "backbone_s": lambda value: None if value is None else float(value),
    "backbone_correct": partial(as_flags, name="backbone_correct"),
    "remote_from": lambda value: None if value is None else int(value),
    "origin": lambda value: dict(value or {}),
}
"""Conversions of each field of a table from lists, or from arrays of another dtype."""


@dataclass(frozen=True, eq=False)
class ReplayTable:
    """Scores and answers of every exit on every calibration sample, and the cost of leaving at each exit on this device.

    Attributes:
        scores: float32 [M, N-1], inner scores of the early exits.
        correct: bool [M, N], whether each exit is right; None without labels.
        cost_s: per exit, the measured latencies of leaving there, cumulative from the input (float64 [n_k]; one value where only a mean
            is known). Given as [N] numbers or as a sequence of N arrays. None, kept as (), where `macs` is given instead: everything works
            but what needs seconds, which is refused.
        energy_j: [N], mean energy of leaving at each exit; None where nothing measures it.
        head_s: [N-1], the part of the cost that each early head takes (head, score and comparison); None where not measured.
        agreement: bool [M, N], whether each exit gives the backbone's answer; None where not recorded.
        macs: [N], multiply-accumulates done by leaving at each exit; None where not counted.
        typical_s: [N], the mean cost of each exit where it is known better than as the mean of `cost_s` (medians of block means, which a
            stall of the machine does not move); None otherwise.
        backbone_s: mean latency of the backbone (straight to the last exit, no heads). None: the last exit's cost less the heads'.
        backbone_correct: bool [M], whether the backbone is right, where it may answer otherwise than the last exit (which answers with what
            several exits have computed: `running_mean`, `most_confident`); all true without labels. None: the last exit is the backbone.
        remote_from: the first exit (from 1) whose stage runs on another machine, so that what leaves there or later goes up; None where all
            stages run here.
        origin: where it comes from: device, engine, hashes of data and bundle, seed.

    Raises:
        InputError: shapes that do not fit, too few exits or samples, non-finite scores, costs that are not positive. All faults in one.

    Example:
        >>> import edgeexit
        >>> table = edgeexit.ReplayTable.from_arrays(
        ...     scores=[[0.9], [0.8], [0.3], [0.2]],  # 4 samples, 1 early exit
        ...     correct=[[1, 1], [1, 1], [0, 1], [1, 1]],  # both exits
        ...     cost_s=[0.001, 0.003],
        ... )
        >>> outcome = table.evaluate([0.5])
        >>> outcome.mean_s, outcome.accuracy
        (0.002, 1.0)
    """

    scores: NDArray[np.float32]
    correct: Bools | None
    cost_s: tuple[Floats, ...]
    energy_j: Floats | None = None
    head_s: Floats | None = None
    _: KW_ONLY
    agreement: Bools | None = None
    macs: Floats | None = None
    typical_s: Floats | None = None
    backbone_s: float | None = None
    backbone_correct: Bools | None = None
    remote_from: int | None = None
    origin: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, convert in _CONVERSIONS.items():
            object.__setattr__(self, name, convert(getattr(self, name)))
        faults = find_table_faults(self)
        if faults:
            raise InputError("the replay table is inconsistent: " + "; ".join(faults) + ".")

    @classmethod
    def from_arrays(
        cls,
        scores: ArrayLike,
        correct: ArrayLike | None,
        cost_s: ArrayLike | Sequence[ArrayLike] | None,
        energy_j: ArrayLike | None = None,
        head_s: ArrayLike | None = None,
        *,
        agreement: ArrayLike | None = None,
        macs: ArrayLike | None = None,
        typical_s: ArrayLike | None = None,
        backbone_s: float | None = None,
        backbone_correct: ArrayLike | None = None,
        remote_from: int | None = None,
        origin: Mapping[str, str] | None = None,
    ) -> ReplayTable:
        """Make a table from lists or arrays of any numeric type; see the attributes for shapes and units.

        Raises:
            InputError: as of the class.

        Example:
            >>> table = ReplayTable.from_arrays(
            ...     scores=[[0.9], [0.2]], correct=[[1, 1], [0, 1]], cost_s=[0.001, 0.003]
            ... )
            >>> table.evaluate([0.5]).mean_s
            0.002
        """
        given: dict[str, Any] = {  # the constructor converts them
            "scores": scores,
            "correct": correct,
            "cost_s": cost_s,
            "energy_j": energy_j,
            "head_s": head_s,
            "agreement": agreement,
            "macs": macs,
            "typical_s": typical_s,
            "backbone_s": backbone_s,
            "backbone_correct": backbone_correct,
            "remote_from": remote_from,
            "origin": origin,
        }
        return cls(**given)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def exits(self) -> int:
        """The number of exits N, the last included."""
        return int(self.scores.shape[1]) + 1

    @property
    def timed(self) -> bool:
        """Whether the costs of the exits are known in seconds."""
        return bool(self.cost_s)

    @cached_property
    def mean_cost_s(self) -> Floats:
        """Mean cost of leaving at each exit, [N] seconds.

        Raises:
            InputError: the table has no seconds.
        """
        self._require_seconds()
        return np.array([samples.mean() for samples in self.cost_s]) if self.typical_s is None else self.typical_s

    @property
    def mean_cost(self) -> Floats:
        """Mean cost of leaving at each exit, [N], in `cost_unit`: seconds where they were measured, else multiply-accumulates."""
        if self.timed:
            return self.mean_cost_s
        assert self.macs is not None
        return self.macs

    @property
    def cost_unit(self) -> str:
        """Unit of `mean_cost`: "s" or "MAC"."""
        return "s" if self.timed else "MAC"

    @property
    def backbone_mean_s(self) -> float:
        """Mean latency of the backbone: as measured, else the last exit's cost without the heads."""
        if self.backbone_s is not None:
            return self.backbone_s
        heads = 0.0 if self.head_s is None else float(self.head_s.sum())
        return float(self.mean_cost_s[-1]) - heads

    @property
    def last_is_backbone(self) -> bool:
        """Whether running to the last exit gives the backbone's answers, so that nothing can be lost by it."""
        return self.backbone_correct is None

    @property
    def backbone_right(self) -> Bools:
        """Whether the backbone is right, bool [M]: what a drop is counted from. The table must have labels."""
        assert self.correct is not None
        return self.correct[:, -1] if self.backbone_correct is None else self.backbone_correct

    def compute_share_over(self, limit_s: float) -> Floats:
        """P(latency > limit) when leaving at each exit, [N].

        Raises:
            InputError: the table has no seconds.
        """
        self._require_seconds()
        return np.array([(samples > limit_s).mean() for samples in self.cost_s])

    def leaves_at(self, thresholds: ArrayLike) -> Indices:
        """The exit at which each sample leaves under inner thresholds [N-1], counted from 0, [M]."""
        inner = check_thresholds(thresholds, self.exits)
        return find_leaves(self.scores.T, inner)

    def evaluate(self, thresholds: ArrayLike) -> Outcome:
        """Outcome of the policy with these inner thresholds [N-1] on this table."""
        return self.evaluate_leaves(self.leaves_at(thresholds))

    def evaluate_leaves(self, leaves: Indices) -> Outcome:
        """Outcome if sample i leaves at exit `leaves[i]` (from 0)."""
        counts = np.bincount(leaves, minlength=self.exits)
        return Outcome(
            counts=tuple(int(c) for c in counts),
            accuracy=_compute_share(self.correct, leaves),
            agreement=_compute_share(self.agreement, leaves),
            mean_s=compute_mean_cost(counts, self.mean_cost_s) if self.timed else math.nan,
            energy_j=None if self.energy_j is None else compute_mean_cost(counts, self.energy_j),
            macs=None if self.macs is None else compute_mean_cost(counts, self.macs),
        )

    def take(self, indices: Indices) -> ReplayTable:
        """The same costs, with only these samples (repeats allowed)."""
        return replace(
            self,
            scores=self.scores[indices],
            correct=None if self.correct is None else self.correct[indices],
            agreement=None if self.agreement is None else self.agreement[indices],
            backbone_correct=None if self.backbone_correct is None else self.backbone_correct[indices],
        )

    def without_heads(self, exits: Sequence[int]) -> ReplayTable:
        """The table of the network recompiled without these early exits (from 1). Later exits get cheaper by the heads' cost.

        Raises:
            InputError: head costs were not measured, or an exit is not an early one.
        """
        if self.head_s is None or not set(exits) <= set(range(1, self.exits)):
            msg = f"cannot drop heads {list(exits)}: early exits are 1 to {self.exits - 1} and head_s must be known."
            raise InputError(msg)
        keep = np.array([k + 1 not in exits for k in range(self.exits)])
        cost_s, typical_s = drop_head_costs(self.cost_s, self.typical_s, self.head_s, exits)
        return replace(
            self,
            scores=self.scores[:, keep[:-1]],
            correct=None if self.correct is None else self.correct[:, keep],
            cost_s=cost_s,
            energy_j=None if self.energy_j is None else self.energy_j[keep],
            head_s=self.head_s[keep[:-1]],
            agreement=None if self.agreement is None else self.agreement[:, keep],
            macs=None if self.macs is None else self.macs[keep],
            typical_s=typical_s,
            backbone_s=self.backbone_mean_s,
            remote_from=self.remote_from and self.remote_from - sum(k < self.remote_from for k in set(exits)),
        )

    def with_costs(
        self, cost_s: Sequence[ArrayLike], *, typical_s: ArrayLike | None = None, backbone_s: float | None = None
    ) -> ReplayTable:
        """The same samples, with other measured latencies."""
        straight = self.backbone_s if backbone_s is None else backbone_s
        return replace(self, cost_s=as_costs(cost_s), typical_s=as_vector(typical_s), backbone_s=straight)

    def without_seconds(self) -> ReplayTable:
        """The same table in multiply-accumulates.

        Raises:
            InputError: these are not known.
        """
        return replace(self, cost_s=None, head_s=None, typical_s=None, backbone_s=None)  # type: ignore[arg-type]  # converted to ()

    def sha256(self) -> str:
        """SHA-256 of everything in the table but its origin."""
        digest = hashlib.sha256()
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path | IO[bytes]) -> None:
        """Write an `.npz` (no pickles) with the origin and the table's own hash."""
        header = {"schema": SCHEMA, "sha256": self.sha256(), "origin": dict(self.origin)}
        np.savez_compressed(path, allow_pickle=False, header=np.array(json.dumps(header)), **self._arrays())

    @classmethod
    def load(cls, path: str | Path | IO[bytes]) -> ReplayTable:
        """Read what `save` wrote.

        Raises:
            InputError: not such a file, pickled, changed since it was written, or of a newer schema.
        """
        header, arrays = read_arrays(path, SCHEMA)
        try:
            table = cls._from_file(arrays, header["origin"])
        except InputError:
            raise
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            msg = f"{path} is not a replay table that edgeexit wrote: {error}."
            raise InputError(msg) from error
        if table.sha256() != header["sha256"]:
            msg = f"{path} has changed since it was written (its hash does not match); make the table again."
            raise InputError(msg)
        return table

    @classmethod
    def _from_file(cls, arrays: dict[str, NDArray[Any]], origin: Mapping[str, str]) -> ReplayTable:
        costs = [
            arrays.pop(name) for name in sorted((n for n in arrays if n.startswith("cost_s_")), key=parse_exit_number)
        ]
        backbone, remote = arrays.pop("backbone_s", None), arrays.pop("remote_from", None)
        optional = {name: arrays.get(name) for name in _OPTIONAL}
        return cls.from_arrays(
            arrays["scores"],
            arrays.get("correct"),
            costs or None,
            **optional,
            backbone_s=None if backbone is None else float(backbone),
            remote_from=None if remote is None else int(remote),
            origin=origin,
        )

    def _require_seconds(self) -> None:
        if not self.timed:
            raise InputError(NO_SECONDS)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        optional = {
            "correct": self.correct,
            **{name: getattr(self, name) for name in _OPTIONAL},
            "backbone_s": None if self.backbone_s is None else np.array(self.backbone_s),
            "remote_from": None if self.remote_from is None else np.array(self.remote_from),
        }
        costs = {f"cost_s_{k}": samples for k, samples in enumerate(self.cost_s, 1)}
        return {"scores": self.scores, **costs, **{n: a for n, a in optional.items() if a is not None}}


FALL = 0.03
"""Largest relative amount by which an exit may be measured as faster than the one before; more is noise."""


def find_falling_exits(mean_s: Floats, room: float = FALL) -> tuple[int, ...]:
    """Exits (from 1) that take less than the exit before, whose work they contain, by more than `room` of it."""
    return tuple(int(k) + 2 for k in np.flatnonzero(mean_s[1:] < mean_s[:-1] * (1 - room)))


def compute_latency_quantile(table: ReplayTable, rates: ArrayLike, q: float) -> float:
    """The latency below or at which a share `q` of inferences ends, when shares `rates` [N] leave at each exit. Nearest rank, seconds."""
    values = np.concatenate(table.cost_s)
    weights = np.concatenate(
        [np.full(len(s), r / len(s)) for s, r in zip(table.cost_s, np.asarray(rates), strict=True)]
    )
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][min(int(np.searchsorted(reached, q - 1e-12)), len(values) - 1)])


def add_origin(table: ReplayTable, **facts: str) -> ReplayTable:
    """The same table with more facts about where it comes from."""
    return replace(table, origin={**table.origin, **facts})


def _compute_share(flags: Bools | None, leaves: Indices) -> float | None:
    if flags is None:
        return None
    return int(np.count_nonzero(flags[np.arange(len(leaves)), leaves])) / len(leaves)
