"""The data of a calibration: the plan, and the samples divided into parts, with every exit run once on each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edgeexit.calibration.certify import samples_needed
from edgeexit.calibration.device import (
    MeasuredCosts,
    attach_costs,
    attach_energy,
    replay_answers,
)
from edgeexit.calibration.plausibility import Evidence, Finding, find_implausible, refuse_implausible
from edgeexit.calibration.replay import Indices, ReplayTable, add_origin
from edgeexit.calibration.result import DataParts
from edgeexit.calibration.solver.problem import build_problem
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.data import Dataset, hash_indices, split_calibration
from edgeexit.errors import InputError
from edgeexit.runtime import Runner
from edgeexit.runtime.calibrations import find_settings_key
from edgeexit.util.progress import Progress

ROUNDS = 3
"""Most runs of a policy until one decides every bound on time; a proof counts each of them."""


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


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """The data and its replay tables: choose, certify (only with confidence), validate; `whole` and `answers` are of all samples."""

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

    def attach_costs(self, costs: MeasuredCosts) -> CalibrationData:
        """Replace the costs in all tables by measured ones."""
        return self._map_tables(lambda table: attach_costs(table, costs))

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
    shares = (0.8, 0.2) if plan.confidence is None else (0.4, 0.4, 0.2)
    indices = split_calibration(len(data), plan.seed, shares)
    if plan.confidence is not None:
        _refuse_early(plan, len(indices[1]))
    replayed = replay_answers(runner, data, plan.progress, plain=plan.plain)
    table = add_origin(replayed.table, **_describe_origin(runner, data))
    build_problem(
        table, _drop_energy_bounds(plan.target)
    )  # refuses what the data cannot answer before anything is timed
    findings = find_implausible(Evidence(data, replayed.backbone, runner.classes, plan.target, runner.bundle.manifest))
    if not plan.force:
        refuse_implausible(findings, data.name)
    proof = None if plan.confidence is None else table.take(indices[1])
    return CalibrationData(
        data,
        table,
        replayed.answers,
        table.take(indices[0]),
        proof,
        data.take(indices[-1]),
        table.take(indices[-1]),
        _describe_parts(data, indices, plan),
        findings,
        runner.classes,
    )


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
