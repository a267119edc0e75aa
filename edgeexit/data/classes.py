"""Class names as given by the user, and the number of the class that a folder or a text label names."""

from __future__ import annotations

import json
import os
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeexit.data.model import ModelInfo, find_near_name
from edgeexit.errors import InputError
from edgeexit.util.arguments import check_small, make_printable, path_exists
from edgeexit.util.units import format_count

_MOST_SHOWN = 12
_LARGEST_FILE = 1 << 24
_FILES = (".txt", ".json", ".names", ".csv", ".labels")


class DataWarning(UserWarning):
    """Data that can be used, with something that its owner should know."""


def read_class_names(given: object) -> tuple[str, ...]:
    """Class names in the order of the network's outputs.

    Args:
        given: a sequence of names; a mapping of numbers to names, or of names to numbers; text with commas between; or a file: one name a
            line, with or without its number before it, a JSON list or object, or one with `id2label` (Hugging Face), `label_names` (timm)
            or `class_to_idx` (torchvision).

    Raises:
        InputError: no such file, fewer than two names, an empty one, or one that is typed twice. Lists and files may hold a name twice, as
            those of ImageNet do.

    Example:
        read_class_names("cat,dog,horse")
    """
    if isinstance(given, (str, os.PathLike)) and not isinstance(os.fspath(given), bytes):
        text = os.fspath(given)
        path = Path(text)
        is_file = path_exists(path) or path.suffix.lower() in _FILES or not isinstance(given, str)
        return _check_names(_read_file(path), make_printable(text)) if is_file else _refuse_repeated(_split(text))
    if isinstance(given, Mapping):
        return _check_names(_parse_json(given, "the class names"), "the class names")
    if isinstance(given, Iterable) and not isinstance(given, bytes):
        return _check_names(list(given), "the class names")
    msg = f"class names must be a list, text with commas between, or a file, not {given!r}."
    raise InputError(msg)


def _read_file(path: Path) -> list[Any]:
    where = make_printable(path)
    try:
        check_small(path, _LARGEST_FILE)
        text = path.read_text(encoding="utf-8-sig")
        return _parse_json(json.loads(text), where) if path.suffix.lower() == ".json" else _from_lines(text)
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        hint = "; save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        msg = f"cannot read the class names {where}: {make_printable(str(reason))}{hint}"
        raise InputError(msg) from error


def _split(line: str) -> list[str]:
    """Names with commas between, also as a list is printed."""
    return [name.strip(" \t[]'\"") for name in line.split(",")]


_NUMBERED = re.compile(r"\s*(\d{1,9})(?:\s*[,;:\t]\s*|\s+)(\S.*)")


def _from_lines(text: str) -> list[str]:
    """One name a line, or all on one line; `0 cat`, `0: cat` and `0,cat` in order, a line of titles above them or not, are the names."""
    lines = text.strip().splitlines()
    if len(lines) == 1:
        return _split(lines[0])
    for body in (lines, lines[1:]):
        found = [m for m in map(_NUMBERED.fullmatch, body) if m is not None]
        numbers = [int(m[1]) for m in found]
        if len(body) == len(found) > 1 and numbers in (list(range(len(body))), list(range(1, len(body) + 1))):
            return [m[2] for m in found]
    return lines


_NESTED = ("id2label", "label_names", "classes", "names", "class_names", "class_to_idx", "label2id")


def _parse_json(document: Any, where: str) -> list[Any]:
    if isinstance(document, Mapping):
        document = next((document[k] for k in _NESTED if k in document), document)
    if isinstance(document, Mapping):
        document = _order_names(document)
    if not isinstance(document, list):
        msg = f"{where} holds no class names: a list, or an object by number from 0, is needed."
        raise InputError(msg)
    return document


def _order_names(table: Mapping[Any, Any]) -> list[Any] | None:
    """Names by number, numbers by name, or Keras' pairs of identifier and name by number; None where the numbers are not 0, 1, 2, ..."""
    if table and all(type(v) is int for v in table.values()):
        table = {v: k for k, v in table.items()}
    numbers = {int(k): v for k, v in table.items() if re.fullmatch(r"\d{1,9}", str(k))}
    if len(numbers) != len(table) or set(numbers) != set(range(len(numbers))):
        return None
    names = [numbers[k] for k in sorted(numbers)]
    pairs = all(isinstance(n, list) and len(n) == 2 for n in names)
    return [n[1] for n in names] if pairs else names


def _refuse_repeated(names: Sequence[str]) -> tuple[str, ...]:
    """Names that somebody typed: one that is there twice is a slip."""
    twice = [n for n in dict.fromkeys(names) if n and names.count(n) > 1]
    if twice:
        msg = f"the class names: {', '.join(map(repr, twice))} twice; give each class a name of its own."
        raise InputError(msg)
    return _check_names(names, "the class names")


def clean_name(text: str) -> str:
    """A class name as names are compared: without space around it, in composed letters (a Mac's file names are not), printable."""
    return make_printable(unicodedata.normalize("NFC", text.strip()))


