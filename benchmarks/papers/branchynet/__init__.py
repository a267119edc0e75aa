"""BranchyNet: Teerapittayanon, McDanel and Kung, "BranchyNet: Fast Inference via Early Exiting from Deep Neural Networks" (ICPR 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from benchmarks.papers.branchynet.schedule import SHORT, examine_schedule, list_schedules, show_schedule
from benchmarks.papers.branchynet.table_1 import examine_table_1, show_table_1
from benchmarks.papers.branchynet.training import (
    DEPTH_NAMES,
    START_NAMES,
    WEIGHT_NAMES,
    examine_depth,
    examine_training,
    list_depth_variants,
    list_start_variants,
    list_weight_variants,
    show_training,
)
from benchmarks.papers.frame.parts import Findings, Paper, Part, Request
from benchmarks.papers.frame.training import Runs, Variant


def list_start(request: Request) -> Mapping[str, Variant]:
    """B-AlexNet by its start."""
    return list_start_variants(request, "alexnet-cifar10")


def list_start_mnist(request: Request) -> Mapping[str, Variant]:
    """B-LeNet by its start."""
    return list_start_variants(request, "lenet-mnist", "mnist-")


def list_weights(request: Request) -> Mapping[str, Variant]:
    """B-AlexNet with its first and its last exit, by the weights of their losses."""
    return list_weight_variants(request, "alexnet-cifar10")


def list_weights_mnist(request: Request) -> Mapping[str, Variant]:
    """B-LeNet by the weights of its losses."""
    return list_weight_variants(request, "lenet-mnist", "mnist-")


def examine_cifar(request: Request, runs: Runs) -> Findings:  # noqa: ARG001 - one signature for all
    """Of variants of B-AlexNet."""
    return examine_training(runs)


def examine_mnist(request: Request, runs: Runs) -> Findings:  # noqa: ARG001 - one signature for all
    """Of variants of B-LeNet."""
    return examine_training(runs, "mnist-")


def examine_records(request: Request, runs: Runs) -> Findings:  # noqa: ARG001 - one signature for all
    """Table I."""
    return examine_table_1()


def examine_depths(request: Request, runs: Runs) -> Findings:  # noqa: ARG001 - one signature for all
    """Figure 5."""
    return examine_depth(runs)


PAPER = Paper(
    "BranchyNet (Teerapittayanon, McDanel and Kung 2016)",
    (
        Part(
            "table-1",
            "Table I beside what `python -m benchmarks branchynet` recorded; gains at the printed exit rates",
            examine_records,
            seeds=(2016,),
            show=show_table_1,
        ),
        Part(
            "schedule",
            "B-AlexNet by the paper's own schedule, Table I, figures 3 and 4",
            examine_schedule,
            list_schedules,
            show=show_schedule,
        ),
        Part(
            "schedule-short",
            "the same for 20 + 40 of its 50 + 100 epochs",
            partial(examine_schedule, name="paper-short"),
            partial(list_schedules, epochs=SHORT, name="paper-short"),
            show=show_schedule,
        ),
        Part(
            "start",
            "from the plain network's weights or fresh ones, section IV",
            examine_cifar,
            list_start,
            seeds=(0, 1),
            show=partial(show_training, names=START_NAMES),
        ),
        Part(
            "start-mnist",
            "the same with B-LeNet",
            examine_mnist,
            list_start_mnist,
            seeds=(0, 1, 2),
            show=partial(show_training, names=START_NAMES),
        ),
        Part(
            "weights",
            "weights of both losses, section V-A",
            examine_cifar,
            list_weights,
            seeds=(0, 1, 2),
            show=partial(show_training, names=WEIGHT_NAMES),
        ),
        Part(
            "weights-mnist",
            "the same with B-LeNet",
            examine_mnist,
            list_weights_mnist,
            seeds=(0, 1, 2),
            show=partial(show_training, names=WEIGHT_NAMES),
        ),
        Part(
            "depth",
            "convolutions in the first branch, figure 5",
            examine_depths,
            list_depth_variants,
            seeds=(0, 1, 2),
            show=partial(show_training, names=DEPTH_NAMES),
        ),
    ),
)
