"""EENet: Demir, "Early-exit Convolutional Neural Networks" (METU 2019), its tables 4.1 to 4.3, 4.7 and 4.8 and figures 4.8 to 4.12.

The thesis calls FLOPs what is five times the number of parameters, so that its costs are shares of parameters; beside them stand
multiply-accumulates, and in the parts that need a quiet machine time. SVHN, the naive networks and those of more than 32 layers need a GPU
and are not trained here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.papers.eenet.criteria import examine_criteria, examine_training
from benchmarks.papers.eenet.networks import THESIS_SHARES, Leaving, average_epochs, make_findings, observe_all
from benchmarks.papers.eenet.related import examine_related, show_related
from benchmarks.papers.eenet.tables import show_criteria, show_exits
from benchmarks.papers.eenet.variants import (
    LONGER_EPOCHS,
    list_cifar10_criteria_variants,
    list_cost_variants,
    list_head_variants,
    list_longer_placement_variants,
    list_loss_variants,
    list_mnist_criteria_variants,
    list_placement_variants,
    list_quick_trade_off_variants,
    list_trade_off_variants,
    list_training_variants,
)
from benchmarks.papers.frame.deployment import examine_deployment, show_deployment
from benchmarks.papers.frame.parts import Findings, Paper, Part, Request
from benchmarks.papers.frame.training import Runs, Variant
from edgeexit.report.plot.figure import (
    POLICY,
    WARN,
    Axis,
    Bar,
    BarFigure,
    Figure,
    Line,
    Panels,
    Picture,
    Points,
    choose_exit_tone,
)

SPLIT = "10,000 training images are kept for calibration: an epoch has 50,000 images of MNIST and 40,000 of CIFAR-10."
QUICK = "By the preset `quick` of the recipe, 6 epochs at batch 128; the thesis trains 20 at batch 32."
QUICK_LOSSES = "eenet8-quick-loss-"
SHORT = "CIFAR-10 by the preset `quick` of the recipe, {epochs} epochs at batch 128 in bfloat16; the thesis trains up to 200 at batch 32."
QUICK_EPOCHS = 6


def examine_losses(request: Request, runs: Runs, prefix: str = "eenet8-") -> Findings:  # noqa: ARG001 - one signature for all
    """Table 4.1 and figures 4.9 to 4.12."""
    observed = observe_all(runs, prefix)
    name = f"{prefix.removeprefix('eenet8-')}v2"
    pictures: list[Picture] = [draw_epochs(name, observed["v2"]), draw_classes(name, observed["v2"])]
    notes = [SPLIT, *([QUICK] if prefix == QUICK_LOSSES else [])]
    return make_findings(observed, thesis=THESIS_SHARES, notes=notes, pictures=pictures)


def examine_trade_offs(request: Request, runs: Runs, *, prefix: str, about: str) -> Findings:  # noqa: ARG001
    """Table 4.2 and figure 4.8."""
    observed = observe_all(runs, prefix)
    costs = {
        name: float(np.mean([one.cost(THESIS_SHARES).mean() for one in found.values()]))
        for name, found in observed.items()
    }
    rises = [f"{a} to {b}" for a, b in pairwise(sorted(costs, key=float)) if costs[b] > costs[a] + 1e-9]
    notes = [
        SPLIT,
        about,
        f"Mean cost rises from λ = {', from '.join(rises)}." if rises else "Mean cost never rises with λ.",
    ]
    picture = draw_trade_offs(prefix.removesuffix("-"), observed)
    return make_findings(observed, thesis=THESIS_SHARES, notes=notes, pictures=[picture])


def examine_costs(request: Request, runs: Runs) -> Findings:  # noqa: ARG001
    """What the loss is told that an exit costs: the thesis's shares of parameters, multiply-accumulates, measured time."""
    observed = observe_all(runs, "eenet8-quick-")
    told = {
        name: {
            str(seed): one.run.metrics["loss_options"].get("joint", {}).get("costs", list(THESIS_SHARES))
            for seed, one in found.items()
        }
        for name, found in observed.items()
    }
    return make_findings(observed, thesis=THESIS_SHARES, notes=[SPLIT, QUICK], details={"costs_in_the_loss": told})


def examine_placements(request: Request, runs: Runs, *, depth: int) -> Findings:  # noqa: ARG001
    """Tables 4.7 and 4.8, rows of one depth."""
    observed = observe_all(runs, f"eenet{depth}-")
    shown = {name: by_seed for name, by_seed in observed.items() if name != "plain"}
    notes = [SPLIT, SHORT.format(epochs=QUICK_EPOCHS)]
    return make_findings(observed, notes=notes, pictures=[draw_placements(shown, depth)])


def examine_longer_placements(request: Request, runs: Runs) -> Findings:  # noqa: ARG001
    """Table 4.8, three rows after a longer training."""
    notes = [SPLIT, SHORT.format(epochs=LONGER_EPOCHS)]
    return make_findings(observe_all(runs, "eenet20-longer-"), notes=notes)


