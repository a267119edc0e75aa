"""What the benchmark scripts share: the cases (a trained network with its data), opening one, recording a result."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeexit
from edgeexit.backends.base import Program, Settings
from edgeexit.backends.onnxruntime.sessions import make_backbone_program, open_session
from edgeexit.cli.printing import print_tables
from edgeexit.data import Dataset, find_demo_asset, load_data
from edgeexit.errors import InputError
from edgeexit.hardware import find_device_key, judge, read_device_facts, read_device_state
from edgeexit.hardware.state import DeviceState
from edgeexit.measure.result.aggregation import TimingSeries, compute_latency
from edgeexit.measure.result.parts import Latency
from edgeexit.measure.timing import Call, TimedSamples, measure_harness_overhead, time_interleaved
from edgeexit.measure.worker import make_traced_call
from edgeexit.report.plot.figure import Picture
from edgeexit.report.plot.png import save_picture
from edgeexit.report.plot.svg import render_standalone
from edgeexit.report.table import Table
from edgeexit.runtime import Runner
from edgeexit.util.documents import dumps, parse_document, to_document
from edgeexit.util.resources import read_toml
from edgeexit.util.samples import split_samples

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """A trained network with its data.

    Attributes:
        name: of its folder in benchmarks/models/.
        model: the multi-exit model.
        plain: the same architecture trained without exits; None where there is none.
        calibration, test: its data by name.
        network: the row of BranchyNet's Table I that it stands beside; empty for networks of others.
        exits: where the exits are from: `paper`, `code` (the authors'), or `light` (our own).
    """

    name: str
    model: Path
    plain: Path | None
    calibration: str
    test: str
    network: str = ""
    exits: str = ""

    def test_data(self) -> Dataset:
        """The test set; used for final figures only."""
        return load_data(self.test)


@dataclass(frozen=True)
class CaseFacts:
    """What `case.toml` in the folder of a case says of it; see `Case`.

    Attributes:
        data: named data set.
        network, exits: see `Case`.
        plain: the case whose plain network it shares, if it has none of its own.
    """

    data: str
    network: str = ""
    exits: str = ""
    plain: str = ""


def find_case(name: str) -> Case:
    """A case by name: `lenet-digits` ships with edgeexit, the others lie in benchmarks/models/ and say in `case.toml` what they are.

    Raises:
        InputError: there is none of that name, or every fault of its `case.toml`.
    """
    if name == "lenet-digits":
        demo = find_demo_asset("lenet-digits.onnx")
        return Case(name, demo, None, "digits:calibration", "digits:test", "lenet", "paper")
    folder = HERE / "models" / name
    if not (folder / "model.onnx").is_file():
        known = ", ".join(["lenet-digits", *sorted(p.parent.name for p in HERE.glob("models/*/model.onnx"))])
        msg = f"no benchmark case named {name!r}. Cases: {known}."
        raise InputError(msg)
    path = folder / "case.toml"
    facts = parse_document(CaseFacts, read_toml(path), str(path))
    plain = (HERE / "models" / facts.plain if facts.plain else folder) / "plain.onnx"
    data = (f"{facts.data}:calibration", f"{facts.data}:test")
    return Case(name, folder / "model.onnx", plain if plain.is_file() else None, *data, facts.network, facts.exits)


def make_noise(shape: Sequence[int]) -> Dataset:
    """64 inputs of normal numbers, to time where the values do not matter."""
    return Dataset("noise", np.random.default_rng(0).normal(size=(64, *shape)).astype(np.float32), None)


def choose_default_case() -> str:
    """The MNIST network where its files are there, else the one that ships with edgeexit."""
    return "lenet-mnist" if (HERE / "models" / "lenet-mnist" / "model.onnx").is_file() else "lenet-digits"


def make_parser(description: str | None, *, target: str = "drop<=0.1") -> argparse.ArgumentParser:
    """A parser with the options that every script takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--case", default=choose_default_case(), help="trained network: lenet-digits, lenet-mnist, ...")
    parser.add_argument("--target", default=target, help="what the thresholds are calibrated to")
    parser.add_argument("--thresholds", type=float, nargs="*", help="instead of calibrating; in the criterion's unit")
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing in each repeat, all variants together")
    parser.add_argument("--repeats", type=int, default=5, help="of the interleaved timing")
    parser.add_argument("--output", type=Path, help="result file; the default is in benchmarks/results/<device>/")
    return parser


def open_case(case: Case, folder: Path, arguments: argparse.Namespace) -> Runner:
    """The case compiled into `folder`, with the thresholds given or calibrated on its calibration data."""
    runner = open_uncalibrated(case, folder, getattr(arguments, "criterion", "entropy"))
    if arguments.thresholds:
        runner.thresholds = arguments.thresholds
    else:
        calibrate_runner(runner, load_data(case.calibration), arguments.target)
    return runner


def calibrate_runner(runner: Runner, data: Dataset, target: str, **options: Any) -> edgeexit.Calibration:
    """Calibrate, and give the runner the thresholds whatever the verdict: by itself an undecided calibration is not active."""
    calibration = edgeexit.calibrate(runner, data.inputs, data.labels, target=target, **options)
    runner.inner_thresholds = calibration.inner_thresholds
    return calibration


def open_uncalibrated(case: Case, folder: Path, criterion: str = "entropy") -> Runner:
    """The case compiled into `folder` and opened without thresholds, so that nothing leaves early."""
    path = folder / f"{case.name}-{criterion}.eexit"
    inputs = load_data(case.calibration).take(slice(64)).inputs
    bundle = edgeexit.compile(case.model, path, criterion=criterion, inputs=inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return edgeexit.load(bundle.path)


def open_other_mode(runner: Runner, mode: str, backend: str = "onnxruntime") -> Runner:
    """The bundle of a runner opened in another mode, or in another backend, with the same thresholds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = edgeexit.load(runner.bundle.path, backend=backend, mode=mode, threads=runner.settings.threads)
    other.inner_thresholds = runner.inner_thresholds
    return other


def wrap_program(runner: Runner, program: Program) -> Runner:
    """Any program behind the same Runner: the same checks, buffers and predictions on both sides of a comparison."""
    return Runner(runner.bundle, runner.settings, program)


def open_plain(runner: Runner, model: Path) -> Runner:
    """A network with one output, run by ONNX Runtime with the runner's settings through the same Runner."""
    session = open_session(model, Settings(threads=runner.settings.threads, spin=runner.settings.spin), batch_1=True)
    manifest = runner.bundle.manifest
    return wrap_program(runner, make_backbone_program(session, manifest.inputs, manifest.classes))


@dataclass(frozen=True)
class Timed:
    """One variant: its latency over all repeats, the exit of each input of the trace, and its blocks for paired ratios."""

    latency: Latency
    exits: NDArray[np.int64]


def time_variants(
    runs: Mapping[str, Any], data: Dataset, *, seconds: float, repeats: int, trace: int = 4096, seed: int = 0
) -> dict[str, Timed]:
    """Time callables over the same trace of the data, interleaved; each takes one input and returns something with an `.exit`."""
    samples = split_samples(data.inputs)
    places = np.random.default_rng(seed).integers(len(samples), size=trace)
    feed = [samples[p] for p in places]
    exits = {name: np.array([run(x).exit for x in feed], np.int64) for name, run in runs.items()}
    calls: dict[str, Call] = {name: make_traced_call(run, feed, [0] * trace) for name, run in runs.items()}
    found: dict[str, list[TimedSamples]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name, timed in time_interleaved(calls, seconds=seconds, seed=seed + repeat).items():
            found[name].append(timed)
    return {name: Timed(_latency(found[name], exits[name]), exits[name]) for name in runs}


def _latency(samples: Sequence[TimedSamples], exits: NDArray[np.int64]) -> Latency:
    variants = [TimingSeries(s, exits[np.arange(len(s)) % len(exits)]) for s in samples]
    return compute_latency(variants, np.bincount(exits - 1).astype(np.int64))


def record(name: str, case: Case, arguments: argparse.Namespace, body: Mapping[str, Any], before: DeviceState) -> Path:
    """Write a result with the machine and its state around the body, and return where."""
    after = read_device_state()
    document = {
        "schema": f"edgeexit.benchmark.{name}/1",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tool": edgeexit.__version__,
        "device": {
            "key": find_device_key(),
            "facts": read_device_facts(),
            "before": before.to_document(),
            "after": after.to_document(),
        },
        "validity": judge(before, after).to_document(),
        "harness_overhead_s": measure_harness_overhead(),
        "case": case.name,
        "options": {key: value for key, value in vars(arguments).items() if key not in {"output", "case"}},
        **body,
    }
    path: Path = arguments.output or HERE / "results" / find_device_key() / f"{name}-{case.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(json.loads(json.dumps(to_document(document), default=str))), encoding="utf-8")
    print(f"recorded in {path}")
    return path


def save_pictures(folder: Path, figures: Sequence[Picture]) -> list[str]:
    """Save each figure as SVG and PNG beside the results; the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        (folder / f"{figure.name}.svg").write_text(render_standalone(figure), encoding="utf-8")
        save_picture(figure, folder / f"{figure.name}.png")
    return [f.name for f in figures]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Print one table."""
    print_tables([Table(title, tuple(columns), tuple(map(tuple, rows)), note)])
