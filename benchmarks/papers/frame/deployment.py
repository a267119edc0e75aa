"""Trained networks on the device: compiled, calibrated, measured, and timed beside their plain networks. Needs a quiet machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import edgeexit
from benchmarks.common import open_plain, time_variants
from benchmarks.papers.frame.parts import Findings
from benchmarks.papers.frame.training import Run, Runs
from edgeexit.calibration import parse_target
from edgeexit.evaluate import evaluate_on_device
from edgeexit.exporter import export
from edgeexit.report.table import Table
from edgeexit.util import units
from edgeexit.util.documents import to_document

BASE = "base"
"""The phase that trains the network without its exits."""


@dataclass(frozen=True, eq=False)
class Deployed:
    """A network on the device.

    Attributes:
        figures: gains, and how far the measured mean is from the predicted one, as a share.
        right: which test samples are answered rightly, bool [n], by whom.
        evaluation: the document of `edgeexit.evaluate.DeviceEvaluation`.
    """

    figures: Mapping[str, float]
    evaluation: Mapping[str, Any]
    right: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


def examine_deployment(
    runs: Runs,
    *,
    target: str,
    preset: str,
    criterion: str = "max_softmax",
    plain: Runs | None = None,
    brief: bool = False,
) -> Findings:
    """Every network compiled, calibrated and measured, and timed beside its plain network where there is one.

    Args:
        runs: the trained networks.
        target: of the calibration.
        preset: of `edgeexit bench`.
        criterion: under which they leave.
        plain: runs of the network without exits, by the same names and seeds: its phase `base`, or the one that is the model.
        brief: for tests: a moment, of networks that have hardly learned anything.
    """
    samples: dict[str, dict[int, NDArray[Any]]] = {}
    values: dict[str, dict[int, float]] = {}
    evaluations: dict[str, Any] = {}
    for name, by_seed in runs.items():
        for seed, run in by_seed.items():
            beside = plain[name][seed] if plain else None
            with tempfile.TemporaryDirectory() as folder:
                found = deploy_run(
                    run, beside, Path(folder), target=target, preset=preset, criterion=criterion, brief=brief
                )
            evaluations[f"{name}-{seed}"] = found.evaluation
            for what, value in found.figures.items():
                values.setdefault(f"{name}: {what}", {})[seed] = value
            for whose, right in found.right.items():
                samples.setdefault(f"{name}: accuracy of the {whose}", {})[seed] = right
    return Findings(samples=samples, values=values, details={"target": target, "evaluations": evaluations})


def deploy_run(
    run: Run, plain: Run | None, folder: Path, *, target: str, preset: str, criterion: str, brief: bool
) -> Deployed:
    """Export, compile, calibrate and measure a network; then time it beside its plain network on the same samples."""
    known, test, bundle = run.load_part("calibration"), run.load_part("test"), folder / "model.eexit"
    model, wanted = folder / "model.onnx", parse_target(target)
    export(run.load_network(), make_example(run), model)
    found, _ = evaluate_on_device(model, bundle, known, test, wanted, criterion=criterion, preset=preset, force=brief)
    figures = {
        "gain": found.speedup,
        "accuracy": found.accuracy,
        "measured over predicted mean": found.measured_mean_s / found.predicted_mean_s - 1,
    }
    if plain is None:
        return Deployed(figures, to_document(found))
    without = folder / "plain.onnx"
    export(plain.load_network(BASE if BASE in plain.recipe.phases else None), make_example(run), without)
    with edgeexit.load(bundle) as runner:
        both = {"bundle": runner, "plain network": open_plain(runner, without)}
        seconds, repeats, trace = (0.05, 1, 128) if brief else (4.0, 5, 1024)
        timed = time_variants(both, test, seconds=seconds, repeats=repeats, trace=trace)
        right = {whose: np.array([one(x).label for x in test.x[:, None]]) == test.y for whose, one in both.items()}
    gain = timed["plain network"].latency.typical_s / timed["bundle"].latency.typical_s
    return Deployed({**figures, "gain over the plain network": gain}, to_document(found), right)


def show_deployment(record: Mapping[str, Any]) -> Sequence[Table]:
    """A row for every network and seed: the drop with its interval, both gains, the prediction against the measurement."""
    rows, beside = [], "gain over the plain network"
    for name, found in record["details"]["evaluations"].items():
        network, seed = name.rsplit("-", 1)
        plain = record["values"].get(f"{network}: {beside}", {"per_seed": {}})["per_seed"].get(seed)
        off = found["measured_mean_s"] / found["predicted_mean_s"] - 1
        rows.append(
            (
                name,
                units.percent(found["accuracy"]),
                f"{found['drop_points']:+.2f} ± {found['drop_room_points']:.2f}",
                found["target_state"],
                units.ratio(found["speedup"]),
                found["verdict"],
                "" if plain is None else units.ratio(plain),
                f"{100 * off:+.1f} %",
            )
        )
    columns = (
        "network, seed",
        "accuracy",
        "drop, points",
        record["details"]["target"],
        "gain",
        "verdict",
        beside,
        "off",
    )
    note = (
        "On the test part. Drop: below the last exit, with its 95 % interval, paired by sample. Gain: time of the bundle's "
        "own network run straight to its last exit over that of leaving early; in the last but one column of the network "
        "trained without exits. Off: how far the measured mean is from the one that calibrate predicted."
    )
    return [Table(f"{record['part']}: compiled, calibrated, measured", columns, tuple(rows), note)]


def make_example(run: Run) -> torch.Tensor:
    """One input of zeros, of the shape of the run's samples."""
    return torch.zeros(1, *run.load_part("test").shape)
