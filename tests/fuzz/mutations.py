"""Damage: to bytes, to text, to the messages of an ONNX model, to JSON, to the arrays of an .npz."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

Mutation = Callable[[random.Random, bytes], bytes]

_NUMBERS = (0, 1, -1, 2, 7, 255, 2**16, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, -(2**62))
_ODD_TEXTS = ("inf", "-inf", "nan", "\udce9", "\x1b[2J\x07", "1e999", "true", "2026-01-01T00:00:00+00:00")
_TEXTS = ("", "x", "z1", "\0", "../../etc/passwd", "/etc/passwd", "a" * 5000, "é\u202e", "w0", "Conv", "If", "ai.onnx")


def damaged_bytes(rng: random.Random, content: bytes) -> bytes:
    """A few bytes changed, removed, doubled or moved, or the end cut off."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if not data:
            break
        at, length = rng.randrange(len(data)), rng.choice((1, 2, 4, 16, 200))
        kind = rng.randrange(6)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = rng.randbytes(length)
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4:
            data[at] ^= 1 << rng.randrange(8)
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def damaged_model(rng: random.Random, content: bytes) -> bytes:
    """A few fields of the model's messages changed: it still parses, and says something else."""
    model = onnx.ModelProto.FromString(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        messages = list(_messages(model))
        _damage(rng, rng.choice(messages), messages)
    return bytes(model.SerializeToString())


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if field.is_repeated else [value]:
                yield from _messages(inner)


def _damage(rng: random.Random, message: Message, others: list[Message]) -> None:
    fields = list(message.DESCRIPTOR.fields)
    present = [f for f, _ in message.ListFields()]
    field = rng.choice(present) if present and rng.random() < 0.85 else rng.choice(fields)
    if rng.random() < 0.1:
        message.ClearField(field.name)
    elif field.is_repeated:
        _damage_list(rng, getattr(message, field.name), field, others)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        same = [m for m in others if m.DESCRIPTOR is field.message_type and m is not message]
        if same:
            copy = type(same[0])()
            copy.CopyFrom(rng.choice(same))
            getattr(message, field.name).CopyFrom(copy)
    else:
        _set(rng, message, field)


def _damage_list(rng: random.Random, values: Any, field: FieldDescriptor, others: list[Message]) -> None:
    kind = rng.randrange(4)
    if kind == 0 and values:
        del values[rng.randrange(len(values))]
    elif kind == 1 and values:
        values.append(rng.choice(list(values)))
    elif kind == 2 and len(values) > 1:
        kept = list(values)
        rng.shuffle(kept)
        copies = [type(v).FromString(v.SerializeToString()) if isinstance(v, Message) else v for v in kept]
        del values[:]
        values.extend(copies)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        same = [m for m in others if m.DESCRIPTOR is field.message_type]
        if same:
            values.append(type(same[0]).FromString(rng.choice(same).SerializeToString()))
    elif values:
        values[rng.randrange(len(values))] = _scalar(rng, field, values[0])
    else:
        values.append(_scalar(rng, field, None))


def _set(rng: random.Random, message: Message, field: FieldDescriptor) -> None:
    value = _scalar(rng, field, getattr(message, field.name))
    try:
        setattr(message, field.name, value)
    except ValueError:  # out of the field's range
        setattr(message, field.name, 1)


def _scalar(rng: random.Random, field: FieldDescriptor, old: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(_TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return damaged_bytes(rng, old or b"x")
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return rng.randrange(26)
    limit = 2**31 if field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32) else 2**63
    fits = [n for n in _NUMBERS if -limit <= n < limit and (n >= 0 or field.type != FieldDescriptor.TYPE_UINT64)]
    return rng.choice([*fits, rng.randrange(64)])


_ODD_VALUES: tuple[Any, ...] = (
    float("nan"),
    float("inf"),
    5e-324,
    -0.5,
    "",
    [],
    {},
    [[]],
    [0.5],
    {"a": None},
    *_ODD_TEXTS,
)


def damaged_json(rng: random.Random, document: Any) -> Any:
    """One value somewhere replaced, removed or doubled."""
    path = document
    while isinstance(path, dict | list) and path and rng.random() < 0.8:
        keys = list(path) if isinstance(path, dict) else range(len(path))
        key: Any = rng.choice(list(keys))
        if not isinstance(path[key], dict | list) or not path[key] or rng.random() < 0.25:
            _damage_entry(rng, path, key)
            break
        path = path[key]
    return document


def _damage_entry(rng: random.Random, holder: Any, key: Any) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice((*_TEXTS, "exits"))] = holder[key]
    elif kind == 2 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        value = rng.choice((None, True, -1, 0, 10**30, 10**400, 1.5, 1e308, *_ODD_VALUES, *_TEXTS, *_NUMBERS))
        holder[key] = copy.deepcopy(value)  # later damage changes it, and must not change the table


_TOKENS = (
    "=",
    "[",
    "]",
    "{",
    "}",
    '"',
    "\n",
    ",",
    ":",
    "#",
    ".",
    "[[a]]",
    "'''",
    "0x",
    "1e999",
    "nan",
    "\\u0000",
    "\x1b[2J",
)


def damaged_text(rng: random.Random, content: bytes) -> bytes:
    """Values and lines of a text exchanged, so that much of it can still be parsed; now and then nested very deeply."""
    text = content.decode(errors="replace")
    for _ in range(rng.choice((1, 1, 2, 5))):
        lines = text.split("\n")
        at, kind = rng.randrange(len(lines)), rng.randrange(6)
        name, sign, _ = lines[at].partition(rng.choice(("=", ":")))
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif kind == 2 and sign:
            lines[at] = f"{name}{sign} {_token(rng)}"
        elif kind == 3:
            place = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + _token(rng) + lines[at][place:]
        elif kind == 4 and sign:
            lines[at] = f"{_token(rng)}{sign}{lines[at][len(name) + 1 :]}"
        elif rng.random() < 0.1:
            lines[at] += rng.choice(("[", "{", "a.")) * 20_000
        text = "\n".join(lines)
    return text.encode(errors="replace")


def _token(rng: random.Random) -> str:
    return str(rng.choice((*_TOKENS, *_TEXTS, *_NUMBERS, "[1, 2]", "true", '"x"', "[]", "{}")))


_DTYPES = ("f2", "f4", "f8", "i1", "u1", "i8", "u8", "?", "c8", "U3", "S2", "M8[s]", "V4")


def damaged_arrays(rng: random.Random, content: bytes, keep: tuple[str, ...] = ()) -> bytes:
    """An .npz with arrays removed, renamed, reshaped, of another type, or with other values; those named in `keep` stay."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for _ in range(rng.choice((1, 1, 2, 3))):
        names = [name for name in arrays if name not in keep]
        if names:
            _damage_array(rng, arrays, rng.choice(names))
    return npz_bytes({name.encode(errors="replace").decode(): array for name, array in arrays.items()})


def _damage_array(rng: random.Random, arrays: dict[str, Any], name: str) -> None:
    array, kind = arrays[name], rng.randrange(5)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[rng.choice((*arrays, "x", "cost_s_x", "cost_s_9", "a/b", "\udce9"))] = arrays.pop(name)
    elif kind == 2:
        one = array.ravel()[:1]
        arrays[name] = rng.choice((array[:0] if array.ndim else array, array.ravel(), array[..., None], one))
    elif kind == 3:
        arrays[name] = np.zeros(array.shape, rng.choice(_DTYPES))
    elif array.size and array.dtype.kind in "fiu":
        changed = array.copy()
        odd = (np.nan, np.inf, -1.0, 0.0) if array.dtype.kind == "f" else (0, 1, 100)
        changed.flat[rng.randrange(array.size)] = rng.choice(odd)
        arrays[name] = changed


def npz_bytes(arrays: dict[str, Any]) -> bytes:
    """Arrays as the content of an .npz file."""
    made = io.BytesIO()
    np.savez(made, allow_pickle=False, **arrays)
    return made.getvalue()
