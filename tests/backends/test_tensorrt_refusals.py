"""What cannot be had: each one message with the remedy, or a fallback that says why. On a simulated GPU."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import warnings
from pathlib import Path

import numpy as np
import pytest

from edgeexit.backends import Settings, find_backend
from edgeexit.backends.build_progress import report_builds_to
from edgeexit.backends.cuda import choice
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.backends.tensorrt import BACKEND, DeciderWarning, EngineWarning
from edgeexit.bundle import Bundle
from edgeexit.compiler.compilation import compile_model
from edgeexit.compiler.mode_timing import measure_in_process
from edgeexit.conformance.networks import write_network
from edgeexit.errors import HardwareMissing, InputError, MissingExtra
from edgeexit.graph import read_model
from edgeexit.hardware import find_device_key
from edgeexit.runtime.loading import open_runner
from tests.support.simulated import Gpu, installed

STAGED = Settings("tensorrt", "staged")
FUSED = Settings("tensorrt", "fused")


def _use(bundle: Bundle, settings: Settings = STAGED) -> str:
    with open_runner(bundle, settings) as runner:
        x = {s.name: np.zeros(s.shape_at_1, s.dtype) for s in bundle.manifest.inputs}
        runner(x)
        return str(runner._program.decided_by)  # type: ignore[attr-defined]


def test_without_tensorrt_the_extra_is_named() -> None:
    """On machines that are no Jetson."""
    with pytest.raises(MissingExtra, match=r"edgeexit\[tensorrt\]"):
        find_backend("tensorrt")


@pytest.mark.parametrize(("version", "remedy"), [("12.0.0", "Update edgeexit"), ("8.5.2", "JetPack 6.1 or newer")])
def test_an_unknown_version_of_tensorrt_is_refused(version: str, remedy: str) -> None:
    """Too new and too old, each with what to do."""
    with installed(Gpu(), tensorrt=version), pytest.raises(HardwareMissing, match=remedy):
        find_backend("tensorrt")


def test_without_a_gpu_the_driver_is_named() -> None:
    """CUDA's first call says so."""
    with installed(Gpu(fail_at=1)), pytest.raises(HardwareMissing, match="nvidia-smi"):
        find_backend("tensorrt")


def test_a_driver_before_12_4_falls_back_to_graphs_per_stage(bundles: dict[str, Bundle]) -> None:
    """And says why; the answers are the same."""
    with (
        installed(Gpu(driver=12020)),
        pytest.warns(DeciderWarning, match=r"needs CUDA 12\.4; this driver speaks 12\.2"),
    ):
        assert "graph" == _use(bundles["skips"], FUSED)


def test_a_body_that_the_driver_refuses_falls_back(bundles: dict[str, Bundle]) -> None:
    """Found when the graph is instantiated."""
    gpu = Gpu()
    gpu.body_limit = "kernel"
    with installed(gpu), pytest.warns(DeciderWarning, match="cuGraphInstantiate"):
        assert "graph" == _use(bundles["skips"], FUSED)
    assert [] == gpu.leaks()


