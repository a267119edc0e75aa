"""How engines are built: the device's profile says it, the user's options win, and every engine is kept under what it was built with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeexit.backends import Settings, find_backend
from edgeexit.backends.tensorrt import BACKEND
from edgeexit.backends.tensorrt import __name__ as tensorrt_module
from edgeexit.bundle import Bundle
from edgeexit.cli.app import app
from edgeexit.compiler.compilation import compile_model
from edgeexit.conformance.networks import write_network
from edgeexit.errors import HardwareMissing, InputError
from edgeexit.hardware import DeviceProfile, find_profile
from edgeexit.runtime import CalibrationWarning, load
from edgeexit.runtime.loading import open_runner
from tests.support.simulated import Gpu, installed


def _on(monkeypatch: pytest.MonkeyPatch, name: str | None) -> DeviceProfile | None:
    """Have this machine be the device of that name."""
    profile = find_profile(name) if name is not None else None
    monkeypatch.setattr(f"{tensorrt_module}.find_current_profile", lambda: profile)
    return profile


def _open(bundle: Bundle, options: str = "", precision: str = "float32") -> None:
    BACKEND.open_staged(bundle, Settings("tensorrt", precision=precision, options=options)).close()


def test_engines_are_built_as_the_profile_of_the_device_says(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share of the memory that the GPU reports, because modules of one name come with several sizes."""
    profile = _on(monkeypatch, "jetson-orin-nano")
    assert profile is not None
    assert profile.tensorrt is not None
    with installed(Gpu(integrated=True)) as gpu:
        _open(bundles["skips"])
        memory = BACKEND.open_staged(bundles["skips"], Settings("tensorrt"))
        total = memory._held.device.facts.memory_bytes  # type: ignore[attr-defined]
        memory.close()
    assert [profile.tensorrt.optimization_level] * 3 == [b.builder_optimization_level for b in gpu.builds]
    assert {0} == {b.max_aux_streams for b in gpu.builds}
    assert {int(0.25 * total)} == {b.workspace for b in gpu.builds}
    assert {None} == {b.tactic_sources for b in gpu.builds}


