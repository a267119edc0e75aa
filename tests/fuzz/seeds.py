"""Sound files to damage: models, bundles with calibrations, a result, settings."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, helper
from PIL import Image

import edgeexit
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.data import Dataset
from edgeexit.data.fingerprint import KEY, compute_fingerprint
from edgeexit.data.model import InputSpec
from edgeexit.data.preprocess import Preprocess
from edgeexit.data.reference import DataRecord, DataReference, describe_inputs
from edgeexit.graph.criterion_record import CriterionRecord
from edgeexit.graph.exits import METADATA_KEY
from edgeexit.hardware import find_data_dir
from tests.support.onnx_writer import Writer, value

MODELS = ("plain", "control", "functions", "outside")
TEXT_SUFFIXES = (".json", ".textproto", ".onnxtxt")
RESULT = "result.json"
SETTINGS = (
    "recipe.toml",
    "suite.toml",
    "preprocess.toml",
    "timm.json",
    "transformers.json",
    "classes.json",
    "classes.txt",
)
PICTURE = "picture.png"
_RECORDED = Path(__file__).parents[2] / "benchmarks/results/intel-xeon-ba8395495e/bench-quick-lenet-mnist.json"
_SAMPLES = 40


def seeds(folder: Path) -> None:
    """Write them all into a folder."""
    _plain(folder)
    _with_control_flow(folder)
    _with_functions(folder)
    _with_outside_weights(folder)
    for name in ("plain", "outside"):
        edgeexit.compile(folder / f"{name}.onnx", folder / f"{name}.eexit", seconds=0)
        for mode in ("staged", "fused"):
            _calibrate(folder / f"{name}.eexit", mode)
    for suffix in TEXT_SUFFIXES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ONNX calls one of the formats experimental
            onnx.save(onnx.load(str(folder / "plain.onnx")), str(folder / f"text{suffix}"))
    _result(folder)
    _settings(folder)


def _calibrate(path: Path, mode: str) -> None:
    """With the backbone's own answers as labels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = edgeexit.load(path, mode=mode)
    [spec] = runner.bundle.manifest.inputs
    x = np.concatenate([make_random_inputs([spec], seed)[spec.name] for seed in range(_SAMPLES)])
    with runner, runner.backbone() as backbone:
        labels = np.array([backbone(x[i : i + 1]).label for i in range(_SAMPLES)])
        edgeexit.calibrate(runner, x, labels, target="rate1>=0.1", seconds=0.1, force=True)


def _result(folder: Path) -> None:
    document = json.loads(_RECORDED.read_text(encoding="utf-8"))
    (folder / RESULT).write_text(json.dumps(document | {"raw": "result.npz"}))
    rng = np.random.default_rng(0)
    np.savez(folder / "result.npz", mixture=rng.random((2, 50)), state_0=rng.random((2, 20)), rounds_s=rng.random(9))


def _settings(folder: Path) -> None:
    shutil.copy(min(find_data_dir("suites").glob("*.toml")), folder / "suite.toml")
    shutil.copy(Path(edgeexit.__file__).parent / "training/recipes/lenet-digits.toml", folder / "recipe.toml")
    (folder / "preprocess.toml").write_text(
        'size = [6, 6]\nresize = 7\ninterpolation = "bicubic"\nchannels = "rgb"\nscale = 0.00392\nmean = [0.5, 0.5, 0.5]\n'
        'std = [0.2, 0.2, 0.2]\nlayout = "nchw"\ndtype = "float32"\nupright = true\n'
    )
    norm = [0.5, 0.5, 0.5], [0.2, 0.2, 0.2]
    timm = {"input_size": [3, 6, 6], "mean": norm[0], "std": norm[1], "interpolation": "bilinear", "crop_pct": 0.9}
    transformers = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": 7},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 6, "width": 6},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": norm[0],
        "image_std": norm[1],
    }
    classes = {"id2label": {"0": "cat", "1": "dog", "2": "horse"}}
    for name, document in (("timm", timm), ("transformers", transformers), ("classes", classes)):
        (folder / f"{name}.json").write_text(json.dumps(document))
    (folder / "classes.txt").write_text("cat\ndog\nhorse\n")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)).save(folder / PICTURE)


def _plain(folder: Path) -> None:
    w = Writer()
    x = w.conv("x", 3, 16)
    w.head(x, 16, "z1")
    w.op("Sigmoid", w.op("Gemm", "z1", w.weight(3, 1)), out="h1")
    w.head(w.op("Add", w.conv(x, 16, 16), x), 16, "z2")
    path = w.save(folder / "plain.onnx", {"x": ["n", 3, 6, 6]}, ["z1", "z2", "h1"])
    model = onnx.load(str(path))
    entries = [{"name": "a", "logits": "z1", "score": "h1"}, {"name": "b", "logits": "z2", "score": None}]
    rule = CriterionRecord("entropy", {"z1": 0.5}).as_metadata()
    helper.set_model_props(model, {METADATA_KEY: json.dumps(entries), **rule, **_data_metadata()})
    onnx.save(model, path)


def _data_metadata() -> dict[str, str]:
    """What `edgeexit export` and `edgeexit train` note of data: preprocessing, class names, reference, what it was trained on."""
    x = np.random.default_rng(1).normal(size=(8, 3, 6, 6)).astype(np.float32)
    data = Dataset("pictures", x, np.arange(8) % 3)
    preprocess = Preprocess(
        (6, 6), (7,), "bilinear", "rgb", mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), layout="nchw", dtype="float32"
    )
    inputs = describe_inputs(data, (InputSpec("x", "float32", (3, 6, 6)),))
    record = DataRecord(preprocess, ("cat", "dog", "horse"), DataReference("pictures", 8, 0.9, inputs, "train"))
    return {**record.as_metadata(), KEY: compute_fingerprint(data).as_text()}


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
