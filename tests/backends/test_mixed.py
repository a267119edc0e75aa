"""Stages of one bundle in several backends: real ONNX Runtime and OpenVINO."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeexit
from edgeexit.backends import Settings, find_backend
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.bundle import Bundle
from edgeexit.errors import InputError
from edgeexit.hardware import find_device_key
from edgeexit.runtime.loading import open_runner

MIXES = {
    "skips": "onnxruntime+openvino+onnxruntime",
    "heads-feed-heads": "openvino+onnxruntime+openvino",
    "two-inputs": "onnxruntime+openvino",
}


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_answers_and_decides_as_one_backend_does(name: str, bundles: dict[str, Bundle]) -> None:
    """Sample by sample, at every exit, one by one and in a batch; a clone as well."""
    bundle, inputs = bundles[name], make_random_inputs(bundles[name].manifest.inputs, 0, batch=24)
    with open_runner(bundle, Settings()) as alone, open_runner(bundle, Settings(MIXES[name])) as mixed:
        scores, logits = alone.replay(inputs)
        found, found_logits = mixed.replay(inputs)
        assert np.allclose(logits, found_logits, atol=1e-4 * np.abs(logits).max())
        between = (np.sort(scores[:, :-1], axis=0)[11] + np.sort(scores[:, :-1], axis=0)[12]) / 2  # no score lies there
        alone.inner_thresholds = mixed.inner_thresholds = tuple(between)
        leaves = [answer.exit for answer in alone.batch(inputs)]
        assert np.allclose(scores, found, atol=1e-4)
        assert leaves == [answer.exit for answer in mixed.batch(inputs)]
        singles = [{key: array[i : i + 1] for key, array in inputs.items()} for i in range(24)]
        copy = mixed.clone()
        assert leaves == [mixed(x).exit for x in singles] == [copy(x).exit for x in singles]


def test_settings_keys_and_versions_say_which(bundles: dict[str, Bundle]) -> None:
    """A calibration of a mix belongs to that mix alone, and changes with the version of either runtime."""
    name = MIXES["skips"]
    with open_runner(bundles["skips"], Settings(name)) as runner:
        assert "board/onnxruntime+openvino+onnxruntime-staged-float32-t1" == runner.settings.key("board")
    assert {"onnxruntime", "openvino"} == set(find_backend(name).versions())
    keys = {find_device_key(backend=one) for one in ("onnxruntime", "openvino", "onnxruntime+openvino")}
    assert 3 == len(keys)
    assert find_device_key(backend="onnxruntime+openvino") == find_device_key(backend=name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "onnxruntime,2=openvino", "mode": "fused"}, "does not run this bundle in mode fused: its stages"),
        ({"backend": {4: "openvino"}}, "this network has the stages 1 to 3"),
        ({"backend": "onnxruntime,3=fake"}, "fake runs all stages of a bundle or none"),
        ({"backend": {1: "openvino"}, "options": "denormal_as_zero=1"}, "options belong to one backend"),
    ],
)
def test_a_mix_that_cannot_run_is_refused_in_one_message(
    given: dict[str, Any], message: str, bundles: dict[str, Bundle]
) -> None:
    """With what does not go together."""
    with pytest.raises(InputError, match=message):
        edgeexit.load(bundles["skips"].path, **given)


def test_a_bundle_is_loaded_with_the_mix_that_it_was_compiled_with(model: Path, tmp_path: Path) -> None:
    """Nobody has to name it again on that device; another backend can still be named."""
    bundle = edgeexit.compile(model, tmp_path / "b.eexit", backend={2: "openvino"}, seconds=0)
    assert bundle.manifest.verified.fused_left_out is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", edgeexit.CalibrationWarning)
        with edgeexit.load(bundle.path) as mixed, edgeexit.load(bundle.path, backend="onnxruntime") as alone:
            assert "onnxruntime+openvino+onnxruntime" == mixed.settings.backend
            assert "onnxruntime" == alone.settings.backend
            assert "staged" == mixed.settings.mode
