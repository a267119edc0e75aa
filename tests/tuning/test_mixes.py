"""Backends and precisions mixed by stage, as candidates of tuning; the times of single stages are made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edgeexit
from edgeexit.backends import Settings
from edgeexit.bundle import Bundle
from edgeexit.stage_choices import for_stage, is_mixed, list_stage_names, merge_stage_names
from edgeexit.tuning import TuningSpace, tune
from edgeexit.tuning.mixes import MOST, propose_mixes
from edgeexit.tuning.space import DecisionRule, EngineSetup, TuningCandidate
from tests.networks import images

EARLY_AND_LATE = {"float32": [1.0, 4.0, 4.0], "int8": [2.0, 1.0, 1.0]}


def _times(by_precision: dict[str, list[float]]) -> dict[tuple[str, str], NDArray[np.float64]]:
    return {(precision, "onnxruntime"): np.array(stages_s) for precision, stages_s in by_precision.items()}


def test_a_stage_that_int8_makes_slower_stays_in_float32() -> None:
    """By measurement: the later ones, which it makes faster, are proposed in int8, first of all those that gain most together."""
    found = [setup.precision for setup in propose_mixes(_times(EARLY_AND_LATE), "float32", 1).setups]
    assert "float32+int8+int8" == found[0]
    assert all(is_mixed(precision) for precision in found)


def test_nothing_is_proposed_where_nothing_can_pay() -> None:
    """Slower in every stage, such as int8 on a small network; what was not tried is said with its bound."""
    slower = propose_mixes(_times({"float32": [1.0, 1.0], "int8": [1.5, 1.4]}), "float32", 1)
    assert () == slower.setups
    assert any("float32+int8" in one.what and "1.13 times" in one.reason for one in slower.left_out)
    assert () == propose_mixes(_times({"float32": [1.0, 1.0]}), "float32", 1).setups
    assert () == propose_mixes(_times({"float16": [1.0, 1.0], "int8": [0.1, 0.1]}), "float16", 1).setups


def test_the_fastest_backend_of_each_stage_makes_the_mix() -> None:
    """In each precision, where it is faster than the best single one there."""
    times = {("float32", "onnxruntime"): np.array([1.0, 5.0]), ("float32", "openvino"): np.array([2.0, 3.0])}
    assert (EngineSetup("float32", "onnxruntime+openvino", "staged", 2),) == propose_mixes(times, "float32", 2).setups


def test_the_number_of_mixes_is_bounded_and_each_beats_its_bound() -> None:
    """Whatever the times and the number of stages."""
    rng = np.random.default_rng(0)
    for stages in (2, 4, 9):
        times = {
            (p, b): rng.random(stages) for p in ("float32", "float16", "int8") for b in ("onnxruntime", "openvino")
        }
        found = propose_mixes(times, "float32", 1).setups
        assert sum(not is_mixed(setup.precision) for setup in found) <= MOST
        assert sum(is_mixed(setup.precision) for setup in found) <= MOST
        for setup in found:
            assert len(list_stage_names(setup.precision)) in (1, stages)
            assert len(list_stage_names(setup.backend)) in (1, stages)


def test_exits_go_only_where_the_stages_that_become_one_are_alike() -> None:
    """Their answers were recorded stage by stage."""
    assert "float32+int8" == merge_stage_names("float32+int8+int8", (1,))
    assert "int8" == merge_stage_names("int8", (2,))
    assert "int8+float32+heads-float32" == merge_stage_names("int8+int8+float32+heads-float32", (2,))
    candidate = TuningCandidate(
        EngineSetup("float32+int8+int8", "onnxruntime", "staged", 1), DecisionRule("entropy"), (2,)
    )
    assert candidate.final_setup is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::edgeexit.CalibrationWarning")
def test_mixes_are_compiled_timed_and_chosen_like_other_candidates(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle is opened with the mix, and `from_tune` takes it again without measuring."""

    def survey(
        _bundle: Bundle, settings: Settings, backends: Sequence[str], **_: Any
    ) -> dict[str, NDArray[np.float64]]:
        return {name: np.array(EARLY_AND_LATE[settings.precision]) for name in backends}

    monkeypatch.setattr("edgeexit.tuning.mixes.time_stages_here", survey)
    x = images(120)
    space = TuningSpace(("onnxruntime",), ("float32", "int8"), ("staged",), (1,), ("entropy",), ("none",))

    result = tune(model, tmp_path / "b.eexit", x, target="agreement>=0.3", space=space, seconds=0.3, force=True)

    setups = [one.setup for one in result.tried] + [one.setup for one in result.finalists]
    timed = [one.what for one in result.not_tried]
    assert any("float32+int8" in text for text in [*(s.precision for s in setups), *timed])
    with edgeexit.load(tmp_path / "b.eexit") as runner:
        chosen = result.chosen.setup
        assert (chosen.precision, chosen.backend) == (runner.settings.precision, runner.settings.backend)
        assert all(for_stage(chosen.precision, stage.exit) for stage in runner.bundle.manifest.stages)
    again = tune(
        model, tmp_path / "c.eexit", x, target="agreement>=0.2", space=space, force=True, from_tune=tmp_path / "b.tune"
    )
    assert {one.setup.precision for one in again.tried} <= {one.setup.precision for one in result.tried}
