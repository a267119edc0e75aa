"""Where exits should branch off and how large their heads should be, by measured cost and trained accuracy (BranchyNet, section V-C).

    python -m benchmarks exit_design --run runs/alexnet [--epochs 5]

On the trained plain network of a run (`edgeexit train`), every candidate head is trained at every place at once, the trunk left as it
is. Each is then exported, compiled and timed alone, and every set of one or two exits is replayed on the calibration part: thresholds
that lose no accuracy there, and the mean time under them. The best sets by these sums are then built and timed whole, since weights of
several heads and the trunk share a cache that each alone fits into, and shown with their figures on the test part.
A joint training of the chosen design can only be better: here the trunk does not help its exits.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import Case, make_noise, open_plain, print_table, record, time_variants
from benchmarks.experiments._candidates import HEADS, WithHeads, make_heads
from benchmarks.experiments._runs import load_plain, make_example, open_network
from benchmarks.experiments._trunk import Trunk
from edgeexit.analysis import compute_anytime_curve
from edgeexit.calibration import ReplayTable, optimise
from edgeexit.cli.progress import open_progress_display
from edgeexit.data import load_data
from edgeexit.exporter import export
from edgeexit.hardware import read_device_state
from edgeexit.nets import NETS, build
from edgeexit.runtime import Runner
from edgeexit.training import TrainingRecipe
from edgeexit.training.determinism import derive_seed, seed_torch
from edgeexit.training.loop import TrainingSetup, fit
from edgeexit.training.losses import branchynet
from edgeexit.training.metrics import record_exits
from edgeexit.training.phases import OptimizerSettings, ScheduleSettings, TrainingPhase
from edgeexit.training.process_group import join_process_group
from edgeexit.training.run_folder import read_run_recipe
from edgeexit.util import units

PLACES = {
    "lenet": ("conv2", "conv3"),
    "alexnet": ("conv2", "conv3", "conv4", "conv5"),
    "resnet": tuple(f"group{g}.{b}.conv1" for g in (1, 2, 3) for b in range(3)),
}
"""Modules on whose input a candidate exit may hang."""


class Cost(NamedTuple):
    """Typical seconds of one candidate: leaving there, and of that the trunk before it."""

    leave_s: float
    trunk_s: float


class Design(NamedTuple):
    """One set of exits, judged on the calibration part."""

    exits: tuple[int, ...]
    leave_s: NDArray[np.float64]
    thresholds: NDArray[np.float32]
    gain: float


def train_heads(recipe: TrainingRecipe, trunk: torch.nn.Module, epochs: int) -> WithHeads:
    """Every candidate trained on the recipe's data with its augmentation and batch."""
    train_set = load_data(f"{recipe.data}:train")
    with seed_torch(derive_seed(recipe.seed, "candidates")):
        network = WithHeads(trunk, make_heads(trunk, list_places(recipe), make_example(recipe), 10))
    phase = TrainingPhase(
        epochs=epochs,
        train=("heads.*",),
        batch=recipe.phases["joint"].batch,
        optimizer=OptimizerSettings("adam", rate=2e-3),
        schedule=ScheduleSettings("cosine"),
    )
    with join_process_group() as group, open_progress_display() as progress:
        setting = TrainingSetup(train_set, recipe.augment, recipe.seed, group, bfloat16=recipe.precision == "bfloat16")
        if setting.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        fit(network, branchynet(), phase, setting, name="candidates", progress=progress)
    return network.eval()


def list_places(recipe: TrainingRecipe) -> tuple[str, ...]:
    """The modules of this network on whose input a candidate exit may hang."""
    return PLACES[recipe.network]


def list_names(recipe: TrainingRecipe) -> list[str]:
    """Names of the candidates, `place/head`, in the order in which an input meets them."""
    return [f"{place}/{head}" for place in list_places(recipe) for head in HEADS]


