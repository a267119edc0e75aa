"""What Triton's Python backend gives a model, in this process: tensors, requests, and the other models of a repository to call."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = Mapping[str, Array]


class ModelFailed(Exception):
    """A model has answered with an error."""


@dataclass
class Tensor:
    """One array with its name."""

    label: str
    array: Array

    def name(self) -> str:
        return self.label

    def as_numpy(self) -> Array:
        return self.array


class Request:
    """What a client sends."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays

    def inputs(self) -> list[Tensor]:
        return [Tensor(name, array) for name, array in self._arrays.items()]


class Response:
    """What a model answers."""

    def __init__(self, tensors: list[Tensor], error: str = "") -> None:
        self._tensors, self._error = tensors, error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def arrays(self) -> dict[str, Array]:
        return {tensor.name(): tensor.as_numpy() for tensor in self._tensors}

    def has_error(self) -> bool:
        return bool(self._error)

    def error(self) -> SimpleNamespace:
        return SimpleNamespace(message=lambda: self._error)


Models = Callable[[str, list[str], Arrays], Arrays]
"""Runs a model: its name, the outputs that are asked for, the inputs."""


def _make_module(models: Models) -> Any:
    class InferenceRequest:
        def __init__(
            self, model_name: str, requested_output_names: list[str], inputs: list[Tensor], preferred_memory: object
        ) -> None:
            self._call = (model_name, requested_output_names, {t.name(): t.as_numpy() for t in inputs})

        def exec(self) -> Response:
            try:
                made = models(*self._call)
            except ModelFailed as error:
                return Response([], str(error))
            return Response([Tensor(name, array) for name, array in made.items()])

    return SimpleNamespace(
        Tensor=Tensor,
        InferenceRequest=InferenceRequest,
        InferenceResponse=Response,
        PreferredMemory=lambda memory: memory,
        TRITONSERVER_MEMORY_CPU=0,
        TritonModelException=ModelFailed,
    )


@contextmanager
def open_python_model(folder: Path, config: Mapping[str, Any], models: Models) -> Iterator[Any]:
    """The `TritonPythonModel` of a model's folder, initialised as the server does it."""
    spec = importlib.util.spec_from_file_location("served_model", folder / "1/model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["triton_python_backend_utils"] = _make_module(models)
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["triton_python_backend_utils"]
    model = module.TritonPythonModel()
    model.initialize({"model_config": json.dumps(config), "model_repository": str(folder), "model_version": "1"})
    yield model


def read_config(folder: Path) -> dict[str, Any]:
    """Names of inputs and outputs and the parameters of a model's `config.pbtxt`, as the server's JSON has them."""
    text = (folder / "config.pbtxt").read_text()

    def names(field: str) -> list[dict[str, str]]:
        return [{"name": name} for name in re.findall(rf'^{field} {{\n  name: "(.*)"', text, re.MULTILINE)]

    found = re.findall(r'key: "(.*)"\n  value {\n    string_value: "(.*)"', text)
    parameters = {key: {"string_value": value} for key, value in found}
    return {"input": names("input"), "output": names("output"), "parameters": parameters}


def run_onnx_models(repository: Path) -> Models:
    """Models of a repository, run by ONNX Runtime; one number per sample has the shape [n, 1], as the server sends it."""
    sessions = {
        folder.name: onnxruntime.InferenceSession(folder / "1/model.onnx", providers=["CPUExecutionProvider"])
        for folder in repository.iterdir()
        if (folder / "1/model.onnx").exists()
    }

    def run(name: str, outputs: list[str], inputs: Arrays) -> Arrays:
        made = sessions[name].run(outputs, dict(inputs))
        return {
            label: a[:, None] if a.ndim == 1 else a for label, a in zip(outputs, map(np.asarray, made), strict=True)
        }

    return run
