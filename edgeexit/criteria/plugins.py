"""Criteria that other packages bring, by the entry point group `edgeexit.criteria`.

    [project.entry-points."edgeexit.criteria"]
    best_two = "my_package.criteria:BEST_TWO"

names the `Criterion` called `best_two` in a package's pyproject.toml. It is imported when somebody asks for it and not before, so that
one which is at fault concerns nobody else. A bundle records what it needs to run, see `edgeexit.bundle.traits`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any

from edgeexit.criteria.base import Criterion
from edgeexit.errors import EdgeExitError, InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "edgeexit.criteria"

_FUNCTIONS = ("score", "nodes", "combine", "combine_nodes")


def find_entries() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Entry points by the criterion that they name; two where two packages name the same one. Nothing is imported."""
    from importlib.metadata import entry_points

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=GROUP):
        name = entry.name.replace("-", "_")
        found[name] = (*found.get(name, ()), entry)
    return found


def load_plugin(name: str) -> Criterion:
    """Import the criterion that another package brings.

    Returns:
        it, with the package as its `origin`; an exception in one of its functions is an InputError that names both.

    Raises:
        InputError: it cannot be imported, is no Criterion, is incomplete, or two packages bring one of that name.
    """
    first, *others = find_entries()[name]
    origin = format_origin(first)
    with_fault = f"criterion {name!r} of {origin} cannot be used"
    if others:
        also = ", ".join(format_origin(entry) for entry in others)
        raise InputError(f"{with_fault}: {also} brings one of that name, too. Remove one of the packages.")
    try:
        rule: Criterion = first.load()
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        msg = f"{with_fault}: importing {first.value!r} failed ({reason}). Repair or remove the package; all other criteria work."
        raise InputError(msg) from error
    faults = _find_faults(name, rule)
    if faults:
        raise InputError(f"{with_fault}: {first.value!r} {'; '.join(faults)}.")
    guarded: dict[str, Any] = {
        end: _guard(function, rule.name, origin) for end in _FUNCTIONS if (function := getattr(rule, end))
    }
    return replace(rule, origin=origin, **guarded)


def format_origin(entry: EntryPoint) -> str:
    """Name and version of the package that an entry point belongs to."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else repr(entry.value)


def _find_faults(name: str, rule: object) -> list[str]:
    """What is wrong with it, as ends of a sentence."""
    if not isinstance(rule, Criterion):
        return [f"is a {type(rule).__name__}, not an edgeexit.criteria.Criterion"]
    faults = [] if rule.name == name else [f"calls itself {rule.name!r}, the entry point {name!r}"]
    if rule.sign not in (1, -1):
        faults.append(
            f"has the sign {rule.sign!r}: 1 where a higher score means more confident, -1 where a lower one does"
        )
    texts = [
        text for text in ("unit", "description") if not isinstance(getattr(rule, text), str) or not getattr(rule, text)
    ]
    faults += [f"has no {text}" for text in texts]
    given = {end for end in _FUNCTIONS if callable(getattr(rule, end))}
    if given not in ({"score", "nodes"}, {"combine", "combine_nodes"}):
        has = f"has {' and '.join(sorted(given))}" if given else "has neither"
        faults.append(f"{has}: a criterion has score and nodes, or combine and combine_nodes")
    return faults


def _guard(function: Callable[..., Any], name: str, origin: str) -> Callable[..., Any]:
    """The function, whose exceptions name the criterion and its package."""

    @wraps(function)
    def guarded(*args: Any) -> Any:
        try:
            return function(*args)
        except EdgeExitError:
            raise
        except Exception as error:
            what = getattr(function, "__name__", "a function")
            msg = f"criterion {name!r} of {origin} failed in {what} ({type(error).__name__}: {error}). That is a fault of the package."
            raise InputError(msg) from error

    return guarded
