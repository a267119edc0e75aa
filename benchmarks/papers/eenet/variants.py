"""The networks that EENet's parts train: the recipes `eenet8-mnist` and `eenet20-cifar10` with one thing changed each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.papers.frame.parts import Request
from benchmarks.papers.frame.training import Variant
from edgeexit.training import TrainingRecipe, load_recipe

LOSSES: Mapping[str, Mapping[str, object]] = {
    "mc": {"trade_off": 0.0},
    "cost": {"accuracy": 0.0},
    "v1": {},
    "v2": {},
}
"""Options of the four losses of Table 4.1 over those of the recipe."""

TRADE_OFFS = (0.5, 0.7, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.3, 1.5)
"""λ of Table 4.2."""

QUICK_TRADE_OFFS = (0.5, 0.95, 1.15, 1.5)
"""Those that the preset `quick` trains with several seeds; the others with one."""

COSTS: Mapping[str, Mapping[str, object]] = {
    "parameters": {},
    "macs": {"costs": "macs"},
    "latency": {"costs": "latency"},
}
"""What an exit costs in the loss; the recipe has the thesis's shares of parameters."""

PLACEMENTS = {"quadratic": 3, "fine": 3, "pareto": 2, "golden": 3, "linear": 2}
"""Early exits of EENet-20 by placement, Table 4.8."""

PLACEMENTS_32 = {"quadratic": 4, "fine": 5}
"""The same of EENet-32, of those that are made."""

LONGER_PLACEMENTS = ("pareto", "golden", "linear")
"""Those of EENet-20 that are also trained for more epochs: what do the others lose by a short schedule?"""
LONGER_EPOCHS = 15

HEADS = ("fc", "pool", "bnpool")
"""The exit blocks of Table 4.3; `fc` is the one that the thesis calls plain."""


def list_loss_variants(request: Request, prefix: str = "eenet8", preset: str | None = None) -> dict[str, Variant]:
    """EENet-8 of two filters with each loss, and ResNet-8; as long as the thesis trains them, or by a preset."""
    base = _load("eenet8-mnist", request, preset)
    found = {f"{prefix}-plain": Variant(_keep_plain(base))}
    for name, options in LOSSES.items():
        loss = "eenet-v1" if name == "v1" else "eenet-v2"
        found[f"{prefix}-{name}"] = Variant(_with_options(base, loss, options))
    return found


def list_trade_off_variants(request: Request) -> dict[str, Variant]:
    """EENet-8 of four filters with each λ, as long as the thesis trains it."""
    return _list_trade_offs(request, "eenet8-wide", "wide", TRADE_OFFS)


def list_quick_trade_off_variants(request: Request) -> dict[str, Variant]:
    """All by the recipe's preset `quick`, some of them with several seeds."""
    found = _list_trade_offs(request, "eenet8-wide-quick", "wide,quick", TRADE_OFFS)
    several = {f"eenet8-wide-quick-{value:.2f}" for value in QUICK_TRADE_OFFS}
    return {name: variant if name in several else replace(variant, seeds=1) for name, variant in found.items()}


def _list_trade_offs(request: Request, name: str, preset: str, values: Sequence[float]) -> dict[str, Variant]:
    base = _load("eenet8-mnist", request, preset)
    chosen = (values[0], values[3]) if request.quick else values
    return {f"{name}-{value:.2f}": Variant(_with_options(base, "eenet-v2", {"trade_off": value})) for value in chosen}


def list_cost_variants(request: Request) -> dict[str, Variant]:
    """EENet-8 of two filters with the thesis's costs, multiply-accumulates and measured latency, by the preset `quick`."""
    base = _load("eenet8-mnist", request, "quick")
    return {
        f"eenet8-quick-{name}": Variant(_with_options(base, "eenet-v2", options)) for name, options in COSTS.items()
    }


