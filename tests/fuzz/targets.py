"""What is attacked: compiling a model, opening and running a bundle. Only errors of edgeexit may come out."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, external_data_helper, helper

import edgeexit
from edgeexit.backends.samples import random_inputs
from edgeexit.bundle import Bundle
from edgeexit.documents import dumps
from edgeexit.errors import EdgeExitError, InternalError
from edgeexit.hardware import device_key
from edgeexit.report.bundle_facts import bundle_facts
from edgeexit.report.bundle_page import bundle_page
from edgeexit.runtime import Settings
from tests.fuzz.mutations import damaged_bytes, damaged_json, damaged_model
from tests.graph.hard import Writer, value
from tests.support.manifests import write_manifest

Target = Callable[[random.Random, Path], None]
"""Damages something in a scratch folder and uses it; raises nothing, or what it should not."""

CRITERIA = ("entropy", "margin", "learned", "running_mean", "patience")


def seeds(folder: Path) -> None:
    """Sound models and bundles to start from."""
    _plain(folder)
    _with_control_flow(folder)
    _with_functions(folder)
    _with_outside_weights(folder)
    for name in ("plain", "outside"):
        bundle = edgeexit.compile(folder / f"{name}.onnx", folder / f"{name}.eexit", seconds=0)
        for mode in ("staged", "fused"):
            bundle = bundle.write_calibration(Settings(mode=mode).key(device_key()), _calibration())


def _calibration() -> dict[str, Any]:
    """As `calibrate` writes it, in what loading and inspecting read."""
    return {
        "schema": "edgeexit.calibration/1",
        "target": "mean<=0.6x",
        "created": "2026-01-01T00:00:00+00:00",
        "inner_thresholds": [0.5],
        "settings": {"spin": False, "options": ""},
        "state": {"before": {"power_mode": None, "cores_online": 2}},
        "exits": [{"p50_s": 1e-3 * k, "p99_s": 2e-3 * k} for k in (1, 2)],
    }


def _plain(folder: Path) -> None:
    w = Writer()
    x = w.conv("x", 3, 16)
    w.head(x, 16, "z1")
    w.op("Sigmoid", w.op("Gemm", "z1", w.weight(3, 1)), out="h1")
    w.head(w.op("Add", w.conv(x, 16, 16), x), 16, "z2")
    path = w.save(folder / "plain.onnx", {"x": ["n", 3, 6, 6]}, ["z1", "z2", "h1"])
    model = onnx.load(str(path))
    entries = [{"name": "a", "logits": "z1", "score": "h1"}, {"name": "b", "logits": "z2", "score": None}]
    helper.set_model_props(model, {"edgeexit.exits": json.dumps(entries)})
    onnx.save(model, path)


def _with_control_flow(folder: Path) -> None:
    w = Writer()
    x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    then = helper.make_graph([helper.make_node("Relu", [x], ["r"])], "then", [], [value("r")])
    other = helper.make_graph([helper.make_node("Neg", [x], ["s"])], "else", [], [value("s")])
    positive = w.op("Greater", w.op("ReduceMean", "x", keepdims=0), w.constant(0.0))
    x = w.op("If", positive, then_branch=then, else_branch=other)
    shape = w.op(
        "Concat", w.op("Gather", w.op("Shape", x), w.constant([0], "int64")), w.constant([-1], "int64"), axis=0
    )
    w.op("Gemm", w.op("Reshape", x, shape), w.weight(144, 3), out="z2")
    w.save(folder / "control.onnx", {"x": [1, 3, 6, 6]}, ["z1", "z2"])


def _with_functions(folder: Path) -> None:
    imports = [helper.make_opsetid("", 17)]
    nodes = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Add", ["a", "b"], ["c"])]
    block = helper.make_function("blocks", "Block", ["a"], ["c"], nodes, imports)
    w = Writer()
    x = w.op("Block", w.op("Conv", "x", w.weight(4, 3, 3, 3), pads=[1, 1, 1, 1]), domain="blocks")
    w.head(x, 4, "z1")
    w.head(w.op("Block", x, domain="blocks"), 4, "z2")
    w.save(folder / "functions.onnx", {"x": ["n", 3, 6, 6]}, ["z1", "z2"], functions=[block])


def _with_outside_weights(folder: Path) -> None:
    w = Writer()
    x = w.op("Relu", w.op("MatMul", w.op("Cast", "x", to=TensorProto.FLOAT), w.weight(6, 64)))
    w.op("MatMul", x, w.weight(64, 3), out="z1")
    w.op("MatMul", w.op("Tanh", w.op("MatMul", x, w.weight(64, 64))), w.weight(64, 3), out="z2")
    path = w.save(folder / "outside.onnx", {"x": ["n", 6]}, ["z1", "z2"], elements={"x": TensorProto.UINT8})
    model = onnx.load(str(path))
    external_data_helper.convert_model_to_external_data(model, location="outside.data", size_threshold=64)
    onnx.save(model, path)


MODELS = ("plain", "control", "functions", "outside")


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
        edgeexit.compile(path, output, criterion=rng.choice(CRITERIA), seconds=0)
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
    facts = bundle_facts(Bundle.open(path))
    dumps(facts)
    bundle_page(facts)
    for mode in ("staged", "fused"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runner = edgeexit.load(path, mode=mode)
        with runner:
            x = random_inputs(runner.bundle.manifest.inputs, 0)
            runner(x)
            runner.forced(x, exit=1)
            runner.batch(x)


def check_message(error: EdgeExitError) -> None:
    """One message for a person: not empty, no traceback, not a page long."""
    text = str(error)
    if not text.strip() or "Traceback" in text or len(text) > 4000:
        msg = f"not a message for a person: {text[:200]!r} ... ({len(text)} characters)"
        raise AssertionError(msg)


TARGETS: dict[str, Target] = {
    t.__name__: t for t in (compile_damaged_bytes, compile_damaged_model, open_damaged_manifest, open_damaged_file)
}
