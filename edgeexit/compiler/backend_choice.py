"""`compile --backend auto`: every stage timed in every backend that is installed, and the fastest mix that verifies kept where it pays.

    time each stage in each backend ─► the fastest of each stage are the mix ─► time it against every backend alone, in each mode
      ─► the mix, where it is faster than the best single backend beyond noise, and slower at no exit; else that backend; else the default

Times of stages add up to those of exits, so that the fastest backend of each stage makes the fastest mix whatever leaves where; that it
hands tensors over, and that a backend alone may do better than stage by stage, only the second timing shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends import Settings, find_backend
from edgeexit.bundle import BackendComparison, VerificationSummary
from edgeexit.choices import BACKENDS, DEFAULT_BACKEND
from edgeexit.compiler.backend_timing import BackendTimer
from edgeexit.errors import EdgeExitError, InternalError, ModelError
from edgeexit.measure.statistics import Interval, ratio_interval
from edgeexit.stage_choices import is_mixed, join_stage_names, list_distinct_names
from edgeexit.util.timestamps import make_timestamp
from edgeexit.util.units import format_ratio

STAGES_SHARE, FORMS_SHARE = 0.5, 3.0
"""Seconds of the two timings, as multiples of those that a compile spends on timing both modes."""


_HOPELESS = 1.5
"""How many times as long as the default backend's the stages of another may take before it is not timed as a whole."""


@dataclass(frozen=True, eq=False)
class ChosenBackend:
    """What was kept: its settings, what was measured, and its verification."""

    settings: Settings
    comparison: BackendComparison
    verified: VerificationSummary


@dataclass(frozen=True, eq=False)
class FormTimes:
    """Times of backends and mixes, measured in several processes.

    Attributes:
        by_form: by backend and mode (`onnxruntime staged`), the time to leave at each exit, seconds, [processes, N].
    """

    by_form: Mapping[str, NDArray[np.float64]]

    def compute_mean_s(self, form: str) -> float:
        """Mean over the exits, median over the processes."""
        return float(np.median(self.by_form[form].mean(axis=1)))

    def find_fastest(self, *, mixed: bool) -> str | None:
        """The fastest form of single backends, or of mixes."""
        forms = [form for form in self.by_form if is_mixed(form.split()[0]) == mixed]
        return min(forms, key=self.compute_mean_s, default=None)

    def compare(self, one: str, other: str) -> tuple[float, Interval]:
        """Mean time of one form over that of another, with its 95 % interval."""
        return _compare(self.by_form[one].mean(axis=1), self.by_form[other].mean(axis=1))

    def explain_worse(self, one: str, other: str) -> str:
        """Why one form does not pay in place of another: it must be faster beyond noise, and at no exit slower beyond noise.

        Which exits are used most, only a later calibration decides. Empty where it pays.
        """
        if self.compare(one, other)[1].high >= 1:
            return f"it is not faster than {other} beyond noise"
        for place, (times_s, others_s) in enumerate(zip(self.by_form[one].T, self.by_form[other].T, strict=True), 1):
            ratio, interval = _compare(times_s, others_s)
            if interval.low > 1:
                return f"at exit {place} it takes {format_ratio(ratio)} times as long as {other}"
        return ""

    def rank(self, left_out: dict[str, str]) -> tuple[str, ...]:
        """The backends to keep, the best first; why a faster single backend or the mix is not among them is put into `left_out`."""
        single, mix = self.find_fastest(mixed=False), self.find_fastest(mixed=True)
        assert single is not None, "the default backend is always among them"
        usual = min((form for form in self.by_form if form.split()[0] == DEFAULT_BACKEND), key=self.compute_mean_s)
        ranked, best = [DEFAULT_BACKEND], usual
        if single != usual and not self._leave_out(single, [usual], left_out):
            ranked.insert(0, single.split()[0])
            best = single
        if mix is not None and not self._leave_out(mix, dict.fromkeys([best, single]), left_out):
            ranked.insert(0, mix.split()[0])
        return tuple(dict.fromkeys(ranked))

    def _leave_out(self, form: str, others: Iterable[str], left_out: dict[str, str]) -> bool:
        """Whether a form does not pay in place of one of the others; why not is kept."""
        for other in others:
            if why_not := self.explain_worse(form, other):
                left_out[form.split(maxsplit=1)[0]] = why_not
                return True
        return False


def _compare(times_s: NDArray[np.float64], others_s: NDArray[np.float64]) -> tuple[float, Interval]:
    """Ratio of the first to the second, of the same processes, with its 95 % interval."""
    ratio, interval = ratio_interval(others_s, times_s, paired=True)
    return ratio, interval or Interval(0.0, math.inf)