def test_a_conditional_that_runs_everything_is_found_by_the_self_test(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage behind the exit must not run, though the answers would be right."""
    from tests.support.simulated import gpu as machine

    real = machine.Gpu.conditional

    def eager(self: Gpu, graph: machine.Graph, handle: int) -> machine.Graph:
        body = real(self, graph, handle)
        node = graph.nodes[-1]

        def run_all() -> None:
            for op in body.nodes:
                op.run()

        graph.nodes[-1] = machine.Op(node.kind, run_all, node.touches)
        return body

    monkeypatch.setattr(machine.Gpu, "conditional", eager)
    with installed(Gpu()) as gpu, pytest.warns(DeciderWarning, match="self-test failed"):
        assert "graph" == _use(bundles["skips"], FUSED)
    assert [] == gpu.leaks()


def test_engines_are_built_once(bundles: dict[str, Bundle]) -> None:
    """The second opening builds nothing."""
    for builds in (3, 0):
        with installed(Gpu()) as gpu:
            _use(bundles["skips"])
        assert builds == gpu.calls.count("build_serialized_network")


@pytest.mark.parametrize("other", [{"tensorrt": "10.13.0"}, {"driver": 12080}, {"integrated": True}, {"options": True}])
def test_engines_are_built_anew_when_anything_differs(bundles: dict[str, Bundle], other: dict[str, object]) -> None:
    """Version, driver, kind of GPU, options."""
    with installed(Gpu()):
        _use(bundles["skips"])
    gpu = Gpu(integrated=bool(other.get("integrated")), driver=int(str(other.get("driver", 12060))))
    with installed(gpu, tensorrt=str(other.get("tensorrt", "10.3.0"))):
        options = "optimization_level=5" if other.get("options") else ""
        BACKEND.open_staged(bundles["skips"], Settings("tensorrt", options=options)).close()
    assert 3 == gpu.calls.count("build_serialized_network")


def test_a_damaged_engine_is_built_anew(bundles: dict[str, Bundle], engine_cache: Path) -> None:
    """Its hash is looked at before TensorRT sees it."""
    with installed(Gpu()):
        _use(bundles["skips"])
    for file in engine_cache.rglob("*.engine"):
        file.write_bytes(b"x" + file.read_bytes()[1:])
    with installed(Gpu()) as gpu:
        _use(bundles["skips"])
    assert 3 == gpu.calls.count("build_serialized_network")
    assert 3 + 0 == gpu.calls.count("deserialize_cuda_engine")


def test_an_engine_that_tensorrt_refuses_is_built_anew(bundles: dict[str, Bundle]) -> None:
    """As after an update that left the version alone."""
    with installed(Gpu()):
        _use(bundles["skips"])
    with installed(Gpu()) as dry:
        _use(bundles["skips"])
    number = dry.calls.index("deserialize_cuda_engine") + 1
    with installed(Gpu(fail_at=number)) as gpu, pytest.warns(EngineWarning, match="stage 1 .*rebuilt"):
        _use(bundles["skips"])
    assert 1 == gpu.calls.count("build_serialized_network")


def test_an_engine_of_another_device_is_never_used(bundles: dict[str, Bundle], engine_cache: Path) -> None:
    """Copied with the whole cache to a board of the same name with less memory, it lies there under another key."""
    with installed(Gpu(integrated=True)):
        _use(bundles["skips"])
    before = set(engine_cache.rglob("*.engine"))
    gpu = Gpu(integrated=True)
    gpu.memory_bytes //= 2
    with installed(gpu):
        _use(bundles["skips"])
    assert 3 == gpu.calls.count("build_serialized_network")
    assert 6 == len(before | set(engine_cache.rglob("*.engine")))


def test_an_engine_of_another_device_under_our_key_is_refused_and_built_anew(
    bundles: dict[str, Bundle], engine_cache: Path
) -> None:
    """Whatever put it there: TensorRT refuses it, and the user is told why the opening takes long."""
    with installed(Gpu()):
        _use(bundles["skips"])
    for file in engine_cache.rglob("*.engine"):
        file.write_bytes(b"of a GPU of another architecture")
        about = json.loads(file.with_suffix(".json").read_text())
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        file.with_suffix(".json").write_text(json.dumps({**about, "sha256": digest}))
    with installed(Gpu()) as gpu, pytest.warns(EngineWarning, match="magic tag does not match.*rebuilt"):
        _use(bundles["skips"])
    assert 3 == gpu.calls.count("build_serialized_network")


def test_engines_inside_a_bundle_are_never_read(bundles: dict[str, Bundle], engine_cache: Path) -> None:
    """Every plan that is deserialised lies in the user's own cache."""
    planted = bundles["skips"].path / "stages.engine"
    planted.write_bytes(b"simulated plan\n{}\nevil")
    try:
        with installed(Gpu()) as gpu:
            _use(bundles["skips"])
    finally:
        planted.unlink()
    assert 3 == gpu.calls.count("build_serialized_network") == len(list(engine_cache.rglob("*.engine")))


def test_the_cache_is_private(bundles: dict[str, Bundle], engine_cache: Path) -> None:
    """Mode 0700; a folder that others can write, or a link, is refused with the remedy."""
    with installed(Gpu()):
        _use(bundles["skips"])
    folder = engine_cache / "tensorrt"
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0o777)
    with installed(Gpu()), pytest.raises(InputError, match="chmod 700"):
        _use(bundles["skips"])
    folder.chmod(0o700)
    folder.rename(engine_cache / "elsewhere")
    folder.symlink_to(engine_cache / "elsewhere")
    with installed(Gpu()) as gpu, pytest.raises(InputError, match="this user alone"):
        _use(bundles["skips"])
    assert [] == gpu.leaks()


