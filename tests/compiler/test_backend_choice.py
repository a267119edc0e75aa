"""`compile --backend auto`: the mix is kept where it is faster beyond noise, and verifies; times are made up where they decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import edgeexit
from edgeexit.backends import Settings
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.bundle import Bundle, VerificationSummary
from edgeexit.compiler.backend_choice import BackendChooser, FormTimes, propose_mix
from edgeexit.compiler.backend_timing import BackendTimer, time_forms_here, time_stages_here
from edgeexit.errors import InputError, InternalError
from edgeexit.util.progress import show_nothing

MIX = "onnxruntime+openvino+openvino"


def _spread(middle: float, relative: float = 0.01) -> NDArray[np.float64]:
    """Times of two exits in five processes."""
    by_process = middle * (1 + relative * np.array([-1.0, 0.5, 0.0, 1.0, -0.5]))
    return np.outer(by_process, [0.5, 1.5])


@pytest.mark.parametrize(
    ("onnxruntime", "openvino", "mix", "expected"),
    [
        (1.0, 2.0, 0.8, (MIX, "onnxruntime")),
        (1.0, 2.0, 0.999, ("onnxruntime",)),
        (1.0, 0.8, 0.799, ("openvino", "onnxruntime")),
        (1.0, 0.8, 0.6, (MIX, "openvino", "onnxruntime")),
        (1.0, 0.999, None, ("onnxruntime",)),
        (1.0, 0.9, 1.5, ("openvino", "onnxruntime")),
    ],
)
def test_a_mix_has_to_beat_the_best_single_backend_beyond_noise(
    onnxruntime: float, openvino: float, mix: float | None, expected: tuple[str, ...]
) -> None:
    """With its whole interval; another backend likewise the default one, in whichever mode that is faster."""
    rng = np.random.default_rng(0)
    times = {"onnxruntime staged": onnxruntime * 1.1, "onnxruntime fused": onnxruntime, "openvino staged": openvino}
    times |= {} if mix is None else {f"{MIX} staged": mix}
    noisy = {form: _spread(middle) * rng.normal(1, 0.003, (5, 1)) for form, middle in times.items()}
    assert expected == FormTimes(noisy).rank({})


def test_what_is_slower_at_an_exit_is_not_kept_however_fast_its_mean_is() -> None:
    """Thresholds come later, and may let nearly everything leave at that exit; it is said why."""
    times = {"onnxruntime staged": _spread(1.0), "openvino staged": _spread(9.0)}
    early = np.array([1.03, 0.7])
    left_out: dict[str, str] = {}
    assert ("onnxruntime",) == FormTimes({**times, f"{MIX} staged": _spread(1.0) * early}).rank(left_out)
    assert {MIX: "at exit 1 it takes 1.03 times as long as onnxruntime staged"} == left_out
    assert ("onnxruntime",) == FormTimes({**times, "openvino staged": _spread(1.0) * early}).rank(left_out)
    assert "at exit 1" in left_out["openvino"]
    fair = np.array([1.0, 0.7])
    assert (MIX, "onnxruntime") == FormTimes({**times, f"{MIX} staged": _spread(1.0) * fair}).rank({})


def test_the_proposed_mix_has_no_slower_stage_than_any_backend() -> None:
    """Whatever the times, and although some backend cannot build some stage; one backend for all is no mix."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        stages_s = {name: rng.random(4) for name in ("onnxruntime", "openvino", "third")}
        stages_s["third"][rng.random(4) < 0.5] = np.nan
        mix = propose_mix(stages_s)
        names = [mix] * 4 if mix is None else mix.split("+")
        best = np.nanmin(np.stack(list(stages_s.values())), axis=0)
        if mix is None:
            assert any(np.array_equal(times, best) for times in stages_s.values())
        else:
            assert best.tolist() == [stages_s[str(name)][k] for k, name in enumerate(names)]