def _check_names(names: Sequence[Any], where: str) -> tuple[str, ...]:
    wrong = [n for n in names if not isinstance(n, str)]
    if wrong:
        msg = f"{where}: class names are text, not {wrong[0]!r}."
        raise InputError(msg)
    clean = [clean_name(n) for n in names]
    if "" in clean or len(set(clean)) < 2:
        fault = "an empty name" if "" in clean else format_count(len(set(clean)), "class name")
        msg = f"{where}: {fault}; two or more different ones are needed."
        raise InputError(msg)
    return tuple(clean)


def check_class_count(names: tuple[str, ...], classes: int, where: str) -> None:
    """As many names as the network has classes.

    Raises:
        InputError: another number.
    """
    if names and len(names) != classes:
        given = f"{where}: {format_count(len(names), 'class name')} ({_format_names(names)})"
        msg = f"{given} for {format_count(classes, 'class', 'classes')} of the network. {_GIVE_CLASSES}"
        raise InputError(msg)


def assign_class_numbers(
    found: Sequence[str], model: ModelInfo | None, where: str, *, strict: bool = False
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The number of each class found in data, by name, and the names of all classes in order.

    By the network's own class names where they are known, else in the order of the names as text, which is torchvision's.

    Args:
        found: names of class folders or text labels, each once.
        model: what the network expects; None where it is not known.
        where: name of the data, for messages.
        strict: raise an error where the numbers may be wrong, instead of a warning.

    Raises:
        InputError: a name that the network does not have; more names than classes; numbers that may be wrong, with `strict`.
    """
    if model is not None and model.class_names:
        return _number_by_known_names(found, model, where), model.class_names
    classes = len(found) if model is None or model.classes is None else model.classes
    ordered = tuple(sorted(found))
    if len(found) > classes:
        msg = (
            f"{where} has {format_count(len(found), 'class', 'classes')} ({_format_names(ordered)}), the network has "
            f"{classes}. {_GIVE_CLASSES}"
        )
        raise InputError(msg)
    counted = _as_numbers(found, classes)
    names = counted or ordered
    numbers = {name: names.index(name) for name in found}
    if len(found) < classes and not counted:
        _warn_or_raise(
            f"{where} has {len(found)} of the network's {classes} classes ({_format_names(ordered)}), and nothing says which, so the labels"
            f" may be wrong. {_GIVE_CLASSES}",
            strict=strict,
        )
    elif len(found) < classes or _has_other_order(names):
        shown = _format_names(f"{n} is class {numbers[n]}" for n in sorted(found, key=_extract_numbers))
        warn(
            f"{where}: the classes are numbered in the order of their names as text, as in torchvision: {shown}. {_GIVE_CLASSES}"
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


def _extract_numbers(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"[0-9]{1,18}", name)))


def _has_other_order(names: Sequence[str]) -> bool:
    """Whether names that differ in their numbers only, such as `class 2` and `class 10`, stand in another order than these."""
    alike: dict[str, list[tuple[int, ...]]] = {}
    for name in names:
        alike.setdefault(re.sub(r"[0-9]+", "0", name), []).append(_extract_numbers(name))
    return any(numbers != sorted(numbers) for numbers in alike.values())


def _number_by_known_names(found: Sequence[str], model: ModelInfo, where: str) -> dict[str, int]:
    known = {clean_name(name): i for i, name in enumerate(model.class_names)}
    folded = {name.casefold(): i for name, i in known.items()}
    numbers = {n: known.get(clean_name(n), folded.get(clean_name(n).casefold())) for n in found}
    _refuse_shared(numbers, model, where)
    unknown = [n for n, i in numbers.items() if i is None]
    if len(unknown) == len(found) and all(re.fullmatch(r"[0-9]{1,9}", n) and int(n) < len(known) for n in found):
        return {n: int(n) for n in found}
    if unknown:
        near = find_near_name(unknown[0], model.class_names)
        hint = f" Did you mean {near!r}?" if near else ""
        msg = (
            f"{where} has the class{'es' * (len(unknown) > 1)} {_format_names(unknown)}, which {model.name} does not have.{hint}"
            f" Its classes: {_format_names(model.class_names)}."
        )
        raise InputError(msg)
    missing = [n for n, i in known.items() if i not in numbers.values()]
    if missing:
        warn(f"{where} has no samples of {len(missing)} of the {len(known)} classes: {_format_names(missing)}.")
    return {n: i for n, i in numbers.items() if i is not None}


def _refuse_shared(numbers: Mapping[str, int | None], model: ModelInfo, where: str) -> None:
    """A name that several classes of the network share is ambiguous."""
    names = [model.class_names[i] for i in numbers.values() if i is not None]
    shared = [n for n in dict.fromkeys(names) if model.class_names.count(n) > 1]
    if shared:
        msg = (
            f"{where}: {model.name} has several classes of the name {_format_names(shared)}."
            " Give --classes with a name of its own for each."
        )
        raise InputError(msg)


def _warn_or_raise(message: str, *, strict: bool) -> None:
    if strict:
        raise InputError(message)
    warn(message)


def warn(message: str) -> None:
    """Issue a DataWarning at the caller of the public loading function."""
    warnings.warn(message, DataWarning, stacklevel=2)


def _format_names(names: Iterable[str]) -> str:
    whole = [make_printable(n) for n in names]
    return ", ".join(whole[:_MOST_SHOWN]) + (
        f" and {len(whole) - _MOST_SHOWN} more" if len(whole) > _MOST_SHOWN else ""
    )
