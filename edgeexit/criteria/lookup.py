"""A criterion by its name: those of edgeexit, then those that other packages bring."""

from __future__ import annotations

from edgeexit.criteria import plugins
from edgeexit.criteria.base import Criterion
from edgeexit.criteria.builtin import CRITERIA
from edgeexit.errors import InputError, did_you_mean


def criterion(name: str) -> Criterion:
    """The criterion of that name; `max-softmax` is `max_softmax`.

    Raises:
        InputError: no criterion has that name, the message lists those that exist; or the package that brings it is at fault.
    """
    name = name.replace("-", "_") if isinstance(name, str) else name
    if name in CRITERIA:
        return CRITERIA[name]
    if name in plugins.find_entries():
        return plugins.load_plugin(name)
    known = list_criteria()
    msg = f"no criterion named {name!r}.{did_you_mean(name, known)} Criteria: {', '.join(known)}."
    raise InputError(msg)


def list_criteria() -> tuple[str, ...]:
    """Names of every criterion; those of other packages, which are not imported for it, stand last."""
    return (*CRITERIA, *sorted(plugins.find_entries().keys() - CRITERIA.keys()))


def find_known_criterion(name: str) -> Criterion | None:
    """The criterion of that name; None where it is of a package that is not installed here, or cannot be used."""
    try:
        return criterion(name)
    except InputError:
        return None


def describe_criteria() -> dict[str, str]:
    """When an input leaves, by criterion, for the help; or that the criterion cannot be used."""
    found = {name: find_known_criterion(name) for name in list_criteria()}
    broken = "cannot be used: its package is at fault (compile with it to see how)"
    return {name: broken if rule is None else rule.description for name, rule in found.items()}
