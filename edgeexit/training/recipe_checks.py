"""What a recipe's phases must keep to beyond the types of their fields: names, order, roles, and options of what they name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from edgeexit.errors import InputError, did_you_mean
from edgeexit.training.loss_options import list_word_faults
from edgeexit.training.losses import LOSSES
from edgeexit.training.named import check_named
from edgeexit.training.optimizers import check_optimizer
from edgeexit.training.phases import FRESH, ROLES, ScheduleSettings, TrainingPhase
from edgeexit.training.schedules import make_schedule

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_TAKEN = ("checkpoint", FRESH)


def check_phases(phases: Mapping[str, TrainingPhase], where: str) -> None:
    """Raise an error for phases that cannot be trained one after the other.

    Raises:
        InputError: with every fault: no phase that trains, a name that is no file's name, a phase that starts from one that does not come
            before it, two of one role, an unknown loss, optimiser, schedule or option.
    """
    faults = [*_list_faults(phases)]
    if faults:
        raise InputError(f"{where} has {len(faults)} fault{'s' * (len(faults) > 1)}: " + "; ".join(faults))


def _list_faults(phases: Mapping[str, TrainingPhase]) -> Iterator[str]:
    if not any(phase.epochs for phase in phases.values()):
        yield "no phase has epochs, so that nothing is trained."
    for name, phase in phases.items():
        yield from _list_phase_faults(name, phase, phases)
    for role in ROLES:
        several = [name for name, phase in phases.items() if phase.role == role]
        if len(several) > 1:
            yield f"phases {' and '.join(map(repr, several))} both have the role {role!r}; one file is written for a role."


def _list_phase_faults(name: str, phase: TrainingPhase, phases: Mapping[str, TrainingPhase]) -> Iterator[str]:
    if not _NAME.fullmatch(name) or name in _TAKEN:
        yield f"a phase cannot be named {name!r}: letters, digits, - and _, beginning with a letter, and not {' or '.join(_TAKEN)}."
    earlier = list(phases)[: list(phases).index(name)]
    if phase.start != FRESH and phase.start not in earlier:
        yield f"phase {name!r} starts from {phase.start!r}, {_explain_start(phase.start, name, phases, earlier)}"
    if not phase.train:
        yield f"phase {name!r} has nothing to train: `train` is empty."
    yield from (f"phase {name!r}: {fault}" for fault in list_word_faults(phase.options))
    yield from _list_faults_of_choices(name, phase)


def _explain_start(start: str, name: str, phases: Mapping[str, TrainingPhase], earlier: list[str]) -> str:
    before = f"Earlier phases: {', '.join(earlier) or 'none'}; or {FRESH!r}."
    if start == name:
        return f"which is itself. {before}"
    if start in phases:
        return f"which comes later: put it before {name!r}. {before}"
    return f"which is no phase.{did_you_mean(start, [*earlier, FRESH])} {before}"


def _list_faults_of_choices(name: str, phase: TrainingPhase) -> Iterator[str]:
    schedules = [phase.schedule, *(own.schedule for own in phase.groups.values() if own.schedule)]
    checks: list[Callable[[], object]] = [
        partial(check_named, "loss", LOSSES, phase.loss, phase.options),
        partial(check_optimizer, phase.optimizer),
        *(partial(_try_schedule, schedule) for schedule in schedules),
    ]
    yield from (f"phase {name!r}: {fault}" for fault in map(_find_fault, checks) if fault)


def _try_schedule(settings: ScheduleSettings) -> None:
    schedule = make_schedule(settings)
    schedule(0.0, 8.0)
    schedule(7.5, 8.0)


def _find_fault(check: Callable[[], object]) -> str:
    try:
        check()
    except InputError as error:
        return str(error)
    except (TypeError, ValueError) as error:
        return f"an option has a value of the wrong kind ({error})."
    return ""
