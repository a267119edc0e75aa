"""`edgeexit serve-export`: a bundle as models of an inference server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from edgeexit.cli.common import BundlePath, Json, Thresholds, emit, parse_numbers
from edgeexit.cli.options import LoadOptions

if TYPE_CHECKING:
    from edgeexit.runtime import Runner

_Server: TypeAlias = Annotated[str, typer.Option("--for", help="The server.")]
_Output: TypeAlias = Annotated[
    Path, typer.Option("--output", "-o", help="The model repository; models of the same names in it are replaced.")
]
_Stages: TypeAlias = Annotated[
    str,
    typer.Option(
        "--stage-backend",
        help="What runs a stage in the server: its ONNX Runtime backend, a TensorRT plan that is built there, or, where it has neither, the"
        " Python package onnxruntime.",
    ),
]
_Name: TypeAlias = Annotated[
    str | None, typer.Option("--name", help="First part of the models' names. [default: the bundle's name]")
]
_Calibration: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--calibration", metavar="NAME", help="Take the thresholds of this calibration, of whichever device it is."
    ),
]
_MaxBatch: TypeAlias = Annotated[
    int, typer.Option(help="Largest batch that the server makes of waiting requests.", min=1)
]
_MaxDelay: TypeAlias = Annotated[
    int, typer.Option("--max-delay-us", help="Longest wait of a request for others, in microseconds.", min=0)
]
_Instances: TypeAlias = Annotated[int, typer.Option(help="Copies of each model, which run at the same time.", min=1)]
_StorageUri: TypeAlias = Annotated[
    str | None,
    typer.Option(help="For kserve: where the cluster will find the output folder, such as s3://bucket/models."),
]
_Device: TypeAlias = Annotated[str, typer.Option(help="What the stages run on in the server.")]


def serve_export_command(
    bundle: BundlePath,
    output: _Output,
    server: _Server = "triton",
    storage_uri: _StorageUri = None,
    stage_backend: _Stages = "onnxruntime",
    name: _Name = None,
    thresholds: Thresholds = None,
    calibration: _Calibration = None,
    max_batch: _MaxBatch = 64,
    max_delay_us: _MaxDelay = 100,
    instances: _Instances = 1,
    device: _Device = "cpu",
    *,
    loading: LoadOptions,
    as_json: Json = False,
) -> None:
    """Write a bundle as models of an inference server: one fused model, and one model per stage with a model that drops who leaves.

    The thresholds are the calibrated ones; a request may bring others.

    Example: edgeexit serve-export lenet.eexit --for triton -o repository
    """
    from edgeexit.serving import Scheduling, export_kserve, export_triton

    _check_server(server, stage_backend, storage_uri)
    with _open_runner(bundle, thresholds, calibration, loading) as runner:
        scheduling = Scheduling(max_batch, max_delay_us, instances, device, runner.settings.threads)
        if storage_uri is not None:
            names = export_kserve(runner, output, storage_uri=storage_uri, name=name, scheduling=scheduling)
        else:
            names = export_triton(runner, output, stages=stage_backend, name=name, scheduling=scheduling)
        next_steps = _list_next_steps(server, output, stage_backend)
        emit(_make_document(runner, output, names), lambda: _print(runner, output, names, next_steps), as_json=as_json)


def _check_server(server: str, stage_backend: str, storage_uri: str | None) -> None:
    from edgeexit.errors import InputError

    if (server == "kserve") != (storage_uri is not None):
        msg = "--storage-uri says where a cluster finds the models: give it with --for kserve, and only then."
        raise InputError(msg)
    if server == "kserve" and stage_backend != "onnxruntime":
        msg = f"--for kserve writes models for the ONNX Runtime backend of its Triton; --stage-backend {stage_backend} is for --for triton."
        raise InputError(msg)


def _open_runner(bundle: Path, thresholds: str | None, calibration: str | None, loading: LoadOptions) -> Runner:
    """The bundle with the thresholds that are asked for, of which a warning speaks only where none are."""
    import edgeexit
    from edgeexit.errors import InputError
    from edgeexit.runtime import load_quietly
    from edgeexit.runtime.loading import read_inner_thresholds

    if thresholds is None and calibration is None:
        return edgeexit.load(bundle, **loading.make_arguments())
    if thresholds is not None and calibration is not None:
        msg = "--thresholds and --calibration both say where samples leave: give one of them."
        raise InputError(msg)
    runner = load_quietly(bundle, **replace(loading, accept_device=False).make_arguments())
    if thresholds is not None:
        runner.thresholds = parse_numbers("--thresholds", thresholds)
    else:
        record = runner.bundle.find_calibration(calibration or "")
        runner.inner_thresholds = read_inner_thresholds(runner.bundle.read_record(record), runner.bundle)
    return runner


def _make_document(runner: Runner, output: Path, names: tuple[str, ...]) -> dict[str, Any]:
    from edgeexit.util.documents import to_document

    return {
        "schema": "edgeexit.serve-export/1",
        "output": str(output),
        "names": list(names),
        "inner_thresholds": to_document(runner.inner_thresholds),
    }


def _list_next_steps(server: str, output: Path, stage_backend: str) -> list[tuple[str, str]]:
    """What to run next: a label and a command each."""
    from edgeexit.serving.kserve import RESOURCES
    from edgeexit.serving.triton import PLAN_SCRIPT

    if server == "kserve":
        return [("Next, with the folders uploaded: ", f"kubectl apply -f {output / RESOURCES}")]
    plans = [("Then, in the server's container: ", f"sh {output / PLAN_SCRIPT}")] if stage_backend == "tensorrt" else []
    return [*plans, ("Next: ", f"tritonserver --model-repository={output}")]


def _print(runner: Runner, output: Path, names: tuple[str, ...], next_steps: list[tuple[str, str]]) -> None:
    from edgeexit.cli.kept import describe_thresholds
    from edgeexit.cli.printing import print_command, print_result, print_text

    print_result(f"{output}: {', '.join(names)}")
    print_text(f"Thresholds: {describe_thresholds(runner)}")
    for label, command in next_steps:
        print_command(command, label=label)
