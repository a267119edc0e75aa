"""A bundle for KServe: resources that hold against the documented fields, and conditions that follow the exit rule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import edgeexit
from edgeexit.errors import InputError
from edgeexit.runtime import Runner, load_quietly
from edgeexit.serving import export_kserve
from tests.networks import Sketch
from tests.support.command_line import run_edgeexit


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
_METADATA = _object(["name"], name=_NAME)
SERVICE = _object(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "serving.kserve.io/v1beta1"},
    kind={"const": "InferenceService"},
    metadata=_METADATA,
    spec=_object(
        ["predictor"],
        predictor=_object(
            ["model"],
            model=_object(
                ["modelFormat", "storageUri"],
                modelFormat=_object(["name"], name={"const": "triton"}),
                protocolVersion={"enum": ["v1", "v2", "grpc-v2"]},
                runtime={"type": "string"},
                storageUri={"type": "string", "pattern": "^[a-z0-9]+://"},
            ),
        ),
    ),
)
"""Fields of an InferenceService that are used here, as KServe's reference documents them."""
STEP = _object(
    ["serviceName"],
    serviceName=_NAME,
    name={"type": "string"},
    data={"enum": ["$request", "$response"]},
    condition={"type": "string"},
)
GRAPH = _object(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "serving.kserve.io/v1alpha1"},
    kind={"const": "InferenceGraph"},
    metadata=_METADATA,
    spec=_object(
        ["nodes"],
        nodes=_object(
            ["root"],
            root=_object(
                ["routerType", "steps"],
                routerType={"enum": ["Sequence", "Splitter", "Ensemble", "Switch"]},
                steps={"type": "array", "items": STEP, "minItems": 1},
            ),
        ),
    ),
)
"""Fields of an InferenceGraph that are used here."""


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Two classifiers of their own on one input, the second one deeper."""
    folder = tmp_path_factory.mktemp("cascade")
    sketch = Sketch()
    sketch.head(sketch.conv("x", 3, 8), 8, "z1")
    sketch.head(sketch.conv(sketch.conv("x", 3, 8), 8, 8), 8, "z2")
    edgeexit.compile(sketch.save(folder / "two.onnx", ["z1", "z2"]), folder / "two.eexit", seconds=0)
    runner = load_quietly(folder / "two.eexit")
    runner.thresholds = [0.75]
    return runner


def read_resources(folder: Path) -> list[Any]:
    return list(yaml.safe_load_all((folder / "kserve.yaml").read_text()))


def test_a_network_is_one_service_of_its_fused_model(compiled: Path, tmp_path: Path) -> None:
    """Stages that need each other's tensors cannot be a graph; the model is called as the service, by which KServe asks for it."""
    with load_quietly(compiled) as runner:
        names = export_kserve(runner, tmp_path, storage_uri="s3://bucket/net/")
    [service] = read_resources(tmp_path)

    jsonschema.validate(service, SERVICE)
    assert ("chain-fused",) == names == (service["metadata"]["name"],)
    assert "s3://bucket/net/chain-fused" == service["spec"]["predictor"]["model"]["storageUri"]
    assert (tmp_path / "chain-fused/chain-fused/config.pbtxt").is_file()


def test_a_cascade_is_a_service_each_and_a_graph(cascade: Runner, tmp_path: Path) -> None:
    """The second classifier gets the request itself, where the first one's score is below its threshold."""
    names = export_kserve(cascade, tmp_path, storage_uri="pvc://claim/two")
    *services, graph = read_resources(tmp_path)
    for service in services:
        jsonschema.validate(service, SERVICE)
    jsonschema.validate(graph, GRAPH)
    first, second = graph["spec"]["nodes"]["root"]["steps"]
    score = cascade.bundle.manifest.stages[0].score

    assert ("two-stage-1", "two-stage-2", "two") == names
    assert ["two-stage-1", "two-stage-2"] == [first["serviceName"], second["serviceName"]]
    assert ["$request", "$request"] == [first["data"], second["data"]]
    assert "condition" not in first
    assert f'outputs.#(name=="{score}").data.#(<-0.75)' == second["condition"]
    assert all((tmp_path / name / name / "1/model.onnx").is_file() for name in names[:2])


def test_a_threshold_of_never_asks_the_next_classifier_always(cascade: Runner, tmp_path: Path) -> None:
    """Nothing is at least infinity, so the condition holds for whatever score there is."""
    with cascade.clone() as other:
        other.inner_thresholds = (float("inf"),)
        export_kserve(other, tmp_path, storage_uri="pvc://claim/two")
    condition = read_resources(tmp_path)[-1]["spec"]["nodes"]["root"]["steps"][1]["condition"]

    assert re.fullmatch(r'outputs\.#\(name=="[^"]+"\)\.data\.0', condition)


@pytest.mark.parametrize("options", [{"name": "Net_1"}, {"name": "n" * 41}, {"storage_uri": "models"}])
def test_what_kubernetes_does_not_take_is_refused(cascade: Runner, tmp_path: Path, options: dict[str, Any]) -> None:
    """Names are parts of host names, and the cluster needs a place to load from."""
    with pytest.raises(InputError, match=r"--name|--storage-uri"):
        export_kserve(cascade, tmp_path, **{"storage_uri": "s3://bucket", **options})


def test_the_command_needs_a_storage_for_kserve_and_only_there(compiled: Path, tmp_path: Path) -> None:
    """Refused before anything is written; with it, the command says what to apply."""
    start = ("serve-export", compiled, "-o", tmp_path / "k", "--thresholds", "1.197,1.18", "--for")
    refused = [run_edgeexit(*start, "kserve"), run_edgeexit(*start, "triton", "--storage-uri", "s3://bucket")]
    done = run_edgeexit(*start, "kserve", "--storage-uri", "s3://bucket")

    assert [2, 2] == [r.returncode for r in refused]
    assert 0 == done.returncode, done.stderr
    assert f"kubectl apply -f {tmp_path / 'k' / 'kserve.yaml'}" in done.stdout
