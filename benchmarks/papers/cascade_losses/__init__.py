"""Soft and firm cascade losses: Pimpley and Indulkar, "Exploring Sophisticated Loss Functions for Early Prediction" (2017).

The paper prints no numbers, only figures (lost in the copies that exist) and what its text says of them: orderings. Its network, its
reading of both losses and its noise are not printed whole either; `edgeexit.nets.cascade_cnn`, `edgeexit.training.losses.cascades` and
`edgeexit.data.noisy_mnist` say how they are read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from benchmarks.papers.cascade_losses.equal_cost import examine_equal_macs
from benchmarks.papers.cascade_losses.figures import draw_noisy_samples, examine_losses, examine_penalties, show_values
from benchmarks.papers.cascade_losses.latency import examine_latency
from benchmarks.papers.cascade_losses.variants import (
    LOSSES,
    PLACES,
    list_loss_variants,
    list_printed_variants,
    make_base_variant,
    make_loss_variant,
    make_started_variant,
)
from benchmarks.papers.frame.deployment import examine_deployment, show_deployment
from benchmarks.papers.frame.parts import Findings, Paper, Part, Request
from benchmarks.papers.frame.training import Runs, Variant
from edgeexit.training import TrainingRecipe, load_recipe

_T = TypeVar("_T")
SETS = {"mnist": "cascade-mnist", "noisy": "cascade-noisy-mnist"}
"""Recipe by the first word of the variants' names."""
PRINTED = "printed"
"""The first word of those that are trained as long as the paper trains them."""
CIFAR10_LOSSES = {"sum": "sum", "firm": "firm-cascade"}
PENALTIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
JUDGED_PENALTIES = (0.0, 0.6, 1.0)
"""Those that orderings are about: the short version trains no others."""
THREE_SEEDS = (0, 1, 2)


# ---------------------------------------------------------------- what each part trains


def list_mnist(request: Request) -> Mapping[str, Variant]:
    """Every loss on MNIST, and other readings of them."""
    return list_loss_variants(request, SETS["mnist"], "mnist", readings=True)


def list_noisy(request: Request) -> Mapping[str, Variant]:
    """Every loss on noisy MNIST."""
    return list_loss_variants(request, SETS["noisy"], "noisy", readings=False)


def list_printed(request: Request) -> Mapping[str, Variant]:
    """The three losses on MNIST, as long as the paper trains them."""
    return list_printed_variants(request, SETS["mnist"], PRINTED)


def list_penalties(request: Request) -> Mapping[str, Variant]:
    """The firm loss with each penalty, at both places, for two epochs."""
    found = {"noisy-base": make_base_variant(request, SETS["noisy"])}
    for place in PLACES:
        whole = make_loss_variant(request, SETS["noisy"], "noisy", "firm", place)
        for penalty in JUDGED_PENALTIES if request.quick else PENALTIES:
            phase = whole.recipe.phases["cascade"]
            options = {**phase.options, "penalty": penalty}
            recipe = whole.recipe.with_phase("cascade", options=options, epochs=2)
            found[f"noisy-firm-{place}-{penalty:g}"] = replace(whole, recipe=recipe)
    return found


def list_losses_at_p2(request: Request) -> Mapping[str, Variant]:
    """The three losses at p2 on both sets, which `mnist` and `noisy` train."""
    found = {}
    for prefix, recipe in SETS.items():
        found[f"{prefix}-base"] = make_base_variant(request, recipe)
        for loss in LOSSES:
            found[f"{prefix}-{loss}-p2"] = make_loss_variant(request, recipe, prefix, loss, "p2")
        found[f"{prefix}-sum-started-p2"] = make_started_variant(request, recipe, prefix)
    return found


def list_noisy_timed(request: Request) -> Mapping[str, Variant]:
    """The three losses at p2 on noisy MNIST."""
    found = {name: variant for name, variant in list_losses_at_p2(request).items() if name.startswith("noisy")}
    return choose_timed(request, found)


def list_deployed(request: Request) -> Mapping[str, Variant]:
    """The three losses at p2 on both sets."""
    return choose_timed(request, list_losses_at_p2(request))


def choose_timed(request: Request, variants: Mapping[str, Variant]) -> Mapping[str, Variant]:
    """Those variants; of a quick request the first that has exits, and its plain network, since each is timed for a while."""
    first = next(iter(drop_base(variants)))
    plain = _name_base(first)
    return {name: variants[name] for name in (plain, first)} if request.quick else variants


