"""Attacks on compiling a model, and on opening and running a bundle."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgeexit
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.bundle import Bundle
from edgeexit.errors import EdgeExitError, InternalError
from edgeexit.fallbacks import FALLBACKS
from edgeexit.report.bundle_facts import collect_bundle_facts
from edgeexit.report.bundle_page import render_bundle_page
from edgeexit.util.documents import dumps
from tests.fuzz.checks import check_message
from tests.fuzz.mutations import damaged_bytes, damaged_json, damaged_model
from tests.fuzz.seeds import MODELS
from tests.support.manifests import write_manifest

CRITERIA = ("entropy", "margin", "learned", "running_mean", "patience", "learned_mean")


def compile_damaged_bytes(rng: random.Random, folder: Path) -> None:
    """A model file with damaged bytes."""
    _compile(rng, folder, damaged_bytes)


def compile_damaged_model(rng: random.Random, folder: Path) -> None:
    """A model that parses and is wrong."""
    _compile(rng, folder, damaged_model)


def _compile(rng: random.Random, folder: Path, damage: Callable[[random.Random, bytes], bytes]) -> None:
    name = rng.choice(MODELS)
    path = folder / "damaged.onnx"
    path.write_bytes(damage(rng, (folder / f"{name}.onnx").read_bytes()))
    output = folder / "damaged.eexit"
    try:
        edgeexit.compile(path, output, criterion=rng.choice(CRITERIA), fallback=rng.choice(tuple(FALLBACKS)), seconds=0)
        use(output)
    except InternalError as error:
        if "differs from the original" not in str(error):  # a network whose answers are chance or beyond float32
            raise
    except EdgeExitError as error:
        check_message(error)
    finally:
        shutil.rmtree(output, ignore_errors=True)


def open_damaged_manifest(rng: random.Random, folder: Path) -> None:
    """A manifest with a changed value, or damaged bytes."""
    with _Copy(rng, folder) as bundle:
        manifest = bundle / "manifest.json"
        if rng.random() < 0.2:
            manifest.write_bytes(damaged_bytes(rng, manifest.read_bytes()))
        else:
            document = json.loads(manifest.read_text())
            for _ in range(rng.choice((1, 1, 2, 4))):
                document = damaged_json(rng, document)
            write_manifest(manifest.parent, document)
        use_if_sound(bundle)


def open_damaged_file(rng: random.Random, folder: Path) -> None:
    """A file of a bundle damaged; often with a manifest that vouches for it."""
    with _Copy(rng, folder) as bundle:
        manifest = bundle / "manifest.json"
        document = json.loads(manifest.read_text())
        name = rng.choice(sorted(document["files"]))
        damage = _SENSIBLY.get(Path(name).suffix, damaged_bytes) if rng.random() < 0.7 else damaged_bytes
        content = damage(rng, (bundle / name).read_bytes())
        (bundle / name).write_bytes(content)
        if rng.random() < 0.9:
            document["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            write_manifest(manifest.parent, document)
        use_if_sound(bundle)


def _damaged_document(rng: random.Random, content: bytes) -> bytes:
    return json.dumps(damaged_json(rng, json.loads(content))).encode()


_SENSIBLY = {".onnx": damaged_model, ".json": _damaged_document}
"""Damage to what a file says, instead of its bytes."""


class _Copy:
    """A bundle to damage."""

    def __init__(self, rng: random.Random, folder: Path) -> None:
        self._from = folder / f"{rng.choice(('plain', 'outside'))}.eexit"
        self._to = folder / "copy.eexit"

    def __enter__(self) -> Path:
        shutil.rmtree(self._to, ignore_errors=True)
        return Path(shutil.copytree(self._from, self._to))

    def __exit__(self, *_: Any) -> None:
        shutil.rmtree(self._to, ignore_errors=True)


def use_if_sound(bundle: Path) -> None:
    """Everything that a user does with a bundle."""
    try:
        use(bundle)
    except EdgeExitError as error:
        check_message(error)


def use(path: Path) -> None:
    """Inspect and run, both modes."""
    facts = collect_bundle_facts(Bundle.open(path))
    dumps(facts)
    render_bundle_page(facts)
    for mode in ("staged", "fused"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runner = edgeexit.load(path, mode=mode)
        with runner:
            x = make_random_inputs(runner.bundle.manifest.inputs, 0)
            runner(x)
            runner.forced(x, exit=1)
            runner.batch(x)
