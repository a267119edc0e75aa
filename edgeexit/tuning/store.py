"""What tuning has timed, kept in its folder at once: an interrupted run goes on from it, and another target is chosen from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeexit.calibration.device import MeasuredCosts
from edgeexit.errors import InputError
from edgeexit.tuning.space import EngineSetup
from edgeexit.util.atomic import replace_atomically, write_text
from edgeexit.util.documents import check_schema, dumps, parse_document, read_json

VERSION = 1
RECORD = "record.json"
_KEPT = 20_000
"""Latencies kept per exit; more are thinned evenly."""
_CLOSE = 0.98
"""A timing that is shorter by less than this is taken for one of the length that is wanted."""


@dataclass(frozen=True, eq=False)
class SetupTiming:
    """Latencies of one setup with all exits, at the machine's speed of the first measurement of the reference.

    Attributes:
        setup: how the stages ran.
        costs: latencies; `costs.error` and `costs.ratio_error` are those of their ratio to the reference.
        reference_s: mean latency of the network in its own precision, without exits; the same of all setups of a session.
        seconds: wall time of the timing.
    """

    setup: EngineSetup
    costs: MeasuredCosts
    reference_s: float
    seconds: float

    def scale(self, factor: float) -> SetupTiming:
        """The same with all latencies of the setup times this."""
        return replace(self, costs=scale_costs(self.costs, factor))


def scale_costs(costs: MeasuredCosts, factor: float) -> MeasuredCosts:
    """The same with all latencies times this."""
    return replace(
        costs,
        cost_s=tuple(factor * samples for samples in costs.cost_s),
        typical_s=factor * costs.typical_s,
        backbone_s=factor * costs.backbone_s,
        backbone_typical_s=factor * costs.backbone_typical_s,
    )


def make_equal_timing(precision: str, early: int) -> SetupTiming:
    """A setup of this precision before it is timed, in which every exit takes as long."""
    every = np.ones(early + 1)
    costs = MeasuredCosts(tuple(np.ones((early + 1, 1))), every, np.ones(1), 1.0, 0.0, 0.0, 0.0, 0.0)
    return SetupTiming(EngineSetup(precision, "onnxruntime", "staged", 1), costs, 1.0, 0.0)


def make_rising_timing(precision: str, early: int) -> SetupTiming:
    """The same in which every exit takes as much longer than the one before it."""
    equal = make_equal_timing(precision, early)
    rising = np.arange(1.0, early + 2)
    return replace(equal, costs=replace(equal.costs, cost_s=tuple(rising[:, None]), typical_s=rising))


@dataclass(frozen=True)
class TimedSetup:
    """Latencies of one setup, in seconds.

    Attributes:
        setup: how the stages ran.
        finished: whether it was timed to the end, and not left behind.
        seconds: wall time of the timing.
        typical_s: typical latency of leaving at each exit. backbone_s: of the network without exits, run in the same way.
        error: half width of the 99 % interval of a latency over the reference's, relative.
        drift, spread: how much the machine changed meanwhile, relative.
        latencies: file of the single latencies, `exit1` ... `exitN` and `backbone`, in the folder of the record.
    """

    setup: EngineSetup
    finished: bool
    seconds: float
    typical_s: tuple[float, ...]
    backbone_s: float
    error: float
    drift: float
    spread: float
    latencies: str


@dataclass(frozen=True, kw_only=True)
class TuningRecord:
    """What a run of tuning has measured so far; `record.json` in the folder of the run.

    Attributes:
        schema: `edgeexit.tuning-record/1`.
        model: SHA-256 of the ONNX file. data: of the samples. seed: random seed of the splits. device: key of the machine.
        reference_s: mean latency of the network in its own precision without exits; None before it is measured.
        spread: how much longer the reference took in its slow blocks than in its fast ones, relative; None likewise.
        setups: the setups that were timed.
        compile_s, replay_s: the longest that compiling a bundle, and running every exit on every sample, has taken, seconds.
        budget_s: the largest budget that a run had. rounds_s: seconds for each setup in each round of timing under it.
    """

    schema: str = f"edgeexit.tuning-record/{VERSION}"
    model: str
    data: str
    seed: int
    device: str
    reference_s: float | None = None
    spread: float | None = None
    setups: tuple[TimedSetup, ...] = ()
    compile_s: float = 0.0
    replay_s: float = 0.0
    budget_s: float = 0.0
    rounds_s: tuple[float, ...] = ()

    @property
    def identity(self) -> Mapping[str, object]:
        """What must agree for the measurements to be used."""
        return {"model": self.model, "data": self.data, "seed": self.seed, "device": self.device}


@dataclass(eq=False)
class TuningStore:
    """The record of a folder, written anew, whole, with each measurement."""

    folder: Path
    record: TuningRecord

    @classmethod
    def create(cls, folder: Path, record: TuningRecord) -> TuningStore:
        """A new folder with an empty record."""
        folder.mkdir(parents=True)
        return cls.begin(folder, record)

    @classmethod
    def begin(cls, folder: Path, record: TuningRecord) -> TuningStore:
        """An empty record in a folder that is there."""
        store = cls(folder, record)
        store._write(record)
        return store

    @classmethod
    def open(cls, folder: Path, wanted: TuningRecord) -> TuningStore:
        """The record of a folder.

        Raises:
            InputError: there is none, or it is of another model, other data, another seed or another machine.
        """
        path = folder / RECORD
        if not path.is_file():
            msg = f"{folder} holds no {RECORD}: it is no folder of edgeexit tune. Remove it, or choose another output."
            raise InputError(msg)
        document = read_json(path, "a record of tuning")
        check_schema(document, "tuning-record", VERSION, str(path))
        found = parse_document(TuningRecord, document, str(path))
        other = [name for name, value in wanted.identity.items() if found.identity[name] != value]
        if other:
            what = " and ".join("machine" if name == "device" else name for name in other)
            msg = f"{folder} is of another {what}: remove it, or choose another output."
            raise InputError(msg)
        return cls(folder, found)

    def keep_reference(self, reference_s: float, spread: float) -> None:
        """Keep the measurement that all others are brought to."""
        self._write(replace(self.record, reference_s=reference_s, spread=spread))

    def keep_work(self, kind: str, seconds: float) -> None:
        """Keep how long compiling a bundle (`compile`) or running all samples (`replay`) took, where it is the longest so far."""
        longest = {f"{kind}_s": max(seconds, getattr(self.record, f"{kind}_s"))}
        self._write(replace(self.record, **longest))

    def begin_budget(self, seconds: float) -> None:
        """Take note of the budget of a run: with a larger one than before, rounds are as long as it allows, and not as they were."""
        if seconds > self.record.budget_s:
            self._write(replace(self.record, budget_s=seconds, rounds_s=()))

    def fix_round(self, turn: int, each_s: float) -> float:
        """Seconds for each setup in a round (from 1): as long as it was before the run was interrupted, else this."""
        if turn > len(self.record.rounds_s):
            self._write(replace(self.record, rounds_s=(*self.record.rounds_s, each_s)))
        return self.record.rounds_s[turn - 1]

    def keep(self, timing: SetupTiming) -> None:
        """Keep the timing of a setup, in the place of a shorter one."""
        old = [one for one in self.record.setups if one.setup == timing.setup]
        rest = [one for one in self.record.setups if one.setup != timing.setup]
        name = old[0].latencies if old else f"latencies-{len(self.record.setups) + 1}.npz"
        costs = timing.costs
        arrays: dict[str, Any] = {f"exit{k}": _thin(samples) for k, samples in enumerate(costs.cost_s, 1)}
        with replace_atomically(self.folder / name) as scratch, scratch.open("wb") as file:
            np.savez(file, backbone=_thin(costs.backbone_s), **arrays)
        timed = TimedSetup(
            setup=timing.setup,
            finished=False,
            seconds=timing.seconds,
            typical_s=tuple(float(t) for t in costs.typical_s),
            backbone_s=costs.backbone_typical_s,
            error=costs.ratio_error,
            drift=costs.drift,
            spread=costs.spread,
            latencies=name,
        )
        self._write(replace(self.record, setups=(*rest, timed)))

    def finish(self, timings: Sequence[SetupTiming]) -> None:
        """Note that these were timed to the end."""
        last = {one.setup for one in timings}
        setups = tuple(replace(one, finished=one.setup in last) for one in self.record.setups)
        self._write(replace(self.record, setups=setups))

    def find(self, setup: EngineSetup, length_s: float = 0.0) -> SetupTiming | None:
        """The timing of a setup that is as long as this, or longer; None where there is none."""
        for one in self.record.setups:
            if one.setup == setup and one.seconds >= _CLOSE * length_s:
                return self._load(one)
        return None

    def list_timings(self, *, finished: bool) -> tuple[SetupTiming, ...]:
        """All timings, or those that were timed to the end."""
        return tuple(self._load(one) for one in self.record.setups if one.finished or not finished)

    def _load(self, one: TimedSetup) -> SetupTiming:
        path = self.folder / one.latencies
        try:
            with np.load(path, allow_pickle=False) as file:
                samples = [np.asarray(file[f"exit{k}"], np.float64) for k in range(1, len(one.typical_s) + 1)]
                backbone = np.asarray(file["backbone"], np.float64)
        except (OSError, ValueError, KeyError) as error:
            msg = f"{path} is damaged or missing ({error}): remove {self.folder} and tune anew."
            raise InputError(msg) from error
        assert self.record.reference_s is not None, "the reference is measured first"
        costs = MeasuredCosts(
            cost_s=tuple(samples),
            typical_s=np.array(one.typical_s),
            backbone_s=backbone,
            backbone_typical_s=one.backbone_s,
            error=one.error,
            ratio_error=one.error,
            drift=one.drift,
            spread=one.spread,
        )
        return SetupTiming(one.setup, costs, self.record.reference_s, one.seconds)

    def _write(self, record: TuningRecord) -> None:
        write_text(self.folder / RECORD, dumps(record))
        self.record = record


def _thin(samples: np.ndarray) -> np.ndarray:
    step = max(1, -(-len(samples) // _KEPT))
    return samples[::step]