def list_placement_variants(request: Request, depth: int = 20) -> dict[str, Variant]:
    """EENet-20 or EENet-32 with exits by each rule, and ResNet of that depth."""
    base = _load("eenet20-cifar10", request, "quick")
    base = base if depth == 20 else replace(base, options={**base.options, "depth": depth})
    placements = PLACEMENTS if depth == 20 else PLACEMENTS_32
    found = {f"eenet{depth}-plain": Variant(_keep_plain(base))}
    for rule in ("fine",) if request.quick else placements:
        found[f"eenet{depth}-{rule}"] = _place_exits(base, rule, placements[rule])
    return found


def list_longer_placement_variants(request: Request) -> dict[str, Variant]:
    """Three placements on EENet-20, for `LONGER_EPOCHS` epochs; in the short version one of them."""
    base = _load("eenet20-cifar10", request, "quick")
    longer = base if request.quick else base.with_epochs(LONGER_EPOCHS)
    placements = LONGER_PLACEMENTS[:1] if request.quick else LONGER_PLACEMENTS
    return {f"eenet20-longer-{rule}": _place_exits(longer, rule, PLACEMENTS[rule]) for rule in placements}


def list_head_variants(request: Request) -> dict[str, Variant]:
    """EENet-20 with quadratically placed exits of each type."""
    base = _load("eenet20-cifar10", request, "quick").without_phase("plain")
    found = {}
    for kind in HEADS:
        name = "eenet20-quadratic" if kind == "pool" else f"eenet20-quadratic-{kind}"
        found[name] = Variant(replace(base, options={**base.options, "head": kind}))
    return found


def list_mnist_criteria_variants(request: Request, *, plain: bool) -> dict[str, Variant]:
    """Of table 4.1: the network whose exits are compared under several criteria; for timing beside it the one without exits."""
    names = ["eenet8-v2", *(["eenet8-plain"] if plain else [])]
    return {name: list_loss_variants(request)[name] for name in names}


def list_training_variants(request: Request) -> dict[str, Variant]:
    """EENet-8 of four filters by the preset `quick`: with L_v2 at three λ, and by the sum of its exits' losses."""
    sweep, base = list_quick_trade_off_variants(request), _load("eenet8-mnist", request, "wide,quick")
    ordinary = base.without_phase("plain").with_phase("joint", loss="sum", options={})
    chosen = {name: v for name, v in sweep.items() if name.endswith(("-0.50", "-0.95", "-1.15"))}
    return {**chosen, "eenet8-wide-quick-sum": Variant(ordinary)}


def list_cifar10_criteria_variants(request: Request, *, plain: bool) -> dict[str, Variant]:
    """Of table 4.8: three of the placements; for timing beside them the network without exits."""
    trained = list_placement_variants(request)
    names = [name for name in ("eenet20-quadratic", "eenet20-fine", "eenet20-golden") if name in trained]
    return {name: trained[name] for name in [*names, *(["eenet20-plain"] if plain else [])]}


def _load(recipe: str, request: Request, preset: str | None = None) -> TrainingRecipe:
    """The recipe; in the short version two epochs of the digits that edgeexit ships."""
    loaded = load_recipe(recipe, preset=preset)
    return replace(loaded.with_epochs(2), data="digits", precision="float32") if request.quick else loaded


def _place_exits(base: TrainingRecipe, rule: str, count: int) -> Variant:
    """The network with so many early exits where the rule has them, and nothing beside it."""
    placed = replace(base, options={**base.options, "after": rule, "count": count})
    return Variant(placed.without_phase("plain"))


def _keep_plain(recipe: TrainingRecipe) -> TrainingRecipe:
    """Only the network without exits, as what the run is about."""
    return recipe.without_phase("joint").with_phase("plain", role="model")


def _with_options(recipe: TrainingRecipe, loss: str, options: Mapping[str, object]) -> TrainingRecipe:
    old = recipe.phases["joint"].options
    return recipe.without_phase("plain").with_phase("joint", loss=loss, options={**old, **options})
