"""Where a paper can be read in several ways, each reading is an option, and is the formula that it names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexit.errors import InputError
from edgeexit.nets.outputs import ExitTensors
from edgeexit.training import loss
from edgeexit.training.losses.stopping import _draw
from tests.training.test_losses import LABELS, ce, exits

COSTS = [0.2, 0.3, 0.5]


def probabilities(outputs: list[ExitTensors]) -> list[Tensor]:
    return [F.softmax(e.logits, dim=-1) for e in outputs]


def test_weighted_classes_weigh_every_cross_entropy() -> None:
    """The weighted mean over the samples, at every exit."""
    outputs, weights = exits(), [3.0, 1.0, 1.5]
    of_samples = torch.tensor(weights)[LABELS]
    entropies = [F.cross_entropy(e.logits, LABELS, reduction="none") for e in outputs]

    expected = torch.stack([(of_samples * h).sum() / of_samples.sum() for h in entropies]).sum()

    torch.testing.assert_close(expected, loss("branchynet", class_weights=weights)(outputs, LABELS))


def test_a_share_of_distillation_leaves_the_rest_to_the_labels() -> None:
    """(1 - γ) CE + γ T² KL at the early exits, CE at the last; over the classes averaged on demand."""
    outputs, share, t = exits(), 0.3, 2.0
    teacher = F.softmax(outputs[-1].logits.detach() / t, dim=-1)
    kl = [(teacher * (teacher.log() - F.log_softmax(e.logits / t, dim=-1))).sum(-1).mean() for e in outputs[:-1]]

    for mean_over_classes, divisor in ((False, 1), (True, 3)):
        expected = ce(outputs[-1]) + sum(
            (1 - share) * ce(e) + share * t**2 * k / divisor for e, k in zip(outputs, kl, strict=False)
        )
        found = loss("distill", share=share, temperature=t, mean_over_classes=mean_over_classes)
        torch.testing.assert_close(expected, found(outputs, LABELS))


@pytest.mark.parametrize("name", ["eenet-v1", "eenet-v2"])
def test_eenets_loss_is_its_two_parts(name: str) -> None:
    """L_MC with no price of cost, L_Cost with no weight of accuracy; together the whole."""
    outputs = exits()

    parts = [loss(name, costs=COSTS, **o)(outputs, LABELS) for o in ({"trade_off": 0.0}, {"accuracy": 0.0})]

    torch.testing.assert_close(parts[0] + parts[1], loss(name, costs=COSTS)(outputs, LABELS))
    moved = torch.autograd.grad(parts[1], [e.logits for e in outputs])
    assert all(0 == gradient.abs().max() for gradient in moved), "costs do not depend on the answers"


def test_the_soft_cascade_as_it_is_printed_is_the_sum() -> None:
    """-log of a product of probabilities is the sum of the cross-entropies."""
    outputs = exits()

    torch.testing.assert_close(loss("sum")(outputs, LABELS), loss("soft-cascade", reading="product")(outputs, LABELS))


def test_the_soft_cascade_by_a_frameworks_cross_entropy_takes_the_product_for_logits() -> None:
    """The third reading."""
    outputs = exits()
    product = torch.stack(probabilities(outputs)).prod(0)

    torch.testing.assert_close(
        F.cross_entropy(product, LABELS), loss("soft-cascade", reading="logits")(outputs, LABELS)
    )


def step(p: Tensor, alpha: float) -> Tensor:
    def f(q: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-alpha * (q - 0.5)))

    return (f(p) - f(torch.tensor(0.0))) / (f(torch.tensor(1.0)) - f(torch.tensor(0.0)))


@pytest.mark.parametrize("reading", ["likelihood", "logits"])
def test_the_firm_cascade_class_by_class_is_the_printed_formula(reading: str) -> None:
    """P* = g(V1)∘V1 + (1 - g(V1))∘g(V2)∘V2 and the penalty λ (1 - g(V1)), of two exits."""
    outputs, alpha = exits()[:2], 6.0
    v1, v2 = probabilities(outputs)
    g = step(v1, alpha)
    mixture = g * v1 + (1 - g) * step(v2, alpha) * v2
    main = F.nll_loss(mixture.log(), LABELS) if reading == "likelihood" else F.cross_entropy(mixture, LABELS)

    found = loss("firm-cascade", alpha=alpha, penalty=0.6, elementwise=True, last_gated=True, reading=reading)

    torch.testing.assert_close(main + 0.6 * (1 - g).mean(), found(outputs, LABELS))


@pytest.mark.parametrize(
    ("options", "punished"),
    [
        ({"elementwise": True, "last_gated": True}, False),
        ({"elementwise": True, "last_gated": True, "reading": "logits"}, True),
        ({}, True),
    ],
)
def test_an_exit_that_is_sure_of_a_wrong_class_costs_nothing_in_the_printed_firm_loss(
    options: dict[str, object], punished: bool
) -> None:
    """It even costs less than being unsure, by the penalty; in the other readings it costs more."""
    last = ExitTensors("last", torch.tensor([[3.0, 0.0, 0.0]]))
    firm, label = loss("firm-cascade", **options), torch.tensor([0])
    unsure, wrong = (
        firm([ExitTensors("early", torch.tensor([logits])), last], label)
        for logits in ([0.1, 0.0, 0.0], [0.0, 9.0, 0.0])
    )

    assert punished == bool(wrong > unsure)


def test_the_reward_of_right_answers_counts_the_errors_of_drawn_answers() -> None:
    """Expected over where a sample stops and over the answer that is drawn there: the probability of the other classes."""
    outputs, paid = exits(), (0.2, 0.5, 1.0)
    chances = (0.3, 0.7 * 0.6, 0.7 * 0.4)
    wrong = [1 - p[torch.arange(4), LABELS].mean() for p in probabilities(outputs)]

    expected = sum(c * (w + 0.1 * cost) for c, w, cost in zip(chances, wrong, paid, strict=True))

    torch.testing.assert_close(
        torch.as_tensor(expected), loss("stopping", costs=COSTS, alpha=0.1, reward="right")(outputs, LABELS)
    )


def gradients(options: dict[str, Any], copies: int) -> tuple[Tensor, list[Tensor]]:
    """Value, and gradients in all logits and scores, of a batch that holds four samples many times."""
    few = exits()
    logits = [e.logits.detach().requires_grad_() for e in few]
    scores = [torch.full((4, 1), s, requires_grad=True) for s in (0.3, 0.6)]
    outputs = [
        ExitTensors(e.name, z.repeat(copies, 1), None if h is None else h.repeat(copies, 1))
        for e, z, h in zip(few, logits, [*scores, None], strict=True)
    ]
    value = loss("stopping", costs=COSTS, alpha=0.5, **options)(outputs, LABELS.repeat(copies))
    return value.detach(), list(torch.autograd.grad(value, [*logits, *scores]))


@pytest.mark.parametrize("reward", ["likelihood", "right"])
@pytest.mark.parametrize("baseline", ["none", "mean", "least-variance"])
def test_reinforce_estimates_the_gradient_of_the_expectation(reward: str, baseline: str) -> None:
    """Over very many draws its value and gradient are those of the finite sum, whatever is subtracted from the reward."""
    torch.manual_seed(0)

    value, found = gradients({"reward": reward, "estimator": "reinforce", "baseline": baseline}, 20_000)
    exact, wanted = gradients({"reward": reward}, 1)

    torch.testing.assert_close(exact, value, atol=0.02, rtol=0)
    for a, b in zip(wanted, found, strict=True):
        torch.testing.assert_close(a, b, atol=0.015, rtol=0)


def test_the_baseline_of_least_variance_has_it() -> None:
    """Of the squared norm of the estimate per sample, in the logits that it is made for."""
    torch.manual_seed(0)
    outputs = [ExitTensors(e.name, e.logits.repeat(5000, 1), e.score.repeat(5000, 1)) for e in exits() if e.score is not None]  # fmt: skip
    drawn = _draw(outputs, LABELS.repeat(5000), [0.1, 0.2, 0.4], sample_answers=True)

    spread = {
        kind: float((drawn.norms * (drawn.reward - drawn.compute_baseline(kind)) ** 2).mean())
        for kind in ("none", "mean", "least-variance")
    }

    assert spread["least-variance"] == min(spread.values())
    assert spread["least-variance"] < 0.9 * spread["none"]


def test_frozen_classifiers_have_no_part_in_the_baseline() -> None:
    """Their answers are drawn, and have no gradient whose variance could be lessened: norms are those of the policies, at most 1 each."""
    outputs = [ExitTensors(e.name, e.logits.detach(), e.score) for e in exits()]
    trained = [ExitTensors(e.name, e.logits.detach().requires_grad_(), e.score) for e in exits()]
    norms = []
    for case in (outputs, trained):
        torch.manual_seed(0)
        norms.append(_draw(case, LABELS, [0.1, 0.2, 0.4], sample_answers=True).norms)

    assert (norms[0] <= 2).all()
    assert (norms[0] < norms[1]).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("soft-cascade", {"reading": "firm"}, "reading must be 'normalised' or 'product' or 'logits', not 'firm'"),
        ("firm-cascade", {"reading": "soft"}, "reading must be 'likelihood' or 'logits'"),
        ("stopping", {"costs": COSTS, "estimator": "sampled"}, "estimator must be 'exact' or 'reinforce'"),
        ("stopping", {"costs": COSTS, "baseline": "least"}, "baseline must be"),
        ("distill", {"share": 1.5}, "share must be from 0 to 1"),
        ("distill", {"share": 0.5, "weight": 2.0}, "stands instead of weight"),
        ("branchynet", {"class_weights": "balanced"}, "which training replaces by numbers"),
    ],
)
def test_readings_that_do_not_exist_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    """When the loss is made."""
    with pytest.raises(InputError, match=message):
        loss(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("eenet-v2", {"costs": "macs"}, "is a word of recipes"),
        ("branchynet", {"class_weights": [1.0]}, "1 class_weights and the network has 3 classes"),
    ],
)
def test_numbers_that_do_not_fit_the_network_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    """When the loss is computed."""
    with pytest.raises(InputError, match=message):
        loss(name, **options)(exits(), LABELS)