def list_cifar10(request: Request) -> Mapping[str, Variant]:
    """B-AlexNet with its light exits: the plain network, from it `sum` and `firm`, and from the exits that `sum` has trained both again."""
    recipe = load_recipe("alexnet-cifar10", preset="short,light").without_phase("control")
    recipe = _shorten(recipe) if request.quick else recipe
    found = {"cifar10-base": Variant(recipe.without_phase("joint"))}
    for loss, name in CIFAR10_LOSSES.items():
        found[f"cifar10-{loss}"] = Variant(recipe.with_phase("joint", loss=name, options={}), earlier="cifar10-base")
    trained = found["cifar10-sum"].recipe
    joint = trained.phases["joint"]
    for loss, name in CIFAR10_LOSSES.items():
        more = replace(joint, loss=name, start="joint")
        phases = {**trained.phases, "joint": replace(joint, role=""), "more": more}
        found[f"cifar10-{loss}-trained"] = Variant(replace(trained, phases=phases), earlier="cifar10-sum")
    return found


def _shorten(recipe: TrainingRecipe) -> TrainingRecipe:
    """B-LeNet on digits in the place of B-AlexNet on CIFAR-10, for tests."""
    return replace(recipe.with_epochs(1), network="lenet", data="digits", precision="float32")


# ---------------------------------------------------------------- what each part finds out


def examine_mnist(_: Request, runs: Runs) -> Findings:
    """Figures 5 to 7."""
    return examine_losses(runs, "mnist", "MNIST")


def examine_printed(_: Request, runs: Runs) -> Findings:
    """Figures 5 to 7 at the printed schedule."""
    return examine_losses(runs, PRINTED, "MNIST, 20 epochs")


def examine_noisy(request: Request, runs: Runs) -> Findings:
    """Figures 4 and 8 to 10."""
    found = examine_losses(runs, "noisy", "Noisy MNIST")
    return replace(found, pictures=(*found.pictures, draw_noisy_samples("digits" if request.quick else "mnist")))


def examine_penalty(_: Request, runs: Runs) -> Findings:
    """Figure 11."""
    return examine_penalties(runs)


def examine_macs(_: Request, runs: Runs) -> Findings:
    """The three losses at equal multiply-accumulates, each with its own threshold."""
    return examine_equal_macs(drop_base(runs))


def examine_cifar10(_: Request, runs: Runs) -> Findings:
    """Section 7: more exits, a harder set."""
    found = examine_equal_macs(drop_base(runs))
    start = (
        "All start from the plain network, of the paper's only Firm; `trained` ones go on, as long again, from the exits that `sum` "
        "has trained."
    )
    notes = (*found.notes, start)
    return replace(found, notes=notes)


def examine_times(request: Request, runs: Runs) -> Findings:
    """The three losses at equal measured latency."""
    return examine_latency(drop_base(runs), share=0.2, seconds=0.1 if request.quick else 4.0)


def examine_deployed(request: Request, runs: Runs) -> Findings:
    """Same answers, tracking of the calibration, gain over the backbone and over the plain network."""
    chosen = drop_base(runs)
    plain = {name: runs[_name_base(name)] for name in chosen}
    return examine_deployment(chosen, target="drop<=0.5", preset="quick", plain=plain, brief=request.quick)


def drop_base(named: Mapping[str, _T]) -> Mapping[str, _T]:
    """The networks that have exits, or their variants, by name."""
    return {name: one for name, one in named.items() if not name.endswith("-base")}


def _name_base(name: str) -> str:
    """Of the network without exits on the same data."""
    return f"{name.split('-', maxsplit=1)[0]}-base"


PAPER = Paper(
    "Soft and firm cascade losses (Pimpley and Indulkar 2017)",
    (
        Part(
            "mnist",
            "three losses at two places against the threshold, figures 5 to 7",
            examine_mnist,
            list_mnist,
            THREE_SEEDS,
            show=show_values,
        ),
        Part(
            "mnist-printed",
            "the losses at p2 by the printed schedule",
            examine_printed,
            list_printed,
            show=show_values,
        ),
        Part(
            "noisy",
            "the same on noisy MNIST, figures 8 to 10",
            examine_noisy,
            list_noisy,
            THREE_SEEDS,
            show=show_values,
        ),
        Part(
            "penalty",
            "the firm loss against its penalty, figure 11",
            examine_penalty,
            list_penalties,
            show=show_values,
        ),
        Part("equal-macs", "the losses at equal multiply-accumulates", examine_macs, list_losses_at_p2, THREE_SEEDS),
        Part(
            "latency",
            "the losses at equal measured latency",
            examine_times,
            list_noisy_timed,
            THREE_SEEDS,
            timed=True,
        ),
        Part("cifar10", "firm against sum on CIFAR-10, B-AlexNet", examine_cifar10, list_cifar10),
        Part(
            "deploy",
            "every network compiled, calibrated, measured",
            examine_deployed,
            list_deployed,
            timed=True,
            show=show_deployment,
        ),
    ),
)
