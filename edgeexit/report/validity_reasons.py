"""Why a measurement is suspect: the worst finding first, findings that differ only in a number merged."""

from __future__ import annotations

import re
from collections.abc import Iterable

_GRAVEST_FIRST = (
    r"left at another exit|changed from|rose from state|holds now|happened during|is invalid",
    r"^interrupted|keeps inputs or answers",
    r"third of a process|between processes",
    r"other processes used|hypervisor took|^\w+ \+\d",
    r"^temperature",
    r"harness adds",
)
_ONLY_UNSEEN = re.compile(r"cannot be (read|measured)|not seen|unseen")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")


def sort_by_gravity(reasons: Iterable[str]) -> tuple[str, ...]:
    """The reasons in the order in which they matter: another behaviour, drift, other load, and last what merely could not be seen."""
    return tuple(sorted(merge_alike(reasons), key=_rank))


def _rank(reason: str) -> int:
    if _ONLY_UNSEEN.search(reason):
        return len(_GRAVEST_FIRST) + 1
    return next((i for i, pattern in enumerate(_GRAVEST_FIRST) if re.search(pattern, reason)), len(_GRAVEST_FIRST))


def merge_alike(reasons: Iterable[str]) -> tuple[str, ...]:
    """Sentences that differ in one number only become one with its range.

    Example: `other processes used 1.7 cores` and `other processes used 1.8 cores` become `other processes used 1.7 to 1.8 cores`.
    """
    groups: dict[str, list[str]] = {}
    for reason in dict.fromkeys(reasons):
        groups.setdefault(_NUMBER.sub("#", reason), []).append(reason)
    return tuple(merged for alike in groups.values() for merged in _merge_sentences(alike))


def _merge_sentences(alike: list[str]) -> list[str]:
    numbers = [_NUMBER.findall(reason) for reason in alike]
    differing = [place for place, values in enumerate(zip(*numbers, strict=True)) if len(set(values)) > 1]
    if len(differing) != 1:
        return alike
    [place] = differing
    low, high = (pick((n[place] for n in numbers), key=float) for pick in (min, max))
    found = list(_NUMBER.finditer(alike[0]))[place]
    return [f"{alike[0][: found.start()]}{low} to {high}{alike[0][found.end() :]}"]
