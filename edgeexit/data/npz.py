"""Datasets as NumPy files, never unpickled: an .npz with `x` [n, ...] and, where there are labels, `y`; or .npy files.

Written are `x` and `y`, or `x_<name>` for each of several inputs. Read are also the names that other tools write: see `_chosen`.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.classes import read_class_names, warn
from edgeexit.data.dataset import Dataset, make_dataset
from edgeexit.data.model import ModelInfo, find_near_name
from edgeexit.errors import InputError
from edgeexit.util.archives import DAMAGE, PICKLED, explain_damage
from edgeexit.util.arguments import check_regular_file, make_printable
from edgeexit.util.atomic import replace_atomically

_FORM = (
    "an .npz for edgeexit holds x [samples, ...] (or x_<name> for each of several inputs) and optionally y [samples]"
)
_INPUTS = ("x", "X", "images", "image", "imgs", "img", "data", "inputs", "input", "features", "samples", "arr_0")
_LABELS = ("y", "Y", "labels", "label", "targets", "target", "y_true", "lbls", "lbl", "arr_1")
_NAMES = ("names", "class_names", "label_names", "target_names", "classes")
_PARTS = {"train": "train", "training": "train", "tr": "train", "trn": "train", "test": "test", "te": "test", "tst": "test",
          "val": "val", "valid": "val", "validation": "val", "dev": "val",
          "cal": "calibration", "calib": "calibration", "calibration": "calibration"}  # fmt: skip
_ANY_PART = "|".join(sorted(_PARTS, key=len, reverse=True))


@dataclass(frozen=True)
class _Choice:
    """Roles of a file's arrays: inputs by name (`x` where there is one), labels, class names, and those not used."""

    inputs: Mapping[str, str]
    labels: str | None
    names: str | None
    unused: tuple[str, ...] = ()


def read_npz(path: str | os.PathLike[str], model: ModelInfo | None = None, part: str = "") -> Dataset:
    """Read a dataset. Objects that would need unpickling are refused, not loaded.

    Args:
        path: path of the file.
        model: what the network expects.
        part: which of several that the file holds, such as `test` of x_train, y_train, x_test, y_test.

    Raises:
        InputError: no such file, not an .npz, pickled, no arrays that can be taken as inputs, or any fault of `checked`.
    """
    path = Path(path)
    where = make_printable(path)
    with _translate_read_errors(path, f"not an .npz file; {_FORM}"), path.open("rb") as raw:
        if not zipfile.is_zipfile(raw):
            msg = f"{where}: not an .npz file; {_FORM}"
            raise InputError(msg)
        raw.seek(0)
        file = np.load(raw, allow_pickle=False)
        _refuse_other_archive(file.zip.namelist(), where)
        chosen = _choose_arrays(file.files, model, where, part)
        inputs = {name: file[key] for name, key in chosen.inputs.items()}
        labels = None if chosen.labels is None else file[chosen.labels]
        names = None if chosen.names is None else file[chosen.names]
    unused = chosen.unused
    if names is not None and names.dtype.kind not in "US":  # `classes` may be the numbers of the samples' classes
        labels, names, unused = (
            (names, None, unused) if labels is None else (labels, None, (*unused, str(chosen.names)))
        )
    if unused:
        warn(f"{where}: not used: {', '.join(map(make_printable, unused))}.")
    single = set(inputs) == {"x"} and (
        model is None or {s.name for s in model.inputs} != {"x"} or len(model.inputs) == 1
    )
    return make_dataset(where, inputs["x"] if single else inputs, labels, model, _read_names(names))


def _refuse_other_archive(members: Sequence[str], where: str) -> None:
    other = [m for m in members if not m.endswith(".npy")]
    if other:
        shown = ", ".join(map(make_printable, other[:3])) + (", ..." if len(other) > 3 else "")
        msg = f"{where}: an archive of other files ({shown}): unpack it, and give the folder or the .npz. {_FORM.capitalize()}."
        raise InputError(msg)


def list_npz_parts(path: Path) -> dict[str, str]:
    """The parts of a data set that a file holds, `train`, `calibration` or `test`, with their names there, such as `val`.

    Raises:
        InputError: not an .npz, or it cannot be read.
    """
    with _translate_read_errors(path, f"not an .npz file; {_FORM}"), path.open("rb") as raw:
        keys = np.load(raw, allow_pickle=False).files if zipfile.is_zipfile(raw) else []
    found = {p for k in keys if (p := _parse_part(k, _INPUTS)) is not None}
    names = {"train": "train", "calibration": "calibration" if "calibration" in found else "val", "test": "test"}
    return {part: key for part, key in names.items() if key in found}


