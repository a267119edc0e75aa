"""The data of a calibration: the plan, and the samples divided into parts, with every exit run once on each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from edgeexit.calibration.certify import samples_needed
from edgeexit.calibration.device import (
    MeasuredCosts,
    attach_costs,
    attach_energy,
    replay_answers,
)
from edgeexit.calibration.outcome import Outcome
from edgeexit.calibration.plausibility import Evidence, Finding, find_implausible, refuse_implausible
from edgeexit.calibration.replay import Indices, ReplayTable, add_origin
from edgeexit.calibration.result import DataParts, PolicyPerformance
from edgeexit.calibration.solver.problem import build_problem
from edgeexit.calibration.solver.streamed import SAMPLE, draw_sample, evaluate_parts
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.data import Dataset, hash_indices, split_calibration
from edgeexit.errors import InputError
from edgeexit.runtime import Runner
from edgeexit.runtime.calibrations import find_settings_key
from edgeexit.util.progress import Progress

ROUNDS = 3
"""Most runs of a policy until one decides every bound on time; a proof counts each of them."""


class ReplayShards(Protocol):
    """A replay table in shards that are read one at a time, again and again: `edgeexit.scale.ShardedTable`."""

    def __iter__(self) -> Iterator[ReplayTable]:
        """One shard after the other."""

    def __len__(self) -> int:
        """Samples in all shards."""

    def with_measured(self, costs: MeasuredCosts) -> ReplayShards:
        """The same shards with measured latencies."""

    def refuse_other(self, runner: Runner) -> None:
        """Raise an InputError where they are of another network than the runner's."""


@dataclass(frozen=True)
class CalibrationPlan:
    """The request: target, confidence and options."""

    target: Target
    confidence: float | None
    seed: int
    seconds: float
    method: str | None
    progress: Progress
    force: bool
    plain: Indices | None = None
    """Labels of the network that drop and agreement are counted from, [n]; None: the bundle's own backbone."""
    candidates: float = 1.0
    """Number of independent candidates of which the data chose this one."""
    shards: ReplayShards | None = None
    """What thresholds are chosen over; None: part of the data."""


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """The data and its replay tables: choose, certify (only with confidence), validate; `whole` and `answers` are of all samples.

    With `shards` thresholds are chosen over these, `choose` is a sample of them, and all of the data are validated on.
    """

    data: Dataset
    whole: ReplayTable
    answers: Indices
    choose: ReplayTable
    certify: ReplayTable | None
    validate: Dataset
    validate_table: ReplayTable
    parts: DataParts
    findings: tuple[Finding, ...]
    classes: int
    shards: ReplayShards | None = None

    def attach_costs(self, costs: MeasuredCosts) -> CalibrationData:
        """Replace the costs in all tables by measured ones."""
        found = self._map_tables(lambda table: attach_costs(table, costs))
        return found if self.shards is None else replace(found, shards=self.shards.with_measured(costs))

    def evaluate(self, thresholds: ArrayLike) -> Outcome:
        """Outcome of inner thresholds on all samples that thresholds are chosen on."""
        inner = np.asarray(thresholds, np.float32)
        return self.choose.evaluate(inner) if self.shards is None else evaluate_parts(self.shards, inner)

    def predict(self, thresholds: ArrayLike) -> PolicyPerformance:
        """The same, with latencies."""
        found = PolicyPerformance.from_outcome(self.choose, self.evaluate(thresholds))
        return found if self.shards is None else replace(found, samples=len(self.shards))

    def attach_energy(self, energy_j: list[float]) -> CalibrationData:
        """Replace the energies in all tables by measured ones."""
        return self._map_tables(lambda table: attach_energy(table, energy_j))

    def _map_tables(self, made: Callable[[ReplayTable], ReplayTable]) -> CalibrationData:
        return replace(
            self,
            whole=made(self.whole),
            choose=made(self.choose),
            certify=None if self.certify is None else made(self.certify),
            validate_table=made(self.validate_table),
        )


def split_data(runner: Runner, data: Dataset, plan: CalibrationPlan) -> CalibrationData:
    """Divide the data and run every exit on them once.

    Raises:
        InputError: too few samples for a proof, what the data cannot answer, or implausible data.
    """
    if plan.shards is not None:
        return _take_shards(runner, data, plan, plan.shards)
    shares = (0.8, 0.2) if plan.confidence is None else (0.4, 0.4, 0.2)
    indices = split_calibration(len(data), plan.seed, shares)
    if plan.confidence is not None:
        _refuse_early(plan, len(indices[1]))
    table, answers, findings = _replay_data(runner, data, plan)
    return CalibrationData(
        data=data,
        whole=table,
        answers=answers,
        choose=table.take(indices[0]),
        certify=None if plan.confidence is None else table.take(indices[1]),
        validate=data.take(indices[-1]),
        validate_table=table.take(indices[-1]),
        parts=_describe_parts(data, indices, plan),
        findings=findings,
        classes=runner.classes,
    )


