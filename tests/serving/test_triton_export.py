"""A bundle as a model repository: what is written, and what the models in it take and give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgeexit
from edgeexit.errors import InputError
from edgeexit.runtime import Runner, load_quietly
from edgeexit.serving import STAGE_RUNTIMES, Scheduling, export_triton
from tests.networks import chain, images
from tests.support.command_line import run_edgeexit

MODELS = ("chain-fused", "chain-staged", "chain-stage-1", "chain-stage-2", "chain-stage-3")


@pytest.fixture(scope="module")
def opened(compiled: Path) -> Runner:
    """The bundle with thresholds that let some samples leave at each exit."""
    runner = load_quietly(compiled)
    runner.thresholds = [1.197, 1.18]
    return runner


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A bundle whose batch is fixed at 1."""
    folder = tmp_path_factory.mktemp("fixed")
    edgeexit.compile(chain(folder / "one.onnx", batch=1), folder / "one.eexit", seconds=0)
    return load_quietly(folder / "one.eexit")


def list_files(repository: Path) -> set[str]:
    return {path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()}


def test_the_fused_model_takes_thresholds_or_its_own(opened: Runner, tmp_path: Path) -> None:
    """With none it leaves where the Runner does; with some, where they say; everything it takes and gives has a dimension."""
    export_triton(opened, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "chain-fused/1/model.onnx", providers=["CPUExecutionProvider"])
    never = {f"threshold_{k}": np.array([np.inf], np.float32) for k in (1, 2)}
    x = images(32)
    found = [session.run(["logits", "exit", "score"], {"x": x[i : i + 1]}) for i in range(len(x))]
    expected = opened.batch(x)

    assert {1, 2, 3} == {p.exit for p in expected}
    assert [[p.exit] for p in expected] == [exit.tolist() for _, exit, _ in found]
    assert np.allclose([p.logits for p in expected], [logits[0] for logits, _, _ in found], atol=1e-5)
    assert (1,) == found[0][2].shape
    assert [3] == session.run(["exit"], {"x": x[:1], **never})[0].tolist()
    assert ["x"] == [i.name for i in session.get_inputs()]


@pytest.mark.parametrize("stages", STAGE_RUNTIMES)
def test_a_repository_holds_what_its_stage_backend_needs(opened: Runner, tmp_path: Path, stages: str) -> None:
    """Every model has its configuration and its ONNX file; code only where Python runs it; a plan is built by the server."""
    names = export_triton(opened, tmp_path / "repository", stages=stages)
    files = list_files(tmp_path / "repository")

    assert names == MODELS
    assert {f"{name}/config.pbtxt" for name in MODELS} <= files
    assert {f"{name}/1/model.onnx" for name in MODELS if name != "chain-staged"} <= files
    code = {path.split("/")[0] for path in files if path.endswith("model.py")}
    assert (set(MODELS) if stages == "python" else {"chain-staged"}) == code
    assert (stages == "tensorrt") == ("build-plans.sh" in files)


def test_the_script_builds_a_plan_for_every_stage(opened: Runner, tmp_path: Path) -> None:
    """For every batch that the server may make, in the arithmetic of the bundle."""
    export_triton(opened, tmp_path, stages="tensorrt", scheduling=Scheduling(max_batch=16))
    commands = [line for line in (tmp_path / "build-plans.sh").read_text().splitlines() if line.startswith("trtexec")]

    assert 3 == len(commands)
    assert "--onnx=chain-stage-1/1/model.onnx --saveEngine=chain-stage-1/1/model.plan --noTF32" in commands[0]
    assert all(option in commands[0] for option in ("1x3x8x8", "16x3x8x8", "--optShapes"))


