"""Overthinking of networks: curves and bounds (figure 3.7), collaboration (table 3.1), trained networks, two seeds of one network."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import edgeexit
from benchmarks.common import HERE, calibrate_runner, find_case
from benchmarks.papers.frame.parts import Findings, Request
from benchmarks.papers.frame.training import Run, Runs
from benchmarks.papers.overthinking.answers import (
    CRITERION,
    REDUCED,
    Answers,
    analyse_calibrated,
    list_samples,
    name_pictures,
)
from benchmarks.papers.overthinking.labels import PRICE
from edgeexit.analysis import (
    AnalysisNames,
    NetworkAnalysis,
    analyse_bundle,
    choose_exit_labels,
    compare_confidence,
    compute_budgeted_curve,
)
from edgeexit.calibration.device import replay
from edgeexit.data import load_data
from edgeexit.report.plot.figure import Axis, Figure, Picture, Points, choose_exit_tone
from edgeexit.runtime import load_quietly

SHOWN = 1500
"""Samples in a picture of ranks."""


def examine_curves(request: Request, runs: Runs) -> Findings:  # noqa: ARG001 - one signature for all
    """Figure 3.7: anytime, budgeted batch, both bounds; edgeexit's search beside algorithm 1."""
    samples: dict[str, dict[int, Any]] = {}
    details, pictures = {}, list[Picture]()
    for seed, run in runs["msdnet"].items():
        answers = Answers(run)
        used = answers.tables[1]
        analysis = answers.analyse("MSDNet on CIFAR-10")
        found = list_samples(used, analysis.inner_thresholds)
        budgeted = choose_budgeted(answers)
        found["budgeted"] = used.correct[np.arange(len(used)), used.leaves_at(budgeted)]  # type: ignore[index]
        found["budgeted: cost"] = (used.mean_cost / used.mean_cost[-1])[used.leaves_at(budgeted)]
        for key, values in found.items():
            samples.setdefault(key, {})[seed] = values
        details[str(seed)] = analysis.to_document()
        pictures = pictures or name_pictures(analysis, "cifar10")
    notes = (
        REDUCED,
        "Thresholds: the cheapest that lose at most 0.1 points on the calibration part, by the guarded choice of "
        "calibrate. Budgeted: the point "
        "of algorithm 1 that is most accurate there. Costs are shares of the last exit's multiply-accumulates.",
    )
    return Findings(samples=samples, details=details, notes=notes, pictures=pictures)


def choose_budgeted(answers: Answers) -> NDArray[np.float32]:
    """The thresholds of algorithm 1 that are most accurate on the calibration part."""
    chosen, _ = answers.tables
    curve = compute_budgeted_curve(chosen, chosen)
    assert curve.thresholds is not None
    best: NDArray[np.float32] = curve.thresholds[int(curve.accuracy.argmax())]
    return best


PHASES = {"n": "joint", "2n": "longer", "n + n": "isc"}
"""Table 3.1: trained for n epochs, for 2n, and for n and then n with ISC and OFA."""


def examine_collaboration(request: Request, runs: Runs) -> Findings:  # noqa: ARG001
    """Table 3.1 and figure 3.10: does collaboration lessen overthinking, and by a fifth?"""
    samples: dict[str, dict[int, Any]] = {}
    values: dict[str, dict[int, float]] = {}
    pictures: list[Picture] = []
    for seed, run in runs["collaborating"].items():
        for name, phase in PHASES.items():
            answers = Answers(run, phase)
            samples.setdefault(f"{name}: overthinking", {})[seed] = answers.overthinking
            samples.setdefault(f"{name}: last exit", {})[seed] = answers.right[:, -1]
            samples.setdefault(f"{name}: exit 1", {})[seed] = answers.right[:, 0]
            ranks = compare_confidence(answers.tables[1], 1, 2)
            values.setdefault(f"{name}: rank correlation", {})[seed] = ranks.spearman or 0.0
            if seed == min(runs["collaborating"]):
                pictures.append(draw_ranks(name, ranks.first, ranks.second))
    first = samples["n: overthinking"]
    samples["four fifths of n"] = {seed: 0.8 * overthought for seed, overthought in first.items()}
    notes = (
        REDUCED,
        "2n: as many epochs again from the weights of n, with a new course of the step size; the thesis trains 100 "
        "epochs from the start. "
        "ISC and OFA: backbone frozen, classifiers with the features of the earlier exit's logits, a tenth of each "
        "early exit's loss from the "
        "last one.",
    )
    return Findings(samples=samples, values=values, notes=notes, pictures=pictures)