def test_the_users_options_win_over_the_profile(bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one; the others stay the profile's."""
    _on(monkeypatch, "jetson-orin-nano")
    given = "workspace_mib=64, optimization_level=5, tactic_sources=jit_convolutions, aux_streams=1"
    with installed(Gpu(integrated=True), tensorrt="10.3.0") as gpu:
        _open(bundles["skips"], given)
    built = gpu.builds[0]
    assert (5, 64 * 2**20, 1) == (built.builder_optimization_level, built.workspace, built.max_aux_streams)
    assert 1 << 4 == built.tactic_sources


def test_a_profile_names_tactic_sources_in_small_letters_too(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the user's options do, and the engines are the same ones."""
    profile = find_profile("jetson-orin-nano")
    assert profile.tensorrt is not None
    with installed(Gpu(integrated=True), tensorrt="10.3.0") as gpu:
        for name in ("jit_convolutions", "JIT_CONVOLUTIONS"):
            written = replace(profile, tensorrt=replace(profile.tensorrt, tactic_sources=(name,)))
            monkeypatch.setattr(f"{tensorrt_module}.find_current_profile", lambda written=written: written)
            _open(bundles["skips"])
    assert [1 << 4] * 3 == [b.tactic_sources for b in gpu.builds]


def test_auto_leaves_to_tensorrt_what_the_profile_says(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the scratch memory."""
    _on(monkeypatch, "jetson-orin-nano")
    with installed(Gpu(integrated=True)) as gpu:
        _open(bundles["skips"], "workspace_mib=auto")
    assert {None} == {b.workspace for b in gpu.builds}


@pytest.mark.parametrize(
    "option", ["optimization_level=4", "workspace_mib=64", "tactic_sources=jit_convolutions", "aux_streams=1"]
)
def test_engines_are_kept_under_their_options(bundles: dict[str, Bundle], option: str) -> None:
    """Another value builds anew; the same again does not."""
    with installed(Gpu()) as gpu:
        for options, builds in (("", 3), (option, 6), (option, 6), ("", 6)):
            _open(bundles["skips"], options)
            assert builds == len(gpu.builds)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("optimisation_level=3", "Did you mean 'optimization_level'"),
        ("optimization_level=7", "0 to 5, not 7"),
        ("optimization_level=most", "a whole number, not 'most'"),
        ("workspace_mib=0", "more than 0"),
        ("tf32=yes", "true or false"),
        ("aux_streams", "name=value"),
        ("tf32=true,tf32=false", "each name once"),
    ],
)
def test_options_that_cannot_be_raise_a_clear_error(bundles: dict[str, Bundle], options: str, told: str) -> None:
    """The name, its range, what to write."""
    with installed(Gpu()), pytest.raises(InputError, match=told):
        _open(bundles["skips"], options)


def test_a_tactic_source_that_this_version_lacks_is_reported_with_those_it_has(bundles: dict[str, Bundle]) -> None:
    """TensorRT 11 has no cuBLAS any more."""
    with (
        installed(Gpu(driver=13000), tensorrt="11.4.0", bindings=13),
        pytest.raises(InputError, match=r"11\.4\.0 has no tactic source 'cublas'.*edge_mask_convolutions"),
    ):
        _open(bundles["skips"], "tactic_sources=cublas")


def test_other_backends_do_not_have_these_options(bundles: dict[str, Bundle]) -> None:
    """They refuse what would change nothing."""
    with pytest.raises(InputError, match="onnxruntime has no option named 'optimization_level'"):
        open_runner(bundles["skips"], Settings(options="optimization_level=5"))
    find_backend("onnxruntime").check_options("")


def test_options_in_another_order_are_the_same() -> None:
    """And spaces do not count."""
    assert Settings(options="b=2, a=1") == Settings(options="a=1,b=2")


@pytest.mark.parametrize(
    ("board", "options", "precision", "told"),
    [
        ("jetson-orin-nano", "dla_core=0", "float16", "Orin Nano has no DLA.*leave dla_core out"),
        ("jetson-agx-orin", "dla_core=2", "float16", "has 2 DLA cores"),
        ("jetson-agx-orin", "dla_core=0", "float32", "--precision float16"),
        ("jetson-agx-orin", "dla_core=0", "float16+float32+float16", "--precision float16"),
        ("jetson-agx-orin", "dla_core=0", "int8", "no int8 that stands in the network"),
        ("jetson-agx-orin", "dla_core=0", "float16+int8+int8", "no int8 that stands in the network"),
        (None, "dla_core=0", "float16", "this machine has no DLA"),
    ],
)
def test_a_dla_that_cannot_be_had_is_reported(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, board: str, options: str, precision: str, told: str
) -> None:
    """A board without one, too few of them, or a precision that it does not compute in."""
    _on(monkeypatch, board)
    with installed(Gpu(integrated=True)) as gpu:
        with pytest.raises((HardwareMissing, InputError), match=told):
            _open(bundles["skips"], options, precision)
        assert [] == gpu.leaks()


def test_a_version_of_tensorrt_without_dlas_is_reported(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board has two, TensorRT 10.8 to 11.3 serve none."""
    _on(monkeypatch, "jetson-agx-orin")
    with (
        installed(Gpu(integrated=True), tensorrt="10.16.2"),
        pytest.raises(HardwareMissing, match=r"up to TensorRT 10\.7"),
    ):
        _open(bundles["skips"], "dla_core=0", "float16")


@pytest.mark.parametrize(
    ("version", "bindings", "flags"), [("10.3.0", 12, {"FP16", "GPU_FALLBACK"}), ("11.4.1", 13, {"GPU_FALLBACK"})]
)
def test_stages_go_onto_a_dla_whole(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, version: str, bindings: int, flags: set[str]
) -> None:
    """What the DLA cannot do falls back to the GPU; before TensorRT 11 with the flag instead of strong typing."""
    _on(monkeypatch, "jetson-agx-orin")
    gpu = Gpu(integrated=True, driver=13000)
    gpu.dla_cores = 2
    with installed(gpu, tensorrt=version, bindings=bindings):
        _open(bundles["skips"], "dla_core=1", "float16")
    assert {"DLA"} == {b.default_device_type.name for b in gpu.builds}
    assert {1} == {b.DLA_core for b in gpu.builds}
    assert flags == {f.name for f in gpu.builds[0].set}


def test_a_bundle_calibrated_with_other_options_says_so(tmp_path: Path) -> None:
    """Its latencies are those of other engines."""
    bundle = compile_model(write_network("two-inputs", tmp_path), tmp_path / "net.eexit", seconds=0)
    with installed(Gpu()):
        from edgeexit.hardware import find_device_key

        settings = Settings("tensorrt")
        document = {
            "schema": "edgeexit.calibration/1",
            "inner_thresholds": ["inf"] * (bundle.manifest.exits - 1),
            "settings": {"spin": False, "options": ""},
        }
        bundle.write_calibration(settings.key(find_device_key(backend="tensorrt")), document)
        with pytest.warns(
            CalibrationWarning, match=r"another set of backend options \(none, now optimization_level=5\)"
        ):
            load(bundle.path, backend="tensorrt", mode="staged", options="optimization_level=5").close()


def test_the_command_line_takes_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`compile` builds with them, and a wrong one ends with code 2."""
    _on(monkeypatch, "jetson-orin-nano")
    model = write_network("two-inputs", tmp_path)
    command = ["compile", str(model), "--backend", "tensorrt", "--seconds", "0"]
    with installed(Gpu(integrated=True)) as gpu:
        done = CliRunner().invoke(app, [*command, "--options", "optimization_level=2"])
        assert 0 == done.exit_code, done.output
        assert {2} == {b.builder_optimization_level for b in gpu.builds}
        with pytest.raises(InputError, match="no option 'level'"):
            CliRunner().invoke(app, [*command, "--options", "level=2"], catch_exceptions=False)
