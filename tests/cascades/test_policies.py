"""Policies fitted in NumPy: the gradient of the expectation, and what is learned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeexit.cascades import PolicySettings, fit_policies
from edgeexit.cascades.policies import compute_expected_cost
from edgeexit.errors import InputError

N, K, CLASSES = 40, 4, 5


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


def make_case(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logits of stopping [N, K-1] and priced losses [N, K]."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(N, K - 1)), generator.uniform(size=(N, K))


def test_the_expected_cost_is_the_sum_over_where_a_sample_stops() -> None:
    """Π(k) = π_k Π_{t<k} (1 - π_t), the last π being 1."""
    logits, priced = make_case(0)
    stopping = sigmoid(logits)
    reached = np.cumprod(np.concatenate([np.ones((N, 1)), 1 - stopping], axis=1), axis=1)
    expected = (reached * np.concatenate([stopping, np.ones((N, 1))], axis=1) * priced).sum(axis=1)

    np.testing.assert_allclose(expected, compute_expected_cost(stopping, priced)[0])


def test_its_gradient_is_that_of_finite_differences() -> None:
    """In the logit of every stopping probability."""
    logits, priced = make_case(1)
    found = compute_expected_cost(sigmoid(logits), priced)[1]

    for k in range(K - 1):
        step = np.zeros(K - 1)
        step[k] = 1e-6
        up, down = (compute_expected_cost(sigmoid(logits + s), priced)[0] for s in (step, -step))
        np.testing.assert_allclose((up - down) / 2e-6, found[:, k], atol=1e-7)


@pytest.mark.slow
def test_it_is_the_gradient_of_the_loss_that_torch_trains_with() -> None:
    """Loss `stopping` with the exact estimator, whose logits are those of a classifier that is right or wrong for certain."""
    torch = pytest.importorskip("torch")
    from edgeexit.nets.outputs import ExitTensors
    from edgeexit.training import loss

    generator = np.random.default_rng(2)
    wrong, costs = generator.integers(2, size=(N, K)), [0.1, 0.2, 0.3, 0.4]
    stops = torch.tensor(generator.normal(size=(N, K - 1)), requires_grad=True)
    answers = torch.nn.functional.one_hot(torch.tensor(wrong), 2) * 200.0
    exits = [
        ExitTensors(str(k), answers[:, k].double(), stops[:, k].sigmoid() if k < K - 1 else None) for k in range(K)
    ]

    value = loss("stopping", costs=costs, alpha=0.5, reward="right")(exits, torch.zeros(N, dtype=torch.int64))
    torch.autograd.backward(value)
    mine, gradient = compute_expected_cost(sigmoid(stops.detach().numpy()), wrong + 0.5 * np.cumsum(costs))

    assert mine.mean() == pytest.approx(value.item())
    np.testing.assert_allclose(gradient / N, stops.grad.numpy(), atol=1e-9)


def make_records(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities [n, 3, CLASSES] and errors [n, 3]: a classifier is right exactly where it is sure, later ones more often."""
    generator = np.random.default_rng(seed)
    hardness = generator.uniform(size=n)
    sure = np.stack([hardness < level for level in (0.5, 0.8, 1.0)], axis=1)
    best = np.where(sure, generator.uniform(0.8, 1.0, size=(n, 3)), generator.uniform(0.3, 0.6, size=(n, 3)))
    p = np.repeat((1 - best)[:, :, None] / (CLASSES - 1), CLASSES, axis=2)
    p[:, :, 2] = best
    return p, (~sure).astype(np.int64)


@pytest.mark.slow
def test_a_policy_learns_to_stop_where_a_classifier_is_right() -> None:
    """On samples that it has not seen; dear computation makes it stop earlier."""
    p, wrong = make_records(2000, 0)
    fresh, fresh_wrong = make_records(1000, 1)

    first, second = fit_policies(p, wrong, [1.0, 3.0, 9.0], alpha=0.01)

    for k, policy in enumerate((first, second)):
        stops = policy.compute_stopping(fresh[:, k]) >= 0.5
        assert 0.98 < (stops == (fresh_wrong[:, k] == 0)).mean()
    dear, _ = fit_policies(p, wrong, [1.0, 3.0, 9.0], alpha=1.0)
    assert (dear.compute_stopping(fresh[:, 0]) >= 0.5).all()


def test_the_same_seed_gives_the_same_policies() -> None:
    """Bit for bit; another seed gives others."""
    p, wrong = make_records(200, 0)
    fits = [
        fit_policies(p, wrong, [1.0, 2.0, 3.0], alpha=0.1, settings=PolicySettings(epochs=3, seed=s)) for s in (4, 4, 5)
    ]
    a, b, other = (policies[0].compute_stopping(p[:, 0]) for policies in fits)

    assert np.array_equal(a, b)
    assert not np.array_equal(a, other)


def test_shapes_that_do_not_fit_are_refused() -> None:
    """With what is needed."""
    p, wrong = make_records(20, 0)
    with pytest.raises(InputError, match=r"losses \[20, 3\] and 2 costs do not fit"):
        fit_policies(p, wrong, [1.0, 2.0], alpha=0.1)
    with pytest.raises(InputError, match="1 samples are too few"):
        fit_policies(p[:1], wrong[:1], [1.0, 2.0, 3.0], alpha=0.1)
