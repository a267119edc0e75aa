"""A bundle for KServe: a model repository per service, and the Kubernetes resources that serve it through Triton with the V2 protocol.

    NAME-fused                   any network: one InferenceService, the conditional graph
    NAME-stage-1 … NAME          a cascade of whole classifiers: one InferenceService each, and an InferenceGraph that asks the next one
                                 while the score is below the threshold

KServe's router hands the request itself or the last response to a step, so a network whose stages need each other's tensors cannot be a
graph; it is served fused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeexit.bundle import StageEntry
from edgeexit.errors import InputError
from edgeexit.runtime import Runner
from edgeexit.serving.model_config import Scheduling
from edgeexit.serving.repository import write_repository
from edgeexit.serving.triton import TritonParts
from edgeexit.util.arguments import as_path
from edgeexit.util.atomic import write_text

RESOURCES = "kserve.yaml"
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LONGEST = 40  # characters; of the 63 of a host's name, "-stage-32" and what KServe appends take the rest


def export_kserve(
    runner: Runner,
    output: Path | str,
    *,
    storage_uri: str,
    name: str | None = None,
    scheduling: Scheduling | None = None,
) -> tuple[str, ...]:
    """Write a bundle as models for KServe, and `kserve.yaml` with its resources.

    Args:
        runner: the bundle, opened; its thresholds are those of the models.
        output: folder to write; a folder per service in it has the models to be uploaded.
        storage_uri: where the cluster will find that folder, such as `s3://bucket/models` or `pvc://claim/models`.
        name: first part of the services' names; None takes the bundle's.
        scheduling: batches, instances, device and threads; None takes the defaults.

    Returns:
        the names of the services, and of the graph last where there is one.

    Raises:
        InputError: a name that Kubernetes does not take, no storage URI, or the folder cannot be written.

    Example:
        >>> import edgeexit
        >>> from edgeexit.serving import export_kserve
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     export_kserve(runner, "kserve", storage_uri="s3://models/lenet")
        ('lenet-fused',)
    """
    folder, chosen = as_path("output", output), runner.bundle.name if name is None else name
    _check_names(chosen, storage_uri)
    parts = TritonParts(runner, chosen, "onnxruntime", scheduling or Scheduling())
    as_graph = can_be_graph(runner)
    served = parts.stages if as_graph else (parts.fused,)
    for model in served:
        write_repository([model], folder / model.name)
    resources = [list(_format_service(model.name, f"{storage_uri.rstrip('/')}/{model.name}")) for model in served]
    names = tuple(model.name for model in served)
    if as_graph:
        resources.append(list(_format_graph(chosen, names, runner)))
    write_text(folder / RESOURCES, "---\n".join("\n".join((*lines, "")) for lines in resources))
    return (*names, chosen) if as_graph else names


def can_be_graph(runner: Runner) -> bool:
    """Whether the stages are whole classifiers that need nothing of each other."""
    return all(stage.inputs and not stage.boundaries_in for stage in runner.bundle.manifest.stages)


def _check_names(name: str, storage_uri: str) -> None:
    if len(name) > _LONGEST or not _LABEL.fullmatch(name):
        msg = (
            f"{name!r} can be no name in Kubernetes: at most {_LONGEST} lower-case letters, digits and dashes, a letter first."
            " Give another one (--name)."
        )
        raise InputError(msg)
    if "://" not in storage_uri or not storage_uri.isprintable() or '"' in storage_uri:
        msg = f"{storage_uri!r} is no URI of a storage: give one such as s3://bucket/models or pvc://claim/models (--storage-uri)."
        raise InputError(msg)


def _format_service(name: str, storage_uri: str) -> Iterator[str]:
    yield "apiVersion: serving.kserve.io/v1beta1"
    yield "kind: InferenceService"
    yield "metadata:"
    yield f"  name: {name}"
    yield "spec:"
    yield "  predictor:"
    yield "    model:"
    yield "      modelFormat:"
    yield "        name: triton"
    yield "      protocolVersion: v2"
    yield "      runtime: kserve-tritonserver"
    yield f'      storageUri: "{storage_uri}"'


def _format_graph(name: str, services: Sequence[str], runner: Runner) -> Iterator[str]:
    yield "apiVersion: serving.kserve.io/v1alpha1"
    yield "kind: InferenceGraph"
    yield "metadata:"
    yield f"  name: {name}"
    yield "spec:"
    yield "  nodes:"
    yield "    root:"
    yield "      routerType: Sequence"
    yield "      steps:"
    conditions = map(_format_condition, runner.bundle.manifest.stages, runner.inner_thresholds)
    for exit, (service, condition) in enumerate(zip(services, ("", *conditions), strict=True), 1):
        yield f"        - serviceName: {service}"
        yield f"          name: exit-{exit}"
        yield "          data: $request"
        if condition:
            yield f"          condition: '{condition}'"


def _format_condition(stage: StageEntry, threshold: float) -> str:
    """GJSON path that finds something in a V2 response of an exit whose score is below the threshold; of +inf, in every response."""
    score = f'outputs.#(name=="{stage.score}").data'
    below = "0" if threshold == float("inf") else f"#(<{threshold!r})"
    return f"{score}.{below}"