def draw_ranks(name: str, first: NDArray[np.float64], second: NDArray[np.float64]) -> Figure:
    """Figure 3.10: the test samples in the order of both exits' confidence."""
    kept = slice(None, None, max(1, len(first) // SHOWN))
    stem = {"n": "n", "2n": "longer", "n + n": "isc"}[name]
    return Figure(
        f"overthinking-ranks-{stem}",
        f"Confidence of exits 1 and 2 ({name})",
        "Every dot is a test sample; on the diagonal both exits find it equally hard.",
        Axis("rank by exit 1"),
        Axis("rank by exit 2"),
        (Points(first[kept], second[kept], choose_exit_tone(1)),),
    )


def examine_trained(request: Request, runs: Runs) -> Findings:  # noqa: ARG001
    """Every trained network of this repository: who overthinks, what a perfect rule gains, how much of it thresholds get."""
    names = ["lenet-digits"] if request.quick else sorted(p.parent.name for p in HERE.glob("models/*/model.onnx"))
    samples: dict[str, dict[int, Any]] = {}
    details: dict[str, Any] = {}
    for name in names:
        case = find_case(name)
        with tempfile.TemporaryDirectory() as folder:
            chosen, used = read_case_tables(case.model, Path(folder), (case.calibration, case.test))
        analysis = analyse_calibrated(chosen, used, AnalysisNames(name, case.calibration, case.test))
        for key, found in list_samples(used, analysis.inner_thresholds).items():
            samples[f"{name}: {key}"] = {0: found}
        details[name] = {"headroom": analysis.to_document()["headroom"][0], "overthinking": describe_pairs(analysis)}
    notes = (
        "Thresholds under entropy: the cheapest that lose at most 0.1 points on the calibration part, by the guarded "
        "choice of calibrate; costs "
        "are shares of the last exit's multiply-accumulates; figures of the test part.",
    )
    return Findings(samples=samples, details=details, notes=notes)


def describe_pairs(analysis: NetworkAnalysis) -> dict[str, Any]:
    """The matrix of overthinking."""
    found: dict[str, Any] = analysis.to_document()["overthinking"]
    return found


def read_case_tables(
    model: Path, folder: Path, specs: tuple[str, str]
) -> tuple[edgeexit.ReplayTable, edgeexit.ReplayTable]:
    """Tables of the calibration and the test data in multiply-accumulates, from the compiled network."""
    bundle = edgeexit.compile(model, folder / "case.eexit", criterion="entropy", seconds=0)
    with load_quietly(bundle.path, mode="staged") as runner:
        chosen, used = (replay(runner, load_data(spec)).without_seconds() for spec in specs)
    return chosen, used


def examine_deployed(request: Request, runs: Runs) -> Findings:
    """The network compiled and calibrated on this machine: what its cuts cost, and what leaving early gains over its own backbone."""
    values: dict[str, dict[int, float]] = {}
    details: dict[str, Any] = {}
    pictures: list[Picture] = []
    for seed, run in runs["longer"].items():
        with tempfile.TemporaryDirectory() as folder:
            analysis, calibration, cuts = calibrate_here(run, Path(folder), quick=request.quick)
        measured = calibration.measured or calibration.predicted
        found = {
            "exit tax": calibration.exits[-1].mean_s / calibration.backbone_mean_s - 1,
            "backbone": calibration.backbone_mean_s,
            "mean": measured.mean_s,
            "gain": calibration.speedup,
            "accuracy": measured.accuracy or 0.0,
            "share of the saving reached": analysis.headroom[-1].reached or 0.0,
        }
        for key, value in found.items():
            values.setdefault(key, {})[seed] = value
        details[str(seed)] = {
            "boundary tensors": cuts,
            "analysis": analysis.to_document(),
            "verdict": calibration.verdict.lines(),
            "noise_floor": calibration.noise_floor,
        }
        pictures = pictures or name_pictures(analysis, "deployed")
    notes = (
        REDUCED,
        "The network of twice as many epochs (2n). "
        "Exit tax: how much longer leaving at the last exit takes than the same network without its other exits and cuts. "
        "Gain: the backbone's mean over that of leaving early at thresholds that lose at most 0.5 points.",
    )
    return Findings(values=values, details=details, notes=notes, pictures=pictures)


def calibrate_here(run: Run, folder: Path, *, quick: bool) -> tuple[NetworkAnalysis, edgeexit.Calibration, list[int]]:
    """The analysis in measured time, the calibration, and how many tensors cross each cut."""
    network, chosen, used = run.load_network(), run.load_part("calibration"), run.load_part("test")
    example = torch.zeros(1, *used.shape)
    model = edgeexit.export(network, example, folder / "model.onnx", criterion=CRITERION).path
    bundle = edgeexit.compile(model, folder / "model.eexit", seconds=0.0 if quick else 2.0)
    cuts = [len(stage.boundaries_out) for stage in bundle.manifest.stages[:-1]]
    target, seconds = ("drop<=100", 0.2) if quick else ("drop<=0.5", 6.0)
    with load_quietly(bundle.path) as runner:
        calibration = calibrate_runner(runner, chosen, target, seconds=seconds, force=quick)
        return analyse_bundle(runner, used, choose_on=chosen), calibration, cuts


def examine_agreement(request: Request, runs: Runs) -> Findings:  # noqa: ARG001
    """The thesis's conclusion, tested directly: do two trainings agree about the exit of a sample, beyond chance?"""
    seeds = sorted(runs["msdnet"])
    answers = {seed: Answers(runs["msdnet"][seed]) for seed in seeds}
    labels = {seed: label_exits(a) for seed, a in answers.items()}
    values: dict[str, dict[int, float]] = {}
    details: dict[str, Any] = {}
    for one, other in pairwise(seeds):
        pairs = {
            "exit labels": (labels[one], labels[other], (labels[one] >= 0) & (labels[other] >= 0)),
            "overthinking": (answers[one].overthinking, answers[other].overthinking, np.ones(len(labels[one]), bool)),
        }
        for name, (a, b, both) in pairs.items():
            found = measure_agreement(a[both].astype(int), b[both].astype(int))
            details[f"{name}, seeds {one} and {other}"] = found
            for key in ("agreement", "by chance", "kappa"):
                values.setdefault(f"{name}: {key}", {})[one] = found[key]
    notes = (
        REDUCED,
        f"Exit labels by equations 4.1 and 4.2 with a price of {PRICE:g}, of test samples that both networks have right "
        "at some exit. Kappa (Cohen "
        "1960) is 0 for the agreement that the frequencies of the labels alone give and 1 for the same labels; its interval is of 1,000 "
        "bootstraps of the samples.",
    )
    return Findings(values=values, details=details, notes=notes)


def label_exits(answers: Answers) -> NDArray[np.int64]:
    """The exit that each test sample should leave at, -1 where none is right."""
    return choose_exit_labels(answers.used.logits, answers.used.labels, price=PRICE, macs=answers.macs)


def measure_agreement(first: NDArray[np.int64], second: NDArray[np.int64]) -> Mapping[str, Any]:
    """Agreement of two labellings, what chance would give, and Cohen's kappa with its 95 % interval.

    Example:
        >>> found = measure_agreement(np.array([0, 0, 1, 1] * 50), np.array([0, 0, 1, 1] * 50))
        >>> found["agreement"], found["by chance"], found["kappa"]
        (1.0, 0.5, 1.0)
    """
    rng = np.random.default_rng(0)
    agreement, chance, kappa = _compute_kappa(first, second)
    drawn = (rng.integers(len(first), size=len(first)) for _ in range(1000))
    spread = [_compute_kappa(first[at], second[at])[2] for at in drawn]
    low, high = np.quantile(spread, [0.025, 0.975])
    return {
        "samples": len(first),
        "agreement": agreement,
        "by chance": chance,
        "kappa": kappa,
        "kappa_low": float(low),
        "kappa_high": float(high),
    }


def _compute_kappa(first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[float, float, float]:
    most = int(max(first.max(), second.max())) + 1
    shares = [np.bincount(labels, minlength=most) / len(labels) for labels in (first, second)]
    agreement, chance = float((first == second).mean()), float(shares[0] @ shares[1])
    return agreement, chance, (agreement - chance) / (1 - chance) if chance < 1 else 0.0
