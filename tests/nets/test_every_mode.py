"""The networks of the papers, as torch modules: exported and split they give eager's answers in every mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edgeexit
from tests.support.onnx_writer import assert_close, loaded

torch = pytest.importorskip("torch", reason="networks are torch modules")

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "B-LeNet, branches of the code": ("lenet", {}),
    "B-LeNet, branches of the paper": ("lenet", {"branches": "paper"}),
    "B-AlexNet, branches of the code": ("alexnet", {}),
    "B-AlexNet, branches of the paper": ("alexnet", {"branches": "paper"}),
    "B-ResNet, branches of the code": ("resnet", {"n": 1}),
    "B-ResNet, branches of the paper": ("resnet", {"n": 1, "branches": "paper"}),
    "EENet with learned confidences": ("eenet", {"n": 1, "after": (1, 2)}),
    "EENet-8 of two filters": ("eenet8", {}),
    "MSDNet of three scales, heads that collaborate": ("msdnet", {"steps": (1, 1, 1), "collaboration": "fc"}),
    "vision transformer, exits on the class token": ("vit", {"depth": 2, "every": 1}),
    "1-D convolutions on signals": ("signal", {}),
    "two models in a cascade": ("resnet-cascade", {"depths": (8, 8), "filters": (8, 16)}),
    "the CNN of the cascade losses": ("cascade-cnn", {}),
    "DenseNet, a head after each block": ("densenet", {"layers": 2, "blocks": 2}),
}
COUNT = 8


def eager(module: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of every exit, [n, N, classes]."""
    from edgeexit.nets.outputs import run_exits

    with torch.no_grad():
        return np.stack([e.logits.numpy() for e in run_exits(module, torch.from_numpy(x))], axis=1)


@pytest.mark.parametrize("case", CASES)
def test_staged_and_fused_and_batch_give_eagers_answers(case: str, tmp_path: Path) -> None:
    """Every exit forced and left at, weights and normalisation statistics as after training; and stages cost what torch counts."""
    from edgeexit.nets.costs import exit_costs
    from edgeexit.nets.registry import build, find_network

    name, options = CASES[case]
    torch.manual_seed(0)
    module = shaken(build(name, **options)).eval()
    shape = find_network(name).input_shape
    x = np.random.default_rng(0).standard_normal((COUNT, *shape)).astype(np.float32)
    expected = eager(module, x)
    learned = name in ("eenet", "eenet8", "resnet-cascade")
    inputs = torch.zeros(1, *shape)
    exported = edgeexit.export(module, inputs, tmp_path / "m.onnx")

    criterion = "learned" if learned else "entropy"
    bundle = edgeexit.compile(tmp_path / "m.onnx", tmp_path / "b.eexit", criterion=criterion, seconds=0)

    assert expected.shape[1] == len(exported.exits) == bundle.manifest.exits
    assert exported.largest_difference < 1e-4
    assert bundle.manifest.dynamic_batch
    assert list(np.cumsum([stage.macs for stage in bundle.manifest.stages])) == list(
        exit_costs(module, inputs).reach_macs
    )
    for mode in ("staged", "fused"):
        with loaded(bundle, mode) as runner:
            for i in range(COUNT):
                for k in range(runner.exits):
                    assert_close(expected[i, k], runner.forced(x[i : i + 1], exit=k + 1).logits, 1e-4)
    with loaded(bundle, "staged") as runner:
        scores, _ = runner.replay(x)
        runner.inner_thresholds = tuple(float(np.median(scores[:, k])) for k in range(runner.exits - 1))
        answers = runner.batch(x)
        assert len({p.exit for p in answers}) > 1
        for i, p in enumerate(answers):
            assert_close(expected[i, p.exit - 1], p.logits, 1e-4)


def shaken(module: Any) -> Any:
    """Statistics and gains that are not those of a fresh module, under which normalisation would be the identity."""
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.normal_(part.bias, 0, 0.2)
    return module
