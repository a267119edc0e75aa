"""Compare two results that were measured apart, or refuse to.

Runs that differ in anything but what is meant to be compared are not comparable, and the message names what differs with both
values. Both runs measured the same backbone; where nothing that it depends on was meant to differ it is the control: a backbone that
changed says that the machine did.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeexit.errors import InputError, did_you_mean
from edgeexit.measure.result.bench_result import BenchResult
from edgeexit.measure.verdict import Comparison, compare_processes
from edgeexit.util import units
from edgeexit.util.documents import to_document

_MUST_MATCH: dict[str, Callable[[BenchResult], Any]] = {
    "device": lambda r: r.device.key,
    "power_mode": lambda r: r.device.before.get("power_mode"),
    "model": lambda r: r.subject.source_sha256 or r.subject.model_sha256,
    "exits": lambda r: r.subject.exits,
    "backend": lambda r: r.subject.backend,
    "mode": lambda r: r.subject.mode,
    "precision": lambda r: r.subject.precision,
    "threads": lambda r: r.subject.threads,
    "spin": lambda r: r.subject.spin,
    "options": lambda r: r.subject.options,
    "criterion": lambda r: r.subject.criterion,
    "thresholds": lambda r: r.subject.thresholds,
    "data": lambda r: r.workload.data_sha256,
    "samples": lambda r: r.workload.n,
    "order": lambda r: r.workload.order,
    "scenario": lambda r: r.workload.scenario,
    "batch": lambda r: r.workload.batch,
    "preset": lambda r: r.workload.preset,
}
_IMPLIED = {
    "criterion": ("thresholds", "mode"),
    "exits": ("thresholds", "mode"),
    "mode": (),
    "model": ("criterion", "exits", "thresholds", "mode"),
    "device": ("power_mode",),
    "data": ("samples",),
}
"""What differs along with a key: two criteria have thresholds of their own, and each bundle runs in the mode that is faster for it."""
_BACKBONE_NEEDS = ("device", "power_mode", "model", "backend", "precision", "threads", "spin", "options")
"""What the backbone's latency depends on; thresholds, mode and data are not among it."""

VARIABLE = tuple(_MUST_MATCH)
"""Every key that `vary` may name."""


@dataclass(frozen=True)
class ResultComparison:
    """Two results side by side.

    Attributes:
        comparison: early exit, the second result as candidate, the first as reference.
        control: the backbone in the same way; None where it was meant to differ.
        p99_ratio: ratio of the nearest-rank p99, without an interval.
        accuracy_change: change of the overall accuracy, second minus first; None without labels.
        varied: the keys that were allowed to differ and did, with both values as text; digests are shortened.
    """

    comparison: Comparison
    control: Comparison | None
    p99_ratio: float
    accuracy_change: float | None
    varied: dict[str, tuple[str, ...]]

    def to_document(self) -> dict[str, Any]:
        """A JSON-able object of schema `edgeexit.compare/1`."""
        return {"schema": "edgeexit.compare/1", **to_document(self)}


def compare_results(reference: BenchResult, candidate: BenchResult, *, vary: Collection[str] = ()) -> ResultComparison:
    """Compare two results.

    Args:
        reference: what the ratios are relative to.
        candidate: the result in question.
        vary: keys that are meant to differ, such as `thresholds`; `criterion` allows other thresholds and another mode as well, and
            `model` all of these.

    Raises:
        InputError: the results differ in anything else (every difference with both values), or `vary` names no such key.
    """
    varied = _check(reference, candidate, vary)
    invalid = [
        f"the {which} result is invalid: {reason}"
        for which, result in (("first", reference), ("second", candidate))
        if result.validity.status == "invalid"
        for reason in result.validity.reasons
    ]
    pair = reference.latency.mixture.processes, candidate.latency.mixture.processes
    comparison = compare_processes(*pair, paired=False, invalid=invalid)
    control = _compare_backbones(reference, candidate, varied)
    if control is not None and control.verdict in {"FASTER", "SLOWER"} and not invalid:
        reason = (
            f"the backbone, in which nothing differs, took {units.fixed(control.typical.value, 3)} times as long in the second run: "
            "the machine changed; measure both again, interleaved (edgeexit bench --against)"
        )
        comparison = replace(comparison, verdict="AMBIGUOUS", reasons=(reason,))
    return ResultComparison(
        comparison,
        control,
        _compute_p99_ratio(reference, candidate),
        _compute_accuracy_change(reference, candidate),
        varied,
    )


def _check(reference: BenchResult, candidate: BenchResult, vary: Collection[str]) -> dict[str, tuple[str, ...]]:
    for key in vary:
        if key not in _MUST_MATCH:
            msg = f"no key named {key!r} to vary.{did_you_mean(key, _MUST_MATCH)} Keys: {', '.join(_MUST_MATCH)}."
            raise InputError(msg)
    allowed = {*vary, *(implied for key in vary for implied in _IMPLIED.get(key, ()))}
    differing = [key for key, read in _list_required_keys(reference, candidate) if read(reference) != read(candidate)]
    values: dict[str, tuple[str, ...]] = {
        key: (_format_value(key, reference), _format_value(key, candidate)) for key in differing
    }
    unlike = [key for key in differing if key not in allowed]
    if unlike:
        listed = "".join(f"\n  {key}: {values[key][0]} and {values[key][1]}" for key in unlike)
        options = " ".join(f"--vary {key}" for key in _drop_implied_keys(unlike))
        msg = f"these results are not comparable. They differ in{listed}\nIf that is what you want to compare, add: {options}"
        raise InputError(msg)
    return values


def _list_required_keys(
    reference: BenchResult, candidate: BenchResult
) -> Iterator[tuple[str, Callable[[BenchResult], Any]]]:
    """The keys and how to read them; models are compared by source file where both results record it."""
    both_know = reference.subject.source_sha256 and candidate.subject.source_sha256
    for key, read in _MUST_MATCH.items():
        yield key, (lambda r: r.subject.model_sha256) if key == "model" and not both_know else read


def _drop_implied_keys(unlike: Sequence[str]) -> list[str]:
    """The keys that have to be named: those that another one implies are left out."""
    implied = {other for key in unlike for other in _IMPLIED.get(key, ())}
    return [key for key in unlike if key not in implied]


def _format_value(key: str, result: BenchResult) -> str:
    """A value as text for a message; digests are cut to their first digits."""
    subject, workload = result.subject, result.workload
    if key == "model":
        return f"{subject.source or subject.bundle} ({(subject.source_sha256 or subject.model_sha256)[:12]})"
    if key == "data":
        return f"{workload.data} ({workload.data_sha256[:12]})"
    value = _MUST_MATCH[key](result)
    if isinstance(value, tuple):
        return ", ".join(units.significant(v, 6) for v in value)
    return "none" if value in (None, "") else str(value)


def _compare_backbones(reference: BenchResult, candidate: BenchResult, varied: Collection[str]) -> Comparison | None:
    if any(key in varied for key in _BACKBONE_NEEDS) or reference.tool != candidate.tool:
        return None
    return compare_processes(reference.latency.backbone.processes, candidate.latency.backbone.processes, paired=False)


def _compute_p99_ratio(reference: BenchResult, candidate: BenchResult) -> float:
    first, second = (r.latency.mixture.percentile(99.0).value_s for r in (reference, candidate))
    return second / first


def _compute_accuracy_change(reference: BenchResult, candidate: BenchResult) -> float | None:
    first, second = reference.accuracy.overall, candidate.accuracy.overall
    return None if first is None or second is None else second - first
