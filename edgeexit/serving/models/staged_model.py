"""A network with early exits for Triton's Python backend: one model per stage, and samples that leave are dropped between the stages.

Beside this file lies `stages.json`: per stage the model that runs it, the tensors that it reads and makes, and which of them are the logits
and the score of its exit. The thresholds are parameters of `config.pbtxt`; a request may bring its own, `threshold_1` and so on, one number
per sample. A sample leaves at the first exit whose score is at least its threshold; a score that is NaN reaches no threshold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

Tensors = dict[str, Any]
"""Arrays by name, one row per sample."""


def run_stages(
    stages: list[dict[str, Any]], inputs: Tensors, thresholds: Any, run: Callable[[dict[str, Any], Tensors], Tensors]
) -> tuple[Any, Any, Any]:
    """Run stage after stage on the samples that have not left.

    `thresholds` are float32 [n, N-1]; `run` runs one stage on the tensors that it reads. Returns the logits [n, classes], the exit [n, 1],
    from 1, and its score [n, 1], of each sample.
    """
    count = len(thresholds)
    waiting = np.arange(count)
    exits, scores = np.zeros((count, 1), np.int64), np.zeros((count, 1), np.float32)
    logits: Any = None
    tensors = dict(inputs)
    for number, stage in enumerate(stages, 1):
        tensors.update(run(stage, {name: tensors[name] for name in stage["inputs"]}))
        found, score = tensors[stage["logits"]], tensors[stage["score"]].reshape(-1)
        is_last = number == len(stages)
        leaves = np.full(len(waiting), True) if is_last else score >= thresholds[waiting, number - 1]
        logits = np.empty((count, found.shape[1]), np.float32) if logits is None else logits
        left = waiting[leaves]
        logits[left], exits[left, 0], scores[left, 0] = found[leaves], number, score[leaves]
        waiting = waiting[~leaves]
        if not len(waiting):
            break
        tensors = {name: np.ascontiguousarray(array[~leaves]) for name, array in tensors.items()}
    return logits, exits, scores


class StagedModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the stages and the thresholds, once, when the server loads the model."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self.stages: list[dict[str, Any]] = json.loads((folder / "stages.json").read_text())
        config = json.loads(args["model_config"])
        self.thresholds = {
            name: np.float32(config["parameters"][name]["string_value"])
            for name in (f"threshold_{exit}" for exit in range(1, len(self.stages)))
        }
        self.inputs = [entry["name"] for entry in config["input"] if entry["name"] not in self.thresholds]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests, all of their samples in one batch."""
        parts = [self._read(request) for request in requests]
        inputs = {name: np.concatenate([part[name] for part in parts]) for name in self.inputs}
        thresholds = np.concatenate([part["thresholds"] for part in parts])
        answers = run_stages(self.stages, inputs, thresholds, self._run)
        ends = np.cumsum([len(part["thresholds"]) for part in parts])[:-1]
        rows = zip(*(np.split(answer, ends) for answer in answers), strict=True)
        return [self._respond(logits, exits, scores) for logits, exits, scores in rows]

    def _read(self, request: Any) -> Tensors:
        """Inputs of a request by name, and its thresholds [n, N-1]: its own where it brings them, else those of `config.pbtxt`."""
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        count = len(tensors[self.inputs[0]])
        columns = [
            tensors[name].reshape(count) if name in tensors else np.full(count, threshold)
            for name, threshold in self.thresholds.items()
        ]
        return {**tensors, "thresholds": np.stack(columns, axis=1).astype(np.float32)}

    @staticmethod
    def _run(stage: dict[str, Any], tensors: Tensors) -> Tensors:
        """Run one stage in the server.

        Raises:
            TritonModelException: the stage's model has answered with an error.
        """
        response = pb_utils.InferenceRequest(
            model_name=stage["model"],
            requested_output_names=stage["outputs"],
            inputs=[pb_utils.Tensor(name, array) for name, array in tensors.items()],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
        ).exec()
        if response.has_error():
            raise pb_utils.TritonModelException(f"{stage['model']}: {response.error().message()}")
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}

    @staticmethod
    def _respond(logits: Any, exits: Any, scores: Any) -> Any:
        named = {"logits": logits, "exit": exits, "score": scores}
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in named.items()])


TritonPythonModel = StagedModel  # the name that Triton looks for