def read_npy(path: Path, labels: Path | None, model: ModelInfo | None = None) -> Dataset:
    """Read inputs [n, ...] from one .npy and labels from another, which by default is the file beside it: y.npy for x.npy.

    Raises:
        InputError: no such file, not an .npy, pickled, or any fault of `checked`.
    """
    companion = labels or next((p for p in _find_companions(path) if p.is_file()), None)
    inputs = _read_array(path)
    return make_dataset(make_printable(path), inputs, None if companion is None else _read_array(companion), model)


_WORD = re.compile(
    r"((?:.*[^a-z])?(?:PARTS)?)(?:INPUTS)((?:PARTS)?(?:[^a-z].*)?)".replace("PARTS", _ANY_PART).replace(
        "INPUTS", "|".join(w for w in _INPUTS if w != "arr_0")
    ),
    re.IGNORECASE,
)


def _find_companions(path: Path) -> Iterator[Path]:
    """Files that hold the labels of `path` by the usual names: y_test.npy of X_test.npy, test_labels.npy of test_images.npy."""
    found = _WORD.fullmatch(path.stem)
    if found is not None:
        for word in (w for w in _LABELS if w != "arr_1"):
            for written in dict.fromkeys((word, word.upper(), word.capitalize())):
                yield path.with_name(f"{found[1]}{written}{found[2]}{path.suffix}")


def _read_array(path: Path) -> NDArray[Any]:
    form = "not an .npy file (one array, as numpy.save writes it)"
    with _translate_read_errors(path, form), path.open("rb") as raw:
        if raw.read(6) != b"\x93NUMPY":
            msg = f"{make_printable(path)}: {form}"
            raise InputError(msg)
        raw.seek(0)
        return np.asarray(np.load(raw, allow_pickle=False))


@contextmanager
def _translate_read_errors(path: Path, form: str) -> Iterator[None]:
    """Every fault of a file as one message that names it."""
    check_regular_file(path)
    where = make_printable(path)
    try:
        yield
    except FileNotFoundError as error:
        msg = f"no such file: {where}"
        raise InputError(msg) from error
    except MemoryError as error:
        msg = f"{where} does not fit into memory ({error}): give a smaller part of it."
        raise InputError(msg) from error
    except PermissionError as error:
        msg = f"{where} cannot be read ({error.strerror})"
        raise InputError(msg) from error
    except DAMAGE as error:
        if isinstance(error, InputError):
            raise
        why = explain_damage(error)
        msg = f"{where}: {why if why == PICKLED else f'{form} ({make_printable(why)})'}"
        raise InputError(msg) from error


def _read_names(array: NDArray[Any] | None) -> tuple[str, ...]:
    if array is None or array.dtype.kind not in "US" or array.ndim != 1 or len(array) < 2:
        return ()
    return read_class_names([n.decode("utf-8", "replace") if isinstance(n, bytes) else n for n in array.tolist()])


# ---------------------------------------------------------------- which array is what


def _choose_arrays(keys: Sequence[str], model: ModelInfo | None, where: str, part: str) -> _Choice:
    """Which arrays are inputs and labels, by the first that fits:

    the network's input names · x (and y) · x_<name> (and y) · x_train, y_train, x_test, ... · X, images, data, arr_0, ... with
    y, labels, targets, arr_1, ... · the only array

    Raises:
        InputError: none fits, or a part has to be named.
    """
    names = next((k for k in _NAMES if k in keys), None)
    rest = [k for k in keys if k != names]
    wanted = [s.name for s in model.inputs] if model is not None else []
    for find in (
        (_choose_by_part,)
        if part
        else (_choose_by_model, _choose_by_prefix, _choose_by_part, _choose_by_usual_name, _choose_only_array)
    ):
        found = find(rest, wanted, where, part)
        if found is not None:
            inputs, labels = found
            unused = tuple(k for k in rest if k not in inputs.values() and k != labels)
            if unused and model is None and find is not _choose_by_part:
                break
            return _Choice(inputs, labels, names, unused if find is not _choose_by_part else ())
    if part:
        msg = (
            f"{where} holds {', '.join(sorted(map(make_printable, keys))) or 'nothing'}, which are not parts: give "
            f"{where} without :{part}."
        )
        raise InputError(msg)
    free, missing = tuple(k for k in rest if k not in wanted), [n for n in wanted if n not in rest]
    near = next((f" Did you mean {k!r} for {n!r}?" for n in missing for k in (find_near_name(n, free),) if k), "")
    needs = f"; the network's inputs are {', '.join(wanted)}" if wanted else ""
    msg = f"{where} holds {', '.join(sorted(map(make_printable, keys))) or 'nothing'}{needs}; {_FORM}.{near}"
    raise InputError(msg)