class _MadeUpTimer(BackendTimer):
    """OpenVINO's later stages are the fastest."""

    def time_stages(self, backends: Sequence[str], seconds: float) -> dict[str, NDArray[np.float64]]:
        return {"onnxruntime": np.array([1.0, 4.0, 4.0]), "openvino": np.array([2.0, 2.0, 2.0])}

    def time_forms(self, backends: Sequence[str], seconds: float) -> dict[str, NDArray[np.float64]]:
        means = {"onnxruntime": 5.0, "openvino": 4.0, MIX: 3.0}
        return {f"{name} staged": _spread(means.get(name, 9.0)) for name in backends}


def _choose(compiled: Path, refused: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    bundle = Bundle.open(compiled)

    def verify(settings: Settings) -> VerificationSummary:
        if settings.backend in refused:
            raise InternalError(refused[settings.backend])
        return bundle.manifest.verified

    timer = _MadeUpTimer(bundle, Settings(), make_random_inputs(bundle.manifest.inputs, 0), show_nothing)
    chosen = BackendChooser(timer, verify, 1.0).choose()
    assert chosen.settings.backend == chosen.comparison.chosen
    assert MIX == chosen.comparison.mix
    assert chosen.comparison.ratio is not None
    assert abs(chosen.comparison.ratio - 3 / 4) < 0.01
    return chosen.comparison.chosen, chosen.comparison.left_out


def test_the_fastest_mix_that_verifies_is_kept(compiled: Path) -> None:
    """Else the fastest single backend that does; what did not, and what is not installed, is said."""
    chosen, left_out = _choose(compiled, {})
    assert MIX == chosen
    assert "tensorrt is not installed" in left_out["tensorrt"]
    chosen, left_out = _choose(compiled, {MIX: "other answers"})
    assert "openvino" == chosen
    assert "it does not verify: other answers" == left_out[MIX]
    assert "onnxruntime" == _choose(compiled, {MIX: "other answers", "openvino": "these, too"})[0]
    with pytest.raises(InternalError, match="no"):
        _choose(compiled, dict.fromkeys([MIX, "openvino", "onnxruntime"], "no"))


def test_every_stage_and_every_form_is_timed(compiled: Path) -> None:
    """On real engines, in this process."""
    bundle = Bundle.open(compiled)
    inputs = make_random_inputs(bundle.manifest.inputs, 0, 2)
    stages_s = time_stages_here(bundle, Settings(), ["onnxruntime", "openvino", "fake"], inputs=inputs, seconds=0.01)
    forms_s = time_forms_here(bundle, Settings(), ["onnxruntime", MIX], inputs=inputs, seconds=0.01)
    assert [False, False, True] == [bool(np.isnan(times).all()) for times in stages_s.values()]
    assert min(stages_s["onnxruntime"].min(), stages_s["openvino"].min()) > 0
    assert {"onnxruntime staged", "onnxruntime fused", f"{MIX} staged"} == set(forms_s)


@pytest.mark.parametrize(
    ("given", "message"), [({"seconds": 0}, "chosen by timing"), ({"seconds": 1, "options": "a=1"}, "options")]
)
def test_what_auto_cannot_do_is_refused(given: dict[str, object], message: str, model: Path, tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(InputError, match=message):
        edgeexit.compile(model, tmp_path / "b.eexit", backend="auto", **given)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_auto_keeps_what_it_measured_in_the_bundle(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was chosen: the comparison names it, and the bundle is opened with it."""
    monkeypatch.setattr("edgeexit.compiler.backend_timing.PROCESSES", 2)
    told: set[str] = set()
    bundle = edgeexit.compile(
        model, tmp_path / "b.eexit", backend="auto", seconds=0.05, progress=lambda what, *_: told.add(what)
    )
    [comparison] = bundle.manifest.backends.values()
    assert {"onnxruntime", "openvino"} <= set(comparison.stages_s)
    assert "auto" == bundle.manifest.source.options["backend"]
    assert "timing in fresh processes" in told
    with pytest.warns(edgeexit.CalibrationWarning), edgeexit.load(bundle.path) as runner:
        assert comparison.chosen == runner.settings.backend
    assert Bundle.open(bundle.path).manifest == bundle.manifest