def test_builds_report_their_progress(bundles: dict[str, Bundle]) -> None:
    """The phase that has no parent, to its end."""
    seen: list[tuple[str, int, int]] = []
    with installed(Gpu()), report_builds_to(lambda what, done, total: seen.append((what, done, total))):
        _use(bundles["skips"])
    assert ("building stage 1: Building", 0, 2) == seen[0]
    assert ("building stage 3: Building", 2, 2) == seen[-1]


def test_the_way_to_wait_is_set_and_recorded(bundles: dict[str, Bundle]) -> None:
    """Spin or blocking, never CUDA's own choice, which depends on the power mode."""
    for spin, wait in ((True, "spin"), (False, "blocking")):
        with installed(Gpu()), open_runner(bundles["skips"], Settings("tensorrt", spin=spin)) as runner:
            assert wait == runner._program._held.device.wait  # type: ignore[attr-defined]


def test_the_choice_is_measured_once_and_kept(bundles: dict[str, Bundle], engine_cache: Path) -> None:
    """Later openings take what the first measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with installed(Gpu()) as first:
            _use(bundles["skips"])
        with installed(Gpu()) as second:
            _use(bundles["skips"])
    assert 1 == len(list(engine_cache.rglob("*.choice")))
    assert second.calls.count("cuStreamSynchronize") < first.calls.count("cuStreamSynchronize") / 2


@pytest.mark.parametrize(("graph_s", "taken"), [(1e-4, "graph"), (3e-4, "host")])
def test_the_way_that_was_measured_to_be_faster_is_taken(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, graph_s: float, taken: str
) -> None:
    """Between (a) and (b), for the staged mode."""
    times = {"host": 2e-4, "graph": graph_s, "device": 5e-5}
    monkeypatch.setattr(
        choice, "time_deciders", lambda deciders: {n: (times[n],) * d.exits for n, d in deciders.items()}
    )
    with installed(Gpu()):
        assert taken == _use(bundles["skips"])


def test_what_was_measured_is_recorded_with_the_way_to_wait(
    bundles: dict[str, Bundle], engine_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times of all three at every exit; another way to wait measures anew."""
    monkeypatch.setattr(choice, "time_deciders", lambda deciders: {n: (1e-4,) * d.exits for n, d in deciders.items()})
    for spin, wait in ((False, "blocking"), (True, "spin")):
        with installed(Gpu()):
            _use(bundles["skips"], Settings("tensorrt", spin=spin))
        (file,) = engine_cache.rglob("*.choice")
        document = json.loads(file.read_text())
        assert wait == document["wait"]
        assert {name: [1e-4] * 3 for name in ("host", "graph", "device")} == document["median_s"]


def test_compiling_measures_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both modes, the GPU's decision among them, so that loading takes the faster one; nothing is measured later.

    In this process, since another has no simulated GPU.
    """
    monkeypatch.setattr(
        "edgeexit.compiler.compilation.time_forms",
        lambda draft, how, seconds, _, inputs: measure_in_process(draft, how, seconds, inputs=inputs),
    )
    model = write_network("two-inputs", tmp_path)
    with installed(Gpu()):
        bundle = compile_model(model, tmp_path / "net.eexit", backend="tensorrt", seconds=0.05)
    with installed(Gpu()) as gpu:
        settings = Settings("tensorrt")
        timing = bundle.manifest.timings[settings.make_timing_key(find_device_key(backend="tensorrt"))]
        _use(bundle, settings.with_mode(timing.faster))
    assert timing.staged_s
    assert timing.fused_s
    assert 0 == gpu.calls.count("build_serialized_network")


@pytest.mark.parametrize("precision", ["int8", "float32,3=int8"])
def test_int8_made_for_a_cpu_is_refused_with_what_to_do(precision: str, tmp_path: Path) -> None:
    """TensorRT takes signed ranges only; whichever part of the network is in int8, the message is ours and the command keeps the mix."""
    model = write_network("skips", tmp_path)
    inputs = make_random_inputs(read_model(model).inputs, seed=7, batch=8)
    path = tmp_path / "cpu.eexit"
    bundle = compile_model(model, path, precision=precision, inputs=inputs, seconds=0)
    mixed = bundle.manifest.precision
    with installed(Gpu()), pytest.raises(InputError, match=f"signed.*{re.escape(f'--precision {mixed}')}$"):
        BACKEND.open_staged(bundle, Settings("tensorrt", precision=mixed))
