"""Tuning: the whole policy chosen by measurement, on a small network with three exits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import edgeexit
from edgeexit.cli.app import app
from edgeexit.cli.cmd_tune import parse_duration
from edgeexit.errors import InputError, MissingExtra
from edgeexit.runtime import CalibrationWarning
from edgeexit.tuning import TuningResult, TuningSpace, tune
from edgeexit.tuning.page import render_tuning_page
from edgeexit.tuning.space import choose_precisions, find_backends, search_subsets
from edgeexit.util.documents import read_json
from tests.support.command_line import run_edgeexit

pytestmark = pytest.mark.filterwarnings("ignore::edgeexit.CalibrationWarning")

N = 160
ONE_SETUP = TuningSpace(("onnxruntime",), ("float32",), ("staged",), (1,), ("entropy",), ("none",), mixed=False)
SMALL = TuningSpace(
    ("onnxruntime",), ("float32", "int8"), ("staged", "fused"), (1,), ("entropy", "running_mean"), mixed=False
)


@pytest.fixture(scope="module")
def samples(compiled: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of which the last exit finds two classes, each half of them, and labels that it gets right nine times in ten."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8 * N, 3, 8, 8)) * rng.uniform(0.2, 3, (8 * N, 1, 1, 1))
    x = (x + 3 * rng.standard_normal((8 * N, 3, 1, 1))).astype(np.float32)
    with edgeexit.load(compiled) as runner:
        found = runner.replay(x)[1][:, -1].argmax(axis=-1)
    places = np.concatenate([np.flatnonzero(found == label)[: N // 2] for label in (0, 2)])
    x, y = x[places], found[places]
    assert len(y) == N
    return x, np.where(rng.random(N) < 0.1, (y + 1) % 4, y)


@pytest.fixture(scope="module")
def tuned(
    model: Path, samples: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TuningResult]:
    """A tuned bundle and what tuning says of it."""
    path = tmp_path_factory.mktemp("tuned") / "best.eexit"
    return path, tune(model, path, *samples, target="drop<=60", space=SMALL, seconds=1)


def test_a_tuned_bundle_is_opened_with_the_settings_that_were_chosen(tuned: tuple[Path, TuningResult]) -> None:
    """`load` without settings takes those of the result, and its thresholds; settings that are named win."""
    path, result = tuned
    chosen = result.chosen
    with edgeexit.load(path) as runner:
        settings = runner.settings
        assert (settings.backend, settings.mode, settings.precision, settings.threads) == (
            chosen.setup.backend,
            chosen.setup.mode,
            chosen.setup.precision,
            chosen.setup.threads,
        )
        if chosen.state == "not met":  # kept, but not active
            assert set(runner.inner_thresholds) == {float("inf")}
        else:
            assert tuple(runner.thresholds) == chosen.thresholds
        assert runner.criterion.name == chosen.setup.criterion
    other = "fused" if chosen.setup.mode == "staged" else "staged"
    with edgeexit.load(path, mode=other, threads=2) as runner:
        assert (runner.settings.mode, runner.settings.threads) == (other, 2)


def test_exits_that_are_not_kept_are_gone_from_the_bundle(tuned: tuple[Path, TuningResult]) -> None:
    """The bundle has the exits of the result and no others."""
    path, result = tuned
    whole = edgeexit.Bundle.open(path.with_name("best.tune") / "own.eexit").manifest.stages
    outputs = {stage.name: stage.output for stage in whole}
    kept = [outputs[name] for name in result.chosen.setup.exits]
    assert [stage.output for stage in edgeexit.Bundle.open(path).manifest.stages] == kept


def test_every_subset_and_criterion_of_a_timed_setup_is_tried(tuned: tuple[Path, TuningResult]) -> None:
    """Three subsets of two early exits, under each criterion, with and without temperatures, for each setup that was timed to the end."""
    _, result = tuned
    setups = {(t.setup.precision, t.setup.mode) for t in result.tried}
    assert len(result.tried) == len(setups) * 2 * 2 * 3
    assert len({t.setup for t in result.tried}) == len(result.tried)
    assert ("float32", "staged") in setups, "the usual setup is among them, so that contributions can be told"


def test_the_front_holds_no_candidate_that_another_beats(tuned: tuple[Path, TuningResult]) -> None:
    """No candidate is both faster and more accurate than one on the front."""
    _, result = tuned
    known = [
        (t.mean_s, t.accuracy, t.on_front) for t in result.tried if t.mean_s is not None and t.accuracy is not None
    ]
    for mean_s, accuracy, on_front in known:
        beaten = any(m < mean_s and a >= accuracy for m, a, _ in known)
        assert not (on_front and beaten)


def test_the_drop_is_counted_from_the_network_as_it_was_given(
    tuned: tuple[Path, TuningResult], samples: tuple[np.ndarray, np.ndarray], model: Path
) -> None:
    """Agreement of a finalist is that with the float32 network, whatever its own precision."""
    path, result = tuned
    x, _ = samples
    validate = edgeexit.data.split_calibration(N, 0)[1]
    with edgeexit.load(path.with_name("best.tune") / "own.eexit") as runner, runner.backbone() as backbone:
        straight = np.array([backbone(x[i : i + 1]).label for i in validate])
    with edgeexit.load(path) as runner:
        given = np.array([runner(x[i : i + 1]).label for i in validate])
    assert result.chosen.agreement == pytest.approx(float(np.mean(given == straight)))


def test_an_interrupted_run_goes_on_with_what_it_recorded(
    tuned: tuple[Path, TuningResult], samples: tuple[np.ndarray, np.ndarray], model: Path, tmp_path: Path
) -> None:
    """With resume, recorded answers and times are taken, none is made again; without it, or with other data, the folder is refused."""
    path, _ = tuned
    work = Path(shutil.copytree(path.with_name("best.tune"), tmp_path / "best.tune"))
    for finalist in work.glob("finalist-*"):
        shutil.rmtree(finalist)
    before = {file.name: file.stat().st_mtime_ns for file in work.glob("*-*.npz")}
    output, x, y = tmp_path / "best.eexit", *samples
    with pytest.raises(InputError, match="holds an earlier run"):
        tune(model, output, x, y, target="drop<=60", space=SMALL, seconds=0.5)
    with pytest.raises(InputError, match="another data"):
        tune(model, output, x[1:], y[1:], target="drop<=60", space=SMALL, seconds=0.5, resume=True)
    tune(model, output, x, y, target="drop<=60", space=SMALL, seconds=0.5, resume=True)
    assert before == {file.name: file.stat().st_mtime_ns for file in work.glob("*-*.npz")}
    assert (output / "manifest.json").exists()


def test_another_target_is_chosen_from_what_was_measured(
    tuned: tuple[Path, TuningResult], samples: tuple[np.ndarray, np.ndarray], model: Path, tmp_path: Path
) -> None:
    """With from_tune nothing is timed: the record stays as it is, the result is predicted, and the bundle leaves by its thresholds."""
    path, first = tuned
    work, (x, y) = path.with_name("best.tune"), samples
    before = {file: file.stat().st_mtime_ns for file in work.rglob("*")}
    output = tmp_path / "second.eexit"
    found = tune(model, output, x, y, target="agreement>=0.8", space=SMALL, from_tune=work)
    assert before == {file: file.stat().st_mtime_ns for file in work.rglob("*")}
    chosen = found.chosen
    assert (chosen.state, chosen.ratio, found.measured_at) == ("predicted", None, first.created)
    with edgeexit.load(output) as runner:
        assert tuple(runner.thresholds) == pytest.approx(chosen.thresholds)
        assert runner.settings.mode == chosen.setup.mode
        validate = edgeexit.data.split_calibration(N, 0)[1]
        leaves = np.array([runner(x[i : i + 1]).exit for i in validate])
    rates = np.bincount(leaves - 1, minlength=len(chosen.exit_rates)) / len(leaves)
    assert rates == pytest.approx(chosen.exit_rates, abs=2.5 / len(leaves)), "the engines decide as the record predicts"
    with pytest.raises(InputError, match="another seed"):
        tune(model, output, x, y, target="drop<=60", from_tune=work, seed=1)
    with pytest.raises(InputError, match=r"no record\.json"):
        tune(model, output, x, y, target="drop<=60", from_tune=tmp_path)


def test_a_contribution_changes_one_dimension_of_the_best_candidate(tuned: tuple[Path, TuningResult]) -> None:
    """Each names a value that the best candidate has and one that it has not, with the gain in time or the reason why there is none."""
    _, result = tuned
    best = result.tried[0].setup
    for one in result.contributions:
        assert one.usual != one.chosen
        if one.dimension in ("precision", "backend", "mode", "threads", "criterion"):
            assert one.chosen == str(getattr(best, one.dimension))
        assert (one.times is None) == (one.points is None)
        assert one.times is not None or one.reason
    dropped = sum(one.dimension == "exits" for one in result.contributions)
    assert dropped == 3 - len(best.exits)


def test_the_page_has_the_conclusion_and_every_table(tuned: tuple[Path, TuningResult]) -> None:
    """The same words as the terminal's; the chosen candidate is marked among those that were tried."""
    _, result = tuned
    page = render_tuning_page(result)
    assert f"{result.verdict.capitalize()}: {result.conclusion}" in page
    assert ">chosen</text>" in page
    for part in (result.conclusion, "The last candidates", "What was tried", result.chosen.setup.criterion):
        assert part in page


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.5, 0.9, "pays"), (0.0, 9.7, "undecided"), (0.9, 1.0, "undecided"), (1.1, 1.3, "does not pay")],
)
def test_a_time_that_cannot_be_told_from_the_networks_is_undecided(
    tuned: tuple[Path, TuningResult], low: float, high: float, verdict: str
) -> None:
    """Neither a gain nor a loss is said of a ratio whose interval holds 1."""
    _, result = tuned
    chosen = replace(result.chosen, ratio=(low + high) / 2, ratio_low=low, ratio_high=high)
    found = replace(result, finalists=(chosen,), pays=high < 1)
    assert verdict == found.verdict
    assert f"{verdict.capitalize()}: {found.conclusion}" in render_tuning_page(found)


