"""A bundle as a model repository of NVIDIA Triton.

    NAME-fused     the conditional graph, one sample a request: one call of ONNX Runtime, nothing between the stages
    NAME-staged    batches: a Python model that calls one model per stage (Triton's "business logic scripting"), and drops who leaves
    NAME-stage-1…  those models

Both take the model's own inputs and, if the caller wants others than the calibrated ones, `threshold_1` … `threshold_{N-1}` in inner units;
both give `logits`, `exit` (from 1) and `score` (inner).
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from edgeexit.bundle import StageEntry
from edgeexit.choices import STAGE_RUNTIMES, check_choice
from edgeexit.graph.fuse import make_threshold_name
from edgeexit.graph.model import BATCH, TensorSpec
from edgeexit.graph.onnx_files import load_binary
from edgeexit.runtime import Runner
from edgeexit.runtime.remote.stages import list_stage_outputs
from edgeexit.serving.fused import make_thresholds_optional
from edgeexit.serving.model_config import Fields, Scheduling, describe_tensor, make_parameters, make_warmup
from edgeexit.serving.names import check_model_name
from edgeexit.serving.repository import ServedModel, copy_python_model, write_onnx, write_repository
from edgeexit.stage_choices import list_distinct_names
from edgeexit.util.arguments import as_path
from edgeexit.util.atomic import write_text

PLAN_SCRIPT = "build-plans.sh"


def export_triton(
    runner: Runner,
    output: Path | str,
    *,
    stages: str = "onnxruntime",
    name: str | None = None,
    scheduling: Scheduling | None = None,
) -> tuple[str, ...]:
    """Write a bundle as models into a repository of NVIDIA Triton.

    Args:
        runner: the bundle, opened; its thresholds become the defaults of the models.
        output: the repository; models of the same names in it are replaced, others stay.
        stages: what runs each stage in the server, one of `STAGE_RUNTIMES`.
        name: first part of the models' names; None takes the bundle's.
        scheduling: batches, instances, device and threads; None takes the defaults.

    Returns:
        the names of the models.

    Raises:
        InputError: a name that can be no folder's, no such runtime, or the repository cannot be written.

    Example:
        >>> import edgeexit
        >>> from edgeexit.serving import export_triton
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     export_triton(runner, "repository")
        ('lenet-fused', 'lenet-staged', 'lenet-stage-1', 'lenet-stage-2')
    """
    repository = as_path("output", output)
    check_choice("stage runtime", stages, STAGE_RUNTIMES)
    chosen = runner.bundle.name if name is None else name
    check_model_name(chosen)
    parts = TritonParts(runner, chosen, stages, scheduling or Scheduling())
    served = [parts.fused, parts.staged, *parts.stages]
    write_repository(served, repository)
    if stages == "tensorrt":
        write_text(repository / PLAN_SCRIPT, parts.plan_script)
    return tuple(model.name for model in served)


@dataclass(frozen=True)
class TritonParts:
    """The models of one bundle.

    Attributes:
        runner: the bundle, opened, with the thresholds that become the defaults.
        name: first part of the models' names.
        runtime: what runs a stage, one of `STAGE_RUNTIMES`.
        scheduling: batches, instances, device and threads.
    """

    runner: Runner
    name: str
    runtime: str
    scheduling: Scheduling

    @property
    def fused(self) -> ServedModel:
        """The conditional graph: one sample a request."""
        manifest, bundle = self.runner.bundle.manifest, self.runner.bundle
        inputs = [_fix_batch(spec) for spec in manifest.inputs]
        one = (1,)
        thresholds = [TensorSpec(name, "float32", one) for name in self._threshold_names]
        outputs = (
            TensorSpec("logits", "float32", (1, manifest.classes)),
            TensorSpec("exit", "int64", one),
            TensorSpec("score", "float32", one),
        )
        config = {
            **self._make_head(f"{self.name}-fused", "python" if self.runtime == "python" else "onnxruntime", 0),
            "input": [
                *map(describe_tensor, inputs),
                *(describe_tensor(spec, optional=True) for spec in thresholds),
            ],
            "output": [describe_tensor(spec) for spec in outputs],
            **self.scheduling.thread_parameters,
            "instance_group": self.scheduling.instance_group,
            **make_warmup(inputs, [1]),
        }

        def fill(version: Path) -> None:
            model = make_thresholds_optional(load_binary(bundle.file(manifest.fused)), self.runner.inner_thresholds)
            write_onnx(model, bundle.path, version)
            self._add_code(version)

        return ServedModel(config, fill)

    @property
    def staged(self) -> ServedModel:
        """The Python model that calls the stages: on CPU, whatever they run on; no warm-up, which may come before they are loaded."""
        manifest = self.runner.bundle.manifest
        first = (BATCH,) if manifest.dynamic_batch else (1,)
        columns = [TensorSpec(name, "float32", (*first, 1)) for name in self._threshold_names]
        outputs = (
            TensorSpec("logits", "float32", (*first, manifest.classes)),
            TensorSpec("exit", "int64", (*first, 1)),
            TensorSpec("score", "float32", (*first, 1)),
        )
        defaults = dict(zip(self._threshold_names, map(repr, self.runner.inner_thresholds), strict=True))
        config = {
            **self._make_head(f"{self.name}-staged", "python", self._max_batch),
            "input": [
                *map(describe_tensor, manifest.inputs),
                *(describe_tensor(spec, optional=True) for spec in columns),
            ],
            "output": [describe_tensor(spec) for spec in outputs],
            **make_parameters(defaults),
            "instance_group": replace(self.scheduling, device="cpu").instance_group,
            **self._make_batching({"max_queue_delay_microseconds": self.scheduling.max_delay_us}),
        }

        def fill(version: Path) -> None:
            plan = [self._describe_stage(stage) for stage in manifest.stages]
            (version / "stages.json").write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
            copy_python_model("staged_model", version)

        return ServedModel(config, fill)

    @property
    def stages(self) -> tuple[ServedModel, ...]:
        """One model per stage."""
        return tuple(map(self._make_stage, self.runner.bundle.manifest.stages))

    @property
    def plan_script(self) -> str:
        """A shell script that builds the plan of each stage with the server's own TensorRT."""
        lines = [
            "#!/bin/sh",
            "# Run it once in the server's container, in the repository: a plan is code for one GPU and one TensorRT.",
        ]
        lines += ["set -eu", 'cd "$(dirname "$0")"']
        return "\n".join((*lines, *map(self._make_plan_command, self.runner.bundle.manifest.stages), ""))

    @property
    def _threshold_names(self) -> list[str]:
        return [make_threshold_name(exit) for exit in range(1, self.runner.exits)]

    @property
    def _max_batch(self) -> int:
        """0, which is Triton's word for no batches, where the network's batch is fixed at 1."""
        return self.scheduling.max_batch if self.runner.bundle.manifest.dynamic_batch else 0

    def _make_head(self, name: str, backend: str, max_batch: int) -> Fields:
        return {"name": name, "backend": backend, "max_batch_size": max_batch}

    def _make_batching(self, fields: Fields) -> Fields:
        return {"dynamic_batching": fields} if self._max_batch else {}

    def _make_stage(self, stage: StageEntry) -> ServedModel:
        bundle, scheduling = self.runner.bundle, self.scheduling
        reads, makes = self._list_reads(stage), list_stage_outputs(self.runner.bundle.manifest, stage)
        on_gpu = self.runtime == "tensorrt"
        config = {
            **self._make_head(self._name_stage(stage), self.runtime, self._max_batch),
            "input": [describe_tensor(spec, reshape=True) for spec in reads],
            "output": [describe_tensor(spec, reshape=True) for spec in makes],
            **({} if on_gpu else scheduling.thread_parameters),
            "instance_group": (replace(scheduling, device="gpu") if on_gpu else scheduling).instance_group,
            **self._make_batching({}),
            **make_warmup(reads, [1, self._max_batch or 1]),
        }

        def fill(version: Path) -> None:
            write_onnx(load_binary(bundle.file(stage.file)), bundle.path, version)
            self._add_code(version)

        return ServedModel(config, fill)

    def _add_code(self, version: Path) -> None:
        if self.runtime == "python":
            copy_python_model("onnx_model", version)

    def _name_stage(self, stage: StageEntry) -> str:
        return f"{self.name}-stage-{stage.exit}"

    def _list_reads(self, stage: StageEntry) -> list[TensorSpec]:
        inputs = [spec for spec in self.runner.bundle.manifest.inputs if spec.name in stage.inputs]
        return [*inputs, *stage.boundaries_in]

    def _describe_stage(self, stage: StageEntry) -> dict[str, object]:
        """What `stages.json` says of a stage."""
        return {
            "model": self._name_stage(stage),
            "inputs": [spec.name for spec in self._list_reads(stage)],
            "outputs": [spec.name for spec in list_stage_outputs(self.runner.bundle.manifest, stage)],
            "logits": stage.logits,
            "score": stage.score,
        }

    def _make_plan_command(self, stage: StageEntry) -> str:
        folder = f"{self._name_stage(stage)}/1"
        words = ["trtexec", f"--onnx={folder}/model.onnx", f"--saveEngine={folder}/model.plan"]
        precisions = list_distinct_names(self.runner.settings.precision)
        words += ["--noTF32"] if "float32" in precisions else []
        words += ["--stronglyTyped"] if precisions != ("float32",) else []
        reads = [spec for spec in self._list_reads(stage) if BATCH in spec.shape]
        for option, batch in (("min", 1), ("opt", self._max_batch), ("max", self._max_batch)) if reads else ():
            shapes = ",".join(f"'{s.name}':{'x'.join(map(str, _fix_batch(s, batch).shape))}" for s in reads)
            words.append(f"--{option}Shapes={shapes}")
        return shlex.join(words)


def _fix_batch(spec: TensorSpec, batch: int = 1) -> TensorSpec:
    return replace(spec, shape=tuple(batch if d == BATCH else d for d in spec.shape))
