"""The experiments of EENet: what they conclude from networks, and their short versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from functools import partial

from benchmarks.papers import eenet
from benchmarks.papers.eenet import criteria
from benchmarks.papers.eenet.criteria import CRITERIA, compare_criteria
from benchmarks.papers.eenet.related import examine_related, show_related
from benchmarks.papers.eenet.variants import list_mnist_criteria_variants
from benchmarks.papers.frame.parts import Request
from benchmarks.papers.frame.printed import load_printed
from benchmarks.papers.frame.training import Run, train_variants
from edgeexit.training.metrics import RecordedExits
from tests.support.papers import record_with_shared_runs, run_short_part, share_costs

ROOT = Path(__file__).resolve().parents[2]


run_part = partial(run_short_part, "eenet")


def record_synthetic(seed: int, n: int = 400) -> RecordedExits:
    """Three exits over ten classes, each more accurate and confident than the one before; learned confidences high where it is right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    logits = rng.normal(size=(n, 3, 10)).astype(np.float32)
    logits[np.arange(n), :, labels] += np.array([1.0, 2.0, 3.0], np.float32)
    right = logits[:, :2].argmax(-1) == labels[:, None]
    scores = np.where(right, 0.9, 0.1) + rng.normal(0, 0.02, (n, 2))
    return RecordedExits(logits, scores.astype(np.float32), labels)


@pytest.mark.parametrize("timed", [False, True])
def test_a_confidence_that_knows_beats_softmax_at_equal_cost(timed: bool) -> None:
    """By searched thresholds, for costs in operations and in seconds; and no mean is far above its budget."""
    costs = dict.fromkeys(CRITERIA, [1e-6, 2e-6, 3e-6] if timed else [10, 20, 30])

    found = compare_criteria(record_synthetic(0), record_synthetic(1), costs, timed=timed)

    assert ("s" if timed else "MAC") == found.unit
    accuracy = {name: [float(r.mean()) for r in right] for name, right in found.right.items()}
    assert all(a >= b for a, b in zip(accuracy["learned"], accuracy["max_softmax"], strict=True))
    for mean in found.mean.values():
        assert all(m <= 1.1 * budget for m, budget in zip(mean, found.budgets, strict=True))


def test_every_part_finds_what_is_printed_of_it(tmp_path: Path) -> None:
    """Each printed value and ordering is of a network that its part trains, where it trains any."""
    printed = load_printed("eenet")
    for part in eenet.PAPER.parts:
        trained = {*part.variants(Request(tmp_path, (0,)))}
        if not trained:
            continue
        own = printed.take_part(part.name)
        keys = [*(v.key for v in own.value), *(k for o in own.ordering for k in (o.larger, o.smaller))]
        for key in keys:
            name = key.split(":")[0]
            expected = (
                "eenet20-quadratic"
                if key.startswith("pool:")
                else name.removeprefix("eenet20-").removeprefix("eenet8-")
            )
            assert any(network.endswith(expected) for network in trained), key


def test_other_work_stands_beside_what_is_recorded(tmp_path: Path) -> None:
    """Every printed row of table 4.9; figures beside BranchyNet's networks only, whose cost is below their plain network's or said."""
    found = examine_related(Request(tmp_path, (2016,)), {})
    values = {key: {"mean": by_seed[2016]} for key, by_seed in found.values.items()}

    (table,) = show_related({"values": values, "notes": found.notes})

    assert 17 == len(table.rows)
    assert {"AlexNet", "B-AlexNet", "ResNet", "B-ResNet"} == {row[0] for row in table.rows if row[2]}
    assert all(printed for _, printed, *_ in table.rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the parts share what they train."""
    return tmp_path_factory.mktemp("eenet")


@pytest.fixture(scope="module", autouse=True)
def measured_once(short_experiments: None) -> Iterator[None]:
    """Each network is exported and timed once for all parts."""
    with pytest.MonkeyPatch.context() as patch:
        share_costs(patch, criteria)
        yield


@pytest.mark.slow
def test_losses_are_compared_on_the_digits(folder: Path) -> None:
    """Exit rates add up, costs follow from them, and a network whose exits have collapsed is named."""
    found = run_part("losses", folder)

    for name in ("mc", "cost", "v1", "v2"):
        rates = [found["values"][f"{name}: exit {k}"]["mean"] for k in (1, 2, 3)]
        assert 1 == pytest.approx(sum(rates))
        cost = found["values"][f"{name}: cost"]["mean"]
        assert cost == pytest.approx(np.dot(rates, [0.08, 0.26, 1.0]))
        if max(rates) >= 0.99:
            assert any(note.startswith(f"{name}, seed 0: exits have collapsed") for note in found["notes"])
    assert ["eenet-epochs-v2", "eenet-digits-v2"] == found["pictures"]


@pytest.mark.slow
def test_criteria_are_compared_by_operations_and_by_time(folder: Path) -> None:
    """On the same trained exits; what an exit takes beside the network without exits stands beside the printed share."""
    counted, timed = run_part("criteria", folder), run_part("latency", folder)

    for found in (counted, timed):
        assert {"learned", "max_softmax", "entropy"} == {key.split()[1] for key in found["values"] if " at " in key}
        assert any("learned against entropy" in note for note in found["notes"])
    ordinary = run_part("training", folder)
    assert {"0.50: accuracy at 10 %", "sum: accuracy at 10 %"} <= {*ordinary["values"]}
    assert any("against the sum of losses" in note for note in ordinary["notes"])
    assert {"eenet8-v2: cost in time", "eenet8-v2: exit 1 in time"} <= {*timed["values"]}


@pytest.fixture(scope="module")
def trained(folder: Path) -> dict[bool, Run]:
    """EENet-8 with its exits (True) and without (False)."""
    request = Request(folder, (0,), quick=True, resume=True)
    runs = train_variants(list_mnist_criteria_variants(request, plain=True), request)
    return {name == "eenet8-v2": by_seed[0] for name, by_seed in runs.items()}


OWN = {"losses", "criteria", "training", "latency", "related", "device"}
"""Parts that a test of their own runs."""


@pytest.mark.slow
@pytest.mark.parametrize("part", [part.name for part in eenet.PAPER.parts if part.name not in OWN])
def test_a_part_records_and_shows_every_network_that_it_trains(
    part: str, folder: Path, trained: dict[bool, Run]
) -> None:
    """As if all of them were one tiny network: every printed value and ordering of the part has its counterpart, every picture is drawn."""
    record = record_with_shared_runs("eenet", part, folder, lambda name: trained[not name.endswith("plain")])

    printed = load_printed("eenet").take_part(part)
    assert {value.key for value in printed.value} <= record["values"].keys()
    assert len(printed.ordering) == len(record["orderings"])
    assert all((folder / f"{name}.svg").exists() for name in record["pictures"])


@pytest.mark.slow
def test_networks_are_measured_on_the_device(folder: Path) -> None:
    """Compiled, calibrated and measured under their learned confidences, with the gain over the plain network."""
    found = run_part("device", folder)

    (evaluation,) = found["details"]["evaluations"].values()
    assert "learned" == evaluation["criterion"]
    assert {"eenet8-v2: gain", "eenet8-v2: gain over the plain network"} <= found["values"].keys()
    assert all(value["mean"] is not None for value in found["values"].values())
    (table,) = eenet.PAPER.find_part("device").show(found)
    assert ["eenet8-v2-0"] == [row[0] for row in table.rows]
