"""Attacks on every other file that edgeexit reads: results, calibrations, replay tables, settings, data, metadata, models by suffix."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.calibration import list_calibrations, load_calibration
from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.stored import export_calibration, import_calibration
from edgeexit.data.classes import read_class_names
from edgeexit.data.preprocess_files import read_preprocess
from edgeexit.errors import EdgeExitError
from edgeexit.measure.suites import load_suite
from tests.fuzz.bundles import use
from tests.fuzz.checks import check_message, only_edgeexit_errors, run_edgeexit
from tests.fuzz.mutations import damaged_arrays, damaged_bytes, damaged_json, damaged_text, npz_bytes
from tests.fuzz.seeds import PICTURE, RESULT, SETTINGS, TEXT_SUFFIXES
from tests.support.manifests import write_manifest

_REPORTS = (".html", ".md", ".csv", ".tex", ".svg")
_SUFFIXES = (*TEXT_SUFFIXES, ".onnxjson", ".txtpb", ".prototxt", ".pbtxt", ".onnxtext", ".onnx", ".bin", "")


def compile_any_suffix(rng: random.Random, folder: Path) -> None:
    """A model in one of ONNX's text formats, damaged; or one format under the name of another, or another file."""
    suffix = rng.choice(TEXT_SUFFIXES)
    content = (folder / rng.choice([f"text{suffix}"] * 6 + [RESULT, "plain.onnx"])).read_bytes()
    path = folder / f"damaged{suffix if rng.random() < 0.6 else rng.choice(_SUFFIXES)}"
    path.write_bytes(rng.choice((damaged_bytes, damaged_text))(rng, content))
    with _made(folder / "damaged.eexit") as output, only_edgeexit_errors():
        edgeexit.compile(path, output, seconds=0)
        use(output)
    path.unlink()


def compile_damaged_metadata(rng: random.Random, folder: Path) -> None:
    """A sound model whose notes by `edgeexit export` and `edgeexit train` are damaged."""
    model = onnx.load(str(folder / "plain.onnx"))
    notes = {prop.key: prop.value for prop in model.metadata_props}
    for key in rng.sample(sorted(notes), rng.choice((1, 1, 2, 4))):
        notes[key] = _damaged_note(rng, notes[key])
    helper.set_model_props(model, notes)
    path = folder / "damaged.onnx"
    onnx.save(model, str(path))
    with _made(folder / "damaged.eexit") as output, only_edgeexit_errors():
        edgeexit.compile(
            path, output, criterion=rng.choice((None, None, "entropy", "learned", "learned_mean")), seconds=0
        )
        use(output)
        run_edgeexit("inspect", output)
        run_edgeexit("run", output, "--data", folder / PICTURE)


def _damaged_note(rng: random.Random, note: str) -> str:
    if rng.random() < 0.3:
        return damaged_bytes(rng, note.encode()).decode(errors="replace")
    return json.dumps(damaged_json(rng, json.loads(note)))


def read_damaged_calibration(rng: random.Random, folder: Path) -> None:
    """The calibration of a bundle whose manifest vouches for it; as a file of its own; and exported and imported."""
    with _copy(folder / "plain.eexit", folder / "copy.eexit") as bundle:
        content = _replace_file(bundle, "calibrations/", ".json", lambda old: _damaged_document(rng, old))
        _use_calibrated(rng, bundle)
        (folder / "calibration.json").write_bytes(content)
        run_edgeexit("report", folder / "calibration.json", "-o", folder / f"report{rng.choice(_REPORTS)}")
    with _copy(folder / "plain.eexit", folder / "copy.eexit") as bundle:
        exported = export_calibration(bundle, list_calibrations(bundle)[-1].name)
        (folder / "one.calibration.zip").write_bytes(_damaged_archive(rng, exported))
        with only_edgeexit_errors():
            import_calibration(bundle, folder / "one.calibration.zip")


def read_damaged_table(rng: random.Random, folder: Path) -> None:
    """The replay table of a calibration: its bytes, or arrays and header with hashes that are right for them."""
    with _copy(folder / "plain.eexit", folder / "copy.eexit") as bundle:
        damage = damaged_bytes if rng.random() < 0.3 else _damaged_table
        content = _replace_file(bundle, "calibrations/", ".npz", lambda old: damage(rng, old))
        _use_calibrated(rng, bundle)
        with only_edgeexit_errors():
            table = ReplayTable.load(io.BytesIO(content))
            table.evaluate([0.0] * (table.exits - 1))


def read_damaged_result(rng: random.Random, folder: Path) -> None:
    """A result of `bench`, or its raw samples, in a report and in a comparison with the sound one."""
    path = folder / "damaged.json"
    raw = (folder / "result.npz").read_bytes()
    if rng.random() < 0.3:
        raw = rng.choice((damaged_bytes, damaged_arrays))(rng, raw)
        content = (folder / RESULT).read_bytes()
    else:
        content = _damaged_document(rng, (folder / RESULT).read_bytes())
    path.write_bytes(content.replace(b'"result.npz"', b'"damaged.npz"'))
    path.with_suffix(".npz").write_bytes(raw)
    run_edgeexit("report", path, "-o", folder / f"report{rng.choice(_REPORTS)}")
    run_edgeexit("report", folder / RESULT, path, "-o", folder / f"report{rng.choice(_REPORTS)}")
    run_edgeexit("compare", path, folder / RESULT, *rng.choice(((), ("--json",), ("--vary", "thresholds"))))


