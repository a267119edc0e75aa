"""The space that `tune` searches: how the network runs, which early exits it keeps, and by which criterion inputs leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Protocol

from edgeexit.backends import Settings, find_backend
from edgeexit.choices import BACKENDS, MODES, PRECISIONS, check_choice
from edgeexit.criteria import Criterion, criterion, list_criteria
from edgeexit.errors import EdgeExitError, InputError
from edgeexit.hardware import read_device_state
from edgeexit.stage_choices import merge_stage_names
from edgeexit.util.units import format_count

EXHAUSTIVE = 4
"""Networks with at most this many early exits have every subset of them tried."""
TEMPERATURES = ("none", "fitted")
_FLOAT16 = "float16"
_SAME_ORDER = {"normalized_entropy": "entropy"}
"""Criteria that order the samples of an exit as another does, and lead to the same policies."""


@dataclass(frozen=True, order=True)
class EngineSetup:
    """How the stages run.

    Attributes:
        precision: precision of the engines; one name a stage, joined by `+`, where they are not all alike.
        backend: name of the backend, likewise.
        mode: `staged` or `fused`.
        threads: worker threads of the runtime.
    """

    precision: str
    backend: str
    mode: str
    threads: int

    @property
    def settings(self) -> Settings:
        """As the settings that a bundle is opened with."""
        return Settings(self.backend, self.mode, self.precision, self.threads)

    def __str__(self) -> str:
        return f"{self.precision}, {self.backend}, {self.mode}, {format_count(self.threads, 'thread')}"


@dataclass(frozen=True, order=True)
class DecisionRule:
    """How exits decide, but for the thresholds.

    Attributes:
        criterion: name of the exit criterion.
        scaled: whether it takes logits that are divided by fitted temperatures.
    """

    criterion: str
    scaled: bool = False

    def __str__(self) -> str:
        return f"{self.criterion}, temperatures" if self.scaled else self.criterion


USUAL_RULE = DecisionRule("entropy")


@dataclass(frozen=True, order=True)
class TuningCandidate:
    """One point of the space.

    Attributes:
        setup: how the stages run.
        rule: how exits decide.
        kept: numbers of the early exits that are kept, from 1.
    """

    setup: EngineSetup
    rule: DecisionRule
    kept: tuple[int, ...]

    @property
    def final_setup(self) -> EngineSetup | None:
        """How the network with only the kept exits runs; None where stages that become one are mixed."""
        precision, backend = (merge_stage_names(t, self.kept) for t in (self.setup.precision, self.setup.backend))
        return (
            None if precision is None or backend is None else replace(self.setup, precision=precision, backend=backend)
        )

    def __str__(self) -> str:
        exits = f"early exits {', '.join(map(str, self.kept))}" if len(self.kept) > 1 else f"early exit {self.kept[0]}"
        return f"{self.rule} on {self.setup}, {exits}"


def require_final_setup(candidate: TuningCandidate) -> EngineSetup:
    """The setup of a candidate that the search gave out: only those that have one are."""
    final = candidate.final_setup
    assert final is not None, "candidates without one are never given out"
    return final


@dataclass(frozen=True)
class LeftOut:
    """Something that was not tried, and why; `timed` where it was timed for a moment and left behind."""

    what: str
    reason: str
    timed: bool = False


@dataclass(frozen=True)
class TuningSpace:
    """The values of each dimension; None takes all that can be used.

    Attributes:
        backends: names of backends.
        precisions: names of precisions.
        modes: names of modes.
        threads: numbers of worker threads; None takes 1 and the number of usable CPUs.
        criteria: names of exit criteria; None takes all that apply, but `normalized_entropy`, which decides as `entropy` does.
        temperatures: `none`, `fitted`, or both.
        mixed: whether stages may have backends and precisions of their own, where times of single stages speak for it.

    Raises:
        InputError: a name that does not exist, or a dimension without a value.

    Example:
        >>> import edgeexit
        >>> space = edgeexit.TuningSpace(precisions=("float32", "int8"), threads=(1, 2))
        >>> space.backends is None  # all that are installed
        True
    """

    backends: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    modes: tuple[str, ...] | None = None
    threads: tuple[int, ...] | None = None
    criteria: tuple[str, ...] | None = None
    temperatures: tuple[str, ...] | None = None
    mixed: bool = True

    def __post_init__(self) -> None:
        """Check the names."""
        dimensions = (
            ("backend", self.backends, BACKENDS),
            ("precision", self.precisions, PRECISIONS),
            ("mode", self.modes, MODES),
            ("way of temperatures", self.temperatures, TEMPERATURES),
        )
        for kind, given, known in dimensions:
            for name in given or ():
                check_choice(kind, name, known)
        for name in self.criteria or ():
            criterion(name)
        for kind, values in vars(self).items():
            if values == ():
                msg = f"{kind} is empty: name at least one, or leave it out to try all."
                raise InputError(msg)


def list_thread_counts(space: TuningSpace) -> tuple[int, ...]:
    """The numbers of threads to try: those asked for, else 1 and as many as there are usable CPUs."""
    return space.threads or tuple(sorted({1, int(read_device_state().usable_cpus or 1)}))


def find_backends(space: TuningSpace) -> tuple[tuple[str, ...], tuple[LeftOut, ...]]:
    """The backends that can be opened here, and those that cannot.

    Raises:
        InputError: a single backend was asked for and cannot be used, or none can.
    """
    usable, missing = [], []
    for name in space.backends or [name for name in BACKENDS if name != "fake"]:
        reason = _explain_missing_backend(name)
        if reason:
            missing.append(LeftOut(f"backend {name}", reason))
        else:
            usable.append(name)
    if not usable:
        raise InputError(" ".join(one.reason for one in missing))
    return tuple(usable), tuple(missing)


def choose_precisions(space: TuningSpace, backends: Iterable[str]) -> tuple[tuple[str, ...], tuple[LeftOut, ...]]:
    """The precisions to compile: those asked for, else all but float16 where no backend computes in it, and those left out."""
    if space.precisions is not None:
        return space.precisions, ()
    if any(find_backend(name).computes_float16() for name in backends):
        return PRECISIONS, ()
    reason = (
        "no backend here computes in it: on this CPU they convert to float32 and back, which is slower than float32; try it all the same "
        "with --precisions"
    )
    return tuple(p for p in PRECISIONS if p != _FLOAT16), (LeftOut(f"precision {_FLOAT16}", reason),)


def _explain_missing_backend(name: str) -> str:
    try:
        find_backend(name)
    except EdgeExitError as fault:
        return str(fault)
    return ""


def list_setups(
    space: TuningSpace, precisions: Iterable[str], backends: Iterable[str], exits: int
) -> tuple[tuple[EngineSetup, ...], tuple[LeftOut, ...]]:
    """Every way to run the stages of a network with this number of exits, and what cannot be run."""
    found, left_out = [], []
    precisions = tuple(precisions)
    for backend in backends:
        runs = find_backend(backend).precisions
        left_out += [
            LeftOut(f"{backend} in {p}", f"it runs {', '.join(runs)} only") for p in precisions if p not in runs
        ]
        for mode in space.modes or MODES:
            reason = find_backend(backend).explain_unsupported(mode, exits)
            if reason:
                left_out.append(LeftOut(f"{backend} in mode {mode}", reason))
                continue
            found += [
                EngineSetup(p, backend, mode, t) for p in precisions if p in runs for t in list_thread_counts(space)
            ]
    return tuple(found), tuple(left_out)


def find_rules(
    space: TuningSpace, *, own_scores: bool, costs_known: bool
) -> tuple[tuple[DecisionRule, ...], tuple[LeftOut, ...]]:
    """The rules that a network can leave by, and the criteria that it cannot.

    Args:
        space: what was asked for.
        own_scores: whether the network gives scores of its own at every early exit.
        costs_known: whether its multiply-accumulates are counted.
    """
    usable, left_out = [], []
    for name in space.criteria or list_criteria():
        reason = _explain_unusable(name, own_scores=own_scores, costs_known=costs_known)
        if not reason and space.criteria is None and name in _SAME_ORDER:
            reason = f"decides as {_SAME_ORDER[name]} does"
        if reason:
            left_out.append(LeftOut(f"criterion {name}", reason))
        else:
            usable.append(name)
    if not usable:
        raise InputError("no criterion can be used: " + "; ".join(one.reason for one in left_out) + ".")
    return tuple(rule for name in usable for rule in _list_rules(name, space)), tuple(left_out)


def _list_rules(name: str, space: TuningSpace) -> Iterator[DecisionRule]:
    """The criterion without and with temperatures, as far as these are asked for and change anything."""
    found = criterion(name)
    changes = found.takes_logits and not found.counts
    ways = (space.temperatures or TEMPERATURES) if changes else ("none",)
    yield from (DecisionRule(name, scaled=way == "fitted") for way in ways)


def _explain_unusable(name: str, *, own_scores: bool, costs_known: bool) -> str:
    try:
        rule: Criterion = criterion(name)
    except InputError as fault:
        return str(fault)
    if rule.learned and not own_scores:
        return "the network gives no scores of its own"
    if rule.weighs_costs and not costs_known:
        return "the multiply-accumulates of the network are not known"
    return ""


class Rated(Protocol):
    """Something with a key to sort by; higher is better."""

    @property
    def key(self) -> tuple[float, ...]:
        """The key."""


def search_subsets(early: int, found: Mapping[tuple[int, ...], Rated]) -> Iterator[tuple[int, ...]]:
    """Subsets of the early exits 1 ... `early` that are worth a look: all of them where these are few, else by backward elimination.

    Args:
        early: number of early exits.
        found: what the caller found of each subset that was given out; it grows while this runs.
    """
    exits = tuple(range(1, early + 1))
    if early <= EXHAUSTIVE:
        for size in range(early, 0, -1):
            yield from combinations(exits, size)
        return
    yield exits
    while len(exits) > 1:
        smaller = list(combinations(exits, len(exits) - 1))
        yield from smaller
        exits = max(smaller, key=lambda kept: found[kept].key)
