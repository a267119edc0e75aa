"""What every exit answers in each precision, recorded once: all criteria and all subsets of exits are compared on it offline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexit.bundle import Bundle
from edgeexit.calibration import ReplayTable, replay_table
from edgeexit.calibration.device import MeasuredCosts
from edgeexit.calibration.head_costs import drop_head_costs
from edgeexit.compiler.compilation import compile_model
from edgeexit.criteria import criterion, fit_temperatures
from edgeexit.criteria.temperature import scale_logits
from edgeexit.data import Dataset
from edgeexit.errors import EdgeExitError, InputError
from edgeexit.graph import find_exits, read_model
from edgeexit.runtime import load_quietly
from edgeexit.tuning.budget import Observe, observe_nothing
from edgeexit.tuning.space import LeftOut, TuningCandidate
from edgeexit.util.progress import Progress

OWN = "own"
"""The precision that the model has as it is given."""
RANGE_SAMPLES = 512


@dataclass(frozen=True, eq=False)
class RecordedAnswers:
    """Answers of every exit on the samples of one part, in one precision.

    Attributes:
        logits: float32 [n, N, classes].
        scores: the network's own scores of the early exits, float32 [n, N-1]; None where it gives none.
        macs: multiply-accumulates of each stage, [N]; None where they are not known.
        head_macs: the part of them that each early head takes, [N-1]; None likewise.
    """

    logits: NDArray[np.float32]
    scores: NDArray[np.float32] | None
    macs: NDArray[np.float64] | None
    head_macs: NDArray[np.float64] | None

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels that the last exit gives, [n]."""
        return np.asarray(self.logits[:, -1].argmax(axis=-1), np.int64)

    def take(self, indices: NDArray[np.int64]) -> RecordedAnswers:
        """The same of only these samples."""
        return replace(self, logits=self.logits[indices], scores=None if self.scores is None else self.scores[indices])

    def count_macs(self, kept: Sequence[int]) -> NDArray[np.float64] | None:
        """Multiply-accumulates of leaving at each exit of the network without the other early heads, [len(kept) + 1]."""
        if self.macs is None or self.head_macs is None:
            return None
        early = len(self.head_macs)
        goes = np.array([k + 1 not in kept for k in range(early)] + [False])
        heads = np.concatenate([self.head_macs, [0.0]])
        return np.asarray(np.cumsum(self.macs - np.where(goes, heads, 0.0))[~goes], np.float64)


@dataclass(frozen=True, eq=False)
class PreparedNetwork:
    """The network compiled with all of its exits in each precision, and its answers.

    Attributes:
        bundles: the bundle of each precision, in the order in which they were asked for; the model's own precision is among them.
        own: the model's own precision.
        answers: recorded answers of all samples, by precision.
        left_out: precisions that cannot be used.
    """

    bundles: Mapping[str, Bundle]
    own: str
    answers: Mapping[str, RecordedAnswers]
    left_out: tuple[LeftOut, ...]

    @property
    def exits(self) -> int:
        """Number of exits, the last included."""
        return self.bundles[self.own].manifest.exits


