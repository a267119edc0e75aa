"""Backends and precisions mixed by stage, as candidates of tuning: proposed from the times of single stages.

Each stage is timed once in every (precision, backend, number of threads). These times add up to those of exits, so that every mix has a
bound without being compiled: the mean over the exits of the sums up to each. Only mixes whose bound beats what is there without them are
compiled and timed as a whole:

    backends      the fastest of each stage, in one precision: beside the best single backend in that precision
    late stages   from some stage on in another precision, the early ones as the model is: beside the model's own precision
    each stage    the fastest precision of each: likewise
    heads         those of early exits as the model is, the rest in another precision: where that precision is clearly faster
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends import Settings, find_backend
from edgeexit.compiler.backend_timing import time_stages_here
from edgeexit.stage_choices import find_heads_name, is_mixed, join_stage_names
from edgeexit.tuning.answers import PreparedNetwork
from edgeexit.tuning.space import EngineSetup, LeftOut
from edgeexit.util.progress import Progress
from edgeexit.util.units import format_ratio

MOST = 3
"""Mixes of each kind, backends and precisions, that are compiled and timed, the fastest by their bounds."""
_GAIN, _CLEAR_GAIN = 0.97, 0.9
_FLOAT32 = "float32"
_SHORTEST_S = 0.05

StageTimes = Mapping[tuple[str, str], NDArray[np.float64]]
"""By precision and backend, seconds of each stage, [N]; NaN where a backend cannot build it."""


@dataclass(frozen=True)
class ProposedMixes:
    """Mixes worth being timed as a whole, and those that are not."""

    setups: tuple[EngineSetup, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that are to be compiled for them."""
        return tuple(dict.fromkeys(s.precision for s in self.setups if is_mixed(s.precision)))


@dataclass(frozen=True)
class _Mix:
    """One mix: its setup, the bound of its time, and the time that it has to beat, both seconds."""

    setup: EngineSetup
    bound_s: float
    beside_s: float

    @property
    def ratio(self) -> float:
        return self.bound_s / self.beside_s

    @property
    def pays(self) -> bool:
        return self.ratio < (_CLEAR_GAIN if find_heads_name(self.setup.precision) else _GAIN)


def propose_mixes(times: StageTimes, own: str, threads: int) -> ProposedMixes:
    """Mixes for one number of threads.

    Args:
        times: seconds of each stage by precision and backend.
        own: precision that the model has.
        threads: worker threads that the times are of.
    """
    found = {mix.setup: mix for mix in _list_mixes(times, own, threads)}
    ranked = sorted(found.values(), key=lambda mix: mix.bound_s)
    kept: list[_Mix] = []
    for by_precision in (False, True):
        alike = [mix for mix in ranked if is_mixed(mix.setup.precision) == by_precision and mix.pays]
        kept += alike[:MOST]
    left_out = tuple(
        LeftOut(str(mix.setup), f"its stages alone take {format_ratio(mix.ratio)} times as long as what it has to beat")
        for mix in ranked
        if mix not in kept
    )
    return ProposedMixes(tuple(mix.setup for mix in kept), left_out)


def _list_mixes(times: StageTimes, own: str, threads: int) -> Iterator[_Mix]:
    singles = {key: _mean_over_exits(stages) for key, stages in times.items()}
    precisions = tuple(dict.fromkeys(p for p, _ in times))
    count = len(next(iter(times.values())))
    best = {p: min(s for (one, _), s in singles.items() if one == p) for p in precisions}

    def make(names: Sequence[str], heads: str | None, beside_s: float) -> _Mix:
        chosen = [_find_fastest(times, p, k) for k, p in enumerate(names)]
        backend = join_stage_names([b for b, _ in chosen])
        setup = EngineSetup(join_stage_names(names, heads), backend, "staged", threads)
        return _Mix(setup, _mean_over_exits(np.array([s for _, s in chosen])), beside_s)

    mixes = [make([p] * count, None, best[p]) for p in precisions]
    if own == _FLOAT32 in precisions:
        others = [p for p in precisions if p != own]
        fastest = [min(precisions, key=lambda p, k=k: _find_fastest(times, p, k)[1]) for k in range(count)]  # type: ignore[misc]
        mixes.append(make(fastest, None, best[own]))
        mixes += [make([own] * cut + [p] * (count - cut), None, best[own]) for p in others for cut in range(1, count)]
        mixes += [make([p] * count, own, best[own]) for p in others]
    return (mix for mix in mixes if is_mixed(mix.setup.precision) or is_mixed(mix.setup.backend))


def _find_fastest(times: StageTimes, precision: str, place: int) -> tuple[str, float]:
    """The fastest backend of one stage in a precision, and its seconds."""
    pairs = ((b, float(stages[place])) for (p, b), stages in times.items() if p == precision)
    return min(((b, np.inf if np.isnan(s) else s) for b, s in pairs), key=lambda pair: pair[1])


def _mean_over_exits(stages_s: NDArray[np.float64]) -> float:
    return float(np.cumsum(np.where(np.isnan(stages_s), np.inf, stages_s)).mean())


@dataclass(frozen=True, eq=False)
class StageSurvey:
    """Times single stages of the prepared network.

    Attributes:
        network: its bundles by precision.
        backends: names of the backends to try.
        threads: numbers of worker threads to try.
        inputs: samples by name, [n, ...].
        seconds: wall time of all timing.
        progress: callback.
    """

    network: PreparedNetwork
    backends: Sequence[str]
    threads: Sequence[int]
    inputs: Mapping[str, NDArray[np.generic]]
    seconds: float
    progress: Progress

    def propose(self) -> ProposedMixes:
        """Mixes for every number of threads; none where there is nothing to mix."""
        sharing = [name for name in self.backends if find_backend(name).shares_stages]
        precisions = [p for p in self.network.bundles if not is_mixed(p)]
        if len(sharing) * len(precisions) < 2:
            return ProposedMixes()
        found = [propose_mixes(self._time(t, precisions, sharing), self.network.own, t) for t in self.threads]
        setups = tuple(setup for one in found for setup in one.setups)
        return ProposedMixes(setups, tuple(reason for one in found for reason in one.left_out))

    def _time(self, threads: int, precisions: Sequence[str], backends: Sequence[str]) -> StageTimes:
        times: dict[tuple[str, str], NDArray[np.float64]] = {}
        each_s = max(_SHORTEST_S, self.seconds / (len(precisions) * len(self.threads)))
        for place, precision in enumerate(precisions):
            self.progress("timing stages", place, len(precisions))
            settings = Settings(precision=precision, threads=threads)
            bundle = self.network.bundles[precision]
            found = time_stages_here(bundle, settings, backends, inputs=self.inputs, seconds=each_s)
            times |= {(precision, name): stages_s for name, stages_s in found.items()}
        self.progress("timing stages", len(precisions), len(precisions))
        return times
