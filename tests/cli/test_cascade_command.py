"""`edgeexit cascade`: classifiers of other tools become a network that can be compiled; what is wrong is one message."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import edgeexit
from edgeexit.cli.app import app
from edgeexit.cli.failures import run_guarded
from tests.cascades.samples import make_samples
from tests.cascades.test_cascade_files import PATHS


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command on files of scikit-learn and Keras."""
    x, y = make_samples(800, seed=3)
    np.savez(tmp_path / "samples.npz", x=x, y=y)
    files = [str(path) for path in PATHS]
    options = ["--cost", "parameters", "--hidden", "8", "-o", str(tmp_path / "c.onnx")]
    return ["cascade", *files, "--data", str(tmp_path / "samples.npz"), *options]


def test_the_output_is_compiled_and_answers(words: list[str], tmp_path: Path) -> None:
    """The document names what was written; the bundle stops at the method's threshold and gives the classifiers' answers."""
    done = CliRunner().invoke(app, [*words, "--json"])
    assert 0 == done.exit_code, done.output
    document = json.loads(done.stdout)
    assert ("edgeexit.cascade/1", 400, 3) == (document["schema"], document["fitted_on"], len(document["classifiers"]))

    bundle = edgeexit.compile(document["path"], tmp_path / "c.eexit", seconds=0)
    with pytest.warns(edgeexit.CalibrationWarning):
        runner = edgeexit.load(bundle.path)
    with runner:
        answers = [runner(x[None]) for x in np.load(document["rest"])["x"][:40]]
        assert [0.5, 0.5] == list(runner.thresholds)
    assert bundle.manifest.is_cascade
    assert {1, 2, 3} >= {a.exit for a in answers}
    assert len({a.exit for a in answers}) > 1


def test_what_was_made_is_a_table_with_the_next_commands(words: list[str]) -> None:
    """Each classifier by itself, the cascade, and how to go on."""
    out = CliRunner().invoke(app, words).output

    assert "logistic.onnx" in out
    assert "Policies were fitted on 400 samples at alpha" in " ".join(out.split())
    assert "edgeexit compile" in out
    assert "edgeexit calibrate" in out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--cost", "latncy"], "did you mean 'latency'"),
        (["--alpha", "100"], "all samples stop at the first classifier"),
        (["--answers", "label,probabilities"], "named for 2 files and there are 3"),
        (["--answers", "label,probabilities,34"], "no output 'label' of floats"),
        (["--share", "1"], "must lie between 0 and 1"),
    ],
)
def test_what_is_wrong_is_one_message(
    words: list[str], more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and nothing is written."""
    code = run_guarded(lambda: app([*words, *more], prog_name="edgeexit", standalone_mode=False))

    assert code == 2
    assert message.casefold() in " ".join(capsys.readouterr().err.casefold().split())
    assert not (tmp_path / "c.onnx").exists()
