"""Class names: as people give them, and which number a class folder or a text label has."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeexit.arguments import check_small, path_exists, printable
from edgeexit.data.model import ModelInfo, near_name
from edgeexit.errors import InputError
from edgeexit.units import plural

_MOST_SHOWN = 12
_LARGEST_FILE = 1 << 24
_FILES = (".txt", ".json", ".names", ".csv", ".labels")


class DataWarning(UserWarning):
    """Data that can be used, with something that its owner should know."""


def read_class_names(given: object) -> tuple[str, ...]:
    """Class names in the order of the network's outputs.

    Args:
        given: a sequence of names; text with commas between; or a file: one name a line, a JSON list, a JSON object by number, or one
            with `id2label` (Hugging Face) or `label_names` (timm).

    Raises:
        InputError: no such file, fewer than two names, a name twice or an empty one.

    Example:
        read_class_names("cat,dog,horse")
    """
    if isinstance(given, (str, os.PathLike)) and not isinstance(os.fspath(given), bytes):
        text = os.fspath(given)
        path = Path(text)
        is_file = path_exists(path) or path.suffix.lower() in _FILES or not isinstance(given, str)
        return _checked(_from_file(path), printable(text)) if is_file else _checked(text.split(","), "the class names")
    if isinstance(given, Iterable) and not isinstance(given, (bytes, Mapping)):
        return _checked(list(given), "the class names")
    msg = f"class names must be a list, text with commas between, or a file, not {given!r}."
    raise InputError(msg)


def _from_file(path: Path) -> list[Any]:
    where = printable(path)
    try:
        check_small(path, _LARGEST_FILE)
        text = path.read_text(encoding="utf-8-sig")
        return _from_json(json.loads(text), where) if path.suffix.lower() == ".json" else text.strip().splitlines()
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"cannot read the class names {where}: {printable(str(reason))}"
        raise InputError(msg) from error


def _from_json(document: Any, where: str) -> list[Any]:
    if isinstance(document, dict):
        nested = next((document[k] for k in ("id2label", "label_names", "classes", "names") if k in document), document)
        document = nested
    if isinstance(document, dict):
        numbers = {int(k): v for k, v in document.items() if re.fullmatch(r"\d{1,9}", str(k))}
        document = [numbers[k] for k in sorted(numbers)] if set(numbers) == set(range(len(document))) else None
    if not isinstance(document, list):
        msg = f"{where} holds no class names: a list, or an object by number from 0, is needed."
        raise InputError(msg)
    return document


def _checked(names: Sequence[Any], where: str) -> tuple[str, ...]:
    wrong = [n for n in names if not isinstance(n, str)]
    if wrong:
        msg = f"{where}: class names are text, not {wrong[0]!r}."
        raise InputError(msg)
    clean = [printable(n.strip()) for n in names]
    twice = sorted({n for n in clean if clean.count(n) > 1}) if len(set(clean)) < len(clean) else []
    faults = [f"{', '.join(map(repr, twice))} twice"] if twice else []
    faults += ["an empty name"] if "" in clean else []
    if faults or len(clean) < 2:
        msg = f"{where}: {' and '.join(faults) or f'{len(clean)} class name'}; two or more different ones are needed."
        raise InputError(msg)
    return tuple(clean)


def check_class_count(names: tuple[str, ...], classes: int, where: str) -> None:
    """As many names as the network has classes.

    Raises:
        InputError: another number.
    """
    if names and len(names) != classes:
        given = f"{where}: {plural(len(names), 'class name')} ({_listed(names)})"
        msg = f"{given} for {plural(classes, 'class', 'classes')} of the network. {_GIVE_CLASSES}"
        raise InputError(msg)


def number_classes(
    found: Sequence[str], model: ModelInfo | None, where: str, *, strict: bool = False
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The number of each class found in data, by name, and the names of all classes in order.

    By the network's own class names where they are known, else in the order of the names as text, which is torchvision's.

    Args:
        found: names of class folders or text labels, each once.
        model: what the network expects; None where it is not known.
        where: for messages: the data.
        strict: raise an error where the numbers may be wrong, instead of a warning.

    Raises:
        InputError: a name that the network does not have; more names than classes; numbers that may be wrong, with `strict`.
    """
    if model is not None and model.class_names:
        return _by_known_names(found, model, where), model.class_names
    classes = len(found) if model is None or model.classes is None else model.classes
    ordered = tuple(sorted(found))
    if len(found) > classes:
        msg = f"{where} has {plural(len(found), 'class', 'classes')} ({_listed(ordered)}), the network has {classes}. {_GIVE_CLASSES}"
        raise InputError(msg)
    counted = _as_numbers(found, classes)
    names = counted or ordered
    numbers = {name: names.index(name) for name in found}
    if counted and (list(names) != sorted(names, key=int) or len(found) < classes):
        shown = ", ".join(f"{n} is class {numbers[n]}" for n in sorted(found, key=int)[:_MOST_SHOWN])
        warn(
            f"{where}: the classes are numbered in the order of their names as text, as in torchvision: {shown}. {_GIVE_CLASSES}"
        )
    elif len(found) < classes:
        _tell(
            f"{where} has {len(found)} of the network's {classes} classes ({_listed(ordered)}), and nothing says which, so the labels"
            f" may be wrong. {_GIVE_CLASSES}",
            strict=strict,
        )
    return numbers, names if len(names) == classes else ()