def propose_mix(stages_s: Mapping[str, NDArray[np.float64]]) -> str | None:
    """The fastest backend of each stage, joined; None where it is one for all.

    Args:
        stages_s: by backend, seconds of each stage, [N]; NaN where it cannot run one.

    Example:
        >>> propose_mix({"onnxruntime": np.array([1.0, 5.0]), "openvino": np.array([2.0, 3.0])})
        'onnxruntime+openvino'
    """
    names = list(stages_s)
    times = np.stack([np.where(np.isnan(stages_s[name]), np.inf, stages_s[name]) for name in names])
    mix = join_stage_names([names[k] for k in times.argmin(axis=0)])
    return mix if is_mixed(mix) else None


@dataclass(frozen=True, eq=False)
class BackendChooser:
    """One choice of a backend.

    Attributes:
        timer: how bundle and backends are timed.
        verify: verifies the bundle with settings; raises where the answers are not the original's.
        seconds: seconds that the compile spends on timing both modes.
    """

    timer: BackendTimer
    verify: Callable[[Settings], VerificationSummary]
    seconds: float
    left_out: dict[str, str] = field(default_factory=dict)

    def choose(self) -> ChosenBackend:
        """Time, rank, and keep the best that verifies.

        Raises:
            InternalError, ModelError: not even the default backend gives the original's answers.
        """
        names = self._find_candidates()
        sharing = [name for name in names if find_backend(name).shares_stages]
        stages_s = self.timer.time_stages(sharing, STAGES_SHARE * self.seconds)
        mix = propose_mix(stages_s)
        alone = [name for name in names if name not in stages_s or not self._is_hopeless(name, stages_s)]
        times = FormTimes(self.timer.time_forms([*alone, *([mix] if mix else [])], FORMS_SHARE * self.seconds))
        for name in times.rank(self.left_out):
            settings = replace(self.timer.settings, backend=name)
            try:
                return ChosenBackend(settings, self._describe(name, mix, stages_s, times), self.verify(settings))
            except (InternalError, ModelError) as fault:
                if name == DEFAULT_BACKEND:
                    raise
                self.left_out[name] = f"it does not verify: {fault}"
        msg = "the default backend is always ranked"
        raise AssertionError(msg)

    def _is_hopeless(self, name: str, stages_s: Mapping[str, NDArray[np.float64]]) -> bool:
        """Whether a backend cannot be the fastest alone by the times of its stages; the reason is kept."""
        exits_s = {one: float(np.cumsum(times).mean()) for one, times in stages_s.items()}
        if math.isnan(exits_s[name]):
            self.left_out[name] = "alone, it cannot build every stage"
        elif (times := exits_s[name] / exits_s[DEFAULT_BACKEND]) > _HOPELESS and name != DEFAULT_BACKEND:
            self.left_out[name] = (
                f"alone, its stages take {format_ratio(times)} times as long as those of {DEFAULT_BACKEND}"
            )
        return name in self.left_out

    def _find_candidates(self) -> list[str]:
        """Backends that are installed and take the bundle's form of int8, and that open it; the reason of the others is kept."""
        found = []
        for name, entry in BACKENDS.items():
            reason = self._explain_unusable(name) if entry.on_boards else None
            if reason:
                self.left_out[name] = reason
            elif entry.on_boards:
                found.append(name)
        return found

    def _explain_unusable(self, name: str) -> str:
        try:
            backend = find_backend(name)
            rounded = "int8" in list_distinct_names(self.timer.settings.precision)
            if rounded and backend.quantized_outputs != find_backend(DEFAULT_BACKEND).quantized_outputs:
                return "it takes int8 in another form"
            if not backend.shares_stages:
                backend.open_staged(self.timer.bundle, replace(self.timer.settings, backend=name)).close()
        except EdgeExitError as fault:
            return str(fault)
        return ""

    def _describe(
        self, chosen: str, mix: str | None, stages_s: Mapping[str, NDArray[np.float64]], times: FormTimes
    ) -> BackendComparison:
        single = times.find_fastest(mixed=False)
        assert single is not None, "the default backend is always among them"
        ratio, interval = times.compare(f"{mix} staged", single) if mix else (None, None)
        return BackendComparison(
            chosen=chosen,
            single=single.split()[0],
            mix=mix,
            ratio=ratio,
            ratio_low=None if interval is None else interval.low,
            ratio_high=None if interval is None else interval.high,
            stages_s={name: _list_known(values) for name, values in stages_s.items()},
            mean_s={form: times.compute_mean_s(form) for form in times.by_form},
            left_out=dict(self.left_out),
            created=make_timestamp(),
        )


def _list_known(values: Sequence[float] | NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else float(value) for value in values)