_Found = tuple[dict[str, str], "str | None"]


def _find_label_key(keys: Sequence[str]) -> str | None:
    return next((k for k in _LABELS if k in keys), None)


def _choose_by_model(keys: Sequence[str], wanted: Sequence[str], _where: str, _part: str) -> _Found | None:
    if not wanted or not set(wanted) <= set(keys) or (wanted[0] in _LABELS and "x" in keys and len(wanted) == 1):
        return None  # an input that is called like labels, beside x
    labels = _find_label_key([k for k in keys if k not in wanted])
    return ({"x": wanted[0]} if len(wanted) == 1 else {n: n for n in wanted}), labels


def _choose_by_prefix(keys: Sequence[str], wanted: Sequence[str], _where: str, _part: str) -> _Found | None:
    labels = _find_label_key(keys)
    if "x" in keys and len(wanted) < 2:
        return {"x": "x"}, labels
    named = {k.removeprefix("x_"): k for k in keys if k.startswith("x_")}
    split = {k for k in keys if _parse_part(k, ("y",)) is not None}
    if not named or split or (wanted and set(named) != set(wanted)):
        return None
    return (named, labels) if wanted or len(named) + (labels is not None) == len(keys) else None


def _choose_by_part(keys: Sequence[str], _wanted: Sequence[str], where: str, part: str) -> _Found | None:
    inputs = {p: k for k in keys if (p := _parse_part(k, _INPUTS)) is not None}
    labels = {p: k for k in keys if (p := _parse_part(k, _LABELS)) is not None}
    if not inputs:
        return None
    asked = _PARTS.get(part.lower(), part) if part else next(iter(inputs)) if len(inputs) == 1 else ""
    if asked not in inputs:
        choices = ", ".join(f"{where}:{p}" for p in inputs)
        msg = f"{where} holds the parts {', '.join(inputs)}: say which to use, as {choices}."
        raise InputError(msg)
    return {"x": inputs[asked]}, labels.get(asked)


def _parse_part(key: str, stems: Sequence[str]) -> str | None:
    """`test` of `x_test`, `test_images` or `Xtest`, where the rest is among `stems`."""
    found = re.fullmatch(
        r"(?:(?P<a>[a-zA-Z]+?)_?(?P<p>PARTS)|(?P<q>PARTS)_?(?P<b>[a-zA-Z]+))".replace("PARTS", _ANY_PART),
        key,
        re.IGNORECASE,
    )
    if found is None or (found["a"] or found["b"]) not in stems:
        return None
    return _PARTS[(found["p"] or found["q"]).lower()]


def _choose_by_usual_name(keys: Sequence[str], wanted: Sequence[str], _where: str, _part: str) -> _Found | None:
    inputs = [k for k in _INPUTS if k in keys]
    if len(wanted) > 1 or not inputs:
        return None
    return {"x": inputs[0]}, _find_label_key(keys)


def _choose_only_array(keys: Sequence[str], wanted: Sequence[str], _where: str, _part: str) -> _Found | None:
    """One array beside labels, whatever its name, where the network has one input."""
    labels = _find_label_key(keys)
    others = [k for k in keys if k != labels]
    return ({"x": others[0]}, labels) if len(wanted) == 1 and len(others) == 1 else None


def write_npz(path: str | os.PathLike[str], dataset: Dataset) -> None:
    """Write a dataset, compressed, whole or not at all; `read_npz` gives the same arrays back."""
    whole = dataset.inputs
    arrays: dict[str, Any] = (
        {f"x_{name}": array for name, array in whole.items()} if isinstance(whole, dict) else {"x": whole}
    )
    if dataset.labels is not None:
        arrays["y"] = dataset.labels
    with replace_atomically(path) as scratch, scratch.open("wb") as file:
        np.savez_compressed(file, **arrays)
