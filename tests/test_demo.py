"""The demo: the whole path on the shipped network, as a new user runs it first."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeexit.cli.app import app
from edgeexit.demo import DemoResult
from tests.support.command_line import run_edgeexit

PROMISED = {
    "accuracy", "backbone_accuracy", "target", "thresholds", "exit_rates", "predicted_mean_s", "measured_mean_s", "backbone_mean_s",
    "speedup", "target_met", "target_state", "statements", "advice",
}  # fmt: skip


def check_demo(result: dict[str, Any]) -> None:
    """What the demo's one JSON object promises; the wheel's test runs it whole, as a new user does."""
    assert result["schema"] == "edgeexit.demo/1"
    assert set(result) >= PROMISED
    assert result["target_met"] == (result["target_state"] == "met")
    assert result["target_state"] != "not met"
    assert ["bounds", "prediction", "machine"] == [line.split()[0] for line in result["statements"]]
    assert sum(result["exit_rates"]) == pytest.approx(1)
    assert result["speedup"] == pytest.approx(result["backbone_mean_s"] / result["test_mean_s"])
    assert result["accuracy"] > 0.95
    assert result["accuracy"] >= result["backbone_accuracy"] - 0.03
    assert result["measured_mean_s"] > 0


@pytest.mark.slow
def test_an_infeasible_target_ends_with_exit_code_1_and_the_nearest_feasible_one() -> None:
    """Refused with what can be had; no traceback."""
    run = run_edgeexit("demo", "--target", "mean<=1ns")

    assert run.returncode == 1
    assert "nearest" in run.stderr.lower()
    assert "Traceback" not in run.stderr


def test_a_target_without_a_unit_is_refused_before_any_work() -> None:
    """Exit code 2, and the words say what is missing."""
    run = run_edgeexit("demo", "--target", "mean<=5")

    assert run.returncode == 2
    assert "unit" in run.stderr


def test_a_demo_cut_short_while_measuring_ends_as_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C then leaves figures of the processes that had ended; they are shown, and the exit code is that of Ctrl-C."""
    plain = {"str": "text", "float": 1.0, "int": 1, "bool": True, "tuple[float, ...]": (0.5, 0.5)}
    values = {f.name: plain.get(str(f.type)) for f in dataclasses.fields(DemoResult)}
    cut_short = DemoResult(**{**values, "notes": ("interrupted after 3 of 5 processes",)})  # type: ignore[arg-type]
    monkeypatch.setattr("edgeexit.demo.run_demo", lambda **_: cut_short)

    result = CliRunner().invoke(app, ["demo", "--json"])

    assert 130 == result.exit_code
    assert "interrupted after 3 of 5 processes" in result.stdout
