"""Whether the figures in a document can all be true: shares from 0 to 1, times above 0, as many values as there are exits.

A document whose fields all have the right types may still be damaged, and then fails somewhere in a page that is made of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sized
from typing import Any

_SHARES = frozenset({"accuracy", "agreement", "alone", "backbone", "overall", "share", "exit_rates", "shares"})
_TIMES = frozenset(
    {
        "backbone_mean_s",
        "backbone_p99_s",
        "latency_s",
        "mean_s",
        "min_s",
        "p50_s",
        "p99_s",
        "process_mean_s",
        "process_typical_s",
        "typical_s",
        "value_s",
    }
)
_COUNTS = frozenset(
    {"accesses", "misses", "n", "n_given", "samples", "choose", "certify", "validate", "inferences", "trials"}
)


def find_value_faults(value: Any, at: str = "") -> Iterator[str]:
    """What is wrong with the numbers of a value made of dataclasses, by the names of their fields; one clause each."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return
    for field in dataclasses.fields(value):
        inner, name = getattr(value, field.name), f"{at}{field.name}"
        for place, item in enumerate(inner) if isinstance(inner, tuple) else ((None, inner),):
            where = name if place is None else f"{name}[{place}]"
            fault = _find_number_fault(field.name, item)
            if fault:
                yield f"{where} is {item!r}, {fault}"
            yield from find_value_faults(item, f"{where}.")


def _find_number_fault(name: str, value: object) -> str | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if name in _SHARES and not 0 <= value <= 1:
        return "which is not a share from 0 to 1"
    if name in _TIMES and not 0 < value < math.inf:
        return "which is not a time above 0"
    return "which is no count" if name in _COUNTS and value < 0 else None


def find_length_faults(lengths: Mapping[str, tuple[Sized | None, int]]) -> Iterator[str]:
    """Values of which there are more or fewer than there should be; None where there need be none."""
    for name, (values, expected) in lengths.items():
        if values is not None and len(values) != expected:
            yield f"{name} has {len(values)} values instead of {expected}"
