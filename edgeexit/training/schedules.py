"""Courses of the step size, by name. Each is a factor of the phase's rate as a function of the epoch, whole or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeAlias

from edgeexit.errors import InputError
from edgeexit.training.named import make_named
from edgeexit.training.phases import ScheduleSettings

Schedule: TypeAlias = Callable[[float, float], float]
"""(epochs done, epochs of the phase) -> factor of the step size."""


def constant() -> Schedule:
    """1 throughout."""
    return lambda *_: 1.0


def cosine() -> Schedule:
    """From 1 to zero at the last step, half a cosine (SGDR, Loshchilov and Hutter 2017, equation 5, without restarts)."""
    return lambda epoch, epochs: (1 + math.cos(math.pi * (epoch / epochs))) / 2


def steps(*, at: Sequence[float] = (0.5, 0.75), factor: float = 0.1) -> Schedule:
    """Multiplied by `factor` at each mark.

    Args:
        at: epochs from 1 on, or shares of the phase below 1.
        factor: the change at each.

    Example:
        >>> [steps(at=[75, 150])(epoch, 200) for epoch in (74.9, 75, 150)]
        [1.0, 0.1, 0.01]
    """
    _check_positive("steps", factor=factor)

    def schedule(epoch: float, epochs: float) -> float:
        passed = sum(epoch >= mark if mark >= 1 else epoch / epochs >= mark for mark in at)
        return _raise_decimal(factor, passed)

    return schedule


def exponential(*, factor: float, every: float = 1.0) -> Schedule:
    """Multiplied by `factor` after each `every` epochs, all at once: factor ^ floor(epoch / every).

    With 0.9 and 4 the step sizes of the policies of Guan et al. 2018, section 4.4.
    """
    _check_positive("exponential", factor=factor, every=every)
    return lambda epoch, _: _raise_decimal(factor, math.floor(epoch / every))


def _raise_decimal(factor: float, power: int) -> float:
    """The power of a factor as it is written, so that a tenth of a tenth is 0.01 and not 0.010000000000000002."""
    return float(Decimal(repr(float(factor))) ** power)


def _check_positive(name: str, **options: float) -> None:
    for option, value in options.items():
        if not value > 0:
            msg = f"schedule {name!r}: {option} must be above 0, not {value!r}"
            raise InputError(msg)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "steps": steps,
    "exponential": exponential,
}
"""Every schedule by name. A new one is a function here and a line in this table."""


def make_schedule(settings: ScheduleSettings) -> Schedule:
    """The schedule of a recipe, with its warm-up: a straight line from zero, of which the first step takes a thousandth.

    Raises:
        InputError: unknown name or option.

    Example:
        >>> rise = make_schedule(ScheduleSettings("constant", warmup=4))
        >>> [rise(epoch, 20) for epoch in (0, 1, 3, 4)]
        [0.001, 0.25, 0.75, 1.0]
    """
    main = make_named("schedule", SCHEDULES, settings.name, settings.options)
    rise = settings.warmup

    def schedule(epoch: float, epochs: float) -> float:
        return max(epoch / rise, 1e-3) if epoch < rise else main(epoch, epochs)

    return schedule