def measure_costs(
    network: WithHeads, recipe: TrainingRecipe, arguments: argparse.Namespace
) -> tuple[float, list[Cost]]:
    """Typical seconds of the plain network, and of leaving at each candidate, each candidate timed in a network of its own."""
    data = make_noise(NETS[recipe.network].input_shape)
    plain_s, costs = [], []
    with tempfile.TemporaryDirectory() as scratch, open_progress_display() as progress:
        export(_fresh_trunk(recipe), make_example(recipe), Path(scratch) / "plain.onnx")
        for i, name in enumerate(list_names(recipe)):
            progress("time candidates", i, len(list_names(recipe)))
            with _open_single(network, recipe, i, Path(scratch) / f"{i}") as runner:
                plain = open_plain(runner, Path(scratch) / "plain.onnx")
                variants = {"plain": plain, "leave": partial(runner.forced, exit=1), "trunk": Trunk(runner, 1)}
                timed = time_variants(variants, data, seconds=arguments.seconds, repeats=arguments.repeats, trace=256)
                found = {variant: t.latency.typical_s for variant, t in timed.items()}
            plain_s.append(found["plain"])
            costs.append(Cost(found["leave"] / found["plain"], found["trunk"] / found["plain"]))
            print(f"{name}: leaves after {costs[-1].leave_s:.2f} of the plain network's time")
    middle = float(np.median(plain_s))
    return middle, [Cost(c.leave_s * middle, c.trunk_s * middle) for c in costs]


def _fresh_trunk(recipe: TrainingRecipe) -> torch.nn.Module:
    """The plain network with fresh weights: cost does not depend on them."""
    with seed_torch(0):
        return build(recipe.network, **recipe.options, exits=False)


def _open_single(network: WithHeads, recipe: TrainingRecipe, index: int, folder: Path) -> Runner:
    """A plain network with one of the candidates, compiled and opened."""
    place, name = list_names(recipe)[index].split("/")
    return open_network(
        WithHeads(_fresh_trunk(recipe), {place: {name: network.heads[index]}}), make_example(recipe), folder
    )


def replay(network: WithHeads, name: str) -> ReplayTable:
    """Scores and right answers of every candidate, and of the plain network, on one part of the data."""
    recorded = record_exits(network, load_data(name))
    return recorded.make_table("entropy", macs=np.ones(recorded.logits.shape[1]).tolist())


def sum_costs(exits: Sequence[int], costs: Sequence[Cost], plain_s: float) -> NDArray[np.float64]:
    """What leaving at each exit of a set takes by what each took alone: later exits also pay for the heads before them."""
    heads = np.array([costs[k].leave_s - costs[k].trunk_s for k in exits])
    before: NDArray[np.float64] = np.concatenate([[0.0], heads.cumsum()])
    return np.asarray([*(costs[k].leave_s for k in exits), plain_s], np.float64) + before


def time_whole(
    network: WithHeads, recipe: TrainingRecipe, exits: Sequence[int], plain_s: float, arguments: argparse.Namespace
) -> NDArray[np.float64]:
    """What leaving at each exit of a set takes in a network that has all of them."""
    heads: dict[str, dict[str, torch.nn.Module]] = {}
    for k in exits:
        place, name = list_names(recipe)[k].split("/")
        heads[place] = {name: network.heads[k]}
    with tempfile.TemporaryDirectory() as scratch:
        export(_fresh_trunk(recipe), make_example(recipe), Path(scratch) / "plain.onnx")
        with open_network(
            WithHeads(_fresh_trunk(recipe), heads), make_example(recipe), Path(scratch) / "whole"
        ) as runner:
            variants: dict[str, Any] = {"plain": open_plain(runner, Path(scratch) / "plain.onnx")}
            variants |= {str(k): partial(runner.forced, exit=k) for k in range(1, runner.exits + 1)}
            data = make_noise(NETS[recipe.network].input_shape)
            timed = time_variants(variants, data, seconds=arguments.seconds, repeats=arguments.repeats, trace=256)
    found = {variant: t.latency.typical_s for variant, t in timed.items()}
    plain = found.pop("plain")
    return np.asarray([s / plain * plain_s for s in found.values()], np.float64)


def build_table(part: ReplayTable, exits: Sequence[int], leave_s: NDArray[np.float64], plain_s: float) -> ReplayTable:
    """Replay table of a network that has a set of candidates as its exits."""
    assert part.correct is not None
    right = part.correct[:, [*exits, part.exits - 1]]
    return ReplayTable.from_arrays(part.scores[:, list(exits)], right, leave_s, backbone_s=plain_s)


def choose_design(part: ReplayTable, exits: tuple[int, ...], leave_s: NDArray[np.float64], plain_s: float) -> Design:
    """A set of exits with the thresholds that lose no accuracy on this part, and how much faster it is than the plain network."""
    policy = optimise(build_table(part, exits, leave_s, plain_s), "drop<=0")
    return Design(exits, leave_s, np.asarray(policy.thresholds, np.float32), plain_s / policy.mean_s)


