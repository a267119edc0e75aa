"""Targets: bounds joined by commas, parsed into frozen values, and written back as the same text.

    mean<=5ms         mean latency                            unit s, ms, us (µs) or ns
    mean<=0.6x        ... as a multiple of the backbone's mean on this device
    p99<=10ms         P(latency > 10 ms) <= 1 %               p50, p90, p95, p99, p99.9; a bound on tail mass, because with a few
                                                              discrete exits a quantile jumps from one exit's latency to the next
    energy<=2mJ       mean energy per inference               unit J, mJ or uJ (µJ)
    macs<=40M         mean multiply-accumulates               plain, k, M or G
    accuracy>=0.985   share of right answers
    drop<=0.5         percentage points below the backbone
    agreement>=0.99   share of answers equal to the backbone's; needs no labels
    rate1>=0.5        share leaving at exit 1 (rate2, ...)
    offload<=5%       share that goes up to stages on another machine; also as 0.05

With a bound on cost, accuracy is maximised under all bounds and ties go to the lower mean; with bounds on accuracy only, the mean
latency is minimised.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from edgeexit.calibration.metrics import METRICS, Metric
from edgeexit.errors import InputError, did_you_mean

_CLAUSE = re.compile(r"^\s*([A-Za-z][A-Za-z0-9.]*?)\s*(<=|>=|=<|=>|≤|≥|==|=|<|>)\s*(\S.*?)\s*$")
_NUMBER = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµμ%]*)$")
_NEXT_BOUND = re.compile(r"^(\S+?)[\s;&]+(?:and\s+)?([A-Za-z][A-Za-z0-9.]*\s*(?:<=|>=|=<|=>|≤|≥|=|<|>).*)$")
_NUMBERED = re.compile(r"^([A-Za-z]+)(\d+)$")
_WRITTEN = {"≤": "<=", "≥": ">=", "=<": "<=", "=>": ">="}


@dataclass(frozen=True)
class Bound:
    """One bound of a target.

    Attributes:
        metric: a name of METRICS.
        limit: in SI (seconds, joules, multiply-accumulates, a share, percentage points), or a multiple of the backbone's mean.
        relative: True for `mean<=0.6x`.
        exit: for `rate`, the exit, from 1.
    """

    metric: str
    limit: float
    relative: bool = False
    exit: int | None = None

    @property
    def kind(self) -> Metric:
        """The metric that is bounded."""
        return METRICS[self.metric]

    @property
    def name(self) -> str:
        """The metric as written in a target: `mean`, `p99`, `rate1`."""
        return self.metric if self.exit is None else f"{self.metric}{self.exit}"

    @property
    def slot(self) -> tuple[str, bool]:
        """Key under which a quantity may be bounded only once."""
        return self.name, self.relative

    def __str__(self) -> str:
        return f"{self.name}{self.kind.sign}{self._limit_text()}"

    def _limit_text(self) -> str:
        exact = Decimal(repr(self.limit))
        if self.relative:
            return f"{_format_plain(exact)}x"
        unit, power = _choose_unit(exact, self.kind.units)
        return f"{_format_plain(exact.scaleb(-power))}{unit}"


@dataclass(frozen=True)
class Target:
    """A target: one or more bounds, at most one of each kind. `str()` gives text that parses back to an equal value."""

    bounds: tuple[Bound, ...]

    def __post_init__(self) -> None:
        faults = list(_find_faults(self.bounds))
        if faults:
            raise InputError(" ".join(faults))

    def __str__(self) -> str:
        return ", ".join(map(str, self.bounds))

    @property
    def cost_bounds(self) -> tuple[Bound, ...]:
        """The bounds on what an inference costs."""
        return tuple(b for b in self.bounds if b.kind.of_cost)

    @property
    def answer_bounds(self) -> tuple[Bound, ...]:
        """The bounds on how good the answers are."""
        return tuple(b for b in self.bounds if not b.kind.of_cost)

    @property
    def minimises_mean(self) -> bool:
        """True where only the answers are bounded, so that the mean latency is what is optimised."""
        return not self.cost_bounds

    @property
    def needs_meter(self) -> bool:
        """True where an energy meter must measure what is bounded."""
        return any(b.kind.metered for b in self.bounds)

    def replace_bound(self, old: Bound, new: Bound) -> Target:
        """The same target with one bound exchanged."""
        return Target(tuple(new if b == old else b for b in self.bounds))


def parse_target(text: str | Target) -> Target:
    """Read a target; one already read is handed back.

    Raises:
        InputError: not of the grammar above, a unit missing or unknown, a metric unknown, bounded twice or contradictory. All faults
            come in one message.
    """
    if isinstance(text, Target):
        return text
    if not isinstance(text, str):
        msg = f"a target is a text such as 'mean<=5ms, drop<=0.5', not {text!r}."  # type: ignore[unreachable]
        raise InputError(msg)
    clauses = [c for c in text.split(",") if c.strip()]
    if not clauses:
        msg = f"the target {text!r} is empty; write for example 'mean<=5ms, drop<=0.5'."
        raise InputError(msg)
    read = [_parse_bound_or_fault(clause) for clause in clauses]
    faults = [str(fault) for fault in read if isinstance(fault, InputError)]
    if faults:
        raise InputError(" ".join(faults))
    return Target(tuple(bound for bound in read if isinstance(bound, Bound)))


def find_metric(bound: str) -> Metric | None:
    """The metric of a bound given as text; None if there is no such metric, as in a file of a newer edgeexit."""
    found = _CLAUSE.match(bound)
    try:
        return _parse_metric(found.group(1))[0] if found else None
    except InputError:
        return None


def _parse_bound_or_fault(clause: str) -> Bound | InputError:
    try:
        return _parse_bound(clause)
    except InputError as fault:
        return fault


def _parse_bound(clause: str) -> Bound:
    found = _CLAUSE.match(clause)
    if not found:
        msg = f"cannot read {clause.strip()!r} as a bound; write a metric, <= or >=, and a limit, as in mean<=5ms."
        raise InputError(msg)
    name, sign, limit = found.groups()
    metric, exit_number = _parse_metric(name)
    sign = _WRITTEN.get(sign, sign)
    if sign != metric.sign:
        msg = f"{clause.strip()!r}: {metric.what} takes {metric.sign}, not {sign}."
        raise InputError(msg)
    value, relative = _parse_limit(metric, name, limit)
    return Bound(metric.name, value, relative, exit_number)


def _parse_metric(name: str) -> tuple[Metric, int | None]:
    found = _NUMBERED.match(name)
    if found and found.group(1) in METRICS and METRICS[found.group(1)].numbered:
        return METRICS[found.group(1)], int(found.group(2))
    if name not in METRICS:
        known = [m.name for m in METRICS.values() if not m.numbered] + [
            f"{m.name}1" for m in METRICS.values() if m.numbered
        ]
        msg = f"no metric named {name!r}.{did_you_mean(name, known)} Metrics: {', '.join(known)}."
        raise InputError(msg)
    if METRICS[name].numbered:
        msg = f"{name} needs the number of an exit: {name}1>=0.5."
        raise InputError(msg)
    return METRICS[name], None


def _parse_limit(metric: Metric, name: str, text: str) -> tuple[float, bool]:
    found = _NUMBER.match(text)
    if not found:
        msg = (
            f"{text!r} in {name}{metric.sign}{text} is not a number with a unit.{_make_comma_hint(name, metric, text)}"
        )
        raise InputError(msg)
    number, unit = found.group(1), found.group(2).replace("µ", "u").replace("μ", "u")
    relative = metric.relative and unit == "x"
    if not relative and unit not in metric.units:
        raise InputError(_explain_unit_fault(metric, name, number, unit))
    return _convert_to_si(number, 0 if relative else metric.units[unit], f"{name}{metric.sign}{text}"), relative


def _convert_to_si(number: str, power: int, written: str) -> float:
    value = float(number)
    if value and math.isfinite(value):
        value = float(Decimal(number).scaleb(power))
    if not math.isfinite(value):
        msg = f"{written!r}: the limit exceeds the range of float64; write a smaller one."
        raise InputError(msg)
    return value


def _make_comma_hint(name: str, metric: Metric, text: str) -> str:
    """Hint for two bounds written without a comma between them."""
    found = _NEXT_BOUND.match(text)
    if not found:
        return ""
    return f" Bounds are separated by commas: '{name}{metric.sign}{found.group(1)}, {found.group(2)}'."


def _explain_unit_fault(metric: Metric, name: str, number: str, unit: str) -> str:
    written = f"{name}{metric.sign}{number}{unit}"
    units = [u for u in metric.units if u] + (["x (of the backbone's mean)"] if metric.relative else [])
    if not units:
        share = metric.high == 1
        value = f"{_format_plain(Decimal(number) / 100)}" if share and (unit == "%" or Decimal(number) > 1) else number
        hint = "a share between 0 and 1" if share else "percentage points"
        return f"{written!r}: {metric.what} has no unit; write {hint}, as in {name}{metric.sign}{value}."
    example = f"{name}{metric.sign}{number}{next(u for u in ('ms', 'mJ', 'M') if u in metric.units)}"
    if not unit:
        return f"{written!r} has no unit; write one of {', '.join(units)}, as in {example}."
    return f"{written!r}: unknown unit {unit!r}; write one of {', '.join(units)}, as in {example}."


def _find_faults(bounds: tuple[Bound, ...]) -> list[str]:
    faults = [] if bounds else ["a target needs at least one bound."]
    seen: dict[tuple[str, bool], Bound] = {}
    for bound in bounds:
        if bound.slot in seen:
            faults.append(f"{bound.name} is bounded twice ({seen[bound.slot]} and {bound}); keep one.")
        seen[bound.slot] = bound
        faults.extend(_find_limit_faults(bound))
    rates = [b for b in bounds if b.kind.numbered]
    if sum(b.limit for b in rates) > 1 + 1e-12:
        faults.append(f"contradictory: {' and '.join(map(str, rates))} ask for more than all samples.")
    return faults


def _find_limit_faults(bound: Bound) -> list[str]:
    metric, limit = bound.kind, bound.limit
    if metric.numbered and bound.exit is not None and bound.exit < 1:
        return [f"{bound.name}: exits are numbered from 1."]
    if metric.sign == "<=" and metric.low >= 0 and not 0 < limit < float("inf"):
        return [f"{bound}: the limit must be greater than 0 and finite."]
    if not metric.low <= limit <= metric.high:
        share = f"; for {limit:g} % write {limit / 100:g}" if metric.high == 1 and 1 < limit <= 100 else ""
        return [f"{bound}: the limit must lie between {metric.low:g} and {metric.high:g}{share}."]
    return []


def _choose_unit(value: Decimal, units: Mapping[str, int]) -> tuple[str, int]:
    """The unit that leaves at least one digit before the point, the smallest unit otherwise."""
    ordered = sorted(units.items(), key=lambda item: -item[1])
    return next((u for u in ordered if abs(value.scaleb(-u[1])) >= 1), ordered[-1] if value else ordered[0])


def _format_plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
