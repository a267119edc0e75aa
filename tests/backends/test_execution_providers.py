"""Other execution providers of ONNX Runtime: the same answers, boundary tensors that stay on the device, no silent fall-back.

CUDA is simulated (tests/support/simulated/onnxruntime_device.py): no GPU is here.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from edgeexit.backends import Settings, find_backend
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.backends.onnxruntime.providers import ProviderWarning
from edgeexit.bundle import Bundle
from edgeexit.errors import HardwareMissing, InputError
from edgeexit.hardware.keys import make_device_key
from edgeexit.runtime import Runner
from edgeexit.runtime.loading import open_runner
from tests.support.simulated.onnxruntime_device import Device, simulate_cuda

CUDA = "provider=cuda"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """ONNX Runtime with a simulated CUDA provider."""
    found = Device()
    simulate_cuda(monkeypatch, found)
    return found


def _answer(runner: Runner, bundle: Bundle) -> list[tuple[Any, ...]]:
    """Every exit forced, then the network as it decides, on five inputs."""
    found = []
    runner.inner_thresholds = [0.0] * (runner.exits - 1)
    for seed in range(5):
        x = make_random_inputs(bundle.manifest.inputs, seed)
        forced = [runner.forced(x, exit=k).logits.tolist() for k in range(1, runner.exits + 1)]
        p = runner(x)
        found.append((p.label, p.exit, p.score, p.logits.tolist(), forced))
    return found


@pytest.mark.parametrize("mode", ["staged", "fused"])
@pytest.mark.parametrize("name", ["skips", "heads-feed-heads", "two-inputs"])
def test_another_provider_gives_the_same_answers(
    bundles: dict[str, Bundle], device: Device, mode: str, name: str
) -> None:
    """Every exit and every decision, also of a clone; each run waits for its inputs."""
    bundle = bundles[name]
    with open_runner(bundle, Settings(mode=mode)) as cpu, open_runner(bundle, Settings(mode=mode, options=CUDA)) as gpu:
        expected = _answer(cpu, bundle)
        other = gpu.clone()

        for found in (_answer(gpu, bundle), _answer(other, bundle)):
            for a, b in zip(expected, found, strict=True):
                assert a[:2] == b[:2]
                np.testing.assert_allclose(a[2], b[2], atol=1e-5)
                np.testing.assert_allclose(a[3], b[3], rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(a[4], b[4], rtol=1e-4, atol=1e-5)
        assert device.pending == 0


def test_between_stages_nothing_crosses_to_the_host(bundles: dict[str, Bundle], device: Device) -> None:
    """One copy in for the input, whatever exit is taken; runs bring back logits and scores only."""
    bundle = bundles["skips"]
    with open_runner(bundle, Settings(options=CUDA)) as runner:
        device.copies_in.clear()
        runner.forced(make_random_inputs(bundle.manifest.inputs, 0), exit=runner.exits)

    assert [bundle.manifest.inputs[0].shape_at_1] == device.copies_in
    assert [] == device.copies_out
    results = {name for entry in bundle.manifest.stages for name in (entry.logits, entry.score)}
    assert results == set(device.on_host)


def test_the_backbone_runs_where_the_stages_do(bundles: dict[str, Bundle], device: Device) -> None:
    """It is what early exit is compared with."""
    bundle = bundles["skips"]
    x = make_random_inputs(bundle.manifest.inputs, 1)
    with open_runner(bundle, Settings(options=f"{CUDA},device_id=1")) as runner, runner.backbone() as backbone:
        np.testing.assert_allclose(runner.forced(x, exit=runner.exits).logits, backbone(x).logits, rtol=1e-4, atol=1e-5)

    assert {"device_id": "1"} in device.options


def test_nodes_that_fall_back_to_the_cpu_are_counted(bundles: dict[str, Bundle], device: Device) -> None:
    """In a warning, and in the runner's note; without them there is neither."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ProviderWarning)
        open_runner(bundles["skips"], Settings(options=CUDA)).close()
    device.left = frozenset({"Relu", "FusedConv", "Conv"})

    with (
        pytest.warns(ProviderWarning, match=r"\d+ nodes? run on the CPU and \d+ on cuda: \d+ \w+"),
        open_runner(bundles["skips"], Settings(options=CUDA)) as runner,
    ):
        assert "run on the CPU" in runner.note


def test_a_mode_that_a_provider_refuses_is_not_asked_for() -> None:
    """OpenVINO's takes no graph inside an If; stages it takes."""
    backend = find_backend("onnxruntime")

    assert "does not take the graphs inside an If" in str(backend.explain_unsupported("fused", 2, "provider=openvino"))
    assert backend.explain_unsupported("staged", 2, "provider=openvino") is None
    assert backend.explain_unsupported("fused", 2, CUDA) is None


def test_a_provider_that_does_not_load_is_an_error(bundles: dict[str, Bundle], device: Device) -> None:
    """ONNX Runtime would run everything on the CPU."""
    device.loads = False

    with pytest.raises(HardwareMissing, match="could not load its execution provider cuda"):
        open_runner(bundles["skips"], Settings(options=CUDA))


def test_only_what_the_installed_build_offers_can_be_asked_for(bundles: dict[str, Bundle]) -> None:
    """The message says what there is, and which package brings it."""
    with pytest.raises(
        HardwareMissing, match=r"no execution provider tensorrt; it has: .*cpu.* Install onnxruntime-gpu"
    ):
        open_runner(bundles["skips"], Settings(options="provider=tensorrt"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("provider=cudda", "no execution provider named 'cudda'. Did you mean 'cuda'"),
        ("device_id=1", "no option named 'device_id'"),
        ("provider=cpu,device_id=1", "no option named 'device_id'"),
        ("provider=cuda,denormal_as_zero=2", "must be 0 or 1"),
    ],
)
def test_an_unknown_provider_or_option_is_refused(options: str, message: str) -> None:
    """Before anything is opened; options that only a provider knows need one."""
    with pytest.raises(InputError, match=message):
        find_backend("onnxruntime").check_options(options)


def test_a_calibration_belongs_to_one_provider() -> None:
    """Its key names it, and the device's key the GPU that it runs on; the CPU's keys are as they were."""
    cuda, cpu = Settings(options=CUDA), Settings(options="provider=cpu")

    assert "d/onnxruntime.cuda-staged-float32-t1" == cuda.key("d")
    assert Settings().key("d") == cpu.key("d") == "d/onnxruntime-staged-float32-t1"
    facts = {"cpu": "c", "arch": "aarch64", "onnxruntime": "1.23.2", "gpu": "Orin"}
    assert make_device_key(facts, cuda.runtime) != make_device_key({**facts, "gpu": "Thor"}, cuda.runtime)
    assert make_device_key(facts, cpu.runtime) == make_device_key({**facts, "gpu": "Thor"})
