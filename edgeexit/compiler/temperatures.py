"""The temperatures that a bundle is compiled with: given, or fitted on the caller's samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends.base import Array
from edgeexit.backends.example_inputs import Values
from edgeexit.compiler.probe import open_model
from edgeexit.criteria import Criterion, fit_temperatures
from edgeexit.criteria.temperature import check_temperatures
from edgeexit.errors import InputError
from edgeexit.graph import Exit, Network
from edgeexit.graph.scores import as_logits
from edgeexit.util.arguments import as_float

FIT = "fit"
"""Asks for temperatures that are fitted on the samples."""
_SAMPLES = 2000


def read_temperatures(given: object) -> tuple[float, ...] | str:
    """Temperatures from an argument: `fit`, numbers, or a text with numbers between commas; none for None.

    Raises:
        InputError: something else.
    """
    if given is None:
        return ()
    if isinstance(given, str):
        if given.strip() == FIT:
            return FIT
        given = [part.strip() for part in given.split(",")]
    values = tuple(map(_as_number, given)) if isinstance(given, Iterable) else (float("nan"),)
    if not all(0 < value < float("inf") for value in values):
        msg = f"temperatures are {FIT!r}, or a positive number for each exit, the last included; not {given!r}."
        raise InputError(msg)
    return values


def _as_number(value: object) -> float:
    try:
        return float(value) if isinstance(value, str) else as_float(value)
    except ValueError:
        return float("nan")


def resolve_temperatures(
    asked: tuple[float, ...] | str,
    rule: Criterion,
    net: Network,
    exits: tuple[Exit, ...],
    *,
    examples: Values | None,
    labels: NDArray[np.int64] | None,
) -> tuple[float, ...]:
    """The temperature of each exit; none where none were asked for.

    Args:
        asked: numbers, or `fit`.
        rule: the exit criterion.
        net: the network in the precision that it will run in, without its criterion.
        exits: its exits.
        examples: the caller's samples, [n, ...] by input; the first 2,000 are run.
        labels: their true classes, [n].

    Raises:
        InputError: the criterion takes no logits, there is not one number for each exit, or no labelled samples to fit on.
    """
    if not asked:
        return ()
    if not rule.takes_logits:
        msg = (
            f"criterion {rule.name!r} takes the network's own scores, which temperatures do not change: leave them out."
        )
        raise InputError(msg)
    if isinstance(asked, str):
        if examples is None or labels is None:
            msg = "temperatures are fitted on samples with labels: give them (--data), or the numbers."
            raise InputError(msg)
        return fit_temperatures(_run_exits(net, exits, examples), labels[:_SAMPLES])
    fault = check_temperatures(asked, len(exits))
    if fault:
        raise InputError(f"{fault}.")
    return asked


def _run_exits(net: Network, exits: tuple[Exit, ...], examples: Values) -> Array:
    """Logits of the exits on the first samples, [n, N, classes]."""
    run = open_model(net, [e.logits for e in exits])
    length = min(_SAMPLES, *(len(x) for x in examples.values()))
    return np.stack([_stack(run({name: x[i : i + 1] for name, x in examples.items()}), exits) for i in range(length)])


def _stack(values: Mapping[str, Array], exits: tuple[Exit, ...]) -> Array:
    logits = np.stack([np.asarray(values[e.logits], np.float32).reshape(-1) for e in exits])
    return as_logits(logits, exits)