def _take_shards(runner: Runner, data: Dataset, plan: CalibrationPlan, shards: ReplayShards) -> CalibrationData:
    """Shards to choose over; all of the data validate."""
    _refuse_unsharded(plan)
    shards.refuse_other(runner)
    plan.progress("reading the shards", 0, 1)
    drawn, total = draw_sample(shards, SAMPLE, plan.seed)
    choose = drawn.with_costs([1.0] * drawn.exits)  # until they are measured
    sha256 = _hash_tables(shards)
    plan.progress("reading the shards", 1, 1)
    build_problem(choose, plan.target)  # refuses what they cannot answer before anything is run
    table, answers, findings = _replay_data(runner, data, plan)
    everything = np.arange(len(data))
    parts = _describe_parts(data, [np.zeros(0, np.int64), everything], plan)
    return CalibrationData(
        data=data,
        whole=table,
        answers=answers,
        choose=replace(choose, origin=table.origin, remote_from=table.remote_from),
        certify=None,
        validate=data,
        validate_table=table,
        parts=replace(parts, choose=len(choose), shards=total, shards_sha256=sha256),
        findings=findings,
        classes=runner.classes,
        shards=shards,
    )


def _refuse_unsharded(plan: CalibrationPlan) -> None:
    """Refuse what needs all samples at once, or more of them than shards keep."""
    given = {
        "a confidence": plan.confidence is not None,
        f"the method {plan.method}": plan.method not in (None, "exact"),
        "labels of another network (plain)": plan.plain is not None,
        "a bound on energy (macs<= can be bounded)": plan.target.needs_meter,
    }
    idle = [name for name, there in given.items() if there]
    if idle:
        msg = f"thresholds from a replay table in shards do not go with {', '.join(idle)}: leave that out, or calibrate on the data alone."
        raise InputError(msg)


def _hash_tables(tables: Iterable[ReplayTable]) -> str:
    digest = hashlib.sha256()
    for table in tables:
        for column in (table.scores, table.correct, table.agreement):
            if column is not None:
                digest.update(column.tobytes())
    return digest.hexdigest()


def _replay_data(
    runner: Runner, data: Dataset, plan: CalibrationPlan
) -> tuple[ReplayTable, Indices, tuple[Finding, ...]]:
    """Every exit run once on the data: the table, the exits' answers, and what makes the data implausible."""
    replayed = replay_answers(runner, data, plan.progress, plain=plan.plain)
    table = add_origin(replayed.table, **_describe_origin(runner, data))
    build_problem(
        table, _drop_energy_bounds(plan.target)
    )  # refuses what the data cannot answer before anything is timed
    findings = find_implausible(Evidence(data, replayed.backbone, runner.classes, plan.target, runner.bundle.manifest))
    if not plan.force:
        refuse_implausible(findings, data.name)
    return table, replayed.answers, findings


def _describe_parts(data: Dataset, indices: list[Indices], plan: CalibrationPlan) -> DataParts:
    hashes = [hash_indices(i) for i in indices]
    return DataParts(
        choose=len(indices[0]),
        certify=0 if plan.confidence is None else len(indices[1]),
        validate=len(indices[-1]),
        seed=plan.seed,
        choose_sha256=hashes[0],
        certify_sha256=None if plan.confidence is None else hashes[1],
        validate_sha256=hashes[-1],
        data=data.name,
        data_sha256=data.sha256,
    )


def _refuse_early(plan: CalibrationPlan, samples: int) -> None:
    """Say how many samples a proof needs before anything is measured."""
    assert plan.confidence is not None
    needed = samples_needed(plan.target, plan.confidence, rounds=ROUNDS)
    short = {bound: n for bound, n in needed.items() if n > samples}
    if short:
        listed = ", ".join(f"{bound} needs {n}" for bound, n in short.items())
        msg = f"the certify part has {samples} samples; at {plan.confidence:g} confidence {listed}. It is 40 % of the data: give more."
        raise InputError(msg)


def _describe_origin(runner: Runner, data: Dataset) -> dict[str, str]:
    return {
        "key": find_settings_key(runner.settings),
        "model_sha256": runner.bundle.manifest.files[runner.bundle.manifest.model].sha256,
        "data": data.name,
        "data_sha256": data.sha256,
        "criterion": runner.criterion.name,
    }


def _drop_energy_bounds(target: Target) -> Target:
    rest = tuple(b for b in target.bounds if not b.kind.metered)
    return Target(rest) if rest else parse_target("mean<=1000s")