def read_damaged_settings(rng: random.Random, folder: Path) -> None:
    """A training recipe, a suite of `bench`, a preprocessing, class names: files that people write or download."""
    name = rng.choice(SETTINGS)
    path = folder / f"damaged-{name}"
    damages = (damaged_bytes, damaged_text, _damaged_document if path.suffix == ".json" else damaged_text)
    path.write_bytes(rng.choice(damages)(rng, (folder / name).read_bytes()))
    with only_edgeexit_errors():
        _READERS[name](path)


def _read_recipe(path: Path) -> object:
    from edgeexit.training.recipe import load_recipe

    return load_recipe(path)


_READERS: dict[str, Callable[[Path], object]] = {
    "recipe.toml": _read_recipe,
    "suite.toml": lambda path: load_suite(str(path)),
    "preprocess.toml": read_preprocess,
    "timm.json": read_preprocess,
    "transformers.json": read_preprocess,
    "classes.json": read_class_names,
    "classes.txt": read_class_names,
}


def read_damaged_data(rng: random.Random, folder: Path) -> None:
    """An .npz or .npy of samples and labels, in every command that takes one."""
    samples = {"x": np.random.default_rng(0).random((6, 3, 6, 6), np.float32), "y": np.arange(6) % 3}
    content = rng.choice((damaged_bytes, damaged_arrays, damaged_arrays))(rng, npz_bytes(samples))
    path = folder / f"data{rng.choice(('.npz', '.npz', '.npy', ''))}"
    path.write_bytes(content)
    run_edgeexit("run", folder / "plain.eexit", "--data", path, *rng.choice(((), ("--json",), ("--limit", "3"))))


def _use_calibrated(rng: random.Random, bundle: Path) -> None:
    """Everything that reads a calibration."""
    run_edgeexit("inspect", bundle)
    run_edgeexit("report", bundle, "-o", bundle.parent / f"report{rng.choice(_REPORTS)}")
    run_edgeexit(
        "calibrate", bundle, "--from-curve", "--target", rng.choice(("rate1>=0.2", "mean<=0.9x", "agreement>=0.5"))
    )
    for record in Bundle.open(bundle).history if _opens(bundle) else ():
        with only_edgeexit_errors():
            load_calibration(bundle, record.name)
    with only_edgeexit_errors():
        use(bundle)
    with only_edgeexit_errors(), edgeexit.load(bundle) as runner:
        edgeexit.control(runner, "mean<=0.9x")


def _opens(bundle: Path) -> bool:
    try:
        Bundle.open(bundle)
    except EdgeExitError as error:
        check_message(error)
        return False
    return True


def _damaged_document(rng: random.Random, content: bytes) -> bytes:
    if rng.random() < 0.15:
        return damaged_bytes(rng, content)
    document = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        document = damaged_json(rng, document)
    return json.dumps(document).encode()


def _damaged_table(rng: random.Random, content: bytes) -> bytes:
    """Other arrays or another header, with the hash of the table made right again."""
    with np.load(io.BytesIO(damaged_arrays(rng, content, ("header",))), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
        header = json.loads(str(np.load(io.BytesIO(content))["header"]))
    digest = hashlib.sha256()
    for name, array in sorted((n, a) for n, a in arrays.items() if n != "header"):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    header["sha256"] = digest.hexdigest()
    if rng.random() < 0.2:
        header = damaged_json(rng, header)
    arrays["header"] = np.array(json.dumps(header))
    return npz_bytes(arrays)


def _damaged_archive(rng: random.Random, content: bytes) -> bytes:
    """An exported calibration with damaged bytes, or with one of its files damaged."""
    if rng.random() < 0.4:
        return damaged_bytes(rng, content)
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            inner = old.read(name)
            if name == chosen:
                inner = _damaged_document(rng, inner) if name.endswith(".json") else _damaged_table(rng, inner)
            new.writestr(name, inner)
    return made.getvalue()


def _replace_file(bundle: Path, prefix: str, suffix: str, damage: Callable[[bytes], bytes]) -> bytes:
    """Damage a file of a bundle whose manifest then vouches for what it is; its new content."""
    manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    name = min(n for n in manifest["files"] if n.startswith(prefix) and n.endswith(suffix))
    content = damage((bundle / name).read_bytes())
    (bundle / name).write_bytes(content)
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    write_manifest(bundle, manifest)
    return content


@contextmanager
def _copy(source: Path, to: Path) -> Iterator[Path]:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(source, to)
    with _made(to):
        yield to


@contextmanager
def _made(path: Path) -> Iterator[Path]:
    """A place whose folder is gone afterwards."""
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