@dataclass(frozen=True, eq=False)
class NetworkBuilder:
    """Compiles a model in several precisions and records its answers.

    Attributes:
        model: the ONNX file.
        work: folder of the bundles `<precision>.eexit` and of the answers; those that are there are taken.
        data: all samples.
        ranges: samples that int8 takes the ranges of values from.
        progress: callback with what is being done.
        compiles: whether precisions that are not there yet are compiled; else they are left out.
        observe: notes how long that takes.
    """

    model: Path
    work: Path
    data: Dataset
    ranges: Dataset
    progress: Progress
    compiles: bool = True
    observe: Observe = observe_nothing

    def without_compiling(self) -> NetworkBuilder:
        """The same, which only takes what is there."""
        return replace(self, compiles=False)

    @cached_property
    def gives_scores(self) -> bool:
        """Whether every early exit of the model has a score output of its own."""
        return all(e.score is not None for e in find_exits(read_model(self.model))[:-1])

    def prepare_own(self) -> Bundle:
        """The model compiled in its own precision.

        Raises:
            ModelError: the model cannot be taken.
        """
        return self._compile(None)

    def prepare(self, first: Bundle, precisions: Sequence[str]) -> PreparedNetwork:
        """Compile the model in these precisions, and run every exit once on every sample, also of `first`, its own precision."""
        own = first.manifest.precision
        bundles, left_out = {own: first}, []
        for precision in precisions:
            found = first if precision == own else self._compile_or_explain(precision)
            if isinstance(found, LeftOut):
                left_out.append(found)
            else:
                bundles[precision] = found
        answers = {
            p: _read_or_record(bundle, self.work / f"answers-{p}.npz", self._record) for p, bundle in bundles.items()
        }
        return PreparedNetwork(bundles, own, answers, tuple(left_out))

    def _compile_or_explain(self, precision: str) -> Bundle | LeftOut:
        try:
            return self._compile(precision)
        except EdgeExitError as fault:
            return LeftOut(f"precision {precision}", str(fault))

    def _compile(self, precision: str | None) -> Bundle:
        """The bundle with all exits; the one that is there already, where there is one."""
        folder = self.work / f"{precision or OWN}.eexit"
        if folder.exists():
            return Bundle.open(folder)
        if not self.compiles:
            raise InputError("the earlier run has not compiled it.")
        few = self.ranges.take(slice(RANGE_SAMPLES))
        with self.observe("compile"):
            return compile_model(
                self.model,
                folder,
                criterion="learned" if self.gives_scores else "entropy",
                precision=precision,
                inputs=few.inputs,
                labels=few.labels,
                data_name=few.name,
                seconds=0,
                progress=self.progress,
            )

    def _record(self, bundle: Bundle, path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores and logits of all samples, kept in a file."""
        with self.observe("replay"), load_quietly(bundle.path) as runner:
            inner, logits = runner.replay(self.data.inputs, self.progress)
        scores = runner.criterion.sign * inner[:, :-1]
        np.savez(path, scores=scores, logits=logits)
        return scores, logits


def _read_or_record(
    bundle: Bundle,
    path: Path,
    record: Callable[[Bundle, Path], tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> RecordedAnswers:
    stages = bundle.manifest.stages
    macs, heads = [s.macs for s in stages], [s.head_macs for s in stages[:-1]]
    known = not any(m is None for m in (*macs, *heads))
    scores, logits = _read_answers(path) if path.exists() else record(bundle, path)
    return RecordedAnswers(
        logits,
        scores if bundle.manifest.criterion == "learned" else None,
        np.array(macs, np.float64) if known else None,
        np.array(heads, np.float64) if known else None,
    )


def _read_answers(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as file:
        return file["scores"], file["logits"]


@dataclass(frozen=True, eq=False)
class Judged:
    """Answers of one part with what they are compared with.

    Attributes:
        answers: recorded answers, by precision.
        labels: true classes, int64 [n]; None without labels.
        reference: labels that the network gives in its own precision, int64 [n].
        temperatures: of every exit, by precision; empty before they are fitted.
    """

    answers: Mapping[str, RecordedAnswers]
    labels: NDArray[np.int64] | None
    reference: NDArray[np.int64]
    temperatures: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def fit(self) -> Judged:
        """The same with temperatures fitted on these samples: to the labels, or without them to the answers of the network."""
        truth = self.reference if self.labels is None else self.labels
        return replace(self, temperatures={p: fit_temperatures(a.logits, truth) for p, a in self.answers.items()})

    def take(self, indices: NDArray[np.int64]) -> Judged:
        """The same of only these samples."""
        return Judged(
            {p: a.take(indices) for p, a in self.answers.items()},
            None if self.labels is None else self.labels[indices],
            self.reference[indices],
            self.temperatures,
        )

    def share_temperatures(self, other: Judged) -> Judged:
        """Other samples with the temperatures of these."""
        return replace(other, temperatures=self.temperatures)

    def build_table(self, candidate: TuningCandidate, costs: MeasuredCosts, reference_s: float) -> ReplayTable:
        """The table of the network with only these early exits.

        Args:
            candidate: whose exits, rule and precision; temperatures are those that were fitted.
            costs: latencies of its setup with all exits; those of the heads that go are taken off.
            reference_s: mean latency of the network in its own precision, without exits.

        Returns:
            a table whose backbone is the network in its own precision: drop and agreement are counted from it.
        """
        kept = candidate.kept
        recorded, early = self.answers[candidate.setup.precision], len(costs.cost_s) - 1
        places = [k - 1 for k in kept]
        spare = max(0.0, float(costs.typical_s[-1]) - costs.backbone_typical_s)
        head_s = np.full(early, spare / early)
        dropped = [k for k in range(1, early + 1) if k not in kept]
        cost_s, typical_s = drop_head_costs(costs.cost_s, costs.typical_s, head_s, dropped)
        rule = criterion(candidate.rule.criterion)
        heat = self.temperatures[candidate.setup.precision] if candidate.rule.scaled else ()
        table = replay_table(
            scale_logits(recorded.logits, heat)[:, [*places, early]],
            self.labels,
            rule,
            scores=recorded.scores[:, places] if rule.learned and recorded.scores is not None else None,
            cost_s=cost_s,
            macs=recorded.count_macs(kept),
            plain=self.reference,
        )
        return replace(table, typical_s=typical_s, backbone_s=reference_s)
