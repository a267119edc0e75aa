"""Frozen dataclasses to JSON documents and back; all faults of a document in one message.

A document carries `"schema": "edgeexit.<thing>/<version>"`. Old versions are read for ever, newer ones refused with the remedy. JSON has no
infinity: the thresholds "always" and "never" are the strings "-inf" and "inf".
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from edgeexit.errors import InputError, did_you_mean
from edgeexit.util.arguments import as_float, path_exists

T = TypeVar("T")

_VERSION_DIGITS = 9
_WHOLE_BELOW = 1 << 63  # larger ones fit no counter of bytes or operations, and not every float


def to_document(value: Any) -> Any:
    """A dataclass, and what it holds, as JSON values: dataclasses as objects, tuples as lists, infinities as strings.

    Raises:
        ValueError: a float is NaN; what was not measured is None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_document(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_document(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_document(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            msg = "a document cannot hold NaN"
            raise ValueError(msg)
        return "inf" if value > 0 else "-inf"
    return value


def parse_number(value: object) -> float:
    """A number of a document, whose infinities are text; NaN where it is none, or where no float holds it."""
    return float(str(value)) if value in ("inf", "-inf") else as_float(value)


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # what Python makes of a byte of a file name that is not UTF-8


def dumps(document: Any) -> str:
    """A document as indented JSON text with a final newline, which UTF-8 can hold whatever names are in it."""
    text = json.dumps(to_document(document), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def parse_json(text: str | bytes) -> Any:
    """The values of a JSON text. NaN and Infinity, which Python reads and JSON does not have, are no values: edgeexit writes infinities as
    strings, and NaN never.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    msg = f"{name} is no value of JSON"
    raise ValueError(msg)


def read_json(path: Path, what: str, error: type[InputError] = InputError) -> Any:
    """The JSON values in a file.

    Args:
        path: the file.
        what: what the content should be, for the message, such as "a bench result".
        error: class to raise.

    Raises:
        InputError: (or `error`) it cannot be read, is a pipe or a device, or is not JSON.
    """
    if path_exists(path) and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise error(f"cannot read {path}: it is {kind}, not a file.")
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise error(f"cannot read {path}: {fault.strerror or fault}.") from fault
    except (ValueError, RecursionError) as fault:
        raise error(f"{path} is not {what}: not JSON ({fault}).") from fault


def check_schema(document: Any, thing: str, newest: int, where: str, error: type[InputError] = InputError) -> int:
    """The version of a document of `thing`.

    Raises:
        InputError: (or `error`) it is no object, of another thing, or newer than `newest`.
    """
    schema = document.get("schema") if isinstance(document, dict) else None
    name, _, version = str(schema).partition("/")
    number = version.isascii() and version.isdigit() and len(version) <= _VERSION_DIGITS
    if name != f"edgeexit.{thing}" or not number:
        msg = f"{where} is not an edgeexit {thing}: its schema is {schema!r}, not 'edgeexit.{thing}/{newest}'."
        raise error(msg)
    if int(version) > newest:
        msg = f"{where} was written by a newer edgeexit (schema {schema}; this one reads up to /{newest}). Update: pip install -U edgeexit"
        raise error(msg)
    return int(version)


def parse_document(cls: type[T], document: Any, where: str, error: type[InputError] = InputError) -> T:
    """A dataclass from JSON values, every field checked against its type.

    Args:
        cls: a dataclass whose fields are str, int, float, bool, None, Any, dataclasses, tuples
            `tuple[X, ...]`, dicts and mappings of text to X, and literals; numbers may have a range, see `within`.
        document: the JSON values.
        where: the file, for the message.
        error: class to raise.

    Raises:
        InputError: (or `error`) with every fault: fields missing, unknown (with the nearest known name) or of another type.
    """
    faults: list[str] = []
    value = _read(cls, document, "", faults)
    if faults:
        raise error(f"{where} has {len(faults)} fault{'s' * (len(faults) > 1)}: " + "; ".join(faults) + ".")
    return typing.cast("T", value)


def within(low: float, high: float = math.inf) -> dict[str, Any]:
    """The `metadata` of a dataclass field whose numbers must lie in a range, both ends included.

    Args:
        low: the least value.
        high: the largest value.

    Example:
        >>> @dataclasses.dataclass
        ... class Job:
        ...     epochs: int = dataclasses.field(metadata=within(1))
        >>> parse_document(Job, {"epochs": 0}, "job.toml")
        Traceback (most recent call last):
        edgeexit.errors.InputError: job.toml has 1 fault: epochs must be at least 1, not 0.
    """
    return {"range": (low, high)}


def _check_range(field: dataclasses.Field[Any], value: Any, at: str, faults: list[str]) -> None:
    low, high = field.metadata.get("range", (-math.inf, math.inf))
    numbers = [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, (int, float))]
    if not all(low <= number <= high for number in numbers):
        wanted = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        faults.append(f"{at}{field.name} must be {wanted}, not {_shorten_json(value)}")


def _read(kind: Any, value: Any, at: str, faults: list[str]) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_object(kind, value, at, faults)
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return _read_union(kind, value, at, faults)
    if origin is tuple:
        return _read_list(typing.get_args(kind), value, at, faults)
    if origin in (dict, Mapping):
        return _read_dict(typing.get_args(kind)[1], value, at, faults)
    if origin is typing.Literal:
        return _read_choice(typing.get_args(kind), value, at, faults)
    return _read_plain(kind, value, at, faults)


def _read_choice(choices: tuple[Any, ...], value: Any, at: str, faults: list[str]) -> Any:
    if not isinstance(value, str) or value not in choices:
        near = did_you_mean(str(value), choices)
        faults.append(
            f"{at.rstrip('.')} must be {' or '.join(map(repr, choices))}, not {_shorten_json(value)}{near and '.'}{near}".rstrip(
                "."
            )
        )
    return value


def _read_object(cls: Any, value: Any, at: str, faults: list[str]) -> Any:
    if not isinstance(value, dict):
        faults.append(f"{at.rstrip('.') or 'the document'} must be an object, not {_shorten_json(value)}")
        return None
    kinds, fields = _list_fields(cls)
    faults += [
        f"{at}{name} is unknown.{did_you_mean(name, fields)}".rstrip(".") for name in value if name not in fields
    ]
    found = {}
    for name, field in fields.items():
        if name in value:
            found[name] = _read(kinds[name], value[name], f"{at}{name}.", faults)
            _check_range(field, found[name], at, faults)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            faults.append(f"{at}{name} is missing")
    return None if faults else cls(**found)


@cache
def _list_fields(cls: type[Any]) -> tuple[dict[str, Any], dict[str, dataclasses.Field[Any]]]:
    """Types and fields of a dataclass by name; a bundle's manifest alone asks for those of one class many times."""
    return typing.get_type_hints(cls), {f.name: f for f in dataclasses.fields(cls)}


def _read_union(kind: Any, value: Any, at: str, faults: list[str]) -> Any:
    tries: list[list[str]] = []
    for option in typing.get_args(kind):
        mine: list[str] = []
        result = _read(option, value, at, mine)
        if not mine:
            return result
        tries.append(mine)
    closest = max(tries, key=len) if isinstance(value, (dict, list)) else min(tries, key=len)
    faults.extend(closest)
    return None


def _read_list(kinds: tuple[Any, ...], value: Any, at: str, faults: list[str]) -> Any:
    """Of one kind and any length, `(X, ...)`, or of as many as there are kinds, all alike."""
    length = None if kinds[-1] is ... else len(kinds)
    if not isinstance(value, list) or len(value) != (length or len(value)):
        wanted = f"a list of {length}" if length else "a list"
        faults.append(f"{at.rstrip('.')} must be {wanted}, not {_shorten_json(value)}")
        return None
    return tuple(_read(kinds[0], item, f"{at.rstrip('.')}[{i}].", faults) for i, item in enumerate(value))


def _read_dict(kind: Any, value: Any, at: str, faults: list[str]) -> Any:
    if not isinstance(value, dict):
        faults.append(f"{at.rstrip('.')} must be an object, not {_shorten_json(value)}")
        return None
    return {str(name): _read(kind, item, f"{at}{name}.", faults) for name, item in value.items()}


def _read_plain(kind: Any, value: Any, at: str, faults: list[str]) -> Any:
    if kind is Any:
        return value
    if kind is float and value in ("inf", "-inf"):
        return float(value)
    expected = type(None) if kind is None else kind
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits = isinstance(value, expected) or (kind is float and whole)
    if not fits or (isinstance(value, bool) and expected is not bool) or _exceeds_range(value):
        faults.append(f"{at.rstrip('.')} must be {_name_type(expected)}, not {_shorten_json(value)}")
        return None
    return float(value) if kind is float else value


def _exceeds_range(value: Any) -> bool:
    """NaN, which Python's JSON reader takes, and whole numbers that nothing here can count up to."""
    if isinstance(value, float):
        return math.isnan(value)
    return isinstance(value, int) and abs(value) >= _WHOLE_BELOW


def _name_type(kind: type) -> str:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    return names.get(kind, kind.__name__)


def _shorten_json(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
