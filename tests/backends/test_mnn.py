"""MNN beyond what the conformance suite checks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import edgeexit
from edgeexit.backends import Settings, find_backend
from edgeexit.bundle import Bundle
from edgeexit.compiler.compilation import compile_model
from edgeexit.errors import InputError, ModelError
from edgeexit.runtime.loading import open_runner
from edgeexit.tuning.space import TuningSpace, list_setups
from tests.networks import Sketch, chain, images
from tests.support.onnx_writer import Writer

pytest.importorskip("MNN", reason='MNN is not installed: pip install "edgeexit[mnn]"')

MNN = Settings("mnn")


def test_an_operator_that_mnn_lacks_is_named(tmp_path: Path) -> None:
    """In one message, with the file; ONNX Runtime runs the bundle."""
    net = Sketch()
    features = net.op("Mish", net.conv("x", 3, 4))
    net.head(features, 4, "z1")
    net.head(net.conv(features, 4, 4), 4, "z2")
    model = net.save(tmp_path / "m.onnx", ["z1", "z2"], opset=18)
    bundle = compile_model(model, tmp_path / "m.eexit", seconds=0)
    with pytest.raises(ModelError, match=r"MNN 3\.\S+ cannot take stage-1-\S+.onnx: it has no operator Mish\.$"):
        find_backend("mnn").open_staged(bundle, MNN)


def test_a_stage_is_converted_once(
    bundles: dict[str, Bundle], engine_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes out is kept for this user alone, outside the bundle, and taken from there."""
    bundle = bundles["heads-feed-heads"]
    before = sorted(bundle.path.iterdir())
    find_backend("mnn").open_backbone(bundle, MNN)
    monkeypatch.setattr(subprocess, "run", None)
    find_backend("mnn").open_backbone(bundle, MNN)
    assert before == sorted(bundle.path.iterdir())
    assert 1 == len(list((engine_cache / "mnn").iterdir()))
    assert 0o700 == (engine_cache / "mnn").stat().st_mode & 0o777


def test_a_converted_file_that_is_not_whole_is_made_again(bundles: dict[str, Bundle], engine_cache: Path) -> None:
    """An empty one, as a full disk leaves it in other programs."""
    bundle = bundles["heads-feed-heads"]
    find_backend("mnn").open_backbone(bundle, MNN)
    (kept,) = (engine_cache / "mnn").iterdir()
    kept.write_bytes(b"")
    find_backend("mnn").open_backbone(bundle, MNN)
    assert kept.read_bytes()


@pytest.mark.slow
def test_nothing_is_printed_or_sent(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """MNN prints about the CPU where commands print JSON, and its command mnnconvert installs a package and reports its use."""
    code = (
        "import sys\n"
        "from edgeexit.backends import Settings, find_backend\n"
        "from edgeexit.bundle import Bundle\n"
        "bundle, settings = Bundle.open(sys.argv[1]), Settings('mnn')\n"
        "find_backend('mnn').open_staged(bundle, settings).run((0.0,) * 2)\n"
        "find_backend('mnn').open_fused(bundle, settings).run((0.0,) * 2)\n"
        "print('printed', sorted({'aliyun', 'MNN.tools'} & set(sys.modules)))"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code, str(bundles["skips"].path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ("printed []\n", "") == (done.stdout, done.stderr)
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".mnn"]


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_precisions_that_mnn_does_not_compute_in_are_refused(tmp_path: Path, precision: str) -> None:
    """Before anything is quantised; tune leaves them out with the reason."""
    with pytest.raises(InputError, match=f"backend mnn runs float32 and not {precision}"):
        edgeexit.compile(
            chain(tmp_path / "m.onnx"), tmp_path / "b", backend="mnn", precision=precision, inputs=images(4)
        )
    setups, left_out = list_setups(TuningSpace(threads=(1,)), ["float32", precision], ["mnn"], exits=2)
    assert {"float32"} == {setup.precision for setup in setups}
    assert [f"mnn in {precision}"] == [one.what for one in left_out]


def test_batches_of_changing_size_give_what_each_sample_gives(bundles: dict[str, Bundle]) -> None:
    """The sessions are resized each time; a sample more or less changes nothing for the others."""
    x = np.random.default_rng(0).random((5, 3, 12, 12), np.float32)
    batch = find_backend("mnn").open_batch(bundles["skips"], MNN)
    whole = batch.run(1, {"x": x})
    for places in ([0, 1], [4], [1, 2, 3, 4]):
        part = batch.run(1, {"x": x[places]})
        for name, values in part.items():
            assert np.allclose(values, whole[name][places], atol=1e-5)


def test_integer_inputs_are_read_as_they_are(tmp_path: Path) -> None:
    """MNN holds int64 as int32; tokens fit, in both modes and in batches."""
    net = Writer()
    mean = net.op("GlobalAveragePool", net.op("Gather", net.weight(9, 4), "x"))
    net.op("Gemm", net.op("Flatten", mean), net.weight(6, 3), out="z1")
    net.op("Gemm", net.op("Tanh", net.op("Flatten", mean)), net.weight(6, 3), out="z2")
    model = net.save(tmp_path / "m.onnx", {"x": ["n", 6]}, ["z1", "z2"], elements={"x": TensorProto.INT64})
    tokens = np.random.default_rng(0).integers(0, 9, (3, 6))
    bundle = compile_model(model, tmp_path / "m.eexit", backend="mnn", inputs=tokens, seconds=0)
    assert bundle.manifest.verified.given_inputs


def test_more_threads_give_the_same_answers(bundles: dict[str, Bundle]) -> None:
    """Of both modes."""
    x = np.random.default_rng(0).random((1, 3, 12, 12), np.float32)
    for mode in ("staged", "fused"):
        found = []
        for threads in (1, 2):
            with open_runner(bundles["skips"], Settings("mnn", mode, threads=threads)) as runner:
                found.append(runner.forced(x, exit=3).logits)
        assert np.allclose(found[0], found[1], atol=1e-5)
