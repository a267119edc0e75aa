"""`edgeexit replay`: shards of every exit on every sample, and thresholds over all of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from edgeexit.calibration import join_tables
from edgeexit.cli.app import app
from edgeexit.data import Dataset
from edgeexit.errors import InputError
from edgeexit.report.schemas import load_schema
from edgeexit.runtime import load_quietly
from edgeexit.scale import ShardedTable, choose_rows, choose_thresholds
from tests.networks import images
from tests.support.command_line import run_edgeexit

SAMPLES = 50


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Samples with labels for the compiled network."""
    np.savez(tmp_path / "data.npz", x=images(SAMPLES), y=np.arange(SAMPLES) % 4)
    return tmp_path / "data.npz"


def run(*words: object) -> str:
    ended = CliRunner().invoke(app, ["replay", *map(str, words)], env={"COLUMNS": "80", "LINES": None})
    assert 0 == ended.exit_code, ended.output
    return ended.stdout


def test_it_writes_shards_and_says_what_to_type_with_their_thresholds(
    compiled: Path, data: Path, tmp_path: Path
) -> None:
    """The thresholds that it prints are those of its JSON object, which keeps its schema; a second run makes no shard again."""
    words = (compiled, "--data", data, "-o", tmp_path / "replay", "--rows", 20, "--mode", "staged")
    run(*words)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "replay").glob("*.npz")}
    printed = run(*words, "--target", "agreement>=0.9", "--seconds", 0)
    found = json.loads(run(*words, "--target", "agreement>=0.9", "--seconds", 0, "--json"))
    jsonschema.Draft202012Validator(load_schema("replay-summary/1")).validate(found)

    assert 3 == len(made)
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert "50 samples in 3 shards" in printed
    assert f"--thresholds={','.join(map(str, found['thresholds']))}" in printed
    with load_quietly(compiled, mode="staged") as runner:
        runner.thresholds = map(float, found["thresholds"])
        whole = join_tables(ShardedTable.open(tmp_path / "replay")).evaluate(runner.inner_thresholds)
    assert found["accuracy"] == whole.accuracy
    assert found["macs"] == whole.macs


def test_thresholds_from_shards_are_in_time_measured_here(compiled: Path, data: Path, tmp_path: Path) -> None:
    """The runner has them afterwards; shards of another network are refused."""
    run(compiled, "--data", data, "-o", tmp_path / "replay", "--mode", "staged")
    table = ShardedTable.open(tmp_path / "replay")
    samples = Dataset("some", images(4), None)
    with load_quietly(compiled, mode="staged") as runner:
        policy = choose_thresholds(runner, table, "mean<=10s", samples, seconds=0.1)
        assert policy.mean_s > 0
        assert runner.inner_thresholds == policy.thresholds
        assert choose_rows(runner.bundle) == 65_536

        (tmp_path / "replay" / "shards.json").write_text(
            json.dumps({"schema": table.shards.schema, "bundle": "another", "samples": table.shards.samples})
        )
        with pytest.raises(InputError, match="another network"):
            choose_thresholds(runner, ShardedTable.open(tmp_path / "replay"), "mean<=10s", samples)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--engine", "ray"), 3, "edgeexit[ray]"),
        (("--engine", "spark"), 2, "local or ray"),
        (("--column", "image"), 2, "belongs to --engine ray"),
    ],
)
def test_workers_need_ray(
    compiled: Path,
    data: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is missing or wrong is said before anything is written."""
    monkeypatch.setitem(sys.modules, "ray", None)  # as Python has it for what cannot be imported
    ended = run_edgeexit("replay", compiled, "--data", data, "-o", tmp_path / "replay", *options)

    assert code == ended.returncode
    assert said in " ".join(ended.stderr.split())
    assert not (tmp_path / "replay").exists()


def test_calibrate_takes_the_shards(compiled: Path, data: Path, tmp_path: Path) -> None:
    """Thresholds are chosen over them, run on the data, and kept; from the curve there are none."""
    run(compiled, "--data", data, "-o", tmp_path / "replay", "--rows", 20, "--mode", "staged")
    words = ("calibrate", compiled, "--replay", tmp_path / "replay", "--target", "agreement>=0.5", "--mode", "staged")
    ended = run_edgeexit(*words, "--data", data, "--seconds", 0.2, "--dry-run", "--json", "--force")
    refused = run_edgeexit(*words, "--from-curve")

    assert ended.returncode in (0, 1), ended.stderr
    assert (50, 50) == tuple(json.loads(ended.stdout)["parts"][name] for name in ("shards", "validate"))
    assert 2 == refused.returncode
    assert "--replay" in refused.stderr
