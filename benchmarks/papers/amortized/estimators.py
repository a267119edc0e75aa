"""REINFORCE, as the paper trains, against the exact expectation, with the classifiers fixed and their answers cached (not in the paper).

Both learn policies by the loss `stopping` of edgeexit, from the same first weights, on the same batches, with the same step sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.papers.amortized.policies import Cascade, Setting, record_cascade, take
from benchmarks.papers.frame.parts import Findings, Request
from benchmarks.papers.frame.training import Runs
from edgeexit.nets.cascade import build_policy_network
from edgeexit.nets.outputs import ExitTensors
from edgeexit.training import loss

ESTIMATORS: Mapping[str, Mapping[str, str]] = {
    "exact": {"estimator": "exact"},
    "reinforce, no baseline": {"estimator": "reinforce", "baseline": "none"},
    "reinforce, mean": {"estimator": "reinforce", "baseline": "mean"},
    "reinforce, least variance": {"estimator": "reinforce", "baseline": "least-variance"},
}
_BATCH = 128
_DRAWS = 200  # batches whose gradients are compared
REPEATS = 3  # first weights and draws, of one cascade


def examine_estimators(request: Request, runs: Runs, setting: Setting) -> Findings:
    """The spread of each estimator's gradient, and what its policies cost on the test part."""
    epochs = 2 if request.quick else 20
    samples: dict[str, dict[int, NDArray[Any]]] = {}
    values: dict[str, dict[int, float]] = {}
    alpha = setting.joint[""]
    for seed, run in runs[f"{setting.prefix}classifiers"].items():
        cascade = record_cascade(run)
        for name, options in ESTIMATORS.items():
            for what, value in _compare_gradients(cascade, alpha, options, seed).items():
                values.setdefault(f"{name}: {what}", {})[seed] = value
            costs = [_train(cascade, alpha, options, REPEATS * seed + i, epochs) for i in range(REPEATS)]
            samples.setdefault(f"{name}: expected cost", {})[seed] = np.mean(costs, axis=0)
            values.setdefault(f"{name}: spread over {REPEATS} fits", {})[seed] = float(
                np.mean(costs, axis=1).std(ddof=1)
            )
    notes = (
        f"Expected cost is the expected error plus alpha times the millions of multiply-accumulates, alpha {alpha:g}, on the test part; "
        f"{epochs} epochs over half of the calibration part, batches of {_BATCH}, SGD with momentum 0.9 and the paper's step sizes.",
        "Spread of a gradient: root of the mean squared distance from the exact gradient over all samples, in its norm; "
        f"{_DRAWS} batches of {_BATCH} at the first weights. What is left of the exact one is which samples a batch holds.",
    )
    return Findings(samples=samples, values=values, notes=notes)


class _Policies(nn.Module):
    """Policies of fixed classifiers: recorded logits [b, K, classes] in, exits out."""

    def __init__(self, exits: int, classes: int) -> None:
        super().__init__()
        self.policies = nn.ModuleList(build_policy_network(classes, 64) for _ in range(exits - 1))

    def forward(self, logits: Tensor) -> list[ExitTensors]:
        """Exits with their stopping probabilities."""
        p = logits.softmax(dim=-1)
        scores = [policy(p[:, k]).sigmoid() for k, policy in enumerate(self.policies)]
        return [ExitTensors(str(k), logits[:, k], score) for k, score in enumerate([*scores, None])]


def _open(cascade: Cascade, seed: int) -> tuple[_Policies, Tensor, Tensor]:
    """Fresh policies, and the answers and labels that they are fitted on."""
    part = take(cascade.known, cascade.fit_on)
    torch.manual_seed(seed)
    return _Policies(*part.logits.shape[1:]), torch.from_numpy(part.logits), torch.from_numpy(part.labels)


def _compare_gradients(cascade: Cascade, alpha: float, options: Mapping[str, str], seed: int) -> dict[str, float]:
    """Spread and bias of an estimate on batches, in norms of the exact gradient over all samples."""
    module, logits, labels = _open(cascade, seed)

    def compute(own: Mapping[str, str], places: Tensor) -> Tensor:
        value = loss("stopping", costs=cascade.costs, alpha=alpha, reward="right", **own)
        found = torch.autograd.grad(value(module(logits[places]), labels[places]), list(module.parameters()))
        return torch.cat([g.flatten() for g in found])

    exact = compute(ESTIMATORS["exact"], torch.arange(len(labels)))
    drawn = torch.stack([compute(options, torch.randint(len(labels), (_BATCH,))) for _ in range(_DRAWS)])
    norm = exact.norm()
    return {
        "spread of the gradient": float((drawn - exact).square().sum(dim=1).mean().sqrt() / norm),
        "distance of the mean gradient": float((drawn.mean(dim=0) - exact).norm() / norm),
    }


def _train(cascade: Cascade, alpha: float, options: Mapping[str, str], seed: int, epochs: int) -> NDArray[np.float64]:
    """Expected cost of every test sample, [n], after training."""
    module, logits, labels = _open(cascade, seed)
    value = loss("stopping", costs=cascade.costs, alpha=alpha, reward="right", **options)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.1 * 0.9 ** (epoch // 4)  # section 4.4
        for places in _list_batches(len(labels)):
            optimizer.zero_grad()
            torch.autograd.backward(value(module(logits[places]), labels[places]))
            optimizer.step()
    return _compute_costs(module, cascade, alpha)


def _list_batches(count: int) -> Iterator[Tensor]:
    order = torch.randperm(count)
    yield from (order[start : start + _BATCH] for start in range(0, count, _BATCH))


def _compute_costs(module: _Policies, cascade: Cascade, alpha: float) -> NDArray[np.float64]:
    from edgeexit.cascades.policies import compute_expected_cost

    with torch.no_grad():
        exits = module(torch.from_numpy(cascade.test.logits))
    stopping = np.stack([e.score.numpy()[:, 0] for e in exits if e.score is not None], axis=1).astype(np.float64)
    rows = np.arange(len(cascade.test.labels))
    p = torch.from_numpy(cascade.test.logits).softmax(dim=-1).numpy()
    wrong = 1 - p[rows, :, cascade.test.labels]
    found: NDArray[np.float64] = compute_expected_cost(stopping, wrong + alpha * np.cumsum(cascade.costs))[0]
    return found