def examine_heads(request: Request, runs: Runs) -> Findings:  # noqa: ARG001
    """Table 4.3, on another network and other data."""
    observed = {
        name.removeprefix("quadratic-").replace("quadratic", "pool"): found
        for name, found in observe_all(runs, "eenet20-").items()
    }
    about = "EENet-20 by the quadratic rule on CIFAR-10; the thesis compares the heads on EENet-50 and SVHN."
    return make_findings(observed, notes=[SPLIT, SHORT.format(epochs=QUICK_EPOCHS), about])


def examine_trainings(request: Request, runs: Runs) -> Findings:  # noqa: ARG001
    """Is the loss worth it? Learned confidences against ordinary exits under `max_softmax`, which the thesis does not compare."""
    return examine_training(runs)


def examine_device(request: Request, runs: Runs) -> Findings:
    """Compiled, calibrated and measured: same answers, prediction against measurement, gain over the last exit and the plain network."""
    chosen = {name: by_seed for name, by_seed in runs.items() if not name.endswith("plain")}
    plain = {name: runs[f"{name.split('-')[0]}-plain"] for name in chosen}
    return examine_deployment(
        chosen, target="drop<=0.5", preset="quick", criterion="learned", plain=plain, brief=request.quick
    )


def list_device_variants(request: Request) -> dict[str, Variant]:
    """Those whose criteria are compared; of a quick request one."""
    mnist = list_mnist_criteria_variants(request, plain=True)
    return mnist if request.quick else {**mnist, **list_cifar10_criteria_variants(request, plain=True)}


# ---------------------------------------------------------------- pictures


def draw_trade_offs(name: str, observed: Mapping[str, Mapping[int, Leaving]]) -> Panels:
    """Figure 4.8: accuracy and cost against λ, a point per seed."""
    at = {float(value): found for value, found in observed.items()}
    axis = Axis("λ")
    panels = [
        Figure(
            "accuracy",
            "",
            "",
            axis,
            Axis("accuracy, %", scale=0.01),
            tuple(_draw_seeds(at, lambda one: one.right.mean(), POLICY)),
        ),
        Figure(
            "cost",
            "",
            "",
            axis,
            Axis("mean cost, share", low=0.0),
            (
                *_draw_seeds(at, lambda one: one.cost(THESIS_SHARES).mean(), POLICY, "parameters (thesis)"),
                *_draw_seeds(at, lambda one: one.cost(one.shares["macs"]).mean(), WARN, "multiply-accumulates"),
            ),
        ),
    ]
    return Panels(
        f"eenet-{name}",
        "EENet-8 of four filters: accuracy and cost against λ",
        "Test part, threshold 0.5; lines are means over the seeds. What looks cheap in parameters is not in operations.",
        tuple(panels),
    )


def _draw_seeds(
    at: Mapping[float, Mapping[int, Leaving]], read: Any, tone: str, label: str = ""
) -> Iterator[Line | Points]:
    order = sorted(at)
    yield Line(np.array(order), np.array([np.mean([read(one) for one in at[x].values()]) for x in order]), tone, label)
    pairs = np.array([(x, float(read(one))) for x in order for one in at[x].values()])
    yield Points(pairs[:, 0], pairs[:, 1], tone)


def draw_epochs(name: str, by_seed: Mapping[int, Leaving]) -> Panels:
    """Figure 4.9: accuracy, loss and cost after every epoch."""
    found = average_epochs(by_seed)
    epochs = np.arange(1.0, 1.0 + len(found["loss"]))
    labels = {
        "accuracy": Axis("accuracy, %", scale=0.01),
        "loss": Axis("training loss"),
        "cost": Axis("mean cost, share"),
    }
    panels = [
        Figure(what, "", "", Axis("epoch"), axis, (Line(epochs, np.array(found[what]), POLICY),))
        for what, axis in labels.items()
    ]
    return Panels(
        f"eenet-epochs-{name}",
        "EENet-8 of two filters: accuracy, loss and cost per epoch",
        "Accuracy and cost (share of parameters) on the calibration part at threshold 0.5, means over the seeds.",
        tuple(panels),
    )


def draw_classes(name: str, by_seed: Mapping[int, Leaving]) -> BarFigure:
    """Figures 4.10 to 4.12 in numbers: where the samples of each class leave; of the first seed."""
    first = next(iter(by_seed.values()))
    counts = np.array(first.count_classes())
    bars = [
        Bar(
            f"digit {digit}",
            tuple(
                (choose_exit_tone(k, first.exits), float(counts[k, digit]), f"exit {k + 1}") for k in range(first.exits)
            ),
        )
        for digit in range(counts.shape[1])
    ]
    return BarFigure(
        f"eenet-digits-{name}",
        "EENet-8 of two filters: where each digit leaves",
        "Test images at threshold 0.5. The thesis finds exits that specialise in single digits.",
        Axis("test images"),
        tuple(bars),
    )