def test_a_target_that_nothing_meets_names_the_nearest_and_by_which_candidate(
    model: Path, samples: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """The error has the nearest target, the criterion and the setup; nothing is written."""
    with pytest.raises(
        edgeexit.TargetNotMet, match=r"nearest that can be met is '.*', by .* on .*onnxruntime"
    ) as error:
        tune(model, tmp_path / "out.eexit", *samples, target="mean<=1ns", space=ONE_SETUP, seconds=0.3)
    assert error.value.nearest
    assert not (tmp_path / "out.eexit").exists()


@pytest.mark.parametrize(
    ("target", "reason"),
    [("rate1>=0.5", "which exits stay"), ("energy<=1mJ", "measures no energy"), ("drop<=x", "not a number")],
)
def test_bounds_that_tuning_cannot_judge_are_refused(
    target: str, reason: str, model: Path, samples: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """Before anything is compiled."""
    with pytest.raises(InputError, match=reason):
        tune(model, tmp_path / "out.eexit", *samples, target=target, space=SMALL)
    assert not list(tmp_path.iterdir())


def test_a_bound_on_accuracy_needs_labels(model: Path, samples: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    """Refused before anything is compiled; agreement is what can be asked for."""
    for target in ("drop<=0.5", "accuracy>=0.9"):
        with pytest.raises(InputError, match=r"needs labels.*agreement"):
            tune(model, tmp_path / "out.eexit", samples[0], target=target, space=SMALL)
    assert not list(tmp_path.iterdir())


def test_names_that_do_not_exist_are_refused_with_the_nearest() -> None:
    """Backends, precisions, modes and criteria alike."""
    wrong: dict[str, Any] = {"backends": "onnx", "precisions": "int4", "modes": "fuse", "criteria": "entropi"}
    for field, value in wrong.items():
        given: dict[str, Any] = {field: (value,)}
        with pytest.raises(InputError, match=value):
            TuningSpace(**given)
    with pytest.raises(InputError, match="empty"):
        TuningSpace(modes=())


def test_few_early_exits_are_searched_whole_and_many_by_elimination() -> None:
    """All 15 subsets of four; of seven the full set, and always the best without one more."""
    assert len(set(search_subsets(4, {}))) == 15

    class Rating:
        def __init__(self, kept: tuple[int, ...]) -> None:
            self.key = (float(3 in kept) + 0.1 * len(kept),)

    found: dict[tuple[int, ...], Rating] = {}
    for kept in search_subsets(7, found):
        found[kept] = Rating(kept)
    assert (1, 2, 3, 4, 5, 6, 7) in found
    assert (3,) in found, "the one that matters is kept to the end"
    assert len(found) == 1 + sum(range(2, 8))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("7", 7), ("1.5 min", 90)])
def test_a_budget_is_a_number_with_a_unit_of_time(text: str, seconds: float) -> None:
    """Seconds without one."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "5 parsecs", "-3s", "0", "inf"])
def test_a_budget_that_is_no_time_is_refused(text: str) -> None:
    """With the forms that are read."""
    with pytest.raises(InputError, match="10m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--target", "drop<=x"), "not a number"),
        (("--target", "drop<=1", "--budget", "5 parsecs"), "10m"),
        (("--target", "drop<=1", "--threads", "some"), "--threads"),
        (("--target", "drop<=1", "--criteria", "entropi"), "entropy"),
        (("--target", "drop<=1", "--from-tune", "missing.tune"), "record.json"),
    ],
)
def test_wrong_options_of_the_command_end_with_code_2(
    words: tuple[str, ...], reason: str, model: Path, tmp_path: Path
) -> None:
    """One message with what to write, no traceback, and nothing is written."""
    np.savez(tmp_path / "data.npz", x=np.zeros((60, 3, 8, 8), np.float32), y=np.arange(60) % 4)
    output = tmp_path / "best.eexit"
    done = run_edgeexit("tune", model, "--data", tmp_path / "data.npz", "-o", output, *words)

    assert (2, "") == (done.returncode, done.stdout)
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert [tmp_path / "data.npz"] == list(tmp_path.iterdir())


def test_a_calibration_counts_the_drop_from_the_network_that_it_is_given(
    bundle_path: Path, samples: tuple[np.ndarray, np.ndarray]
) -> None:
    """With `plain` the agreement is with those labels, not with the bundle's own backbone."""
    x, y = samples
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(bundle_path)
    with runner:
        found = edgeexit.calibrate(runner, x, y, target="accuracy>=0.1", plain=y, seconds=0.5, dry_run=True)
    for row in found.exits:
        assert row.agreement == row.accuracy, "the labels themselves stand for the network"


def test_the_command_prints_the_front_the_last_candidates_and_the_conclusion(
    model: Path, samples: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """And with --json the document that it keeps."""
    x, y = samples
    np.savez(tmp_path / "data.npz", x=x, y=y)
    shutil.copy(model, tmp_path / "net.onnx")
    words = [
        "tune",
        str(tmp_path / "net.onnx"),
        "--data",
        str(tmp_path / "data.npz"),
        "--target",
        "drop<=60",
        "--budget",
        "0.3s",
    ]
    words += [
        "--backends",
        "onnxruntime",
        "--precisions",
        "float32",
        "--threads",
        "1",
        "--criteria",
        "entropy",
        "--modes",
        "staged",
    ]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    for part in (
        "candidates for drop<=60",
        "The last candidates",
        "times as fast",
        "net.tune/tuning.html",
        "Written",
    ):
        assert part in done.output
    kept = read_json(tmp_path / "net.tune" / "tuning.json", "result")
    again = CliRunner().invoke(app, [*words, "--resume", "--json"], catch_exceptions=False)
    assert kept["schema"] == "edgeexit.tuning/1"
    assert '"edgeexit.tuning/1"' in again.output


def test_backends_and_precisions_that_are_no_use_here_are_skipped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing backend with its reason, an error only where nothing is left; float16 where nothing computes in it, unless asked for."""

    def fail(_: object) -> None:
        raise MissingExtra("openvino", "openvino is not installed")

    monkeypatch.setattr("edgeexit.backends.openvino.OpenVinoBackend.check", fail)
    usable, missing = find_backends(TuningSpace(backends=("openvino", "onnxruntime")))
    assert usable == ("onnxruntime",)
    assert [(one.what, "openvino" in one.reason) for one in missing] == [("backend openvino", True)]
    with pytest.raises(InputError, match="openvino"):
        find_backends(TuningSpace(backends=("openvino",)))
    monkeypatch.setattr("edgeexit.backends.onnxruntime.backend.OnnxRuntimeBackend.computes_float16", lambda _: False)
    precisions, left_out = choose_precisions(TuningSpace(), usable)
    assert precisions == ("float32", "int8")
    assert "--precisions" in left_out[0].reason
    assert choose_precisions(TuningSpace(precisions=("float16",)), usable) == (("float16",), ())
    monkeypatch.setattr("edgeexit.backends.onnxruntime.backend.OnnxRuntimeBackend.computes_float16", lambda _: True)
    assert "float16" in choose_precisions(TuningSpace(), usable)[0]


@pytest.mark.slow
def test_a_model_that_is_quantised_already_is_tuned_as_it_is(
    model: Path, samples: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """Its integers stay; int8 is named among what was not tried, with the reason."""
    x, y = samples
    bundle = edgeexit.compile(model, tmp_path / "int8.eexit", precision="int8", inputs=x[:32], seconds=0)
    space = TuningSpace(("onnxruntime",), ("float32", "int8"), ("staged",), (1,), ("entropy",), ("none",))
    quantised = bundle.file(bundle.manifest.model)
    result = tune(quantised, tmp_path / "best.eexit", x, y, target="drop<=60", space=space, seconds=0.2)
    assert {one.setup.precision for one in result.tried} == {"float32"}
    assert any(one.what == "precision int8" and "nothing to bring to int8" in one.reason for one in result.not_tried)
