"""The experiments of the cascade losses, in their short versions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks.papers.frame.parts import Request, load_paper
from benchmarks.papers.frame.printed import load_printed
from benchmarks.papers.frame.training import train_variants
from tests.support.papers import record_with_shared_runs, run_short_part

pytest.importorskip("torch")
pytest.importorskip("sklearn")

ROOT = Path(__file__).resolve().parents[2]


run_part = partial(run_short_part, "cascade-losses")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of trainings that all parts share."""
    return tmp_path_factory.mktemp("runs")


def test_the_short_schedule_moves_as_far_as_the_printed_one(tmp_path: Path) -> None:
    """Epochs times step size are the same, the rest of a network's training too; other readings have one seed."""
    request = Request(tmp_path, (0, 1, 2))
    short, printed = (
        load_paper("cascade-losses").find_part(part).variants(request) for part in ("mnist", "mnist-printed")
    )
    for name, variant in printed.items():
        other = short[name.replace("printed", "mnist", 1)]
        for phase in variant.recipe.phases:
            long, brief = (one.recipe.phases[phase] for one in (variant, other))
            assert 20 * 0.001 == pytest.approx(long.epochs * long.optimizer.rate)
            assert 20 * 0.001 == pytest.approx(brief.epochs * brief.optimizer.rate)
            assert (long.loss, long.options, long.batch) == (brief.loss, brief.options, brief.batch)
    assert {"soft-logits", "firm-printed", "firm-logits"} == {
        name.removeprefix("mnist-").removesuffix("-p2") for name, variant in short.items() if variant.seeds == 1
    }


@pytest.mark.slow
def test_the_losses_are_compared_at_every_threshold(runs: Path) -> None:
    """All samples leave early at threshold 0 and none at 1; a second call takes what is trained."""
    found = run_part("mnist", runs)
    assert (1.0, 0.0) == tuple(found["values"][f"sum-p2: early at {t}"]["mean"] for t in (0, 1))
    assert {"confirmed", "refuted", "undecided"} >= {ordering["verdict"] for ordering in found["orderings"]}
    assert all((runs / f"{name}.svg").exists() for name in found["pictures"])

    written = {path: path.stat().st_mtime_ns for path in runs.glob("*/*")}
    run_part("mnist", runs, "--only", "mnist-firm-p2")
    assert {"mnist-base-0", "mnist-firm-p2-0"} <= {path.parent.name for path in written}
    assert written == {path: path.stat().st_mtime_ns for path in runs.glob("*/*")}


@pytest.mark.slow
@pytest.mark.parametrize("part", ["noisy", "penalty"])
def test_noisy_parts_judge_their_orderings(part: str, runs: Path) -> None:
    """All that the paper's text says of them."""
    judged = {ordering["says"] for ordering in run_part(part, runs)["orderings"]}
    assert judged == {ordering.says for ordering in load_printed("cascade-losses").take_part(part).ordering}


@pytest.mark.slow
@pytest.mark.parametrize("part", ["equal-macs", "cifar10"])
def test_networks_are_compared_within_the_same_budget(part: str, runs: Path) -> None:
    """No more is used than is allowed, up to what another part of the data moves."""
    found = run_part(part, runs)
    assert found["orderings"]
    used = {key: value["mean"] for key, value in found["values"].items() if "MACs used" in key}
    by_name: dict[str, list[float]] = {}
    for key, macs in used.items():
        by_name.setdefault(key.split(":")[0], []).append(macs)
    assert all(sorted(macs) == pytest.approx(macs, rel=0.1) for macs in by_name.values())


@pytest.mark.slow
@pytest.mark.parametrize("part", ["latency", "deploy"])
def test_networks_are_measured_on_the_device(part: str, runs: Path) -> None:
    """Compiled, calibrated, run; a figure for each."""
    values = run_part(part, runs)["values"]
    assert values
    assert all(value["mean"] is not None for value in values.values())


@pytest.mark.slow
def test_the_printed_schedule_finds_what_the_short_one_does(runs: Path) -> None:
    """At p2, as if its networks were those that the short one has trained; it has every ordering that is asked for."""
    request = Request(runs, (0,), quick=True, resume=True)
    trained = train_variants(load_paper("cascade-losses").find_part("mnist").variants(request), request)

    found = record_with_shared_runs(
        "cascade-losses", "mnist-printed", runs, lambda name: trained[name.replace("printed", "mnist", 1)][0]
    )

    asked = load_printed("cascade-losses").take_part("mnist-printed").ordering
    assert {ordering["says"] for ordering in found["orderings"]} == {ordering.says for ordering in asked}
    assert {f"{loss}-p2: exit 1" for loss in ("sum", "soft", "firm")} <= found["values"].keys()
