"""A deterministic backend for tests. Delays come from a script; no runtime is needed.

It runs the bundle's own ONNX files with onnx's reference evaluator, so its answers are right and the same on every machine; or it plays
a `Script`: answers from tables, and stage times that the test chose.

    from edgeexit.backends import fake

    with fake.playing(fake.Script(stage_s=(0.001, 0.002, 0.004))):
        runner = edgeexit.load("lenet.eexit", backend="fake")          # leaving at exit 2 takes 3 ms

    table = fake.Table(inputs=x, scores=scores, logits=logits)         # [n, ...], inner [n, N], [n, N, classes]
    with fake.playing(fake.Script(table=table)): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeexit.backends.base import Array, Backend, Batch, BoundStage, Program, Settings, StagedProgram
from edgeexit.bundle import Bundle, StageEntry
from edgeexit.criteria import log_softmax
from edgeexit.errors import InputError
from edgeexit.graph.fuse import make_threshold_name

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator


def wait_busily(seconds: float) -> None:
    """Burn the core for a time; `time.sleep` would be late by tens of microseconds."""
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


@dataclass(frozen=True)
class OutputTable:
    """Answers by input, looked up by its bytes.

    Attributes:
        inputs: [n, ...], distinct; of a network with several inputs, its first one.
        scores: float32 [n, N], inner scores of every exit.
        logits: float32 [n, N, classes].
    """

    inputs: Array
    scores: NDArray[np.float32]
    logits: NDArray[np.float32]

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {sample.tobytes(): row for row, sample in enumerate(self.inputs)}

    def row(self, sample: Array) -> int:
        """Row of an input [1, ...].

        Raises:
            InputError: the table does not hold it.
        """
        row = self._rows.get(sample.tobytes())
        if row is None:
            msg = f"the fake's table holds {len(self._rows)} inputs and not this one (mean {sample.mean():.6g}): put it into the table."
            raise InputError(msg)
        return row


@dataclass(frozen=True)
class Script:
    """Behaviour of the fake backend.

    Attributes:
        stage_s: seconds that each stage takes, the answer's own time included; () takes none beyond computing.
        backbone_s: seconds that the backbone takes.
        table: answers; None computes them.
        wait: lets time pass; a test may advance a clock of its own.
    """

    stage_s: tuple[float, ...] = ()
    backbone_s: float = 0.0
    table: OutputTable | None = None
    wait: Callable[[float], None] = field(default=wait_busily)

    def spend(self, stage: int) -> None:
        """Let the time of a stage pass, counted from 0."""
        if stage < len(self.stage_s):
            self.wait(self.stage_s[stage])


_PLAYING: ContextVar[Script] = ContextVar("fake backend's script", default=Script())  # noqa: B039 - Script is frozen


@contextmanager
def play_script(script: Script) -> Iterator[None]:
    """Bundles opened inside play this script, for as long as they live."""
    token = _PLAYING.set(script)
    try:
        yield
    finally:
        _PLAYING.reset(token)


def _make_evaluator(bundle: Bundle, name: str) -> ReferenceEvaluator:
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class LogSoftmax(OpRun):  # onnx's own takes the logarithm of a softmax that may be 0
        op_domain = ""

        def _run(self, x: Array, axis: int | None = None) -> tuple[Array]:
            assert axis in (None, -1, x.ndim - 1)
            return (log_softmax(x),)

    return ReferenceEvaluator(onnx.load(str(bundle.file(name)), format="protobuf"), new_ops=[LogSoftmax])


def _run_evaluator(evaluator: ReferenceEvaluator, tensors: Mapping[str, Array]) -> dict[str, Array]:
    names = list(evaluator.output_names)
    feeds = {name: tensors[name] for name in evaluator.input_names}
    values = evaluator.run(names, feeds)
    assert isinstance(values, list)
    return dict(zip(names, (np.asarray(v) for v in values), strict=True))


class _EvaluatedStage(BoundStage):
    """One stage; what it makes goes into `tensors`, which all stages of a program share."""

    def __init__(
        self, entry: StageEntry, evaluator: ReferenceEvaluator, tensors: dict[str, Array], classes: int
    ) -> None:
        self._entry = entry
        self._evaluator = evaluator
        self._tensors = tensors
        self.logits = np.zeros((1, classes), np.float32)
        self.score = np.zeros(1, np.float32)

    def run(self) -> None:
        self._tensors |= _run_evaluator(self._evaluator, self._tensors)
        self.logits[...] = self._tensors[self._entry.logits]
        self.score[...] = self._tensors[self._entry.score]


class _ScriptedStage(BoundStage):
    """One stage that lets its scripted time pass, with answers of the table or of the stage itself."""

    def __init__(self, stage: BoundStage, index: int, script: Script, sample: Array) -> None:
        self._stage = stage
        self._index = index
        self._script = script
        self._sample = sample
        self.logits = stage.logits
        self.score = stage.score

    def run(self) -> None:
        table = self._script.table
        if table is None:
            self._stage.run()
        else:
            row = table.row(self._sample)
            self.score[...] = table.scores[row, self._index]
            self.logits[...] = table.logits[row, self._index]
        self._script.spend(self._index)


@dataclass(frozen=True)
class _FakeStages:
    bundle: Bundle
    evaluators: tuple[ReferenceEvaluator, ...]
    script: Script


def _make_zero_inputs(bundle: Bundle) -> dict[str, Array]:
    return {s.name: np.zeros(s.shape_at_1, s.dtype) for s in bundle.manifest.inputs}


class FakeStaged(StagedProgram):
    """The stages of a bundle, one after the other."""

    def __init__(self, source: _FakeStages) -> None:
        self._source = source
        manifest = source.bundle.manifest
        inputs = _make_zero_inputs(source.bundle)
        tensors = dict(inputs)
        sample = next(iter(inputs.values()))
        plain = [
            _EvaluatedStage(entry, evaluator, tensors, manifest.classes)
            for entry, evaluator in zip(manifest.stages, source.evaluators, strict=True)
        ]
        super().__init__(inputs, [_ScriptedStage(stage, k, source.script, sample) for k, stage in enumerate(plain)])

    def clone(self) -> FakeStaged:  # noqa: D102 - see base
        return FakeStaged(self._source)


class FakeFused(Program):
    """The fused graph; under a script with a table, its decisions are made from the table."""

    def __init__(self, source: _FakeStages) -> None:
        self._source = source
        self.exits = source.bundle.manifest.exits
        self.inputs = _make_zero_inputs(source.bundle)
        self._logits = np.zeros((1, source.bundle.manifest.classes), np.float32)
        self._score = 0.0

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: D102 - see base
        table = self._source.script.table
        exit = self._evaluate(thresholds) if table is None else self._look_up(table, thresholds)
        for stage in range(exit):
            self._source.script.spend(stage)
        return exit

    def _evaluate(self, thresholds: Sequence[float]) -> int:
        limits = {make_threshold_name(k): np.asarray(t, np.float32) for k, t in enumerate(thresholds, 1)}
        found = _run_evaluator(self._source.evaluators[0], {**self.inputs, **limits})
        self._logits[...] = found["logits"]
        self._score = float(found["score"])
        return int(found["exit"])

    def _look_up(self, table: OutputTable, thresholds: Sequence[float]) -> int:
        row = table.row(next(iter(self.inputs.values())))
        sure = (k for k, t in enumerate(thresholds) if table.scores[row, k] >= t)
        index = next(sure, self.exits - 1)
        self._logits[...] = table.logits[row, index]
        self._score = float(table.scores[row, index])
        return index + 1

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: ARG002, D102 - only one exit's result exists
        return self._logits

    def score(self, exit: int) -> float:  # noqa: ARG002, D102 - only one exit's result exists
        return self._score

    def clone(self) -> FakeFused:  # noqa: D102 - see base
        return FakeFused(self._source)


class FakeBackbone(Program):
    """The network straight to its last exit."""

    exits = 1

    def __init__(self, source: _FakeStages) -> None:
        self._source = source
        self.inputs = _make_zero_inputs(source.bundle)
        self._logits = np.zeros((1, source.bundle.manifest.classes), np.float32)

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: ARG002, D102 - nothing to decide
        table = self._source.script.table
        if table is None:
            self._logits[...] = next(iter(_run_evaluator(self._source.evaluators[0], self.inputs).values()))
        else:
            self._logits[...] = table.logits[table.row(next(iter(self.inputs.values()))), -1]
        if self._source.script.backbone_s:
            self._source.script.wait(self._source.script.backbone_s)
        return 1

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: ARG002, D102 - see base
        return self._logits

    def score(self, exit: int) -> float:  # noqa: ARG002, D102 - it has no criterion
        return float("nan")

    def clone(self) -> FakeBackbone:  # noqa: D102 - see base
        return FakeBackbone(self._source)


class FakeBatch(Batch):
    """Stages for many samples, one sample at a time. Plays no script: it serves answers, not times."""

    def __init__(self, source: _FakeStages) -> None:
        self._source = source

    def run(self, stage: int, tensors: Mapping[str, Array]) -> dict[str, Array]:  # noqa: D102 - see base
        evaluator = self._source.evaluators[stage - 1]
        count = len(tensors[evaluator.input_names[0]])
        wanted = {name: tensors[name] for name in evaluator.input_names}
        rows = [_run_evaluator(evaluator, {n: a[i : i + 1] for n, a in wanted.items()}) for i in range(count)]
        return {name: np.concatenate([np.atleast_1d(row[name]) for row in rows]) for name in rows[0]}


class FakeBackend(Backend):
    """The fake. It keeps the same contracts as every other backend and passes the same conformance suite."""

    name = "fake"

    def check(self) -> None:  # noqa: D102 - see base
        return

    def versions(self) -> dict[str, str]:  # noqa: D102 - see base
        return {"onnx": onnx.__version__}

    def open_staged(self, bundle: Bundle, settings: Settings) -> StagedProgram:  # noqa: ARG002, D102 - see base
        return FakeStaged(_make_stages(bundle))

    def open_fused(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: ARG002, D102 - see base
        return FakeFused(_FakeStages(bundle, (_make_evaluator(bundle, bundle.manifest.fused),), _PLAYING.get()))

    def open_backbone(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: ARG002, D102 - see base
        return FakeBackbone(_FakeStages(bundle, (_make_evaluator(bundle, bundle.manifest.backbone),), _PLAYING.get()))

    def open_batch(self, bundle: Bundle, settings: Settings) -> Batch:  # noqa: ARG002, D102 - see base
        return FakeBatch(_make_stages(bundle))


def _make_stages(bundle: Bundle) -> _FakeStages:
    return _FakeStages(bundle, tuple(_make_evaluator(bundle, s.file) for s in bundle.manifest.stages), _PLAYING.get())


BACKEND = FakeBackend()