@pytest.mark.parametrize("kind", ["opened", "fixed"])
@pytest.mark.parametrize("stages", STAGE_RUNTIMES)
def test_configurations_are_what_triton_reads(
    kind: str, stages: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each is a `ModelConfig` of Triton's protobuf; batches, instances and warm-up as asked; no batching of a fixed batch."""
    proto = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient[grpc] is not installed")
    text_format = pytest.importorskip("google.protobuf.text_format")
    names = export_triton(
        request.getfixturevalue(kind),
        tmp_path,
        stages=stages,
        scheduling=Scheduling(max_batch=8, max_delay_us=250, instances=2, device="gpu"),
    )
    parsed = {
        name: text_format.Parse((tmp_path / name / "config.pbtxt").read_text(), proto.ModelConfig()) for name in names
    }
    fused, staged, stage = (parsed[name] for name in names[:3])

    assert all(name == config.name for name, config in parsed.items())
    assert [2] * len(parsed) == [config.instance_group[0].count for config in parsed.values()]
    assert {"KIND_GPU", "KIND_CPU"} == {
        proto.ModelInstanceGroup.Kind.Name(c.instance_group[0].kind) for c in parsed.values()
    }
    assert [1, 3, 8, 8] == list(fused.input[0].dims) == list(fused.model_warmup[0].inputs["x"].dims)
    assert (
        [i.optional for i in fused.input]
        == [i.optional for i in staged.input]
        == [False, *[True] * (len(fused.input) - 1)]
    )
    if kind == "fixed":
        assert {0} == {config.max_batch_size for config in parsed.values()}
        assert not any(config.HasField("dynamic_batching") for config in parsed.values())
        assert [1, 3, 8, 8] == list(stage.input[0].dims)
    else:
        assert [8, 8] == [config.max_batch_size for config in (staged, stage)]
        assert 250 == staged.dynamic_batching.max_queue_delay_microseconds
        assert [1, 8] == [warmup.batch_size for warmup in stage.model_warmup]
        assert [1] == list(stage.output[1].dims)
        assert [] == list(stage.output[1].reshape.shape)


def test_models_of_the_same_name_are_replaced_and_others_stay(opened: Runner, tmp_path: Path) -> None:
    """A repository may hold other models, and a later export replaces the earlier one wholly."""
    (tmp_path / "other/1").mkdir(parents=True)
    export_triton(opened, tmp_path, stages="python")
    export_triton(opened, tmp_path)

    assert (tmp_path / "other/1").is_dir()
    assert "chain-fused/1/model.py" not in list_files(tmp_path)
    assert {"other", *MODELS} == {path.name for path in tmp_path.iterdir()}


def test_what_is_no_model_is_not_replaced(opened: Runner, tmp_path: Path) -> None:
    """A folder of the user that has a model's name stays as it is, and nothing else is written."""
    (tmp_path / "chain-staged").mkdir()
    with pytest.raises(InputError, match=r"chain-staged, without a config\.pbtxt"):
        export_triton(opened, tmp_path)

    assert ["chain-staged"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["a/b", "", ".hidden", "two words"])
def test_a_name_must_be_that_of_a_folder(opened: Runner, tmp_path: Path, name: str) -> None:
    """Models are folders of the repository."""
    with pytest.raises(InputError, match="--name"):
        export_triton(opened, tmp_path, name=name)


def test_the_command_says_what_it_wrote(compiled: Path, tmp_path: Path) -> None:
    """Models, thresholds in inner units, and the next command; given thresholds and a calibration at once are refused."""
    done = run_edgeexit("serve-export", compiled, "-o", tmp_path / "r", "--thresholds", "1.197,1.18", "--name", "net")
    refused = run_edgeexit("serve-export", compiled, "-o", tmp_path / "r", "--thresholds", "1,1", "--calibration", "a")

    assert 0 == done.returncode, done.stderr
    assert "net-fused, net-staged, net-stage-1, net-stage-2, net-stage-3" in done.stdout
    assert f"tritonserver --model-repository={tmp_path / 'r'}" in done.stdout
    assert 'string_value: "-1.17' in (tmp_path / "r/net-staged/config.pbtxt").read_text()
    assert 2 == refused.returncode
    assert "give one of them" in refused.stderr
