"""Each loss is the formula of its paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexit.criteria import criterion
from edgeexit.errors import InputError
from edgeexit.nets.outputs import ExitTensors
from edgeexit.training import LOSSES, loss

LABELS = torch.tensor([0, 2, 1, 2])
OPTIONS: dict[str, dict[str, Any]] = {
    "branchynet": {"weights": [1.0, 0.5, 0.3]},
    "eenet-v1": {"costs": [0.2, 0.5, 1.0]},
    "eenet-v2": {"costs": [0.2, 0.5, 1.0]},
    "running-mean": {"costs": [0.2, 0.5, 1.0]},
    "stopping": {"costs": [0.2, 0.3, 0.5]},
}


def exits(seed: int = 0, *, scores: tuple[float, ...] | None = (0.3, 0.6, 0.9)) -> list[ExitTensors]:
    generator = torch.Generator().manual_seed(seed)
    logits = [torch.randn(4, 3, generator=generator, requires_grad=True) for _ in range(3)]
    given = [None] * 3 if scores is None else [torch.full((4, 1), s, requires_grad=True) for s in scores]
    return [ExitTensors(f"exit{i}", z, h) for i, (z, h) in enumerate(zip(logits, given, strict=True), 1)]


def ce(e: ExitTensors) -> Tensor:
    return F.cross_entropy(e.logits, LABELS)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_finite_and_trains_every_exit(name: str) -> None:
    """A gradient reaches the logits of each."""
    outputs = exits()

    value = loss(name, **OPTIONS.get(name, {}))(outputs, LABELS)
    torch.autograd.backward(value)

    assert value.isfinite()
    assert all(e.logits.grad is not None and e.logits.grad.abs().sum() > 0 for e in outputs)


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_breaks_on_extreme_logits(name: str) -> None:
    """Logits of 1e4, right and wrong."""
    outputs = [ExitTensors(e.name, (e.logits * 1e4).detach().requires_grad_(), e.score) for e in exits()]

    value = loss(name, **OPTIONS.get(name, {}))(outputs, LABELS)
    torch.autograd.backward(value)

    assert value.isfinite()
    assert all(e.logits.grad is not None and e.logits.grad.isfinite().all() for e in outputs)


def test_branchynet_is_the_weighted_sum() -> None:
    """Section III-B."""
    a, b, c = exits()

    torch.testing.assert_close(
        1.0 * ce(a) + 0.5 * ce(b) + 0.3 * ce(c), loss("branchynet", **OPTIONS["branchynet"])([a, b, c], LABELS)
    )
    torch.testing.assert_close(ce(a) + ce(b) + ce(c), loss("sum")([a, b, c], LABELS))


def test_running_mean_trains_what_the_criterion_of_that_name_answers() -> None:
    """The negative log-likelihood of its answers at every exit but the first, whose answer is its own, on top of distillation."""
    outputs, costs = exits(), OPTIONS["running-mean"]["costs"]
    logits = torch.stack([e.logits for e in outputs], dim=1).detach().numpy()
    answers = torch.from_numpy(criterion("running_mean").answers(logits, costs).logits)

    added = loss("running-mean", costs=costs)(outputs, LABELS) - loss("distill")(outputs, LABELS)

    torch.testing.assert_close(F.cross_entropy(answers[:, 1], LABELS) + F.cross_entropy(answers[:, 2], LABELS), added)


def test_distillation_of_equal_exits_adds_nothing_and_does_not_move_the_last() -> None:
    """The teacher is not pulled towards its pupils."""
    same = [ExitTensors(f"exit{i}", exits()[0].logits) for i in range(3)]
    torch.testing.assert_close(loss("sum")(same, LABELS), loss("distill")(same, LABELS))

    outputs = exits()
    torch.autograd.backward(loss("distill")(outputs, LABELS) - loss("sum")(outputs, LABELS))
    assert 0 == outputs[-1].logits.grad.abs().max()  # type: ignore[union-attr]


def test_eenet_v1_is_equation_10_written_out() -> None:
    """Three exits, confidences 0.3 and 0.6, costs 0.2, 0.5 and 1; equation 10 has them mixed from the back."""
    a, b, c = exits()
    p0, p1, p2 = (F.softmax(e.logits, dim=-1) for e in (a, b, c))
    mixed = 0.3 * p0 + 0.7 * (0.6 * p1 + 0.4 * p2)
    cost = 0.3 * 0.2 + 0.7 * (0.6 * 0.5 + 0.4 * 1.0)

    expected = F.nll_loss(mixed.log(), LABELS) + 0.5 * cost

    torch.testing.assert_close(expected, loss("eenet-v1", costs=[0.2, 0.5, 1.0], trade_off=0.5)([a, b, c], LABELS))


def test_eenet_v2_is_equation_12_written_out() -> None:
    """The same terms started at each exit."""
    a, b, c = exits()
    p0, p1, p2 = (F.softmax(e.logits, dim=-1) for e in (a, b, c))
    late, late_cost = 0.6 * p1 + 0.4 * p2, 0.6 * 0.5 + 0.4 * 1.0
    mixes = [(0.3 * p0 + 0.7 * late, 0.3 * 0.2 + 0.7 * late_cost), (late, late_cost), (p2, 1.0)]

    expected = torch.stack([F.nll_loss(p.log(), LABELS) + cost for p, cost in mixes]).sum()

    torch.testing.assert_close(expected, loss("eenet-v2", costs=[0.2, 0.5, 1.0])([a, b, c], LABELS))


def test_a_sure_exit_costs_what_it_costs() -> None:
    """With confidence 1 at exit 1 the v1 loss is that exit's cross-entropy and cost."""
    outputs = exits(scores=(1.0, 0.5, 0.5))

    torch.testing.assert_close(ce(outputs[0]) + 0.2, loss("eenet-v1", costs=[0.2, 0.5, 1.0])(outputs, LABELS))


