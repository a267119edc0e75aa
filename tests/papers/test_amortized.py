"""The experiments of the amortized cascades, in their short versions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from benchmarks.papers.frame.parts import Request, load_paper
from benchmarks.papers.frame.printed import load_printed
from benchmarks.papers.frame.training import train_variants
from tests.support.papers import record_with_shared_runs, run_short_part, share_costs

pytest.importorskip("torch")
pytest.importorskip("sklearn")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


run_part = partial(run_short_part, "amortized")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of trainings that all parts share."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module", autouse=True)
def measured_once(short_experiments: None) -> Iterator[None]:
    """Each cascade is exported and timed once for all parts."""
    from benchmarks.papers.amortized import thresholds

    with pytest.MonkeyPatch.context() as patch:
        share_costs(patch, thresholds)
        yield


def test_the_cascade_is_put_beside_each_classifier(runs: Path) -> None:
    """A dearer computation never costs more; every sample stops somewhere; the printed orderings are judged."""
    found = run_part("mnist", runs)
    values = found["values"]

    shares = [values[f"chosen: stops at {k}"]["mean"] for k in (1, 2, 3)]
    assert sum(shares) == pytest.approx(1.0)
    costs = [values[f"classifier {k}: MAC"]["mean"] for k in (1, 2, 3)]
    paid = sum(share * sum(costs[: k + 1]) for k, share in enumerate(shares))
    assert values["chosen: MAC"]["mean"] == pytest.approx(paid)
    assert values["policies, alpha 0.2: MAC"]["mean"] <= values["policies, alpha 0.002: MAC"]["mean"]
    judged = {ordering["says"] for ordering in found["orderings"]}
    assert judged == {o.says for o in load_printed("amortized").take_part("mnist").ordering}
    assert values["control, classifier 3: MAC"] == values["classifier 3: MAC"]
    assert all((runs / f"{name}.svg").exists() for name in found["pictures"])


def test_estimators_have_the_same_mean_gradient_and_the_exact_one_the_least_spread(runs: Path) -> None:
    """From the same weights, over many batches."""
    values = run_part("estimators-mnist", runs)["values"]

    spread = {key.split(":")[0]: v["mean"] for key, v in values.items() if key.endswith("spread of the gradient")}
    assert len(spread) == 4
    assert spread["exact"] == min(spread.values())
    off = {key.split(":")[0]: v["mean"] for key, v in values.items() if key.endswith("distance of the mean gradient")}
    assert all(off[name] < spread[name] / 5 for name in spread)


@pytest.mark.parametrize("part", ["thresholds-mnist", "latency-mnist"])
def test_policies_and_thresholds_are_compared_at_the_same_cost(part: str, runs: Path) -> None:
    """Every ordering that is asked for; more budget is never used for less."""
    found = run_part(part, runs)

    assert {o["says"] for o in found["orderings"]} == {
        o.says for o in load_printed("amortized").take_part(part).ordering
    }
    for rule in ("learned_mean", "learned", "max_softmax", "entropy"):
        used = [found["values"][f"alone: {rule} at {share}: used"]["mean"] for share in ("15%", "35%", "70%")]
        assert used == pytest.approx(sorted(used), rel=0.1)


@pytest.mark.parametrize("part", ["cifar10", "estimators", "thresholds", "latency"])
def test_parts_on_cifar10_find_what_those_on_mnist_do(part: str, runs: Path) -> None:
    """As if their cascades were those that the parts on MNIST have trained: every ordering that is asked for is judged."""
    request = Request(runs, (0,), quick=True, resume=True)
    trained = train_variants(load_paper("amortized").find_part("mnist").variants(request), request)

    found = record_with_shared_runs("amortized", part, runs, lambda name: trained[f"mnist-{name}"][0])

    asked = load_printed("amortized").take_part(part).ordering
    assert found["values"]
    assert {ordering["says"] for ordering in found["orderings"]} == {ordering.says for ordering in asked}