def list_designs(part: ReplayTable, recipe: TrainingRecipe, costs: Sequence[Cost], plain_s: float) -> Iterator[Design]:
    """Every set of one or two exits in different places, by what each takes alone."""
    names = list_names(recipe)
    singles: list[tuple[int, ...]] = [(k,) for k in range(len(names))]
    pairs = [p for p in combinations(range(len(names)), 2) if names[p[0]].split("/")[0] != names[p[1]].split("/")[0]]
    for exits in [*singles, *pairs]:
        yield choose_design(part, exits, sum_costs(exits, costs, plain_s), plain_s)


def evaluate_designs(
    best: Sequence[Design], test: ReplayTable, recipe: TrainingRecipe, plain_s: float
) -> list[dict[str, Any]]:
    """The best designs with their figures on the test part."""
    names, rows = list_names(recipe), []
    accuracy = compute_anytime_curve(test).accuracy
    for design in best:
        outcome = build_table(test, design.exits, design.leave_s, plain_s).evaluate(design.thresholds)
        rows.append(
            {
                "exits": [names[k] for k in design.exits],
                "exit_accuracy": [float(accuracy[k]) for k in design.exits],
                "leave_share_of_plain": (design.leave_s / plain_s).tolist(),
                "gain_on_calibration": design.gain,
                "gain": plain_s / outcome.mean_s,
                "accuracy": outcome.accuracy,
                "exit_rates": list(outcome.exit_rates),
            }
        )
    return rows


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished `edgeexit train`")
    parser.add_argument("--epochs", type=int, default=5, help="of the heads")
    parser.add_argument("--seconds", type=float, default=0.6, help="of timing in each repeat, per candidate")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--finalists", type=int, default=12, help="sets that are timed whole")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    before = read_device_state()
    recipe = read_run_recipe(arguments.run)
    network = _load_heads(recipe, arguments)
    calibration, test = (replay(network, f"{recipe.data}:{part}") for part in ("calibration", "test"))
    plain_s, costs = measure_costs(network, recipe, arguments)
    summed_best = heapq.nlargest(
        arguments.finalists, list_designs(calibration, recipe, costs, plain_s), key=lambda d: d.gain
    )
    finals = []
    for design in summed_best:
        leave_s = time_whole(network, recipe, design.exits, plain_s, arguments)
        finals.append(choose_design(calibration, design.exits, leave_s, plain_s))
        print(
            f"{' + '.join(list_names(recipe)[k] for k in design.exits)}: {design.gain:.2f} by sums, {finals[-1].gain:.2f} whole"
        )
    rows = evaluate_designs(sorted(finals, key=lambda d: -d.gain), test, recipe, plain_s)
    accuracy = compute_anytime_curve(test).accuracy
    print_table(
        f"{recipe.name}: exits by measured cost and trained accuracy, trunk untouched",
        ("exits", "their accuracy", "cost of each exit", "gain", "accuracy", "leave"),
        [_format_row(r) for r in rows],
        f"Plain network: {units.percent(float(accuracy[-1]))} in {units.seconds(plain_s)}. Chosen on the calibration part.",
    )
    candidates = [
        {"name": n, "accuracy": float(accuracy[k]), **costs[k]._asdict()} for k, n in enumerate(list_names(recipe))
    ]
    body = {
        "plain_s": plain_s,
        "plain_accuracy": float(accuracy[-1]),
        "candidates": candidates,
        "gain_by_sums": [{"exits": [list_names(recipe)[k] for k in d.exits], "gain": d.gain} for d in summed_best],
        "designs": rows,
    }
    arguments.run = arguments.run.name
    record("exit_design", Case(recipe.name, Path(), None, "", ""), arguments, body, before)


def _load_heads(recipe: TrainingRecipe, arguments: argparse.Namespace) -> WithHeads:
    """The trained candidates: those of an earlier call in the same run's folder, else trained now."""
    kinds = hashlib.sha256(repr(HEADS).encode()).hexdigest()[:8]
    path = arguments.run / f"candidates-{kinds}-{arguments.epochs}.pt"
    if not path.exists():
        torch.save(train_heads(recipe, load_plain(arguments.run), arguments.epochs).heads.state_dict(), path)
    trunk = load_plain(arguments.run)
    network = WithHeads(trunk, make_heads(trunk, list_places(recipe), make_example(recipe), 10))
    network.heads.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def _format_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        " + ".join(row["exits"]),
        ", ".join(units.percent(a, 1) for a in row["exit_accuracy"]),
        ", ".join(f"{s:.2f}" for s in row["leave_share_of_plain"]),
        units.ratio(row["gain"]),
        units.percent(row["accuracy"]),
        ", ".join(units.percent(r, 1) for r in row["exit_rates"]),
    )


if __name__ == "__main__":
    main()