def test_the_soft_cascade_multiplies_probabilities() -> None:
    """Class by class, brought back to sum 1."""
    outputs = exits()
    product = torch.stack([F.softmax(e.logits, dim=-1) for e in outputs]).prod(0)

    expected = F.nll_loss((product / product.sum(-1, keepdim=True)).log(), LABELS)

    torch.testing.assert_close(expected, loss("soft-cascade")(outputs, LABELS))


def test_the_firm_cascade_answers_as_the_exit_that_is_sure() -> None:
    """With a steep step and a sure first exit its loss is that exit's, and nothing is passed on."""
    _, second, third = exits()
    sure = ExitTensors("exit1", F.one_hot(LABELS, 3) * 5.0)

    value = loss("firm-cascade", alpha=500.0, penalty=0.6)([sure, second, third], LABELS)

    torch.testing.assert_close(F.cross_entropy(sure.logits, LABELS), value, atol=1e-4, rtol=1e-3)


def test_the_firm_cascade_pays_for_every_sample_passed_on() -> None:
    """With an unsure first exit the last one answers and the penalty is added in full."""
    unsure, last = ExitTensors("exit1", torch.zeros(4, 3)), exits()[2]

    value = loss("firm-cascade", alpha=500.0, penalty=0.6)([unsure, last], LABELS)

    torch.testing.assert_close(ce(last) + 0.6, value, atol=1e-3, rtol=1e-3)


def test_the_stopping_loss_is_an_expectation() -> None:
    """Over where a sample stops; a classifier is paid for if it was run."""
    a, b, c = exits()
    chances, paid = (0.3, 0.7 * 0.6, 0.7 * 0.4), (0.2, 0.5, 1.0)

    expected = torch.stack(
        [p * (ce(e) + 0.1 * cost) for p, e, cost in zip(chances, (a, b, c), paid, strict=True)]
    ).sum()

    torch.testing.assert_close(expected, loss("stopping", costs=[0.2, 0.3, 0.5], alpha=0.1)([a, b, c], LABELS))


@pytest.mark.parametrize(
    ("name", "options", "fault"),
    [
        ("brachynet", {}, "Did you mean 'branchynet'"),
        ("branchynet", {"weight": [1]}, "no option 'weight'. Did you mean 'weights'"),
        ("eenet-v1", {}, "needs 'costs'"),
    ],
)
def test_an_unknown_loss_or_option_is_answered(name: str, options: dict[str, Any], fault: str) -> None:
    """With the near miss."""
    with pytest.raises(InputError, match=fault):
        loss(name, **options)


@pytest.mark.parametrize("name", ["branchynet", "eenet-v1", "eenet-v2", "stopping"])
def test_weights_and_costs_fit_the_exits(name: str) -> None:
    """One number for every exit."""
    option = {"weights": [1.0]} if name == "branchynet" else {"costs": [1.0]}

    with pytest.raises(InputError, match="and the network has 3 exits"):
        loss(name, **option)(exits(), LABELS)


@pytest.mark.parametrize("name", ["eenet-v1", "eenet-v2", "stopping"])
def test_losses_of_confidence_need_a_network_with_confidences(name: str) -> None:
    """A network without scores is refused with the remedy."""
    with pytest.raises(InputError, match="has no score of its own"):
        loss(name, **OPTIONS[name])(exits(scores=None), LABELS)
