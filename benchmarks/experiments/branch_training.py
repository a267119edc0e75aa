"""What training does to a network with exits: branch weights, start, depth of the first branch (BranchyNet, IV, V-A, V-C, figure 5).

    python -m benchmarks branch_training weights --out runs/weights [--recipe alexnet-cifar10] [--preset quick] [--seeds 0 1]

weights      first exit 1.0 and last 0.3 against equal weights, on the network with the first and the last exit only (V-A)
start        from the plain network's weights against from scratch (IV)
depth        0 to 4 convolutions in the first branch, against the accuracy of the last exit (V-C, figure 5)

The plain network of each seed is trained once and shared, or is an earlier run's (--plain). Every row also has the last exit beside the
plain network that was trained for as long (the regularisation claim). A run that was interrupted is gone on with by the same command.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import HERE, print_table, save_pictures
from edgeexit.cli.progress import open_progress_display
from edgeexit.report.plot.figure import BACKBONE, Axis, Figure, Line, choose_exit_tone
from edgeexit.training import TrainingRecipe, load_recipe, train
from edgeexit.training.phases import FRESH
from edgeexit.util import units
from edgeexit.util.documents import dumps

ALEXNET_ONLY = {"first_only": True}


def list_variants(experiment: str, base: TrainingRecipe) -> Iterator[tuple[str, TrainingRecipe]]:
    """The recipes that are compared, each with its name."""
    simple = replace(base, options={**base.options, **(ALEXNET_ONLY if base.network == "alexnet" else {})})
    if experiment == "weights":
        for name, weights in {"1.0 / 0.3": [1.0, 0.3], "equal": [1.0, 1.0], "0.3 / 1.0": [0.3, 1.0]}.items():
            yield name, _with_weights(simple, weights)
    elif experiment == "start":
        yield "from the plain network", base
        yield "from scratch", base.with_phase("joint", start=FRESH)
        longer = base.phases["plain"].epochs + base.phases["joint"].epochs
        yield "from scratch, as long in all", base.with_phase("joint", start=FRESH, epochs=longer)
    else:
        for convs in range(5):
            options = {**simple.options, "first_convs": convs}
            yield f"{convs} convolutions", _with_weights(replace(simple, options=options), [1.0, 0.3])


def _with_weights(recipe: TrainingRecipe, weights: list[float]) -> TrainingRecipe:
    return recipe.with_phase("joint", loss="branchynet", options={"weights": weights})


def train_run(
    recipe: TrainingRecipe, folder: Path, plain: Path | None, arguments: argparse.Namespace
) -> Mapping[str, Any]:
    """Train by a recipe, or go on where an earlier call was interrupted; what `read_figures` gives."""
    resume = (folder / "checkpoint.pt").exists()
    with open_progress_display() as progress:
        trained = train(recipe, folder, resume=resume, plain=plain, threads=arguments.threads, progress=progress)
    results: Mapping[str, Any] = trained.metrics["results"]
    return results


def read_results(run: Path) -> Mapping[str, Any]:
    """The figures in `metrics.json` of a finished run, by network."""
    results: Mapping[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["results"]
    return results


def train_variants(base: TrainingRecipe, arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Every variant with every seed; the first of a seed trains the plain network for all, and once more as long as the joint phase."""
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in arguments.seeds or [base.seed]:
        shared: Path | None = arguments.plain
        control: Mapping[str, Any] = read_results(shared) if shared else {}
        for name, recipe in list_variants(arguments.experiment, replace(base, seed=seed)):
            folder = arguments.out / f"{re.sub(r'[^0-9a-z.]+', '-', name)}-{seed}"
            whole = recipe if shared is None else recipe.without_phase("control").with_phase("plain", role="plain")
            results = train_run(whole, folder, shared, arguments)
            if shared is None:
                shared, control = folder, results
            figures = {"joint": results["joint"], "plain": control["plain"], "control": control["control"]}
            found.setdefault(name, []).append({"seed": seed, **figures})
    return found


def make_rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, ...]]:
    """Rows of the table: means over the seeds, and the spread of the last exit's accuracy."""
    rows: list[tuple[str, ...]] = []
    for name, runs in found.items():
        last = np.array([r["joint"]["test_accuracy"][-1] for r in runs])
        control = np.array([r["control"]["test_accuracy"][-1] for r in runs])
        first = np.mean([r["joint"]["test_accuracy"][0] for r in runs])
        spread = f"{100 * np.ptp(last):.2f}" if len(runs) > 1 else "one seed"
        gain = f"{100 * (last - control).mean():+.2f}"
        rows.append((name, units.percent(float(first)), units.percent(float(last.mean())), spread, gain))
    return rows


def draw_figure_5(found: Mapping[str, Sequence[Mapping[str, Any]]], name: str) -> Figure:
    """Accuracy of both exits against the number of convolutions in the first branch; the plain network as a line."""
    xs = np.arange(len(found), dtype=np.float64)

    def average_runs(network: str, exit: int) -> NDArray[np.float64]:
        runs = [[r[network]["test_accuracy"][exit] for r in of_one] for of_one in found.values()]
        return np.array([np.mean(of_one) for of_one in runs])

    marks = (
        Line(xs, average_runs("joint", -1), choose_exit_tone(2), "last exit", thick=True),
        Line(xs, average_runs("joint", 0), choose_exit_tone(1), "exit 1"),
        Line(xs, average_runs("control", 0), BACKBONE, "plain network, trained as long", dashed=True),
    )
    caption = "Test accuracy of the network with the first and the last exit only, for each depth of the first branch."
    x, y = Axis("convolutions in branch 1"), Axis("accuracy, %", scale=0.01)
    return Figure(f"branchynet-fig5-{name}", f"{name}: layers in the first branch (figure 5)", caption, x, y, marks)


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=("weights", "start", "depth"))
    parser.add_argument("--recipe", default="alexnet-cifar10")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--epochs", type=int, help="of every phase")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help="[the recipe's]")
    parser.add_argument(
        "--plain", type=Path, help="folder of a finished run with the same recipe and seed, for its plain networks"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    arguments = parser.parse_args()
    base = load_recipe(arguments.recipe, preset=arguments.preset or None)
    base = base.with_epochs(arguments.epochs) if arguments.epochs else base
    found = train_variants(base, arguments)
    columns = ("", "exit 1", "last exit", "spread over seeds, points", "last exit over the plain network, points")
    print_table(f"{arguments.experiment}: {base.about}", columns, make_rows(found))
    path = HERE / "results" / "training" / f"branch-{arguments.experiment}-{base.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {k: v for k, v in vars(arguments).items() if k not in {"out", "plain"}}
    path.write_text(
        dumps({"schema": "edgeexit.benchmark.branch_training/1", "options": options, "runs": found}), encoding="utf-8"
    )
    if arguments.experiment == "depth":
        save_pictures(path.parent, [draw_figure_5(found, base.name)])
    print(f"recorded in {path}")


if __name__ == "__main__":
    main()
