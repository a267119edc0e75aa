"""The network straight to its last exit in runtimes made for phones, each as its own documentation shows it, one thread.

MNN and ncnn (with its converter pnnx) install by pip. LiteRT takes no ONNX: its converter litert-torch, which needs jax beside torch, takes
the torch module with the weights of the ONNX file (`side_by_side.write_litert`).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx

from edgeexit.bundle import Bundle

Logits: TypeAlias = Callable[["np.typing.NDArray[np.float32]"], Any]


def open_mnn(bundle: Bundle, folder: Path) -> Logits:
    """MNN: its converter, a session, tensors copied in and out."""
    import _tools
    import MNN

    model, converted = _write_backbone(bundle, folder), folder / "backbone.mnn"
    arguments = ["-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(converted), "--bizCode", "edgeexit"]
    _tools.mnnconvert(["mnnconvert", *arguments])
    net = MNN.Interpreter(str(converted))
    session = net.createSession({"backend": "CPU", "numThread": 1})
    given, taken = net.getSessionInput(session), net.getSessionOutput(session)
    logits = MNN.Tensor(taken, MNN.Tensor_DimensionType_Caffe)

    def run(x: np.typing.NDArray[np.float32]) -> Any:
        given.copyFrom(MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, MNN.Tensor_DimensionType_Caffe))
        net.runSession(session)
        taken.copyToHostTensor(logits)
        return logits.getNumpyData()

    return run


def open_ncnn(bundle: Bundle, folder: Path) -> Logits:
    """ncnn, as the code that pnnx writes runs it."""
    import ncnn

    model = _write_backbone(bundle, folder)
    shape = ",".join(map(str, bundle.manifest.inputs[0].shape_at_1))
    command = [str(Path(sys.executable).with_name("pnnx")), model.name, f"inputshape=[{shape}]"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.load_param(str(model.with_suffix(".ncnn.param")))
    net.load_model(str(model.with_suffix(".ncnn.bin")))

    def run(x: np.typing.NDArray[np.float32]) -> Any:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(x[0]))
        return np.array(extractor.extract("out0")[1])

    return run


def open_litert(model: Path) -> Logits:
    """LiteRT's interpreter: tensors copied in and out."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    given, taken = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(x: np.typing.NDArray[np.float32]) -> Any:
        interpreter.set_tensor(given, x)
        interpreter.invoke()
        return interpreter.get_tensor(taken)

    return run


def _write_backbone(bundle: Bundle, folder: Path) -> Path:
    """The backbone with its batch at 1 and its weights inside, as one file."""
    model = onnx.load(str(bundle.file(bundle.manifest.backbone)))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    path = folder / "backbone.onnx"
    onnx.save(model, path)
    return path