_GIVE_CLASSES = "Give the names of all classes in the network's order: --classes NAME,NAME,... or a file."


def _as_numbers(found: Sequence[str], classes: int) -> tuple[str, ...]:
    """The whole set of names that these numbers belong to, as text in order; empty where they are not numbers below `classes`."""
    if not found or not all(re.fullmatch(r"[0-9]{1,9}", name) and int(name) < classes for name in found):
        return ()
    width = max(map(len, found)) if any(name != str(int(name)) for name in found) else 0
    whole = tuple(sorted(str(i).zfill(width) for i in range(classes)))
    return whole if set(found) <= set(whole) else ()


def _by_known_names(found: Sequence[str], model: ModelInfo, where: str) -> dict[str, int]:
    known = {name: i for i, name in enumerate(model.class_names)}
    folded = {name.casefold(): i for name, i in known.items()}
    numbers = {n: known.get(n, folded.get(n.casefold())) for n in found}
    unknown = [n for n, i in numbers.items() if i is None]
    if len(unknown) == len(found) and all(re.fullmatch(r"[0-9]{1,9}", n) and int(n) < len(known) for n in found):
        return {n: int(n) for n in found}
    if unknown:
        near = near_name(unknown[0], model.class_names)
        hint = f" Did you mean {near!r}?" if near else ""
        msg = (
            f"{where} has the class{'es' * (len(unknown) > 1)} {_listed(unknown)}, which {model.name} does not have.{hint}"
            f" Its classes: {_listed(model.class_names)}."
        )
        raise InputError(msg)
    missing = [n for n, i in known.items() if i not in numbers.values()]
    if missing:
        warn(f"{where} has no samples of {len(missing)} of the {len(known)} classes: {_listed(missing)}.")
    return {n: i for n, i in numbers.items() if i is not None}


def _tell(message: str, *, strict: bool) -> None:
    if strict:
        raise InputError(message)
    warn(message)


def warn(message: str) -> None:
    """Warn whoever loads the data."""
    warnings.warn(message, DataWarning, stacklevel=2)


def _listed(names: Iterable[str]) -> str:
    whole = [printable(n) for n in names]
    return ", ".join(whole[:_MOST_SHOWN]) + (
        f" and {len(whole) - _MOST_SHOWN} more" if len(whole) > _MOST_SHOWN else ""
    )
