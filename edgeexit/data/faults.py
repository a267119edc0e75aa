"""Samples that cannot be read: named, counted, left out while they are few, and refused where they are many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeexit.errors import InputError
from edgeexit.util.units import format_count, percent

_MOST_SHOWN = 4


@dataclass(frozen=True)
class SampleFault:
    """A sample that cannot be read.

    Attributes:
        place: of the sample, from 0.
        shown: its file; empty where it has none.
        reason: why it cannot be read.
    """

    place: int
    shown: str
    reason: str


def describe_faults(name: str, noun: str, count: int, faults: Sequence[SampleFault], most: float) -> tuple[str, ...]:
    """What was left out, in words; nothing where every sample can be read.

    Args:
        name: of the data.
        noun: what a sample is: image, sample.
        count: number of samples.
        faults: those that cannot be read.
        most: share of the samples that may be left out.

    Raises:
        InputError: there are more, or none can be read.
    """
    if not faults:
        return ()
    named = [
        f"{noun} {f.place + 1} of {count} ({': '.join(filter(None, (f.shown, f.reason.rstrip('.'))))})"
        for f in faults[:_MOST_SHOWN]
    ]
    more = f", and {len(faults) - _MOST_SHOWN} more" if len(faults) > _MOST_SHOWN else ""
    said = f"{name}: {format_count(len(faults), noun)} of {count} cannot be read: {', '.join(named)}{more}"
    if len(faults) > most * count or len(faults) == count:
        msg = f"{said}. At most {percent(most, 1)} may be left out: repair or remove them."
        raise InputError(msg)
    return (f"{said}; left out",)