def draw_placements(observed: Mapping[str, Mapping[int, Leaving]], depth: int) -> Figure:
    """Accuracy against what it costs, in parameters and in multiply-accumulates."""
    marks: list[Points] = []
    for unit, tone in (("parameters", POLICY), ("macs", WARN)):
        for name, by_seed in observed.items():
            cost = np.mean([one.cost(one.shares[unit]).mean() for one in by_seed.values()])
            accuracy = np.mean([one.right.mean() for one in by_seed.values()])
            marks.append(Points(np.array([cost]), np.array([accuracy]), tone, note=name if unit == "macs" else ""))
    return Figure(
        f"eenet-placements-{depth}",
        f"EENet-{depth}: accuracy against cost by placement",
        "By share of parameters, which the thesis calls cost, and by share of multiply-accumulates, with names. CIFAR-10, test part.",
        Axis("mean cost, share of the whole network", low=0.0, high=1.0),
        Axis("accuracy, %", scale=0.01),
        tuple(marks),
    )


PAPER = Paper(
    "EENet: early exits with learned confidences (Demir 2019)",
    (
        Part(
            "losses",
            "the losses on EENet-8 of two filters, MNIST: table 4.1, figures 4.9 to 4.12",
            examine_losses,
            list_loss_variants,
            show=show_exits,
        ),
        Part(
            "losses-quick",
            "the same in 6 epochs at batch 128",
            partial(examine_losses, prefix=QUICK_LOSSES),
            partial(list_loss_variants, prefix=QUICK_LOSSES.removesuffix("-"), preset="quick"),
            show=show_exits,
        ),
        Part(
            "trade-off",
            "λ on EENet-8 of four filters, MNIST, as long as printed: table 4.2, figure 4.8",
            partial(examine_trade_offs, prefix="eenet8-wide-", about="The printed schedule, 20 epochs at batch 32."),
            list_trade_off_variants,
            show=show_exits,
        ),
        Part(
            "trade-off-quick",
            "the same in 6 epochs at batch 128, four of them with several seeds",
            partial(
                examine_trade_offs,
                prefix="eenet8-wide-quick-",
                about=f"{QUICK} λ = 0.50, 0.95, 1.15 and 1.50 with every seed, the others with the first.",
            ),
            list_quick_trade_off_variants,
            seeds=(0, 1, 2),
            show=show_exits,
        ),
        Part(
            "costs",
            "what an exit costs in the loss: parameters, multiply-accumulates, time",
            examine_costs,
            list_cost_variants,
            show=show_exits,
        ),
        Part(
            "placements",
            "the five placements on EENet-20, CIFAR-10: tables 4.7 and 4.8",
            partial(examine_placements, depth=20),
            list_placement_variants,
            show=show_exits,
        ),
        Part(
            "placements-longer",
            f"three of them for {LONGER_EPOCHS} epochs instead of {QUICK_EPOCHS}",
            examine_longer_placements,
            list_longer_placement_variants,
            show=show_exits,
        ),
        Part(
            "placements-32",
            "two of them on EENet-32",
            partial(examine_placements, depth=32),
            partial(list_placement_variants, depth=32),
            show=show_exits,
        ),
        Part(
            "heads",
            "plain, pool and bnpool exits: table 4.3 on EENet-20 and CIFAR-10",
            examine_heads,
            list_head_variants,
            show=show_exits,
        ),
        Part(
            "criteria",
            "the learned confidence against max_softmax and entropy at equal operations, EENet-8, MNIST",
            partial(examine_criteria, timed=False),
            partial(list_mnist_criteria_variants, plain=False),
            show=show_criteria,
        ),
        Part(
            "criteria-cifar10",
            "the same on EENet-20, CIFAR-10",
            partial(examine_criteria, timed=False),
            partial(list_cifar10_criteria_variants, plain=False),
            show=show_criteria,
        ),
        Part(
            "training",
            "L_v2 with its confidences against the sum of losses with max_softmax, at equal operations, MNIST",
            examine_trainings,
            list_training_variants,
        ),
        Part(
            "latency",
            "the same at equal measured latency, and what the printed costs are in time, EENet-8, MNIST",
            partial(examine_criteria, timed=True),
            partial(list_mnist_criteria_variants, plain=True),
            timed=True,
            show=show_criteria,
        ),
        Part(
            "latency-cifar10",
            "the same on EENet-20, CIFAR-10",
            partial(examine_criteria, timed=True),
            partial(list_cifar10_criteria_variants, plain=True),
            timed=True,
            show=show_criteria,
        ),
        Part(
            "related",
            "other work, table 4.9: rows that are recorded here",
            examine_related,
            seeds=(2016,),
            show=show_related,
        ),
        Part(
            "device",
            "compile, calibrate and bench of these networks",
            examine_device,
            list_device_variants,
            timed=True,
            show=show_deployment,
        ),
    ),
)
